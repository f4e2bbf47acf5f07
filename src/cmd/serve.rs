//! `dockside serve`: builds the rooms from the configuration, serves until SIGTERM or SIGINT, and shuts down in order.

mod collector;
mod limits;
mod metrics;
mod process;

use std::fs::DirBuilder;
use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use nix::fcntl::Flock;
use nix::fcntl::FlockArg;
use opentelemetry_otlp::ExporterBuildError;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config;
use crate::config::Config;
use crate::container;
use crate::container::Containers;
use crate::container::DockerLog;
use crate::cri;
use crate::cri::Service;
use crate::cri::Settings;
use crate::cri::Socket;
use crate::docker;
use crate::docker::Engine;
use crate::image::Images;
use crate::logs;
use crate::logs::Logs;
use crate::observability;
use crate::observability::Durations;
use crate::observability::Traces;
use crate::pod;
use crate::pod::Pods;
use crate::state;
use crate::state::Index;
use crate::state::Store;
use crate::stats::Stats;
use crate::stream;
use crate::stream::Server;
use crate::watch;
use crate::watch::Watch;
use cni_runtime as cni;
use cni_runtime::Cni;
use cni_runtime::PodCidrs;

use self::metrics::PluginCall;

/// Why `serve` could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The CRI socket could not be bound.
    #[error(transparent)]
    Bind(#[from] cri::BindError),
    /// The records could not be read.
    #[error(transparent)]
    State(#[from] state::Error),
    /// The log checkpoints could not be read.
    #[error(transparent)]
    Logs(#[from] logs::Error),
    /// The client of Docker could not be created.
    #[error(transparent)]
    Docker(#[from] docker::Error),
    /// The streaming server could not be bound.
    #[error(transparent)]
    Stream(#[from] stream::Error),
    /// The metrics server could not be bound.
    #[error(transparent)]
    Metrics(#[from] observability::Error),
    /// Another process holds the lock of the state directory.
    #[error("could not use the state directory {}: another dockside serve uses it", .0.display())]
    StateInUse(PathBuf),
    /// The state directory could not be created or locked.
    #[error("could not lock the state directory {}: {source}", path.display())]
    StateDir {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The exporter of traces could not be created.
    #[error("could not prepare traces for {endpoint}: {source}")]
    Traces {
        /// The collector.
        endpoint: String,
        /// The cause.
        source: ExporterBuildError,
    },
    /// Signal handlers could not be installed.
    #[error("could not {doing}: {source}")]
    Io {
        /// The operation, as in `could not <operation>`.
        doing: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The gRPC server failed.
    #[error("could not serve: {0}")]
    Serve(#[from] tonic::transport::Error),
}

/// How long to wait for the lock of the state directory: the previous process may still be draining its verbs. One that was
/// killed while it started a plugin leaves, for a moment, a child that holds the lock.
const LOCK_LIMIT: Duration = Duration::from_secs(cri::DRAIN_LIMIT.as_secs() + 2);
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Serves the CRI with this configuration until SIGTERM or SIGINT.
///
/// # Errors
/// Any [`Error`].
pub async fn run(config: Config) -> Result<(), Error> {
    let traces = start_telemetry(&config)?;
    limits::raise_open_files();
    for sentence in &config.ignored {
        tracing::warn!("{sentence}");
    }
    let socket = Socket::bind(&config.listen).await?;
    let shutdown = stop_signal()?;
    let _alone = lock(&config.state_dir).await?;
    let Rooms { service, watch, server, logs, plugin_times } = build(&config, &shutdown).await?;
    let background = TaskTracker::new();
    background.spawn(server.serve());
    if let Some(address) = config.metrics {
        let sources = metrics::Sources {
            calls: service.calls.clone(),
            plugins: plugin_times,
            sessions: watch.sessions(),
            engine: service.engine.clone(),
            index: service.index.clone(),
            logs: Arc::clone(&logs),
        };
        let page = observability::Server::bind(address, metrics::registry(sources)).await?;
        background.spawn(page.serve(shutdown.clone()));
    }
    background.spawn(Arc::clone(&watch).run(shutdown.clone()));
    background.spawn(Arc::clone(&service.cni).watch(shutdown.clone()));
    background.close();
    tokio::select! {
        () = watch.first_attempt() => {}
        () = shutdown.cancelled() => {}
    }
    tracing::info!(socket = %config.listen.display(), version = env!("CARGO_PKG_VERSION"), "serving");
    let served = cri::serve(service, socket, shutdown.clone()).await;
    shutdown.cancel();
    background.wait().await;
    logs.close().await;
    tracing::info!("stopped");
    if let Some(traces) = traces {
        traces.finish().await;
    }
    Ok(served?)
}

fn start_telemetry(config: &Config) -> Result<Option<Traces>, Error> {
    let Some(endpoint) = &config.tracing_endpoint else {
        observability::init(config.log_level, config.log_format);
        return Ok(None);
    };
    let sampling = config.tracing_sampling_per_million;
    let traces = observability::init_with_traces(config.log_level, config.log_format, endpoint, sampling);
    traces.map(Some).map_err(|source| Error::Traces { endpoint: endpoint.clone(), source })
}

/// The rooms, each with the handles it needs.
struct Rooms {
    service: Service,
    watch: Arc<Watch>,
    server: Server,
    logs: Arc<Logs>,
    plugin_times: Durations<PluginCall>,
}

async fn build(config: &Config, shutdown: &CancellationToken) -> Result<Rooms, Error> {
    let (store, leftovers) = Store::open(&config.state_dir)?;
    let store = Arc::new(store);
    let engine = Engine::new(&config.docker_endpoint, config.runtime_request_timeout)?;
    let plugin_times = observability::durations();
    let cni = Arc::new(network(config, &store, &plugin_times));
    let stall_limit = config.image_pull_progress_deadline.unwrap_or(Duration::ZERO);
    let images = Arc::new(Images::new(engine.clone(), config.sandbox_image.clone(), stall_limit));
    let logs = Arc::new(logs(config, store.index())?);
    let docker_log =
        DockerLog { max_size: config.container_log_max_size.clone(), max_files: config.container_log_max_files };
    let containers = Arc::new(Containers::new(container::Dependencies {
        engine: engine.clone(),
        store: Arc::clone(&store),
        images: Arc::clone(&images),
        logs: Arc::clone(&logs),
        docker_log,
        unfinished: leftovers.containers,
    }));
    let pods = Arc::new(Pods::new(pod::Dependencies {
        engine: engine.clone(),
        store: Arc::clone(&store),
        cni: Arc::clone(&cni),
        images: Arc::clone(&images),
        containers: Arc::clone(&containers),
        unfinished: leftovers.sandboxes,
    }));
    let watch = Arc::new(Watch::new(watch::Dependencies {
        engine: engine.clone(),
        store: Arc::clone(&store),
        images: Arc::clone(&images),
        containers: Arc::clone(&containers),
        pods: Arc::clone(&pods),
        damaged: leftovers.damaged,
    }));
    let (server, streams) =
        Server::bind(&config.streaming, Arc::clone(&containers), Arc::clone(&pods), shutdown.clone()).await?;
    let settings = Settings {
        sandbox_image: images.pause_reference().to_owned(),
        state_dir: config.state_dir.clone(),
        cni_conf_dir: config.cni_conf_dir.clone(),
        cni_bin_dirs: config.cni_bin_dirs.clone(),
    };
    let stats = Arc::new(Stats::new(engine.clone(), store.index().clone(), images.pause_reference()));
    let jobs = TaskTracker::new();
    let service = Service {
        engine,
        index: store.index().clone(),
        node_settings: store.node_settings().clone(),
        cni,
        images,
        containers,
        pods,
        streams,
        stats,
        settings,
        calls: observability::durations(),
        jobs,
    };
    Ok(Rooms { service, watch, server, logs, plugin_times })
}

/// The logs, resumed from the checkpoints of the previous process. This needs no Docker.
fn logs(config: &Config, index: &Index) -> Result<Logs, logs::Error> {
    let logs = Logs::open(config.state_dir.join("logs"))?;
    let containers = index.containers.list();
    logs.resume(containers.iter().map(|container| container.record.id.as_str()));
    Ok(logs)
}

/// The pod network. A pod CIDR that the kubelet sent earlier overrides the configured one.
fn network(settings: &Config, store: &Store, plugin_times: &Durations<PluginCall>) -> Cni {
    let remembered: Option<PodCidrs> = store.node_settings().pod_cidr().and_then(|cidr| cidr.parse().ok());
    let cni = cni::Config {
        conf_dir: settings.cni_conf_dir.clone(),
        bin_dirs: settings.cni_bin_dirs.clone(),
        cache_dir: settings.cni_cache_dir.clone(),
        netns_dir: config::NETNS_DIR.into(),
        plugin_timeout: config::CNI_PLUGIN_TIMEOUT,
        builtin_network: settings.builtin_network.then(|| cni::BuiltinNetwork {
            name: config::BUILTIN_NETWORK_NAME.to_owned(),
            bridge: config::BUILTIN_NETWORK_BRIDGE.to_owned(),
        }),
    };
    let times = plugin_times.clone();
    let observer = cni::Observer::new(move |run| {
        times.get_or_create(&PluginCall::of(&run)).observe(run.elapsed.as_secs_f64());
    });
    Cni::new(cni, remembered.or_else(|| settings.pod_cidr.clone())).with_observer(observer)
}

/// Locks the state directory: two processes writing the same records would overwrite each other's.
async fn lock(state_dir: &Path) -> Result<Flock<File>, Error> {
    let failed = |source| Error::StateDir { path: state_dir.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(state_dir).map_err(failed)?;
    let mut file = File::create(state_dir.join("lock")).map_err(failed)?;
    let began = Instant::now();
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Ok(locked),
            Err((file, _)) => file,
        };
        if began.elapsed() > LOCK_LIMIT {
            return Err(Error::StateInUse(state_dir.to_owned()));
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
}

/// A token that is cancelled by the first SIGTERM or SIGINT.
fn stop_signal() -> Result<CancellationToken, Error> {
    let failed = |source| Error::Io { doing: "handle signals", source };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        cancel.cancel();
    });
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_state_directory_that_cannot_be_used_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let directory = file.path().join("state");
        let error = lock(&directory).await.unwrap_err().to_string();
        assert!(error.contains(&format!("could not lock the state directory {}: ", directory.display())), "{error}");
    }
}
