//! The configuration of `dockside serve`: flags, a TOML file, and defaults.
//!
//! Every setting has one name, used for the flag and for the key in the file, and one line in `settings::SETTINGS`:
//! the flags, the keys, the defaults and `docs/configuration.md` all come from that table; no other room has a default of its
//! own. A flag overrides the file, the file overrides the default. cri-dockerd's names are accepted in both places. Nothing is
//! read from the environment, except that an empty `docker-endpoint` means `DOCKER_HOST`, as for Docker's own tools.
//!
//! `main` parses [`ServeArgs`] and turns it into a [`Config`] by [`ServeArgs::resolve`]; `cmd::serve` passes the values on.

mod compat;
#[cfg(test)]
pub(crate) mod docs;
mod file;
mod settings;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Arg;
use clap::ArgMatches;
use clap::builder::PathBufValueParser;

use self::settings::Effect;
use self::settings::SETTINGS;
use self::settings::Setting;
use self::value::Value;
pub use self::value::duration;
pub use self::value::socket;
use cni_runtime::PodCidrs;

/// The default of `listen`, and of the endpoint of `dockside pod`.
pub const DEFAULT_LISTEN: &str = "unix:///run/dockside/dockside.sock";

/// The directory of named network namespaces, which `ip netns` reads, too. It is not a setting.
pub const NETNS_DIR: &str = "/run/netns";

/// How long one run of a CNI plugin may take. It is not a setting.
pub const CNI_PLUGIN_TIMEOUT: Duration = Duration::from_secs(120);

/// The name of the built-in network, in the CNI result cache. It is not a setting.
pub const BUILTIN_NETWORK_NAME: &str = "dockside";

/// The bridge of the built-in network. It is not a setting.
pub const BUILTIN_NETWORK_BRIDGE: &str = "cni0";

/// The default of `docker-endpoint`.
const DOCKER_ENDPOINT: &str = "unix:///var/run/docker.sock";

/// The server of exec, attach and port-forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamingConfig {
    /// A loopback address; port 0 takes a free port.
    pub address: SocketAddr,
    /// A session on which nothing is sent for this long, pings included, is closed.
    pub idle: Duration,
    /// A certificate chain in PEM; with it and the key, the server uses TLS.
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's private key in PEM.
    pub tls_key: Option<PathBuf>,
}

/// The validated configuration of `dockside serve`. Paths are absolute.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The socket kubelets and crictl connect to.
    pub listen: PathBuf,
    /// Docker's socket.
    pub docker_endpoint: PathBuf,
    /// The directory of the records.
    pub state_dir: PathBuf,
    /// The directory of CNI network configurations.
    pub cni_conf_dir: PathBuf,
    /// The directories of CNI plugins, searched in this order. Never empty.
    pub cni_bin_dirs: Vec<PathBuf>,
    /// CNI's cache directory; results are kept in `results/` below it.
    pub cni_cache_dir: PathBuf,
    /// The ranges of pod addresses, until the kubelet sends them.
    pub pod_cidr: Option<PodCidrs>,
    /// Whether to serve the built-in network while the configuration directory has none.
    pub builtin_network: bool,
    /// The image of the pause container. `None`: the one built into Dockside.
    pub sandbox_image: Option<String>,
    /// The least severe messages to log.
    pub log_level: LogLevel,
    /// The format of log lines.
    pub log_format: LogFormat,
    /// A pull without progress for this long is cancelled. `None`: there is no limit.
    pub image_pull_progress_deadline: Option<Duration>,
    /// The timeout of one short call to Docker. At least a second.
    pub runtime_request_timeout: Duration,
    /// The size at which Docker rotates its own log of a container, in Docker's notation (`32m`).
    pub container_log_max_size: String,
    /// The number of such files that Docker keeps, at least 2.
    pub container_log_max_files: u32,
    /// The server of exec, attach and port-forward.
    pub streaming: StreamingConfig,
    /// The address that serves Dockside's own metrics. `None`: they are not served.
    pub metrics: Option<SocketAddr>,
    /// The collector of traces, such as `http://127.0.0.1:4317`. `None`: there are no traces.
    pub tracing_endpoint: Option<String>,
    /// How many of a million calls start a trace of their own.
    pub tracing_sampling_per_million: u32,
    /// A sentence for each setting that was given and has no effect. `serve` logs them as warnings.
    pub ignored: Vec<String>,
}

/// The severity of a log message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Operations that failed.
    Error,
    /// Also conditions that may become failures.
    Warn,
    /// Also changes of pods and of Dockside's own state.
    Info,
    /// Also the steps of each operation.
    Debug,
    /// Everything.
    Trace,
}

impl Config {
    /// Every field without a value, until the settings are applied: the defaults are in the table alone.
    fn unset() -> Config {
        Config {
            listen: PathBuf::new(),
            docker_endpoint: PathBuf::new(),
            state_dir: PathBuf::new(),
            cni_conf_dir: PathBuf::new(),
            cni_bin_dirs: Vec::new(),
            cni_cache_dir: PathBuf::new(),
            pod_cidr: None,
            builtin_network: false,
            sandbox_image: None,
            log_level: LogLevel::Error,
            log_format: LogFormat::Text,
            image_pull_progress_deadline: None,
            runtime_request_timeout: Duration::ZERO,
            container_log_max_size: String::new(),
            container_log_max_files: 0,
            streaming: StreamingConfig {
                address: SocketAddr::from(([0; 4], 0)),
                idle: Duration::ZERO,
                tls_certificate: None,
                tls_key: None,
            },
            metrics: None,
            tracing_endpoint: None,
            tracing_sampling_per_million: 0,
            ignored: Vec::new(),
        }
    }
}

impl LogLevel {
    /// The word in the configuration, which is also a level in `tracing`'s filters.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// The format of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Why a configuration cannot be used. `serve` does not start with it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("could not read the configuration file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },

    /// The file is not TOML.
    #[error("{}:{line}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The parser's message.
        reason: String,
    },

    /// The file has a key that is no setting.
    #[error("{}:{line}: there is no setting `{key}`{hint}", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The key.
        key: String,
        /// The likely intended setting, or empty.
        hint: String,
    },

    /// A value that the setting does not accept.
    #[error("{origin}: could not use `{value}`: {reason}")]
    Value {
        /// Its source.
        origin: Origin,
        /// The value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A setting given twice in the same source: by its own name and by cri-dockerd's.
    #[error("{second}: this is another name for {first}, which is given too: leave one of them out")]
    Duplicate {
        /// One of the names.
        first: Origin,
        /// The other.
        second: Origin,
    },
}

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag, by the name used.
    Flag(&'static str),
    /// A line of the file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The key, by the name used.
        key: &'static str,
    },
    /// A variable of the environment.
    Environment(&'static str),
    /// The default of this setting.
    Default(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(name) => write!(f, "--{name}"),
            Origin::File { path, line, key } => write!(f, "{}:{line}: {key}", path.display()),
            Origin::Environment(name) => write!(f, "the environment variable {name}"),
            Origin::Default(name) => write!(f, "the default of {name}"),
        }
    }
}

/// A value and its source.
#[derive(Clone, Debug)]
struct Given {
    origin: Origin,
    value: Value,
}

/// The arguments of `dockside serve`.
///
/// Built from the table instead of derived, so that a setting is described in one place. Values are parsed by
/// [`resolve`](ServeArgs::resolve): flags and the file share one parser.
#[derive(Clone, Debug)]
pub struct ServeArgs {
    config: Option<PathBuf>,
    /// Names as used, with their values.
    flags: Vec<(&'static str, String)>,
}

impl ServeArgs {
    /// Reads the file, if one is named, and resolves flags, file and defaults to the configuration.
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn resolve(self) -> Result<Config, Error> {
        self.resolve_in(|name| std::env::var(name).ok())
    }

    fn resolve_in(self, environment: impl Fn(&str) -> Option<String>) -> Result<Config, Error> {
        let flags = self.flags.into_iter().map(|(name, value)| (name, Origin::Flag(name), Value::Text(value)));
        let flags = by_setting(flags)?;
        let file = match &self.config {
            Some(path) => by_setting(file::read(path)?)?,
            None => BTreeMap::new(),
        };
        let mut config = Config::unset();
        for setting in SETTINGS {
            let given = flags.get(setting.name).or_else(|| file.get(setting.name)).cloned();
            let given = or_default(setting, given, &environment);
            apply(&mut config, setting, &given)?;
        }
        Ok(config)
    }
}

/// Groups values by setting; the names used may be aliases.
fn by_setting(
    given: impl IntoIterator<Item = (&'static str, Origin, Value)>,
) -> Result<BTreeMap<&'static str, Given>, Error> {
    let mut sorted: BTreeMap<&'static str, Given> = BTreeMap::new();
    for (name, origin, value) in given {
        let Some(setting) = Setting::named(name) else { continue };
        if let Some(first) = sorted.get(setting.name) {
            return Err(Error::Duplicate { first: first.origin.clone(), second: origin });
        }
        sorted.insert(setting.name, Given { origin, value });
    }
    Ok(sorted)
}

fn or_default(setting: &Setting, given: Option<Given>, environment: impl Fn(&str) -> Option<String>) -> Given {
    let given = given
        .unwrap_or_else(|| Given { origin: Origin::Default(setting.name), value: Value::Text(setting.default.into()) });
    // As for cri-dockerd and Docker's own command: with an empty endpoint, the environment decides.
    if setting.name == settings::DOCKER && given.value.is_empty() {
        return match environment("DOCKER_HOST").filter(|host| !host.is_empty()) {
            Some(host) => Given { origin: Origin::Environment("DOCKER_HOST"), value: Value::Text(host) },
            None => Given { origin: given.origin, value: Value::Text(DOCKER_ENDPOINT.into()) },
        };
    }
    given
}

fn apply(config: &mut Config, setting: &Setting, given: &Given) -> Result<(), Error> {
    let refuse = |reason: String| Error::Value { origin: given.origin.clone(), value: given.value.to_string(), reason };
    match setting.effect {
        Effect::Set(set) => set(config, &given.value).map_err(refuse),
        Effect::Nothing(check) => {
            if let Some(why) = given.value.text().and_then(check).map_err(refuse)? {
                config.ignored.push(format!("{} has no effect: {why}", given.origin));
            }
            Ok(())
        }
    }
}

impl clap::Args for ServeArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(PathBufValueParser::new())
            .help("A TOML file with settings; its keys are the names of the flags");
        SETTINGS.iter().flat_map(flags).fold(command.arg(file), clap::Command::arg)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

/// The flag of a setting, and hidden flags for its aliases. They are separate flags so that an error can name the one used.
fn flags(setting: &'static Setting) -> impl Iterator<Item = Arg> {
    setting.names().map(move |name| {
        let flag = Arg::new(name).long(name).value_name(setting.form).hide(setting.is_compat() || name != setting.name);
        let flag = if setting.is_switch() {
            flag.num_args(0..=1).require_equals(true).default_missing_value("true")
        } else {
            flag
        };
        match setting.default {
            "" => flag.help(setting.help),
            default => flag.help(format!("{} [default: {default}]", setting.help)),
        }
    })
}

impl clap::FromArgMatches for ServeArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let names = SETTINGS.iter().flat_map(Setting::names);
        let flags = names.filter_map(|name| Some((name, matches.get_one::<String>(name)?.clone()))).collect();
        Ok(ServeArgs { config: matches.get_one("config").cloned(), flags })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
