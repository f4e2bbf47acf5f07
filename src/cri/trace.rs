//! A span for each RPC, as part of the caller's trace.
//!
//! Names and attributes: OpenTelemetry's semantic conventions for RPC. The caller's trace comes in the `traceparent`
//! header of W3C Trace Context, which the kubelet sends when its own tracing is on.

use http::HeaderMap;
use http::Request;
use opentelemetry::propagation::Extractor;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::Code;
use tonic::Status;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::observability::SPANS;

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// Opens the span of a call. It is disabled when traces are not configured.
pub(super) fn begin<B>(request: &Request<B>) -> Span {
    let path = request.uri().path().trim_start_matches('/');
    let (service, method) = path.split_once('/').unwrap_or((path, ""));
    let span = tracing::info_span!(
        target: SPANS,
        "rpc",
        otel.name = path,
        otel.kind = "server",
        otel.status_code = Empty,
        otel.status_description = Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = Empty,
    );
    if !span.is_disabled() {
        let caller = TraceContextPropagator::new().extract(&Headers(request.headers()));
        if let Err(error) = span.set_parent(caller) {
            tracing::debug!(%error, "could not join the caller's trace");
        }
    }
    span
}

/// Records the outcome of a call in its span.
pub(super) fn end(span: &Span, failure: Option<&Status>) {
    let code = failure.map_or(Code::Ok, Status::code);
    span.record("rpc.grpc.status_code", code as i32);
    if let Some(failure) = failure {
        span.record("otel.status_code", "ERROR");
        span.record("otel.status_description", failure.message());
    }
}
