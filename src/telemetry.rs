//! What Dockside tells of itself: its log, structured lines on standard error for a person or for a machine; and, where
//! somebody collects them, traces.

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
use crate::measure::SPANS;

/// Libraries that are only worth hearing when something is wrong; hyper and h2 tell of every frame, bollard of
/// whole request bodies, with the secrets in them.
const QUIET: &str = "bollard=info,h2=info,hyper=info,hyper_util=info,tower=info";
/// How long the last spans may take at the end.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// Starts the log. Only the first call has an effect.
pub fn init(level: LogLevel, format: LogFormat) {
    start(level, format, None);
}

/// Starts the log and the export of traces to an OTLP collector that speaks gRPC, such as `http://127.0.0.1:4317`. So
/// many of a million calls begin a trace where the caller does not say whether to; a caller's own trace is joined
/// whatever that is. Called in a tokio runtime.
///
/// # Errors
/// When the endpoint cannot be one. A collector that is not there is only logged.
pub fn init_with_traces(
    level: LogLevel,
    format: LogFormat,
    endpoint: &str,
    sampling_per_million: u32,
) -> Result<Traces, ExporterBuildError> {
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
    let share = f64::from(sampling_per_million) / 1e6;
    let who = Resource::builder()
        .with_service_name("dockside")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share))))
        .with_resource(who)
        .build();
    start(level, format, Some(&provider));
    Ok(Traces(provider))
}

/// The export of traces.
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends what there is.
    pub async fn finish(self) {
        let finished = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(LAST_SPANS)).await;
        if let Ok(Err(error)) = finished {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

fn start(level: LogLevel, format: LogFormat, provider: Option<&SdkTracerProvider>) {
    let filter = EnvFilter::new(format!("{},{QUIET},{SPANS}=off,{}=off", level.as_str(), cni_runtime::SPANS));
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
