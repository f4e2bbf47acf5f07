//! Version, Status and RuntimeConfig.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use crate::container;
use crate::docker::CgroupDriver;
use crate::docker::ConnectionState;
use crate::docker::EngineInfo;
use crate::error::Error;
use crate::proto::CgroupDriver as CriCgroupDriver;
use crate::proto::LinuxRuntimeConfiguration;
use crate::proto::RUNTIME_API_VERSION;
use crate::proto::RuntimeCondition;
use crate::proto::RuntimeConfigResponse;
use crate::proto::RuntimeFeatures;
use crate::proto::RuntimeHandler;
use crate::proto::RuntimeHandlerFeatures;
use crate::proto::RuntimeStatus;
use crate::proto::StatusResponse;
use crate::proto::VersionResponse;

use super::service::Service;

/// The kubelet's runtime API version in `Version`; a kubelet refuses any other.
const HANDSHAKE_VERSION: &str = "0.1.0";
/// The name that kubelets put before container ids. It must not change while pods run.
const RUNTIME_NAME: &str = "docker";
/// The runtime's version until Docker's is known; a kubelet refuses an empty one.
const UNKNOWN_VERSION: &str = "0.0.0";

pub(super) fn version(service: &Service) -> VersionResponse {
    let engine_info = service.engine.connection().info();
    VersionResponse {
        version: HANDSHAKE_VERSION.to_owned(),
        runtime_name: RUNTIME_NAME.to_owned(),
        runtime_version: engine_info
            .map_or_else(|| UNKNOWN_VERSION.to_owned(), |engine_info| engine_info.version.clone()),
        runtime_api_version: RUNTIME_API_VERSION.to_owned(),
    }
}

pub(super) fn status(service: &Service, verbose: bool) -> StatusResponse {
    let engine_info = service.engine.connection().info();
    StatusResponse {
        status: Some(RuntimeStatus { conditions: vec![runtime_ready(service), network_ready(service)] }),
        info: if verbose { info(service, engine_info.as_deref()) } else { BTreeMap::new() },
        runtime_handlers: engine_info.as_deref().map(handlers).unwrap_or_default(),
        // Docker has no user namespaces per pod and accepts no mount options for a bind mount.
        features: Some(RuntimeFeatures { supplemental_groups_policy: true, ..Default::default() }),
    }
}

fn runtime_ready(service: &Service) -> RuntimeCondition {
    let (ready, reason, message) = match service.engine.connection().state() {
        ConnectionState::Up(_) => (true, String::new(), log_warning(service)),
        ConnectionState::Joining(_) => {
            (false, "DockerReturning".to_owned(), "refreshing the state of containers".to_owned())
        }
        ConnectionState::Suspect(reason) => (false, "DockerSlow".to_owned(), reason),
        ConnectionState::Down(reason) => {
            (false, "DockerNotAvailable".to_owned(), format!("Docker does not answer: {reason}"))
        }
    };
    RuntimeCondition { r#type: "RuntimeReady".to_owned(), status: ready, reason, message }
}

/// A message about logs that cannot be written. Their pods keep running, so the runtime stays ready.
fn log_warning(service: &Service) -> String {
    let stalled = service.containers.logs().stalled();
    match stalled.first() {
        None => String::new(),
        Some(first) => format!("{} logs cannot be written, the first: {}", stalled.len(), first.reason),
    }
}

fn network_ready(service: &Service) -> RuntimeCondition {
    let network = service.cni.status();
    let message = if network.ready { network.warnings.join("; ") } else { network.message };
    RuntimeCondition { r#type: "NetworkReady".to_owned(), status: network.ready, reason: network.reason, message }
}

/// The runtime handlers: Docker's runtimes. The empty name is the default.
fn handlers(engine_info: &EngineInfo) -> Vec<RuntimeHandler> {
    let features = RuntimeHandlerFeatures {
        recursive_read_only_mounts: container::has_recursive_read_only(engine_info),
        user_namespaces: false,
    };
    let names = std::iter::once(String::new()).chain(engine_info.runtimes.iter().cloned());
    names.map(|name| RuntimeHandler { name, features: Some(features) }).collect()
}

/// The verbose details: one JSON object for each key.
fn info(service: &Service, engine_info: Option<&EngineInfo>) -> BTreeMap<String, String> {
    let network = service.cni.status();
    let docker = engine_info.map(|engine_info| {
        json!({
            "version": engine_info.version,
            "apiVersion": engine_info.api.to_string(),
            "rootDir": engine_info.root_dir,
            "cgroupVersion": engine_info.cgroup_version,
            "runtimes": engine_info.runtimes,
            "defaultRuntime": engine_info.default_runtime,
            "kernel": engine_info.kernel,
            "liveRestore": engine_info.live_restore,
            "oomScoreFloor": engine_info.oom_score_floor,
        })
    });
    let network = json!({
        "ready": network.ready,
        "message": network.message,
        "warnings": network.warnings,
        "network": network.network.map(|network| format!("{network:?}")),
        "podCIDR": service.cni.pod_cidr(),
    });
    BTreeMap::from([
        ("config".to_owned(), json!(service.settings).to_string()),
        ("docker".to_owned(), json!(docker).to_string()),
        ("network".to_owned(), network.to_string()),
        (
            "logs".to_owned(),
            json!({
                "followed": service.containers.logs().counts().followed,
                "troubles": service.containers.logs().stalled(),
            })
            .to_string(),
        ),
        ("dockerRequests".to_owned(), json!(service.engine.request_counts()).to_string()),
        ("version".to_owned(), json!(env!("CARGO_PKG_VERSION")).to_string()),
    ])
}

/// Docker's cgroup driver, from its last engine info.
pub(super) fn runtime_config(service: &Service) -> Result<RuntimeConfigResponse, Error> {
    let engine_info: Arc<EngineInfo> = match service.engine.connection().info() {
        Some(engine_info) => engine_info,
        None => service.engine.info()?,
    };
    let driver = match engine_info.cgroup_driver {
        CgroupDriver::Systemd => CriCgroupDriver::Systemd,
        CgroupDriver::Cgroupfs => CriCgroupDriver::Cgroupfs,
    };
    Ok(RuntimeConfigResponse { linux: Some(LinuxRuntimeConfiguration { cgroup_driver: driver.into() }) })
}
