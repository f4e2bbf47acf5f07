//! What is kept of a sandbox and of a container, one JSON file each.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;
use sha2::Digest;
use sha2::Sha256;

use crate::proto::ContainerConfig;
use crate::proto::PodSandboxConfig;

/// Raised when the meaning of a field changes; a newer file than this is left alone.
pub const VERSION: u32 = 1;

/// How far an object got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Promised but not made: what exists of it is undone at the next start.
    Creating,
    /// Made, and reported to clients.
    Live,
    /// Making it failed and so did undoing it: listed as not ready, so that its client removes it.
    Broken,
}

/// A pod sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SandboxRecord {
    pub version: u32,
    /// Names the file; see [`key_of`].
    pub key: String,
    /// The name of the pause container.
    pub name: String,
    /// The pause container's Docker id, which is the sandbox's id; empty until Docker has told it.
    #[serde(default)]
    pub id: String,
    pub phase: Phase,
    /// When it was made, in nanoseconds since 1970.
    pub created_at: i64,
    #[serde(default)]
    pub runtime_handler: String,
    /// Where the network namespace is pinned; none for a pod in the host's network.
    #[serde(default)]
    pub netns: Option<PathBuf>,
    #[serde(default)]
    pub network: Option<NetworkRecord>,
    /// The configuration as the client sent it.
    pub config: PodSandboxConfig,
}

impl SandboxRecord {
    /// The cgroup that the client wants the pod in; empty for Docker's choice.
    pub fn cgroup_parent(&self) -> &str {
        self.config.linux.as_ref().map(|linux| linux.cgroup_parent.as_str()).unwrap_or_default()
    }
}

/// The pod's place in the pod network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// The CNI network's name.
    pub name: String,
    /// The pod's addresses, the primary one first.
    pub ips: Vec<IpAddr>,
    /// Whether CNI DEL has succeeded since.
    #[serde(default)]
    pub released: bool,
}

/// A container in a sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContainerRecord {
    pub version: u32,
    /// Names the file; see [`key_of`].
    pub key: String,
    /// The Docker container's name.
    pub name: String,
    /// The Docker id; empty until Docker has told it.
    #[serde(default)]
    pub id: String,
    pub sandbox_id: String,
    pub phase: Phase,
    /// When it was made, in nanoseconds since 1970.
    pub created_at: i64,
    /// The image's id, as `Image.id` has it.
    pub image_id: String,
    /// What the image says where the configuration says nothing. Kept here, as the image may go before the container;
    /// none in a record of an older Dockside.
    #[serde(default)]
    pub image_settings: Option<ImageSettings>,
    /// Who the process starts as, where the image was asked for that.
    #[serde(default)]
    pub identity: Option<Identity>,
    /// The configuration as the client sent it, with resources as last updated.
    pub config: ContainerConfig,
}

/// The settings of an image that a container's status tells, as they are written there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSettings {
    /// `USER`: `name`, `uid`, `name:group` or `uid:gid`.
    pub user: String,
    /// `STOPSIGNAL`: a name with or without `SIG`, or a number.
    pub stop_signal: String,
}

/// Who a process starts as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub uid: i64,
    pub gid: i64,
    /// The groups beside `gid` that the image gives this user.
    pub groups: Vec<i64>,
}

impl Identity {
    /// Whom Docker's `User` names by two numbers, `uid:gid`: no image needs to be asked.
    pub fn of_numbers(user: &str) -> Option<Identity> {
        let (uid, gid) = user.split_once(':')?;
        // With a group of its own a process has none of those that the image gives its user.
        Some(Identity { uid: id_number(uid)?, gid: id_number(gid)?, groups: Vec::new() })
    }
}

/// The user or group id that Docker reads from a text.
pub fn id_number(text: &str) -> Option<i64> {
    text.parse::<i32>().ok().filter(|number| *number >= 0).map(i64::from)
}

impl ContainerRecord {
    /// The absolute path of the CRI log file: `log_directory` of the pod joined with the container's `log_path`;
    /// empty when either is missing.
    pub fn log_path(&self, sandbox: &SandboxRecord) -> String {
        let (directory, path) = (&sandbox.config.log_directory, &self.config.log_path);
        if directory.is_empty() || path.is_empty() {
            return String::new();
        }
        PathBuf::from(directory).join(path).display().to_string()
    }
}

/// The name of an object's file: derived from its Docker name, so that a repeated request finds the record of
/// the first, and short enough for any file system.
pub fn key_of(docker_name: &str) -> String {
    let digest = Sha256::digest(docker_name.as_bytes());
    digest[..12].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a name may be one that [`key_of`] gives.
pub(super) fn is_key(name: &str) -> bool {
    name.len() == 24 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_short_and_differ_by_name() {
        let long = "k8s_POD_".to_owned() + &"x".repeat(400);
        assert_eq!(key_of(&long).len(), 24);
        assert!(is_key(&key_of(&long)) && !is_key("ssl"));
        assert_ne!(key_of("a"), key_of("b"));
    }
}
