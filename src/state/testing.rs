//! Records to write tests with.

use crate::proto::ContainerConfig;
use crate::proto::PodSandboxConfig;

use super::ContainerRecord;
use super::Phase;
use super::SandboxRecord;
use super::VERSION;
use super::key_of;

/// A sandbox on the node's network.
pub(crate) fn sandbox(id: &str) -> SandboxRecord {
    SandboxRecord {
        version: VERSION,
        key: key_of(id),
        name: id.to_owned(),
        id: id.to_owned(),
        phase: Phase::Live,
        created_at: 1,
        runtime_handler: String::new(),
        netns: None,
        network: None,
        config: PodSandboxConfig::default(),
    }
}

/// A container without a log.
pub(crate) fn container(id: &str, sandbox_id: &str) -> ContainerRecord {
    ContainerRecord {
        version: VERSION,
        key: key_of(id),
        name: id.to_owned(),
        id: id.to_owned(),
        sandbox_id: sandbox_id.to_owned(),
        phase: Phase::Live,
        created_at: 1,
        image_id: "sha256:1".to_owned(),
        image_settings: None,
        identity: None,
        config: ContainerConfig::default(),
    }
}
