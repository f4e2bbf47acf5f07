//! The records of sandboxes and containers, one JSON file each.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Digest;
use sha2::Sha256;

use crate::proto::ContainerConfig;
use crate::proto::PodSandboxConfig;

/// Raised when the meaning of a field changes; a record with a higher version is left alone.
pub(super) const VERSION: u32 = 1;

/// How far a record has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Begun and not finished: what exists of it is undone at the next start.
    Creating,
    /// Finished, and reported to clients.
    Live,
    /// Creating a sandbox failed, and so did undoing it: it is listed as NOTREADY, so that its client removes it.
    Broken,
}

/// What the records of both kinds have in common.
pub(crate) trait Record: Clone + Send + Sync + Serialize + DeserializeOwned + 'static {
    /// The configuration that a client sends.
    type Config: Default + PartialEq;

    /// The record of an object that is about to be made at `created_at` (nanoseconds since 1970), with the name of its
    /// Docker container and without an id.
    fn creating(name: String, created_at: i64, config: Self::Config) -> Self;

    /// Names the file and the lock; see [`key_of`].
    fn key(&self) -> &str;

    /// The name of the Docker container.
    fn name(&self) -> &str;

    /// The Docker id; empty until Docker has returned it.
    fn id(&self) -> &str;

    /// Sets the Docker id.
    fn set_id(&mut self, id: String);

    /// How far it has come.
    fn phase(&self) -> Phase;

    /// Sets how far it has come.
    fn set_phase(&mut self, phase: Phase);

    /// When it was made, in nanoseconds since 1970.
    fn created_at(&self) -> i64;
}

/// Implements the accessors of [`Record`], which read the same fields of both.
macro_rules! record_fields {
    () => {
        fn key(&self) -> &str {
            &self.key
        }

        fn name(&self) -> &str {
            &self.name
        }

        fn id(&self) -> &str {
            &self.id
        }

        fn set_id(&mut self, id: String) {
            self.id = id;
        }

        fn phase(&self) -> Phase {
            self.phase
        }

        fn set_phase(&mut self, phase: Phase) {
            self.phase = phase;
        }

        fn created_at(&self) -> i64 {
            self.created_at
        }
    };
}

/// The record of a pod sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    /// The version of the format.
    pub version: u32,
    /// Names the file and the lock; see [`key_of`].
    pub key: String,
    /// The name of the pause container.
    pub name: String,
    /// The pause container's Docker id, which is the sandbox's id; empty until Docker has returned it.
    #[serde(default)]
    pub id: String,
    /// How far it has come.
    pub phase: Phase,
    /// When it was made, in nanoseconds since 1970.
    pub created_at: i64,
    /// The OCI runtime that the client named; empty for Docker's default.
    #[serde(default)]
    pub runtime_handler: String,
    /// Where the network namespace is pinned; none for a pod on the host's network.
    #[serde(default)]
    pub netns: Option<PathBuf>,
    /// What CNI ADD returned; none before, and for a pod on the host's network.
    #[serde(default)]
    pub network: Option<NetworkRecord>,
    /// The configuration as the client sent it.
    pub config: PodSandboxConfig,
}

impl Record for SandboxRecord {
    type Config = PodSandboxConfig;

    record_fields!();

    fn creating(name: String, created_at: i64, config: PodSandboxConfig) -> SandboxRecord {
        SandboxRecord {
            version: VERSION,
            key: key_of(&name),
            name,
            id: String::new(),
            phase: Phase::Creating,
            created_at,
            runtime_handler: String::new(),
            netns: None,
            network: None,
            config,
        }
    }
}

impl SandboxRecord {
    /// The pod's cgroup, as the client set it; empty for Docker's choice.
    pub(crate) fn cgroup_parent(&self) -> &str {
        self.config.linux.as_ref().map(|linux| linux.cgroup_parent.as_str()).unwrap_or_default()
    }
}

/// A sandbox's attachment to the pod network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NetworkRecord {
    /// The CNI network's name.
    pub name: String,
    /// The pod's addresses, the primary one first.
    pub ips: Vec<IpAddr>,
    /// Whether CNI DEL has succeeded; the addresses may belong to another pod by now.
    #[serde(default)]
    pub released: bool,
}

/// The record of a container in a sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    /// The version of the format.
    pub version: u32,
    /// Names the file and the lock; see [`key_of`].
    pub key: String,
    /// The Docker container's name.
    pub name: String,
    /// The Docker id; empty until Docker has returned it.
    #[serde(default)]
    pub id: String,
    /// The id of its sandbox.
    pub sandbox_id: String,
    /// How far it has come.
    pub phase: Phase,
    /// When it was made, in nanoseconds since 1970.
    pub created_at: i64,
    /// The image's id, as `Image.id` has it.
    pub image_id: String,
    /// The image's settings, for what the configuration leaves to it. The image may be removed before the container.
    /// None in a record of an older Dockside.
    #[serde(default)]
    pub image_settings: Option<ImageSettings>,
    /// The user of the init process, if that was read from the image's accounts.
    #[serde(default)]
    pub identity: Option<Identity>,
    /// The configuration as the client sent it, with the resources as last updated.
    pub config: ContainerConfig,
}

/// The settings of an image that a container's status reports, as the image's configuration has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageSettings {
    /// `USER`: `name`, `uid`, `name:group` or `uid:gid`.
    pub user: String,
    /// `STOPSIGNAL`: a name with or without `SIG`, or a number.
    pub stop_signal: String,
}

/// The user and groups of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The user id.
    pub uid: i64,
    /// The primary group.
    pub gid: i64,
    /// The supplementary groups that the image's `/etc/group` gives this user.
    pub groups: Vec<i64>,
}

impl Identity {
    /// The identity that Docker's `User` gives as two numbers, `uid:gid`: the image's accounts are not needed for it.
    pub(crate) fn of_numbers(user: &str) -> Option<Identity> {
        let (uid, gid) = user.split_once(':')?;
        // With an explicit group, Docker does not add the groups that the image gives the user.
        Some(Identity { uid: id_number(uid)?, gid: id_number(gid)?, groups: Vec::new() })
    }
}

/// A user or group id as Docker parses it: a number that fits 31 bits.
pub(crate) fn id_number(text: &str) -> Option<i64> {
    text.parse::<i32>().ok().filter(|number| *number >= 0).map(i64::from)
}

impl Record for ContainerRecord {
    type Config = ContainerConfig;

    record_fields!();

    fn creating(name: String, created_at: i64, config: ContainerConfig) -> ContainerRecord {
        ContainerRecord {
            version: VERSION,
            key: key_of(&name),
            name,
            id: String::new(),
            sandbox_id: String::new(),
            phase: Phase::Creating,
            created_at,
            image_id: String::new(),
            image_settings: None,
            identity: None,
            config,
        }
    }
}

impl ContainerRecord {
    /// The absolute path of the CRI log file: `log_directory` of the pod joined with the container's `log_path`;
    /// empty when either is missing.
    pub(crate) fn log_path(&self, sandbox: &SandboxRecord) -> String {
        let (directory, path) = (&sandbox.config.log_directory, &self.config.log_path);
        if directory.is_empty() || path.is_empty() {
            return String::new();
        }
        PathBuf::from(directory).join(path).display().to_string()
    }
}

/// The key of an object: a hash of its Docker name, so that a repeated request finds the record of the first, and short
/// enough to name a file.
pub fn key_of(docker_name: &str) -> String {
    let digest = Sha256::digest(docker_name.as_bytes());
    digest[..12].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `name` has the form of a key; see [`key_of`].
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
