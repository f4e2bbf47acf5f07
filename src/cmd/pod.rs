//! `dockside pod`: the kubelet's part, by hand. Takes Pod manifests and makes, removes and lists Pods by the CRI alone, saying at each step which
//! call it makes and how long it took: for those who want to see how a node works, and for nodes without a cluster.
//!
//! It talks to any CRI runtime on this machine. It keeps nothing running: `up` makes one pass over a Pod, as the kubelet
//! makes many. On a node with a kubelet, that kubelet removes what it did not make itself.

mod client;
mod down;
#[cfg(test)]
mod fake;
mod files;
mod host;
mod ls;
mod manifest;
mod mounts;
mod report;
#[cfg(test)]
mod tests;
mod translate;
mod up;

use std::io;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;

use self::client::Client;
use self::down::Down;
use self::files::Places;
use self::host::Host;
use self::manifest::Manifest;
use self::report::Report;
use self::up::Up;

/// The arguments of `dockside pod`.
#[derive(Clone, Debug, clap::Args)]
pub struct PodArgs {
    #[command(subcommand)]
    verb: Verb,

    /// The runtime's socket
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "CONTAINER_RUNTIME_ENDPOINT",
        default_value = "unix:///run/dockside/dockside.sock",
        value_parser = crate::config::socket
    )]
    endpoint: PathBuf,

    /// The deadline of a call; RunPodSandbox has twice as long, StopContainer the grace period more, PullImage none
    #[arg(long, global = true, value_name = "DURATION", default_value = "2m", value_parser = crate::config::duration)]
    timeout: Duration,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// Make and start pods
    Up {
        /// Files with Pod manifests; - is standard input
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        places: Places,
    },
    /// Stop and remove pods, with their files and logs
    Down {
        /// Files with Pod manifests, or pods by name
        #[arg(value_name = "FILE|NAMESPACE/NAME", required = true)]
        targets: Vec<String>,
        #[command(flatten)]
        places: Places,
    },
    /// List the pods on this node
    Ls {
        /// Only these pods
        #[arg(value_name = "FILE|NAMESPACE/NAME")]
        targets: Vec<String>,
        /// How to write the list
        #[arg(short, long, value_name = "FORMAT", default_value = "table")]
        output: Output,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

/// What ended a command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A manifest cannot be used. Nothing was done.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),

    /// An argument is neither a file nor a pod. Nothing was done.
    #[error("`{0}` is no file, and not a pod written as NAMESPACE/NAME")]
    Target(String),

    /// This machine does not say what it is.
    #[error("could not read {}: {source}", path.display())]
    Host {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },

    /// No runtime answers.
    #[error(transparent)]
    Unreachable(#[from] client::Unreachable),

    /// A call that everything depends on failed.
    #[error("{call}: {}", report::told(status))]
    Call {
        /// The CRI call.
        call: &'static str,
        /// What the runtime says.
        status: tonic::Status,
    },

    /// Some pods did not get where they should; the report says why.
    #[error("could not {verb} {}", pods.join(", "))]
    Pods {
        /// What was to be done.
        verb: &'static str,
        /// The pods with which it did not work.
        pods: Vec<String>,
    },

    /// The list could not be written.
    #[error("could not write the list: {0}")]
    Output(#[from] io::Error),
}

/// A pod by name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    namespace: String,
    name: String,
    /// From the manifest, if there is one.
    uid: Option<String>,
    /// Seconds, from the manifest.
    grace: Option<i64>,
}

/// Runs the command. The report goes to standard output.
///
/// # Errors
/// Any [`Error`]; after [`Error::Pods`] the report has the details.
pub async fn run(args: PodArgs) -> Result<(), Error> {
    let PodArgs { verb, endpoint, timeout } = args;
    match verb {
        Verb::Up { files, places } => up(&endpoint, timeout, &files, &places).await,
        Verb::Down { targets, places } => down(&endpoint, timeout, &targets, &places).await,
        Verb::Ls { targets, output } => ls(&endpoint, timeout, &targets, output).await,
    }
}

async fn up(endpoint: &Path, timeout: Duration, files: &[PathBuf], places: &Places) -> Result<(), Error> {
    // All manifests before the first pod: a slip in the last one should not be found half-way.
    let manifests = manifests(files)?;
    let host = Host::read(Path::new("/")).map_err(|(path, source)| Error::Host { path, source })?;
    let report = Report::stdout();
    let client = connect(endpoint, timeout, &report).await?;
    let up = Up { client: &client, report: &report, places, host: &host };
    let mut failed = Vec::new();
    for manifest in &manifests {
        if !up.bring_up(manifest).await {
            failed.push(manifest.pod.to_string());
        }
    }
    outcome("bring up", failed)
}

async fn down(endpoint: &Path, timeout: Duration, pods: &[String], places: &Places) -> Result<(), Error> {
    let targets = targets(pods)?;
    let report = Report::stdout();
    let client = connect(endpoint, timeout, &report).await?;
    let down = Down { client: &client, report: &report, places };
    let mut failed = Vec::new();
    for target in &targets {
        if !down.take_down(target).await {
            failed.push(format!("{}/{}", target.namespace, target.name));
        }
    }
    outcome("take down", failed)
}

async fn ls(endpoint: &Path, timeout: Duration, pods: &[String], output: Output) -> Result<(), Error> {
    let targets = targets(pods)?;
    let client = Client::connect(endpoint, timeout).await?;
    let rows = ls::list(&client, &targets).await.map_err(|(call, status)| Error::Call { call, status })?;
    let text = match output {
        Output::Table => ls::table(&rows, now()),
        Output::Json => format!("{:#}\n", serde_json::json!(rows)),
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// Seconds since the Unix epoch.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn outcome(verb: &'static str, failed: Vec<String>) -> Result<(), Error> {
    if failed.is_empty() { Ok(()) } else { Err(Error::Pods { verb, pods: failed }) }
}

/// Connects, and asks the runtime who it is.
async fn connect(endpoint: &Path, timeout: Duration, report: &Report) -> Result<Client, Error> {
    let client = Client::connect(endpoint, timeout).await?;
    report.line(format_args!("runtime unix://{}", endpoint.display()));
    let told =
        |version: &crate::proto::VersionResponse| format!("{} {}", version.runtime_name, version.runtime_version);
    let version = report.step("Version", "runtime", client.version(), told).await;
    version.map_err(|status| Error::Call { call: "Version", status })?;
    Ok(client)
}

fn manifests(files: &[PathBuf]) -> Result<Vec<Manifest>, Error> {
    let mut all: Vec<Manifest> = Vec::new();
    for file in files {
        for manifest in manifest::load(file)? {
            let pod = manifest.pod.to_string();
            if all.iter().any(|other| other.pod.to_string() == pod) {
                return Err(manifest::Error::Twice { place: file.display().to_string(), pod }.into());
            }
            all.push(manifest);
        }
    }
    Ok(all)
}

/// The pods that are named, or in files that are.
fn targets(pods: &[String]) -> Result<Vec<Target>, Error> {
    let mut targets: Vec<Target> = Vec::new();
    for text in pods {
        let path = Path::new(text);
        let found = if text == "-" || path.exists() {
            manifest::load(path)?.iter().map(target).collect()
        } else {
            vec![named(text).ok_or_else(|| Error::Target(text.clone()))?]
        };
        targets.extend(found);
    }
    Ok(targets)
}

fn target(manifest: &Manifest) -> Target {
    let pod = &manifest.pod;
    Target {
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: Some(pod.metadata.uid.clone()),
        grace: Some(pod.spec.termination_grace_period_seconds),
    }
}

fn named(text: &str) -> Option<Target> {
    let (namespace, name) = text.split_once('/')?;
    let fits = manifest::is_namespace(namespace) && manifest::is_pod_name(name);
    fits.then(|| Target { namespace: namespace.to_owned(), name: name.to_owned(), uid: None, grace: None })
}
