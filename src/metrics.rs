//! What Dockside tells of itself to Prometheus. Off unless `metrics-address` says where.
//!
//! `serve` calls in. What takes time is measured in the rooms where it happens; what only has to be counted when somebody
//! asks is counted then, so that nothing is done for metrics that nobody reads.

mod process;
mod state;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cri;
use crate::docker::Engine;
use crate::logs::Logs;
use crate::measure::Durations;
use crate::measure::page;
use crate::state::Index;
use crate::watch;
use cni_runtime as cni;

/// How long an answer that is being read is waited for at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The metrics could not be served.
#[derive(Debug, thiserror::Error)]
#[error("could not listen for metrics on {address}: {source}")]
pub struct Error {
    address: SocketAddr,
    source: std::io::Error,
}

/// What runs of CNI plugins are measured by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PluginCall {
    plugin: String,
    command: &'static str,
    ok: bool,
}

impl PluginCall {
    /// The labels of one run.
    pub fn of(run: &cni::PluginRun<'_>) -> PluginCall {
        PluginCall { plugin: run.plugin.to_owned(), command: run.verb.as_str(), ok: run.ok }
    }
}

/// Where the numbers are.
pub struct Sources {
    pub calls: cri::Calls,
    pub plugins: Durations<PluginCall>,
    pub sessions: watch::Sessions,
    pub engine: Engine,
    pub index: Index,
    pub logs: Arc<Logs>,
}

/// The server of the metrics.
pub struct Server {
    listener: TcpListener,
    registry: Arc<Registry>,
}

impl Server {
    /// Takes the address.
    ///
    /// # Errors
    /// When somebody else has it.
    pub async fn bind(address: SocketAddr, sources: Sources) -> Result<Server, Error> {
        let listener = TcpListener::bind(address).await.map_err(|source| Error { address, source })?;
        Ok(Server { listener, registry: Arc::new(registry(sources)) })
    }

    /// Answers `GET /metrics` until `shutdown`.
    pub async fn serve(self, shutdown: CancellationToken) {
        let registry = self.registry;
        let metrics = move || {
            let registry = Arc::clone(&registry);
            async move { page(&registry) }
        };
        let app = Router::new().route("/metrics", get(metrics));
        let stop = shutdown.clone();
        let serving = axum::serve(self.listener, app).with_graceful_shutdown(async move { stop.cancelled().await });
        // Somebody who keeps a connection open does not keep Dockside.
        let late = async {
            shutdown.cancelled().await;
            tokio::time::sleep(LAST_ANSWERS).await;
        };
        tokio::select! {
            served = serving => {
                if let Err(error) = served {
                    tracing::error!(%error, "metrics are not served any more");
                }
            }
            () = late => {}
        }
    }
}

fn registry(sources: Sources) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(process::Process));
    let own = registry.sub_registry_with_prefix("dockside");
    let build = Family::<[(&str, &str); 1], Gauge>::default();
    build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
    own.register("build_info", "Always 1; the label has the version", build);
    own.register_with_unit(
        "rpc_duration",
        "From a CRI call's request to its answer's headers, by method and gRPC code",
        Unit::Seconds,
        sources.calls,
    );
    own.register_with_unit(
        "cni_plugin_duration",
        "One run of a CNI plugin, by its name, CNI_COMMAND and whether it succeeded",
        Unit::Seconds,
        sources.plugins,
    );
    own.register("docker_sessions", "Times that Docker's event stream was joined", sources.sessions.joined);
    own.register_with_unit(
        "reconciliation_duration",
        "Bringing the records up to date with Docker, after the start and after each break of the event stream",
        Unit::Seconds,
        sources.sessions.reconciled,
    );
    let now = state::Now { engine: sources.engine, index: sources.index, logs: sources.logs };
    own.register_collector(Box::new(now));
    registry
}
