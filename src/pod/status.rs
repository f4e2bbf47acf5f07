//! PodSandboxStatus and ListPodSandbox: answered from the index, without a request to Docker.

use std::collections::BTreeMap;

use serde_json::json;

use crate::cgroup::Cgroup;
use crate::error::Error;
use crate::proto;
use crate::proto::PodIp;
use crate::proto::PodSandbox;
use crate::proto::PodSandboxFilter;
use crate::proto::PodSandboxNetworkStatus;
use crate::proto::PodSandboxState;
use crate::proto::PodSandboxStatus;
use crate::state::Sandbox;

use super::Pods;

impl Pods {
    /// One sandbox; if `verbose`, with a JSON object of details for the user under the key `info`.
    ///
    /// # Errors
    /// [`Error::Lookup`]; [`Error::State`] before the index is synced.
    pub(crate) fn status(
        &self,
        id: &str,
        verbose: bool,
    ) -> Result<(PodSandboxStatus, BTreeMap<String, String>), Error> {
        self.index.require_synced()?;
        let sandbox = self.index.sandboxes.require(id)?;
        let info = if verbose { BTreeMap::from([("info".to_owned(), self.info(&sandbox))]) } else { BTreeMap::new() };
        Ok((status(&sandbox), info))
    }

    /// The sandboxes that match the filter, the oldest first.
    ///
    /// # Errors
    /// [`Error::State`] before the index is synced; [`Error::Lookup`] if the filter's id is the prefix of several.
    pub(crate) fn list(&self, filter: Option<&PodSandboxFilter>) -> Result<Vec<PodSandbox>, Error> {
        self.index.require_synced()?;
        let filter = filter.cloned().unwrap_or_default();
        let selected = self.index.sandboxes.select(&filter.id)?;
        Ok(selected.iter().filter(|sandbox| matches_filter(sandbox, &filter)).map(|one| entry(one)).collect())
    }

    /// Details for `crictl inspectp`, as JSON.
    fn info(&self, sandbox: &Sandbox) -> String {
        let record = &sandbox.record;
        // The pid comes from the kernel: a status makes no request to Docker.
        let info = self.engine.connection().info().filter(|_| sandbox.process.is_running());
        let security = record.config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
        json!({
            "dockerName": record.name,
            "netns": record.netns,
            "network": record.network,
            "pid": info.and_then(|info| Cgroup::of_container(&info, record.cgroup_parent(), &record.id).init_pid()),
            "privileged": security.is_some_and(|security| security.privileged),
            "phase": record.phase,
            "runtimeHandler": record.runtime_handler,
            "config": record.config,
        })
        .to_string()
    }
}

fn matches_filter(sandbox: &Sandbox, filter: &PodSandboxFilter) -> bool {
    let labels = &sandbox.record.config.labels;
    filter.state.as_ref().is_none_or(|filter| filter.state() == state(sandbox))
        && filter.label_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn state(sandbox: &Sandbox) -> PodSandboxState {
    if sandbox.is_ready() { PodSandboxState::SandboxReady } else { PodSandboxState::SandboxNotready }
}

fn entry(sandbox: &Sandbox) -> PodSandbox {
    let record = &sandbox.record;
    PodSandbox {
        id: record.id.clone(),
        metadata: record.config.metadata.clone(),
        state: state(sandbox).into(),
        created_at: record.created_at,
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
        runtime_handler: record.runtime_handler.clone(),
    }
}

fn status(sandbox: &Sandbox) -> PodSandboxStatus {
    let record = &sandbox.record;
    PodSandboxStatus {
        id: record.id.clone(),
        metadata: record.config.metadata.clone(),
        state: state(sandbox).into(),
        created_at: record.created_at,
        network: Some(network(sandbox)),
        // The kubelet compares this with its request, and replaces the sandbox if it differs.
        linux: Some(proto::LinuxPodSandboxStatus {
            namespaces: Some(proto::Namespace { options: Some(record.config.namespaces()) }),
        }),
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
        runtime_handler: record.runtime_handler.clone(),
    }
}

/// The pod's addresses; none after the network was torn down, as another pod may have them.
fn network(sandbox: &Sandbox) -> PodSandboxNetworkStatus {
    let ips = match &sandbox.record.network {
        Some(network) if !network.released => network.ips.as_slice(),
        _ => &[],
    };
    PodSandboxNetworkStatus {
        ip: ips.first().map(ToString::to_string).unwrap_or_default(),
        additional_ips: ips.iter().skip(1).map(|ip| PodIp { ip: ip.to_string() }).collect(),
    }
}
