//! The pod that every contender starts.

/// In every box: busybox.
pub(crate) const IMAGE: &str = "dockside.test/busybox:1";
/// A command that exits at once on SIGTERM.
pub(crate) const MAIN: [&str; 3] = ["sh", "-c", "trap 'exit 0' TERM; sleep 1000000 & wait"];
/// A started pod with one container.
pub(crate) struct Pod {
    pub sandbox: String,
    pub container: String,
    /// The CNI result, kept by [RawDocker](super::raw_docker::RawDocker) for DEL.
    pub network: Option<serde_json::Value>,
}
