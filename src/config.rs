//! The configuration of `dockside serve`: flags, a TOML file, and defaults.
//!
//! Every setting has one name, used for the flag and for the key in the file, and one line in [`settings::SETTINGS`]:
//! the flags, the keys, the defaults and `docs/configuration.md` all come from that table. A flag wins over the file,
//! the file over the default. cri-dockerd's names are accepted in both places. Nothing is read from the environment,
//! except that an empty `docker-endpoint` means `DOCKER_HOST`, as Docker's own tools do.
//!
//! Who calls in: `main` has [`ServeArgs`] among its arguments and turns it into a [`Config`] by [`ServeArgs::resolve`].

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
use crate::stream;
use cni_runtime::PodCidrs;

/// The default of `listen`, where `dockside pod` looks for the runtime, too.
pub const DEFAULT_LISTEN: &str = "unix:///run/dockside/dockside.sock";

/// The default of `docker-endpoint`.
const DOCKER_ENDPOINT: &str = "unix:///var/run/docker.sock";

/// Everything `dockside serve` has to know, checked. Paths are absolute.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The socket kubelets and crictl connect to.
    pub listen: PathBuf,
    /// Docker's socket.
    pub docker_endpoint: PathBuf,
    /// The directory of the records.
    pub state_dir: PathBuf,
    /// Where network configurations are looked for.
    pub cni_conf_dir: PathBuf,
    /// Where plugins are looked for, in order. Never empty.
    pub cni_bin_dirs: Vec<PathBuf>,
    /// libcni's cache directory; results lie in `results/` below it.
    pub cni_cache_dir: PathBuf,
    /// The ranges for pods, until a kubelet sends some.
    pub pod_cidr: Option<PodCidrs>,
    /// Whether to serve a network of our own while the configuration directory has none.
    pub builtin_network: bool,
    /// The image of the pause container. `None`: the one built into Dockside.
    pub sandbox_image: Option<String>,
    /// The least important lines to log.
    pub log_level: LogLevel,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// A pull without progress for this long is given up. `None`: it never is.
    pub image_pull_progress_deadline: Option<Duration>,
    /// Deadline of one short call to Docker. At least a second.
    pub runtime_request_timeout: Duration,
    /// How large a file of Docker's own log of a container gets before it is rotated, as Docker writes sizes.
    pub container_log_max_size: String,
    /// How many such files Docker keeps, at least 2.
    pub container_log_max_files: u32,
    /// Where and how exec, attach and port-forward are served.
    pub streaming: stream::Config,
    /// Where metrics of Dockside itself are served. `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// The collector of traces, such as `http://127.0.0.1:4317`. `None`: there are no traces.
    pub tracing_endpoint: Option<String>,
    /// So many of a million calls begin a trace by themselves.
    pub tracing_sampling_per_million: u32,
    /// A sentence for each setting that was given and has no effect here. The start warns of them.
    pub ignored: Vec<String>,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Only what went wrong.
    Error,
    /// Also what looks wrong.
    Warn,
    /// Also what happens to pods.
    #[default]
    Info,
    /// Also the steps.
    Debug,
    /// All there is.
    Trace,
}

impl LogLevel {
    /// The word in the configuration, which `tracing`'s filters understand too.
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

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A configuration that cannot be used. The start is refused with it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("could not read the configuration file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },

    /// The file is not TOML.
    #[error("{}:{line}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where, counted from 1.
        line: usize,
        /// What the parser says.
        reason: String,
    },

    /// The file has a key that is no setting.
    #[error("{}:{line}: there is no setting `{key}`{hint}", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// Where, counted from 1.
        line: usize,
        /// The key.
        key: String,
        /// What may have been meant, or nothing.
        hint: String,
    },

    /// A value that the setting does not take.
    #[error("{origin}: could not use `{value}`: {reason}")]
    Value {
        /// Where it was given.
        origin: Origin,
        /// The value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A setting given by its own name and by one of cri-dockerd's in the same place.
    #[error("{second}: this is another name for {first}, which is given too: leave one of them out")]
    Twice {
        /// One of the names.
        first: Origin,
        /// The other.
        second: Origin,
    },
}

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag, by the name that was used.
    Flag(&'static str),
    /// A line of the file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The key, by the name that was used.
        key: &'static str,
    },
    /// A variable of the environment.
    Environment(&'static str),
    /// Nowhere: the default of this setting.
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

/// A value and where it was given.
#[derive(Clone, Debug)]
struct Given {
    origin: Origin,
    value: Value,
}

/// The arguments of `dockside serve`.
///
/// Made from the table instead of derived, so that a setting is described in one place. Values are not looked at
/// before [`resolve`](ServeArgs::resolve): flags and the file share one parser.
#[derive(Clone, Debug, Default)]
pub struct ServeArgs {
    config: Option<PathBuf>,
    /// By the name that was used.
    flags: Vec<(&'static str, String)>,
}

impl ServeArgs {
    /// Reads the file, if one is named, and works out the configuration.
    ///
    /// # Errors
    /// Any [`Error`]: nothing may start then.
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
        let mut config = Config::default();
        for setting in SETTINGS {
            let given = flags.get(setting.name).or_else(|| file.get(setting.name)).cloned();
            let given = or_default(setting, given, &environment);
            apply(&mut config, setting, &given)?;
        }
        Ok(config)
    }
}

/// Sorts values by the setting they are for; the names used may be aliases.
fn by_setting(
    given: impl IntoIterator<Item = (&'static str, Origin, Value)>,
) -> Result<BTreeMap<&'static str, Given>, Error> {
    let mut sorted: BTreeMap<&'static str, Given> = BTreeMap::new();
    for (name, origin, value) in given {
        let Some(setting) = Setting::named(name) else { continue };
        if let Some(first) = sorted.get(setting.name) {
            return Err(Error::Twice { first: first.origin.clone(), second: origin });
        }
        sorted.insert(setting.name, Given { origin, value });
    }
    Ok(sorted)
}

fn or_default(setting: &Setting, given: Option<Given>, environment: impl Fn(&str) -> Option<String>) -> Given {
    let given = given
        .unwrap_or_else(|| Given { origin: Origin::Default(setting.name), value: Value::Text(setting.default.into()) });
    // As cri-dockerd does, and Docker's own command: with no endpoint named, the environment decides.
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

/// The flag of a setting, and hidden ones for its other names: as separate flags, so that an error can name the one used.
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
