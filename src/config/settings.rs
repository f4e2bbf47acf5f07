//! The table of settings: the one place where a setting is described.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::Config;
use super::compat;
use super::value::Value;
use super::value::absolute;
use super::value::duration;
use super::value::listen;
use super::value::log_format;
use super::value::log_level;
use super::value::loopback;
use super::value::size;
use super::value::socket;

/// The setting whose empty value has a meaning of its own.
pub(super) const DOCKER: &str = "docker-endpoint";

/// The name of the pause image that is built in; asking for it by name is the same as not asking.
const BUILT_IN_PAUSE: &str = "dockside.io/pause:1";

/// The deadline of short calls, and what cri-dockerd's "0" stands for (there it is 1m59s).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// One setting.
pub(super) struct Setting {
    /// The name of the flag and of the key.
    pub(super) name: &'static str,
    /// What a value looks like, in one word.
    pub(super) form: &'static str,
    /// The default as one would write it. Empty: no value.
    pub(super) default: &'static str,
    /// Other names, from cri-dockerd.
    pub(super) aliases: &'static [&'static str],
    /// What it does, for `--help` and the documentation.
    pub(super) help: &'static str,
    /// What a value leads to.
    pub(super) effect: Effect,
}

/// What a value leads to.
pub(super) enum Effect {
    /// Sets something; the error says what is wrong with the value.
    Set(fn(&mut Config, &Value) -> Result<(), String>),
    /// Nothing: the flag is cri-dockerd's. The answer says why a value that asks for something is without effect; the
    /// error refuses a value whose absence would be felt.
    Nothing(fn(&str) -> Result<Option<&'static str>, String>),
}

impl Setting {
    /// The setting of that name or alias.
    pub(super) fn named(name: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.names().any(|other| other == name))
    }

    /// Its name, then its aliases.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// Whether it only exists because cri-dockerd has it.
    pub(super) fn is_compat(&self) -> bool {
        matches!(self.effect, Effect::Nothing(_))
    }

    /// Whether the flag may stand without a value.
    pub(super) fn is_switch(&self) -> bool {
        self.form == "BOOL"
    }
}

/// All settings, in the order of the documentation.
pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "listen",
        form: "URL",
        default: super::DEFAULT_LISTEN,
        aliases: &["container-runtime-endpoint"],
        help: "The socket to serve the CRI on, for the kubelet and crictl",
        effect: Effect::Set(|config, value| set(&mut config.listen, value.text().and_then(listen))),
    },
    Setting {
        name: DOCKER,
        form: "URL",
        default: super::DOCKER_ENDPOINT,
        aliases: &[],
        help: "Docker's socket; an empty value means what DOCKER_HOST says",
        effect: Effect::Set(|config, value| set(&mut config.docker_endpoint, value.text().and_then(socket))),
    },
    Setting {
        name: "state-dir",
        form: "DIR",
        default: "/var/lib/dockside",
        aliases: &["cri-dockerd-root-directory"],
        help: "Where Dockside keeps its records of pods and containers",
        effect: Effect::Set(|config, value| set(&mut config.state_dir, value.text().and_then(absolute))),
    },
    Setting {
        name: "cni-conf-dir",
        form: "DIR",
        default: "/etc/cni/net.d",
        aliases: &[],
        help: "Where network configurations are looked for",
        effect: Effect::Set(|config, value| set(&mut config.cni_conf_dir, value.text().and_then(absolute))),
    },
    Setting {
        name: "cni-bin-dir",
        form: "DIRS",
        default: "/opt/cni/bin,/usr/lib/cni",
        aliases: &[],
        help: "Where network plugins are looked for, in this order",
        effect: Effect::Set(|config, value| set(&mut config.cni_bin_dirs, directories(value))),
    },
    Setting {
        name: "cni-cache-dir",
        form: "DIR",
        default: "/var/lib/cni/cache",
        aliases: &[],
        help: "Where the results of network plugins are kept, in results/ below it",
        effect: Effect::Set(|config, value| set(&mut config.cni_cache_dir, value.text().and_then(absolute))),
    },
    Setting {
        name: "pod-cidr",
        form: "CIDRS",
        default: "",
        aliases: &[],
        help: "The address range for pods, or one of each family, until a kubelet sends them",
        effect: Effect::Set(|config, value| set(&mut config.pod_cidr, pod_cidr(value))),
    },
    Setting {
        name: "builtin-network",
        form: "true|false",
        default: "true",
        aliases: &[],
        help: "Serve a bridge network from the pod CIDR while there is no network configuration; `false` where an add-on will bring one",
        effect: Effect::Set(|config, value| set(&mut config.builtin_network, value.text().and_then(switch))),
    },
    Setting {
        name: "sandbox-image",
        form: "IMAGE",
        default: BUILT_IN_PAUSE,
        aliases: &["pod-infra-container-image"],
        help: "The image of the pause container; the default is built in and never pulled",
        effect: Effect::Set(|config, value| set(&mut config.sandbox_image, value.text().and_then(image))),
    },
    Setting {
        name: "log-level",
        form: "LEVEL",
        default: "info",
        aliases: &[],
        help: "How much to log: error, warn, info, debug or trace",
        effect: Effect::Set(|config, value| set(&mut config.log_level, value.text().and_then(log_level))),
    },
    Setting {
        name: "log-format",
        form: "FORMAT",
        default: "text",
        aliases: &[],
        help: "How to write log lines: text or json",
        effect: Effect::Set(|config, value| set(&mut config.log_format, value.text().and_then(log_format))),
    },
    Setting {
        name: "image-pull-progress-deadline",
        form: "DURATION",
        default: "5m",
        aliases: &[],
        help: "A pull that makes no progress for this long is given up; 0 never gives up",
        effect: Effect::Set(|config, value| {
            set(&mut config.image_pull_progress_deadline, value.text().and_then(deadline))
        }),
    },
    Setting {
        name: "runtime-request-timeout",
        form: "DURATION",
        default: "2m",
        aliases: &[],
        help: "The deadline of one short call to Docker, at least 1s; 0 means the default",
        effect: Effect::Set(|config, value| set(&mut config.runtime_request_timeout, value.text().and_then(timeout))),
    },
    Setting {
        name: "container-log-max-size",
        form: "SIZE",
        default: "32m",
        aliases: &[],
        help: "How large Docker's own log of a container gets before it is rotated; its lines go into the kubelet's file at once",
        effect: Effect::Set(|config, value| set(&mut config.container_log_max_size, value.text().and_then(size))),
    },
    Setting {
        name: "container-log-max-files",
        form: "NUMBER",
        default: "3",
        aliases: &[],
        help: "How many such files Docker keeps, at least 2; what a container writes beyond them while Dockside is down is lost",
        effect: Effect::Set(|config, value| set(&mut config.container_log_max_files, value.text().and_then(files))),
    },
    Setting {
        name: "streaming-bind-addr",
        form: "ADDRESS",
        default: "127.0.0.1:0",
        aliases: &[],
        help: "Where exec, attach and port-forward are served: a loopback address; port 0 takes a free one, which the kubelet is told",
        effect: Effect::Set(|config, value| set(&mut config.streaming.address, value.text().and_then(streaming))),
    },
    Setting {
        name: "streaming-idle-timeout",
        form: "DURATION",
        default: "4h",
        aliases: &[],
        help: "An exec, attach or port-forward on which nothing is sent for this long, not even a ping of the client's, is closed",
        effect: Effect::Set(|config, value| set(&mut config.streaming.idle, value.text().and_then(idle))),
    },
    Setting {
        name: "streaming-tls-cert-file",
        form: "FILE",
        default: "",
        aliases: &[],
        help: "A certificate chain in PEM; with it, exec, attach and port-forward are served over TLS",
        effect: Effect::Set(|config, value| set(&mut config.streaming.tls_certificate, optional_file(value))),
    },
    Setting {
        name: "streaming-tls-key-file",
        form: "FILE",
        default: "",
        aliases: &[],
        help: "The key of that certificate, in PEM",
        effect: Effect::Set(|config, value| set(&mut config.streaming.tls_key, optional_file(value))),
    },
    Setting {
        name: "metrics-address",
        form: "ADDRESS",
        default: "",
        aliases: &[],
        help: "Where GET /metrics tells Prometheus about Dockside itself, as in 127.0.0.1:9187; empty for nowhere",
        effect: Effect::Set(|config, value| set(&mut config.metrics, value.text().and_then(metrics))),
    },
    Setting {
        name: "tracing-endpoint",
        form: "HOST:PORT",
        default: "",
        aliases: &[],
        help: "The OpenTelemetry collector (OTLP over gRPC) that gets a trace of calls, as in 127.0.0.1:4317; empty for none",
        effect: Effect::Set(|config, value| set(&mut config.tracing_endpoint, value.text().and_then(collector))),
    },
    Setting {
        name: "tracing-sampling-rate-per-million",
        form: "NUMBER",
        default: "0",
        aliases: &[],
        help: "How many of a million calls begin a trace by themselves; those that the kubelet traces are part of its trace anyway",
        effect: Effect::Set(|config, value| {
            set(&mut config.tracing_sampling_per_million, value.text().and_then(per_million))
        }),
    },
    Setting {
        name: "network-plugin",
        form: "PLUGIN",
        default: "cni",
        aliases: &[],
        help: "Only cni. Other values are refused: their pods would be on another network",
        effect: Effect::Nothing(compat::network_plugin),
    },
    Setting {
        name: "hairpin-mode",
        form: "MODE",
        default: "none",
        aliases: &[],
        help: "Ignored. It configured kubenet; with CNI, the network configuration has it (hairpinMode)",
        effect: Effect::Nothing(compat::hairpin_mode),
    },
    Setting {
        name: "network-plugin-mtu",
        form: "NUMBER",
        default: "0",
        aliases: &[],
        help: "Ignored. It configured kubenet; with CNI, the network configuration has it (mtu)",
        effect: Effect::Nothing(compat::mtu),
    },
    Setting {
        name: "ipv6-dual-stack",
        form: "BOOL",
        default: "false",
        aliases: &[],
        help: "Ignored. A pod always has every address its network gives it",
        effect: Effect::Nothing(compat::dual_stack),
    },
    Setting {
        name: "runtime-cgroups",
        form: "CGROUP",
        default: "",
        aliases: &[],
        help: "Only empty. It moved dockerd into a cgroup with a memory limit: that is for docker.service to say",
        effect: Effect::Nothing(compat::runtime_cgroups),
    },
];

fn set<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    *place = value?;
    Ok(())
}

fn directories(value: &Value) -> Result<Vec<PathBuf>, String> {
    let directories = value.list().map(absolute).collect::<Result<Vec<_>, _>>()?;
    if directories.is_empty() { Err("at least one directory is needed".into()) } else { Ok(directories) }
}

fn pod_cidr(value: &Value) -> Result<Option<cni_runtime::PodCidrs>, String> {
    if value.is_empty() {
        return Ok(None);
    }
    let ranges = value.list().collect::<Vec<_>>().join(",");
    ranges.parse().map(Some).map_err(|error: cni_runtime::Error| match error {
        // The value is part of the message already.
        cni_runtime::Error::PodCidr { reason, .. } => reason,
        other => other.to_string(),
    })
}

fn switch(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "it is true or false".to_owned())
}

/// Docker checks references better than we could; this is for slips that would only show at the first pod.
fn image(text: &str) -> Result<Option<String>, String> {
    if text == BUILT_IN_PAUSE {
        return Ok(None);
    }
    if text.is_empty() || text.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return Err(format!("an image is named as in {BUILT_IN_PAUSE}, which is the default"));
    }
    Ok(Some(text.to_owned()))
}

/// With one file, Docker would cut short what is being read.
fn files(text: &str) -> Result<u32, String> {
    let files: u32 = text.parse().map_err(|_| "a number is needed")?;
    if (2..=100).contains(&files) { Ok(files) } else { Err("from 2 to 100 files can be kept".into()) }
}

fn deadline(text: &str) -> Result<Option<Duration>, String> {
    Ok(Some(duration(text)?).filter(|deadline| !deadline.is_zero()))
}

/// cri-dockerd's default is nothing at all.
fn streaming(text: &str) -> Result<SocketAddr, String> {
    if text.is_empty() { Ok(crate::stream::Config::default().address) } else { loopback(text) }
}

fn metrics(text: &str) -> Result<Option<SocketAddr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| "an address is written as in 127.0.0.1:9187".to_owned())
}

/// What OpenTelemetry calls an endpoint.
fn collector(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || "a collector is named as in 127.0.0.1:4317".to_owned();
    let authority: http::uri::Authority = text.trim_start_matches("http://").parse().map_err(|_| wrong())?;
    if authority.host().is_empty() || authority.port_u16().is_none() || authority.as_str().contains('@') {
        return Err(wrong());
    }
    Ok(Some(format!("http://{authority}")))
}

fn per_million(text: &str) -> Result<u32, String> {
    let rate: u32 = text.parse().map_err(|_| "a number is needed")?;
    if rate <= 1_000_000 { Ok(rate) } else { Err("at most 1000000".into()) }
}

fn idle(text: &str) -> Result<Duration, String> {
    let idle = duration(text)?;
    if idle < Duration::from_secs(1) { Err("at least 1s".into()) } else { Ok(idle) }
}

fn optional_file(value: &Value) -> Result<Option<PathBuf>, String> {
    if value.is_empty() { Ok(None) } else { value.text().and_then(absolute).map(Some) }
}

fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = duration(text)?;
    if timeout.is_zero() {
        return Ok(REQUEST_TIMEOUT);
    }
    if timeout < Duration::from_secs(1) {
        return Err("Docker needs at least 1s".into());
    }
    Ok(timeout)
}
