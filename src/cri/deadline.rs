//! The deadline that a client sets for a call with the header `grpc-timeout`. tonic responds with Canceled when it has
//! passed; gRPC's code for that is DeadlineExceeded, and the kubelet and critest distinguish the two.

use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use http::HeaderMap;
use http::Request;
use http::Response;
use tokio::time::Instant;
use tonic::Status;

/// The header's name (gRPC over HTTP/2).
const HEADER: &str = "grpc-timeout";
/// The digits of its value, at most.
const DIGITS: usize = 8;

/// Wraps a service with [`DeadlineService`].
#[derive(Debug, Clone, Copy)]
pub(super) struct DeadlineLayer;

impl<S> tower::Layer<S> for DeadlineLayer {
    type Service = DeadlineService<S>;

    fn layer(&self, inner: S) -> DeadlineService<S> {
        DeadlineService { inner }
    }
}

/// Responds with DeadlineExceeded when the deadline has passed before the inner service has responded.
#[derive(Debug, Clone)]
pub(super) struct DeadlineService<S> {
    inner: S,
}

impl<S, B, R> tower::Service<Request<B>> for DeadlineService<S>
where
    S: tower::Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    R: Default + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // Computed before tonic computes its own, so that this deadline is never the later one.
        let deadline = timeout(request.headers()).map(|timeout| (Instant::now() + timeout, timeout));
        let response = self.inner.call(request);
        Box::pin(async move {
            let Some((deadline, timeout)) = deadline else { return response.await };
            match tokio::time::timeout_at(deadline, response).await {
                Ok(response) => response,
                Err(_) => {
                    let message = format!("no response within {timeout:?}, the client's deadline");
                    Ok(Status::deadline_exceeded(message).into_http())
                }
            }
        })
    }
}

/// Parses the header: a number, and a letter for its unit. Anything else means no deadline, as in tonic.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(HEADER)?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.len() > DIGITS || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 60 * 60)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use tonic::Code;
    use tower::Layer;
    use tower::Service;

    use super::*;

    fn headers(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(HEADER), HeaderValue::from_static(value))])
    }

    #[test]
    fn a_timeout_is_a_number_with_a_unit() {
        for (value, expected) in [
            ("2H", Some(Duration::from_secs(7200))),
            ("3M", Some(Duration::from_secs(180))),
            ("4S", Some(Duration::from_secs(4))),
            ("5m", Some(Duration::from_millis(5))),
            ("6u", Some(Duration::from_micros(6))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("100000000n", None),
            ("+5m", None),
            ("m", None),
            ("5", None),
            ("", None),
            ("5x", None),
        ] {
            assert_eq!(timeout(&headers(value)), expected, "{value:?}");
        }
        assert_eq!(timeout(&HeaderMap::new()), None);
    }

    /// Calls a service that responds after `wait`.
    async fn call(wait: Duration, limit: Option<&'static str>) -> Code {
        let inner = tower::service_fn(move |_: Request<()>| async move {
            tokio::time::sleep(wait).await;
            Ok::<_, std::convert::Infallible>(Response::new(()))
        });
        let mut request = Request::new(());
        *request.headers_mut() = limit.map(headers).unwrap_or_default();
        let response = DeadlineLayer.layer(inner).call(request).await.unwrap();
        Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code())
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_exceeds_its_deadline_fails_at_the_deadline() {
        let began = Instant::now();
        assert_eq!(call(Duration::from_secs(60), Some("100m")).await, Code::DeadlineExceeded);
        assert_eq!(began.elapsed(), Duration::from_millis(100));
        assert_eq!(call(Duration::from_millis(99), Some("100m")).await, Code::Ok);
        assert_eq!(call(Duration::from_secs(3600), None).await, Code::Ok);
    }
}
