//! The log, as structured lines on standard error, and the export of traces over OTLP.

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::Sampler;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogFormat;
use crate::config::LogLevel;

/// The target of spans that are made for traces. The log leaves them out.
pub(crate) const SPANS: &str = "dockside::spans";

/// Levels of libraries, whatever Dockside's own is: at debug, hyper and h2 log every frame, and bollard logs request bodies
/// with the secrets in them.
const LIBRARIES: &str = "bollard=info,h2=info,hyper=info,hyper_util=info,tower=info";
/// How long sending the last spans may take at shutdown.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts the log. Only the first call in a process has an effect.
pub(crate) fn init(level: LogLevel, format: LogFormat) {
    start(level, format, None);
}

/// Starts the log and the export of traces to an OTLP/gRPC collector, such as `http://127.0.0.1:4317`. Of calls without a
/// trace context, `sampling_per_million` of a million start a trace; a call with one follows its sampling decision. Must be
/// called in a tokio runtime.
///
/// # Errors
/// When `endpoint` is not a URL. A collector that does not answer is only logged.
pub(crate) fn init_with_traces(
    level: LogLevel,
    format: LogFormat,
    endpoint: &str,
    sampling_per_million: u32,
) -> Result<Traces, ExporterBuildError> {
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
    let ratio = f64::from(sampling_per_million) / 1e6;
    let resource = Resource::builder()
        .with_service_name("dockside")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
        .with_resource(resource)
        .build();
    start(level, format, Some(&provider));
    Ok(Traces(provider))
}

/// The export of traces.
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends the spans that are left, and stops the export.
    pub(crate) async fn finish(self) {
        let finished = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(FLUSH_TIMEOUT)).await;
        if let Ok(Err(error)) = finished {
            tracing::warn!(%error, "could not send the last spans");
        }
    }
}

fn start(level: LogLevel, format: LogFormat, provider: Option<&SdkTracerProvider>) {
    let filter = EnvFilter::new(format!("{},{LIBRARIES},{SPANS}=off,{}=off", level.as_str(), cni_runtime::SPANS));
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Json => log.json().flatten_event(true).boxed(),
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).boxed(),
    };
    let traces = provider.map(|provider| {
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("dockside")).with_location(false);
        layer.with_filter(
            [SPANS, cni_runtime::SPANS].into_iter().map(|target| (target, LevelFilter::INFO)).collect::<Targets>(),
        )
    });
    let started = tracing_subscriber::registry().with(log.with_filter(filter)).with(traces).try_init();
    if let Err(error) = started {
        tracing::debug!(%error, "the log was started before");
    }
}
