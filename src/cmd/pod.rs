//! `dockside pod`: its arguments. The work is done in `crate::manifest`.

use std::io;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;

use crate::config;
use crate::manifest;
use crate::manifest::Endpoint;
use crate::manifest::Error;
use crate::manifest::PodDirs;

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
        default_value = config::DEFAULT_LISTEN,
        value_parser = config::socket
    )]
    endpoint: PathBuf,

    /// The deadline of a call; twice this for RunPodSandbox, plus the grace period for StopContainer, none for PullImage
    #[arg(long, global = true, value_name = "DURATION", default_value = "2m", value_parser = config::duration)]
    timeout: Duration,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// Create and start pods
    Up {
        /// Files with Pod manifests; - is standard input
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        dirs: DirArgs,
    },
    /// Stop and remove pods, with their files and logs
    Down {
        /// Files with Pod manifests, or pods by name
        #[arg(value_name = "FILE|NAMESPACE/NAME", required = true)]
        targets: Vec<String>,
        #[command(flatten)]
        dirs: DirArgs,
    },
    /// List the pods on this node
    Ls {
        /// Only these pods
        #[arg(value_name = "FILE|NAMESPACE/NAME")]
        targets: Vec<String>,
        /// The format of the list
        #[arg(short, long, value_name = "FORMAT", default_value = "table")]
        output: Output,
    },
}

#[derive(Clone, Debug, clap::Args)]
struct DirArgs {
    /// The directory of pods' volumes and other files, by UID
    #[arg(long = "pods-dir", value_name = "DIR", default_value = "/var/lib/dockside/pods")]
    pods: PathBuf,
    /// The directory of pods' logs
    #[arg(long = "logs-dir", value_name = "DIR", default_value = "/var/log/pods")]
    logs: PathBuf,
}

impl From<DirArgs> for PodDirs {
    fn from(args: DirArgs) -> PodDirs {
        PodDirs { pods: args.pods, logs: args.logs }
    }
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

/// Runs the command. Reports and lists go to standard output.
///
/// # Errors
/// Any `manifest::Error`; after `Error::Pods` the report has the details.
pub async fn run(args: PodArgs) -> Result<(), Error> {
    let endpoint = Endpoint { socket: args.endpoint, timeout: args.timeout };
    match args.verb {
        Verb::Up { files, dirs } => manifest::up(&endpoint, &files, &dirs.into()).await,
        Verb::Down { targets, dirs } => manifest::down(&endpoint, &targets, &dirs.into()).await,
        Verb::Ls { targets, output } => {
            let rows = manifest::ls(&endpoint, &targets).await?;
            let text = match output {
                Output::Table => manifest::table(&rows, now()),
                Output::Json => format!("{:#}\n", serde_json::json!(rows)),
            };
            Ok(io::stdout().write_all(text.as_bytes())?)
        }
    }
}

/// Seconds since the Unix epoch.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        pod: PodArgs,
    }

    fn parse(args: &str) -> Result<PodArgs, clap::Error> {
        Ok(Cli::try_parse_from(["pod"].into_iter().chain(args.split_whitespace()))?.pod)
    }

    #[test]
    fn the_arguments_are_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn options_may_stand_before_and_after_the_verb() {
        for args in
            ["--endpoint unix:///x.sock --timeout 1m30s up a.yaml", "up a.yaml --endpoint=unix:///x.sock --timeout=90s"]
        {
            let args = parse(args).unwrap();
            assert_eq!(args.endpoint, PathBuf::from("/x.sock"));
            assert_eq!(args.timeout, Duration::from_secs(90));
        }
        assert!(parse("--endpoint tcp://1.2.3.4:5 ls").is_err());
        assert!(parse("up").is_err());
        assert!(parse("ls -o json").is_ok());
    }
}
