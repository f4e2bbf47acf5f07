//! One line in the log for each RPC: reads at debug level, changes at info, failures at warn. And the time of each, for
//! metrics; and its span, for traces.

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
use crate::measure::Durations;

/// What is measured by itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Call {
    method: String,
    code: String,
}

/// How long calls took, since the start.
pub type Calls = Durations<Call>;

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

/// Logs method, code and time of each call.
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
        let began = Instant::now();
        let span = trace::begin(&request);
        // What the handler does before its first await belongs to the span, too.
        let answer = span.in_scope(|| self.inner.call(request)).instrument(span.clone());
        let calls = self.calls.clone();
        Box::pin(async move {
            let answer = answer.await;
            if let Ok(answer) = &answer {
                let (method, took) = (path.rsplit('/').next().unwrap_or(&path), began.elapsed());
                // A status in the headers is that of a call that failed; a good one comes after the message.
                let failure = Status::from_header_map(answer.headers()).filter(|status| status.code() != Code::Ok);
                trace::end(&span, failure.as_ref());
                note(&calls, method, failure.as_ref().map_or(Code::Ok, Status::code), took);
                tell(method, failure, took);
            }
            answer
        })
    }
}

fn note(calls: &Calls, method: &str, code: Code, took: Duration) {
    // A client may ask for any method: each would be kept for ever.
    if code != Code::Unimplemented {
        let call = Call { method: method.to_owned(), code: format!("{code:?}") };
        calls.get_or_create(&call).observe(took.as_secs_f64());
    }
}

fn tell(method: &str, failure: Option<Status>, took: Duration) {
    // In thousandths.
    let ms = took.as_micros() as f64 / 1000.0;
    match failure {
        Some(status) if is_ordinary(method, status.code()) => {
            tracing::debug!(method, ms, code = ?status.code(), error = status.message(), "answered");
        }
        Some(status) => tracing::warn!(method, ms, code = ?status.code(), error = status.message(), "failed"),
        None if is_read(method) => tracing::debug!(method, ms, "answered"),
        None => tracing::info!(method, ms, "done"),
    }
}

/// Codes that clients get in the ordinary course of things. A probe that takes too long is the kubelet's to tell.
fn is_ordinary(method: &str, code: Code) -> bool {
    matches!(code, Code::NotFound | Code::Unimplemented) || (method == "ExecSync" && code == Code::DeadlineExceeded)
}

fn is_read(method: &str) -> bool {
    ["List", "Stream"].iter().any(|prefix| method.starts_with(prefix))
        || ["Status", "Stats", "Version", "Info", "Config"].iter().any(|suffix| method.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kubelet_polls_is_a_read() {
        for method in ["Version", "Status", "ListPodSandbox", "ContainerStatus", "ImageFsInfo", "ListContainerStats"] {
            assert!(is_read(method), "{method}");
        }
        for method in ["RunPodSandbox", "StopContainer", "PullImage"] {
            assert!(!is_read(method), "{method}");
        }
    }
}
