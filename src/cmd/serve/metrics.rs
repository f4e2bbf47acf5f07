//! Which of the rooms' numbers are on the Prometheus page, under which names.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit;

use crate::cri;
use crate::docker::Engine;
use crate::logs::Logs;
use crate::observability::Durations;
use crate::state::Index;
use crate::watch;

use super::collector::StateCollector;

/// The labels of a CNI plugin's run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PluginCall {
    plugin: String,
    command: &'static str,
    ok: bool,
}

impl PluginCall {
    /// The labels of this run.
    pub(super) fn of(run: &cni_runtime::PluginRun<'_>) -> PluginCall {
        PluginCall { plugin: run.plugin.to_owned(), command: run.verb.as_str(), ok: run.ok }
    }
}

/// What the page is made of.
pub(super) struct Sources {
    pub(super) calls: cri::Calls,
    pub(super) plugins: Durations<PluginCall>,
    pub(super) sessions: watch::Sessions,
    pub(super) engine: Engine,
    pub(super) index: Index,
    pub(super) logs: Arc<Logs>,
}

/// All metrics of the page.
pub(super) fn registry(sources: Sources) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(super::process::ProcessCollector));
    let own = registry.sub_registry_with_prefix("dockside");
    let build = Family::<[(&str, &str); 1], Gauge>::default();
    build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
    own.register("build_info", "Always 1; the label has the version", build);
    own.register_with_unit(
        "rpc_duration",
        "From a CRI call's request to the headers of its response, by method and gRPC code",
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
        "Bringing the index up to date with Docker, at start and after each break of the event stream",
        Unit::Seconds,
        sources.sessions.reconciled,
    );
    let state = StateCollector { engine: sources.engine, index: sources.index, logs: sources.logs };
    own.register_collector(Box::new(state));
    registry
}
