//! The layer that logs each RPC, records its duration for metrics, and opens its span for traces. Reads are logged at debug
//! level, mutations at info, failures at warn.

use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;
use std::time::Instant;

use http::Request;
use http::Response;
use prometheus_client::encoding::EncodeLabelSet;
use tonic::Code;
use tonic::Status;
use tracing::Instrument;

use super::trace;
use crate::observability::Durations;

/// The labels of a duration: method and gRPC code.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Call {
    method: String,
    code: String,
}

/// Durations of RPCs since Dockside started, in seconds.
pub(crate) type Calls = Durations<Call>;

/// Wraps a service with [`LogService`].
#[derive(Debug, Clone)]
pub(super) struct LogLayer {
    pub(super) calls: Calls,
}

impl<S> tower::Layer<S> for LogLayer {
    type Service = LogService<S>;

    fn layer(&self, inner: S) -> LogService<S> {
        LogService { inner, calls: self.calls.clone() }
    }
}

/// Logs method, code and duration of each call.
#[derive(Debug, Clone)]
pub(super) struct LogService<S> {
    inner: S,
    calls: Calls,
}

impl<S, B, R> tower::Service<Request<B>> for LogService<S>
where
    S: tower::Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    R: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let start = Instant::now();
        let span = trace::begin(&request);
        // Within the span, as a handler may work before its first await.
        let response = span.in_scope(|| self.inner.call(request)).instrument(span.clone());
        let calls = self.calls.clone();
        Box::pin(async move {
            let response = response.await;
            if let Ok(response) = &response {
                let (method, duration) = (path.rsplit('/').next().unwrap_or(&path), start.elapsed());
                // Only a failed call has its status in the headers; a successful one has it in the trailers.
                let failure = Status::from_header_map(response.headers()).filter(|status| status.code() != Code::Ok);
                trace::end(&span, failure.as_ref());
                record_duration(&calls, method, failure.as_ref().map_or(Code::Ok, Status::code), duration);
                log_call(method, failure, duration);
            }
            response
        })
    }
}

fn record_duration(calls: &Calls, method: &str, code: Code, duration: Duration) {
    // A client may call any method name, and each would add a time series.
    if code != Code::Unimplemented {
        let call = Call { method: method.to_owned(), code: format!("{code:?}") };
        calls.get_or_create(&call).observe(duration.as_secs_f64());
    }
}

fn log_call(method: &str, failure: Option<Status>, duration: Duration) {
    // Milliseconds with three decimals.
    let ms = duration.as_micros() as f64 / 1000.0;
    match failure {
        Some(status) if is_expected(method, status.code()) => {
            tracing::debug!(method, ms, code = ?status.code(), error = status.message(), "answered");
        }
        Some(status) => tracing::warn!(method, ms, code = ?status.code(), error = status.message(), "failed"),
        None if is_read(method) => tracing::debug!(method, ms, "answered"),
        None => tracing::info!(method, ms, "done"),
    }
}

/// Failures that are part of normal operation. The kubelet reports probes that time out.
fn is_expected(method: &str, code: Code) -> bool {
    matches!(code, Code::NotFound | Code::Unimplemented) || (method == "ExecSync" && code == Code::DeadlineExceeded)
}

/// Whether the method changes nothing.
fn is_read(method: &str) -> bool {
    ["List", "Stream"].iter().any(|prefix| method.starts_with(prefix))
        || ["Status", "Stats", "Version", "Info", "Config"].iter().any(|suffix| method.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_methods_that_a_kubelet_polls_are_reads() {
        for method in ["Version", "Status", "ListPodSandbox", "ContainerStatus", "ImageFsInfo", "ListContainerStats"] {
            assert!(is_read(method), "{method}");
        }
        for method in ["RunPodSandbox", "StopContainer", "PullImage"] {
            assert!(!is_read(method), "{method}");
        }
    }
}
