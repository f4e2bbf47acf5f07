//! The fields of a Pod that `dockside pod` implements, by their names in the Kubernetes API (core/v1), which documents each.
//!
//! Any other field is either removed beforehand, with a note (see `prune`), or refused: a field that was read and had no
//! effect would be worse than either.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use kubernetes_quantity::Quantity;
use serde::Deserialize;

use super::quantity;

/// A Pod.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Pod {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    /// Its names.
    pub(super) metadata: Metadata,
    /// Its containers and volumes.
    pub(super) spec: Spec,
}

/// Namespace and name, as NAMESPACE/NAME.
impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.metadata.namespace, self.metadata.name)
    }
}

/// The names of a Pod.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) name: String,
    #[serde(default = "default_namespace")]
    pub(super) namespace: String,
    /// Derived from namespace and name if the manifest has none; never empty after loading.
    #[serde(default)]
    pub(super) uid: String,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

/// The containers of a Pod and what they share.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Spec {
    pub(super) containers: Vec<Container>,
    #[serde(default)]
    pub(super) init_containers: Vec<Container>,
    #[serde(default)]
    pub(super) volumes: Vec<Volume>,
    #[serde(default)]
    pub(super) restart_policy: RestartPolicy,
    /// Seconds between the stop signal and the kill.
    #[serde(default = "default_grace")]
    pub(super) termination_grace_period_seconds: i64,
    pub(super) dns_policy: Option<DnsPolicy>,
    #[serde(default)]
    pub(super) dns_config: DnsConfig,
    #[serde(default)]
    pub(super) host_network: bool,
    #[serde(default, rename = "hostPID")]
    pub(super) host_pid: bool,
    #[serde(default, rename = "hostIPC")]
    pub(super) host_ipc: bool,
    #[serde(default)]
    pub(super) share_process_namespace: bool,
    #[serde(default)]
    pub(super) hostname: String,
    #[serde(default)]
    pub(super) security_context: PodSecurityContext,
    #[serde(default)]
    pub(super) runtime_class_name: String,
}

impl Spec {
    /// Init containers, then containers: the order in which they start.
    pub(super) fn all_containers(&self) -> impl Iterator<Item = &Container> {
        self.init_containers.iter().chain(&self.containers)
    }
}

/// When a container that exited is started again.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub(super) enum RestartPolicy {
    #[default]
    Always,
    OnFailure,
    Never,
}

/// Which resolver a Pod has.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(super) enum DnsPolicy {
    ClusterFirst,
    ClusterFirstWithHostNet,
    Default,
    None,
}

/// A Pod's additions to its resolver.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DnsConfig {
    pub(super) nameservers: Vec<String>,
    pub(super) searches: Vec<String>,
    pub(super) options: Vec<DnsOption>,
}

/// An option of the resolver, such as `ndots`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DnsOption {
    pub(super) name: String,
    pub(super) value: Option<String>,
}

/// A container, or an init container.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) image_pull_policy: Option<PullPolicy>,
    #[serde(default)]
    pub(super) command: Vec<String>,
    #[serde(default)]
    pub(super) args: Vec<String>,
    #[serde(default)]
    pub(super) working_dir: String,
    #[serde(default)]
    pub(super) env: Vec<EnvVar>,
    #[serde(default)]
    pub(super) ports: Vec<Port>,
    #[serde(default)]
    pub(super) resources: Resources,
    #[serde(default)]
    pub(super) volume_mounts: Vec<VolumeMount>,
    #[serde(default)]
    pub(super) security_context: SecurityContext,
    #[serde(default = "default_termination_path")]
    pub(super) termination_message_path: String,
    #[serde(default)]
    pub(super) termination_message_policy: TerminationMessagePolicy,
    #[serde(default)]
    pub(super) stdin: bool,
    #[serde(default)]
    pub(super) stdin_once: bool,
    #[serde(default)]
    pub(super) tty: bool,
    /// A hash of this container's manifest.
    #[serde(skip)]
    pub(super) hash: String,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(super) enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

/// Where the termination message of a container comes from.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub(super) enum TerminationMessagePolicy {
    /// The file at `terminationMessagePath`.
    #[default]
    File,
    /// The last lines of its log, if that file is empty and the container failed.
    FallbackToLogsOnError,
}

impl TerminationMessagePolicy {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            TerminationMessagePolicy::File => "File",
            TerminationMessagePolicy::FallbackToLogsOnError => "FallbackToLogsOnError",
        }
    }
}

/// An environment variable; its value may refer to earlier ones.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnvVar {
    pub(super) name: String,
    #[serde(default)]
    pub(super) value: String,
}

/// A port of a container. A host port of 0 means none.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Port {
    #[serde(default)]
    pub(super) name: String,
    pub(super) container_port: u16,
    #[serde(default)]
    pub(super) host_port: u16,
    #[serde(default, rename = "hostIP")]
    pub(super) host_ip: String,
    #[serde(default)]
    pub(super) protocol: Protocol,
}

/// The transport protocol of a port.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

/// Requests and limits of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Resources {
    pub(super) requests: ResourceList,
    pub(super) limits: ResourceList,
}

/// Amounts of the resources that containers have here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ResourceList {
    #[serde(deserialize_with = "quantity::optional")]
    /// Processors.
    pub(super) cpu: Option<Quantity>,
    #[serde(deserialize_with = "quantity::optional")]
    /// Bytes.
    pub(super) memory: Option<Quantity>,
}

/// A directory or file that containers can mount.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Volume {
    pub(super) name: String,
    pub(super) host_path: Option<HostPath>,
    /// Also the source of a volume that names none.
    pub(super) empty_dir: Option<EmptyDir>,
}

/// A path of this machine as a volume.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostPath {
    pub(super) path: PathBuf,
    #[serde(default, rename = "type")]
    pub(super) kind: HostPathKind,
}

/// What has to exist at the path, and what is created if it does not.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub(super) enum HostPathKind {
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

/// A directory with the lifetime of its Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct EmptyDir {
    pub(super) medium: Medium,
    #[serde(deserialize_with = "quantity::optional")]
    /// Bytes; for `Memory` alone.
    pub(super) size_limit: Option<Quantity>,
}

/// What stores an emptyDir.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub(super) enum Medium {
    #[default]
    #[serde(rename = "")]
    Disk,
    Memory,
}

/// The mount of a volume in a container.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct VolumeMount {
    pub(super) name: String,
    pub(super) mount_path: String,
    #[serde(default)]
    pub(super) read_only: bool,
    #[serde(default)]
    pub(super) mount_propagation: Propagation,
    #[serde(default)]
    pub(super) sub_path: PathBuf,
}

/// In which direction later mounts inside a volume propagate.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub(super) enum Propagation {
    #[default]
    None,
    HostToContainer,
    Bidirectional,
}

/// Privileges of all containers, and the group that owns volumes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct PodSecurityContext {
    pub(super) run_as_user: Option<i64>,
    pub(super) run_as_group: Option<i64>,
    pub(super) run_as_non_root: Option<bool>,
    pub(super) supplemental_groups: Vec<i64>,
    pub(super) supplemental_groups_policy: GroupsPolicy,
    pub(super) fs_group: Option<i64>,
    pub(super) seccomp_profile: Option<Profile>,
    pub(super) app_armor_profile: Option<Profile>,
}

/// Whether processes also have the groups that the image gives their user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum GroupsPolicy {
    #[default]
    Merge,
    Strict,
}

/// Privileges of one container; they override the Pod's.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct SecurityContext {
    pub(super) run_as_user: Option<i64>,
    pub(super) run_as_group: Option<i64>,
    pub(super) run_as_non_root: Option<bool>,
    pub(super) capabilities: Capabilities,
    pub(super) privileged: bool,
    pub(super) read_only_root_filesystem: bool,
    pub(super) allow_privilege_escalation: Option<bool>,
    pub(super) seccomp_profile: Option<Profile>,
    pub(super) app_armor_profile: Option<Profile>,
    /// Read to refuse other values than the default.
    #[serde(rename = "procMount")]
    _proc_mount: Option<ProcMount>,
}

/// Changes to the runtime's default capabilities.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Capabilities {
    pub(super) add: Vec<String>,
    pub(super) drop: Vec<String>,
}

/// A seccomp or AppArmor profile.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Profile {
    #[serde(rename = "type")]
    pub(super) kind: ProfileKind,
    /// For `Localhost`: a seccomp profile's file below the directory of profiles, or a loaded AppArmor profile's name.
    #[serde(default)]
    pub(super) localhost_profile: String,
}

/// The source of a profile.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(super) enum ProfileKind {
    RuntimeDefault,
    Unconfined,
    Localhost,
}

/// `Unmasked` needs a pod with a user namespace, which Docker does not have.
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
