//! The fields of a Pod that `dockside pod` obeys, by their names in the Kubernetes API (core/v1).
//!
//! What is not here is either taken out beforehand, with a note (see `prune`), or refused: a field that is read and
//! then not obeyed would be worse than either.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kubernetes_quantity::Quantity;
use serde::Deserialize;

use super::quantity;

/// One manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Pod {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    /// Who it is.
    pub metadata: Metadata,
    /// What it is made of.
    pub spec: Spec,
}

/// Who a Pod is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Metadata {
    pub name: String,
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Made from namespace and name when the manifest has none; never empty after loading.
    #[serde(default)]
    pub uid: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// What a Pod is made of.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Spec {
    pub containers: Vec<Container>,
    #[serde(default)]
    pub init_containers: Vec<Container>,
    #[serde(default)]
    pub volumes: Vec<Volume>,
    #[serde(default)]
    pub restart_policy: RestartPolicy,
    /// Seconds between the stop signal and the kill.
    #[serde(default = "default_grace")]
    pub termination_grace_period_seconds: i64,
    pub dns_policy: Option<DnsPolicy>,
    #[serde(default)]
    pub dns_config: DnsConfig,
    #[serde(default)]
    pub host_network: bool,
    #[serde(default, rename = "hostPID")]
    pub host_pid: bool,
    #[serde(default, rename = "hostIPC")]
    pub host_ipc: bool,
    #[serde(default)]
    pub share_process_namespace: bool,
    #[serde(default)]
    pub hostname: String,
    #[serde(default)]
    pub security_context: PodSecurityContext,
    #[serde(default)]
    pub runtime_class_name: String,
}

impl Spec {
    /// Init containers, then containers: the order in which they start.
    pub fn all_containers(&self) -> impl Iterator<Item = &Container> {
        self.init_containers.iter().chain(&self.containers)
    }
}

/// When a container that ended is started again.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub enum RestartPolicy {
    #[default]
    Always,
    OnFailure,
    Never,
}

/// Whose resolver a Pod has.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum DnsPolicy {
    ClusterFirst,
    ClusterFirstWithHostNet,
    Default,
    None,
}

/// What a Pod adds to its resolver.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DnsConfig {
    pub nameservers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<DnsOption>,
}

/// An option of the resolver, such as `ndots`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsOption {
    pub name: String,
    pub value: Option<String>,
}

/// A container, or an init container.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Container {
    pub name: String,
    pub image: String,
    pub image_pull_policy: Option<PullPolicy>,
    #[serde(default)]
    pub command: Vec<String>,
    #[serde(default)]
    pub args: Vec<String>,
    #[serde(default)]
    pub working_dir: String,
    #[serde(default)]
    pub env: Vec<EnvVar>,
    #[serde(default)]
    pub ports: Vec<Port>,
    #[serde(default)]
    pub resources: Resources,
    #[serde(default)]
    pub volume_mounts: Vec<VolumeMount>,
    #[serde(default)]
    pub security_context: SecurityContext,
    #[serde(default = "default_termination_path")]
    pub termination_message_path: String,
    #[serde(default)]
    pub termination_message_policy: TerminationMessagePolicy,
    #[serde(default)]
    pub stdin: bool,
    #[serde(default)]
    pub stdin_once: bool,
    #[serde(default)]
    pub tty: bool,
    /// Changes when anything in the manifest of this container does.
    #[serde(skip)]
    pub hash: String,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

/// Where the message of a container that ended comes from.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub enum TerminationMessagePolicy {
    /// From the file at `terminationMessagePath`.
    #[default]
    File,
    /// From the end of its log, if that file is empty and the container failed.
    FallbackToLogsOnError,
}

impl TerminationMessagePolicy {
    pub fn as_str(self) -> &'static str {
        match self {
            TerminationMessagePolicy::File => "File",
            TerminationMessagePolicy::FallbackToLogsOnError => "FallbackToLogsOnError",
        }
    }
}

/// A variable; its value may refer to earlier ones.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvVar {
    pub name: String,
    #[serde(default)]
    pub value: String,
}

/// A port of a container. 0 as the host's port means none.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Port {
    #[serde(default)]
    pub name: String,
    pub container_port: u16,
    #[serde(default)]
    pub host_port: u16,
    #[serde(default, rename = "hostIP")]
    pub host_ip: String,
    #[serde(default)]
    pub protocol: Protocol,
}

/// What a port speaks.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

/// What a container is promised, and what it may take at most.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    pub requests: ResourceList,
    pub limits: ResourceList,
}

/// Processors and bytes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResourceList {
    #[serde(deserialize_with = "quantity::optional")]
    pub cpu: Option<Quantity>,
    #[serde(deserialize_with = "quantity::optional")]
    pub memory: Option<Quantity>,
}

/// A directory or file that containers can mount.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Volume {
    pub name: String,
    pub host_path: Option<HostPath>,
    /// Also meant when there is no source at all.
    pub empty_dir: Option<EmptyDir>,
}

/// A path of this machine as a volume.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostPath {
    pub path: PathBuf,
    #[serde(default, rename = "type")]
    pub kind: HostPathKind,
}

/// What has to be at the path, and what is made if nothing is.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub enum HostPathKind {
    #[default]
    #[serde(rename = "")]
    Unchecked,
    DirectoryOrCreate,
    Directory,
    FileOrCreate,
    File,
    Socket,
    CharDevice,
    BlockDevice,
}

/// A directory that lives as long as its Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct EmptyDir {
    pub medium: Medium,
    #[serde(deserialize_with = "quantity::optional")]
    pub size_limit: Option<Quantity>,
}

/// Where an emptyDir is.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub enum Medium {
    #[default]
    #[serde(rename = "")]
    Disk,
    Memory,
}

/// Where a container sees a volume.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct VolumeMount {
    pub name: String,
    pub mount_path: String,
    #[serde(default)]
    pub read_only: bool,
    #[serde(default)]
    pub mount_propagation: Propagation,
    #[serde(default)]
    pub sub_path: PathBuf,
}

/// Which way later mounts in a volume travel.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub enum Propagation {
    #[default]
    None,
    HostToContainer,
    Bidirectional,
}

/// Privileges of all containers, and the group that volumes belong to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct PodSecurityContext {
    pub run_as_user: Option<i64>,
    pub run_as_group: Option<i64>,
    pub run_as_non_root: Option<bool>,
    pub supplemental_groups: Vec<i64>,
    pub supplemental_groups_policy: GroupsPolicy,
    pub fs_group: Option<i64>,
    pub seccomp_profile: Option<Profile>,
    pub app_armor_profile: Option<Profile>,
}

/// Whether processes have the groups that the image gives their user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum GroupsPolicy {
    #[default]
    Merge,
    Strict,
}

/// Privileges of one container; they win over the Pod's.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct SecurityContext {
    pub run_as_user: Option<i64>,
    pub run_as_group: Option<i64>,
    pub run_as_non_root: Option<bool>,
    pub capabilities: Capabilities,
    pub privileged: bool,
    pub read_only_root_filesystem: bool,
    pub allow_privilege_escalation: Option<bool>,
    pub seccomp_profile: Option<Profile>,
    pub app_armor_profile: Option<Profile>,
    /// Only checked: there is one value.
    #[serde(rename = "procMount")]
    _proc_mount: Option<ProcMount>,
}

/// Differences to the default set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Capabilities {
    pub add: Vec<String>,
    pub drop: Vec<String>,
}

/// A seccomp or AppArmor profile.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Profile {
    #[serde(rename = "type")]
    pub kind: ProfileKind,
    /// For `Localhost`: a file below the directory of profiles, or the name of a loaded profile.
    #[serde(default)]
    pub localhost_profile: String,
}

/// Where a profile comes from.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum ProfileKind {
    RuntimeDefault,
    Unconfined,
    Localhost,
}

/// `Unmasked` is for pods with a user namespace, which Docker cannot give them.
#[derive(Clone, Copy, Debug, Deserialize)]
enum ProcMount {
    Default,
}

fn default_namespace() -> String {
    "default".into()
}

fn default_grace() -> i64 {
    30
}

fn default_termination_path() -> String {
    "/dev/termination-log".into()
}
