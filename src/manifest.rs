//! The Pod-manifest client behind `dockside pod`: takes Pod manifests and creates, removes and lists Pods through the CRI
//! alone, reporting each call and its time. It is for people who want to see how a node works, and for nodes without a
//! cluster.
//!
//! It talks to any CRI runtime on this machine. No process stays behind: `up` makes one pass over a Pod, where the kubelet
//! makes many. A kubelet on the same node removes Pods that it did not create itself.
//!
//! ```text
//! cmd/pod.rs --> up | down | ls --> load (types, check, prune), target: which Pods
//!                               --> translate (host): Pod -> CRI messages, no I/O
//!                               --> files, volumes, tmpfs: the Pod's directories on this machine
//!                               --> client: the CRI calls;  report: what the user sees
//! ```

mod check;
mod client;
mod directory;
mod down;
#[cfg(test)]
mod fake;
mod files;
mod host;
mod load;
mod ls;
mod prune;
mod quantity;
mod report;
mod target;
#[cfg(test)]
mod tests;
mod tmpfs;
mod translate;
mod types;
mod up;
mod volumes;

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use self::client::Client;
use self::down::Down;
pub(crate) use self::files::PodDirs;
use self::host::Host;
pub(crate) use self::ls::Row;
pub(crate) use self::ls::table;
use self::report::Report;
use self::up::Up;
use crate::proto::VersionResponse;

/// The runtime to talk to.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// The runtime's unix socket.
    pub socket: PathBuf,
    /// The deadline of one call, the kubelet's `runtimeRequestTimeout`. RunPodSandbox has twice as long, StopContainer the
    /// grace period more, PullImage has none.
    pub timeout: Duration,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A manifest cannot be used. Nothing was done.
    #[error(transparent)]
    Manifest(#[from] load::Error),

    /// An argument is neither a file nor a pod's name. Nothing was done.
    #[error("could not find `{0}`: it is not a file, and not a pod as in NAMESPACE/NAME")]
    Target(String),

    /// A file that describes this machine cannot be read. Nothing was done.
    #[error("could not read {}: {source}", path.display())]
    Host {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },

    /// No runtime answers at the socket.
    #[error(transparent)]
    Unreachable(#[from] client::Unreachable),

    /// A call failed without which nothing else can be done.
    #[error("{call}: {}", report::describe_status(status))]
    Call {
        /// The CRI call.
        call: &'static str,
        /// The runtime's answer.
        status: tonic::Status,
    },

    /// Some pods failed; the report has the reasons.
    #[error("could not {verb} {}", pods.join(", "))]
    Pods {
        /// `bring up` or `take down`.
        verb: &'static str,
        /// The pods that failed, as NAMESPACE/NAME.
        pods: Vec<String>,
    },

    /// The list could not be written.
    #[error("could not write the list: {0}")]
    Output(#[from] io::Error),
}

/// Brings up the Pods in `files`, one after the other. The report goes to standard output.
///
/// # Errors
/// Any [`Error`]; after [`Error::Pods`] the report has the details.
pub(crate) async fn up(endpoint: &Endpoint, files: &[PathBuf], dirs: &PodDirs) -> Result<(), Error> {
    // All manifests are read before the first pod is created: a mistake in the last one must not be found half-way.
    let manifests = target::manifests(files)?;
    let host = Host::read(Path::new("/")).map_err(|(path, source)| Error::Host { path, source })?;
    let report = Report::stdout();
    let client = connect(endpoint, &report).await?;
    let up = Up { client: &client, report: &report, dirs, host: &host };
    let mut failed = Vec::new();
    for manifest in &manifests {
        if !up.bring_up(manifest).await {
            failed.push(manifest.pod.to_string());
        }
    }
    outcome("bring up", failed)
}

/// Takes down the named Pods and those in the named files, one after the other, as [`up`] brings them up.
///
/// # Errors
/// As of [`up`].
pub(crate) async fn down(endpoint: &Endpoint, targets: &[String], dirs: &PodDirs) -> Result<(), Error> {
    let targets = target::resolve(targets)?;
    let report = Report::stdout();
    let client = connect(endpoint, &report).await?;
    let down = Down { client: &client, report: &report, dirs };
    let mut failed = Vec::new();
    for target in &targets {
        if !down.take_down(target).await {
            failed.push(target.to_string());
        }
    }
    outcome("take down", failed)
}

/// Lists the Pods on this node: all of them, or only those named or in named files.
///
/// # Errors
/// As of [`up`].
pub(crate) async fn ls(endpoint: &Endpoint, targets: &[String]) -> Result<Vec<Row>, Error> {
    let targets = target::resolve(targets)?;
    let client = Client::connect(&endpoint.socket, endpoint.timeout).await?;
    ls::list(&client, &targets).await.map_err(|(call, status)| Error::Call { call, status })
}

fn outcome(verb: &'static str, failed: Vec<String>) -> Result<(), Error> {
    if failed.is_empty() { Ok(()) } else { Err(Error::Pods { verb, pods: failed }) }
}

/// Connects, and reports the runtime's name and version.
async fn connect(endpoint: &Endpoint, report: &Report) -> Result<Client, Error> {
    let client = Client::connect(&endpoint.socket, endpoint.timeout).await?;
    report.line(format_args!("runtime unix://{}", endpoint.socket.display()));
    let describe = |version: &VersionResponse| format!("{} {}", version.runtime_name, version.runtime_version);
    let version = report.step("Version", "runtime", client.version(), describe).await;
    version.map_err(|status| Error::Call { call: "Version", status })?;
    Ok(client)
}
