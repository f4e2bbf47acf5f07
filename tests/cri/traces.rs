//! The traces that Dockside sends to an OpenTelemetry collector.

use std::sync::Arc;

use dockside::proto::*;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceService;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceServiceServer;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use parking_lot::Mutex;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Request;
use tonic::Response;
use tonic::Status;

use harness::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A collector that keeps the spans it receives.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let who = resource.resource.unwrap().attributes;
            let name = who.iter().find(|attribute| attribute.key == "service.name").unwrap();
            assert_eq!(name.value.as_ref().unwrap().value, Some(Value::StringValue("dockside".to_owned())));
            self.0.lock().extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Returns the collector and its address.
    async fn start() -> (Collector, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let collector = Collector::default();
        let service = TraceServiceServer::new(collector.clone());
        let serving = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
        (collector, address)
    }

    async fn span(&self, name: &str) -> Span {
        let find = async || self.0.lock().iter().find(|span| span.name == name).cloned();
        eventually(&format!("a span {name:?}"), find).await
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The same request as part of a client's trace.
fn traced<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let parent = format!("00-{TRACE}-{PARENT}-01");
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_join_the_trace_of_the_caller() {
    let (collector, address) = Collector::start().await;
    let node = Node::start(&["--tracing-endpoint", &address]).await;
    let mut runtime = node.runtime().await;
    let config = pod("traced");
    let request = RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: String::new() };
    let sandbox = runtime.run_pod_sandbox(traced(request)).await.unwrap().into_inner().pod_sandbox_id;
    let unknown = ContainerStatusRequest { container_id: "no-such".to_owned(), verbose: false };
    runtime.container_status(traced(unknown)).await.unwrap_err();

    let call = collector.span("runtime.v1.RuntimeService/RunPodSandbox").await;
    assert_eq!((hex(&call.trace_id), hex(&call.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!(call.kind(), SpanKind::Server);
    for name in ["POST /containers/create", "POST /containers/{}/start", "CNI ADD bridge"] {
        let part = collector.span(name).await;
        assert_eq!((&part.trace_id, &part.parent_span_id), (&call.trace_id, &call.span_id), "{name}");
        assert!(call.start_time_unix_nano <= part.start_time_unix_nano, "{name}");
        assert!(part.end_time_unix_nano <= call.end_time_unix_nano, "{name}");
    }
    let failed = collector.span("runtime.v1.RuntimeService/ContainerStatus").await;
    let status = failed.status.unwrap();
    assert_eq!(status.code(), StatusCode::Error);
    assert!(status.message.contains("no-such"), "{status:?}");

    // This one is not sampled. It is exported, if at all, before the next.
    let untraced = RemovePodSandboxRequest { pod_sandbox_id: sandbox };
    runtime.remove_pod_sandbox(untraced).await.unwrap();
    runtime.version(traced(VersionRequest::default())).await.unwrap();
    collector.span("runtime.v1.RuntimeService/Version").await;
    let others: Vec<_> = collector.0.lock().iter().filter(|span| hex(&span.trace_id) != TRACE).cloned().collect();
    assert!(others.is_empty(), "{others:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_start_traces_if_sampling_is_enabled() {
    let (collector, address) = Collector::start().await;
    let node = Node::start(&["--tracing-endpoint", &address, "--tracing-sampling-rate-per-million=1000000"]).await;
    node.runtime().await.version(VersionRequest::default()).await.unwrap();
    let call = collector.span("runtime.v1.RuntimeService/Version").await;
    assert!(call.parent_span_id.is_empty());
}
