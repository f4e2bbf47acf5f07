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

/// The setting that may come from the environment, too.
pub(super) const DOCKER: &str = "docker-endpoint";

/// The name of the built-in pause image.
const BUILT_IN_PAUSE: &str = "dockside.io/pause:1";

/// The default timeout of calls to Docker, for which a value of 0 stands, too, as in cri-dockerd (where it is 1m59s).
const REQUEST_TIMEOUT: &str = "2m";

/// The default address of the streaming server, for which cri-dockerd's default, an empty value, stands, too.
const STREAMING_ADDRESS: &str = "127.0.0.1:0";

/// One setting.
pub(super) struct Setting {
    /// The name of the flag and of the key.
    pub(super) name: &'static str,
    /// The form of a value, in one word.
    pub(super) form: &'static str,
    /// The default, as a value is written. Empty: no value.
    pub(super) default: &'static str,
    /// Other names of it: cri-dockerd's.
    pub(super) aliases: &'static [&'static str],
    /// What it does, for `--help` and the documentation.
    pub(super) help: &'static str,
    /// What a value changes.
    pub(super) effect: Effect,
}

/// What a value changes.
pub(super) enum Effect {
    /// A field of the configuration. The error says what is wrong with the value.
    Set(fn(&mut Config, &Value) -> Result<(), String>),
    /// Nothing: the flag is cri-dockerd's. The answer is a warning for a value other than the default; the error refuses a
    /// value that pods or the node depend on.
    Nothing(fn(&str) -> Result<Option<&'static str>, String>),
}

impl Setting {
    /// The setting with this name or alias.
    pub(super) fn named(name: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.names().any(|other| other == name))
    }

    /// Its name, then its aliases.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// Whether it exists for compatibility with cri-dockerd alone.
    pub(super) fn is_compat(&self) -> bool {
        matches!(self.effect, Effect::Nothing(_))
    }

    /// Whether the flag may be given without a value.
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
        help: "The socket on which to serve the CRI, for the kubelet and crictl",
        effect: Effect::Set(|config, value| set(&mut config.listen, value.text().and_then(listen))),
    },
    Setting {
        name: DOCKER,
        form: "URL",
        default: super::DOCKER_ENDPOINT,
        aliases: &[],
        help: "Docker's socket; an empty value means the one in DOCKER_HOST",
        effect: Effect::Set(|config, value| set(&mut config.docker_endpoint, value.text().and_then(socket))),
    },
    Setting {
        name: "state-dir",
        form: "DIR",
        default: "/var/lib/dockside",
        aliases: &["cri-dockerd-root-directory"],
        help: "The directory of Dockside's records of pods and containers",
        effect: Effect::Set(|config, value| set(&mut config.state_dir, value.text().and_then(absolute))),
    },
    Setting {
        name: "cni-conf-dir",
        form: "DIR",
        default: "/etc/cni/net.d",
        aliases: &[],
        help: "The directory of CNI network configurations",
        effect: Effect::Set(|config, value| set(&mut config.cni_conf_dir, value.text().and_then(absolute))),
    },
    Setting {
        name: "cni-bin-dir",
        form: "DIRS",
        default: "/opt/cni/bin,/usr/lib/cni",
        aliases: &[],
        help: "The directories of CNI plugins, searched in this order",
        effect: Effect::Set(|config, value| set(&mut config.cni_bin_dirs, directories(value))),
    },
    Setting {
        name: "cni-cache-dir",
        form: "DIR",
        default: "/var/lib/cni/cache",
        aliases: &[],
        help: "CNI's cache directory; the plugins' results are kept in results/ below it",
        effect: Effect::Set(|config, value| set(&mut config.cni_cache_dir, value.text().and_then(absolute))),
    },
    Setting {
        name: "pod-cidr",
        form: "CIDRS",
        default: "",
        aliases: &[],
        help: "The range of pod addresses, or one range per address family, until the kubelet sends it",
        effect: Effect::Set(|config, value| set(&mut config.pod_cidr, pod_cidr(value))),
    },
    Setting {
        name: "builtin-network",
        form: "true|false",
        default: "true",
        aliases: &[],
        help: "Serve a bridge network from the pod CIDR while there is no network configuration; `false` where an add-on will install one",
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
        help: "The least severe messages to log: error, warn, info, debug or trace",
        effect: Effect::Set(|config, value| set(&mut config.log_level, value.text().and_then(log_level))),
    },
    Setting {
        name: "log-format",
        form: "FORMAT",
        default: "text",
        aliases: &[],
        help: "The format of log lines: text or json",
        effect: Effect::Set(|config, value| set(&mut config.log_format, value.text().and_then(log_format))),
    },
    Setting {
        name: "image-pull-progress-deadline",
        form: "DURATION",
        default: "5m",
        aliases: &[],
        help: "A pull without progress for this long is cancelled; 0 disables the limit",
        effect: Effect::Set(|config, value| {
            set(&mut config.image_pull_progress_deadline, value.text().and_then(deadline))
        }),
    },
    Setting {
        name: "runtime-request-timeout",
        form: "DURATION",
        default: REQUEST_TIMEOUT,
        aliases: &[],
        help: "The timeout of one short call to Docker, at least 1s; 0 means the default",
        effect: Effect::Set(|config, value| set(&mut config.runtime_request_timeout, value.text().and_then(timeout))),
    },
    Setting {
        name: "container-log-max-size",
        form: "SIZE",
        default: "32m",
        aliases: &[],
        help: "The size at which Docker rotates its own log of a container; its lines are copied to the kubelet's file at once",
        effect: Effect::Set(|config, value| set(&mut config.container_log_max_size, value.text().and_then(size))),
    },
    Setting {
        name: "container-log-max-files",
        form: "NUMBER",
        default: "3",
        aliases: &[],
        help: "The number of such files that Docker keeps, at least 2; output beyond them is lost while Dockside is down",
        effect: Effect::Set(|config, value| set(&mut config.container_log_max_files, value.text().and_then(files))),
    },
    Setting {
        name: "streaming-bind-addr",
        form: "ADDRESS",
        default: STREAMING_ADDRESS,
        aliases: &[],
        help: "The loopback address that serves exec, attach and port-forward; port 0 picks a free port, which the URLs for the kubelet contain",
        effect: Effect::Set(|config, value| set(&mut config.streaming.address, value.text().and_then(streaming))),
    },
    Setting {
        name: "streaming-idle-timeout",
        form: "DURATION",
        default: "4h",
        aliases: &[],
        help: "An exec, attach or port-forward session is closed after this long without data or a ping from the client",
        effect: Effect::Set(|config, value| set(&mut config.streaming.idle, value.text().and_then(idle))),
    },
    Setting {
        name: "streaming-tls-cert-file",
        form: "FILE",
        default: "",
        aliases: &[],
        help: "A PEM file with a certificate chain; with it, exec, attach and port-forward are served over TLS",
        effect: Effect::Set(|config, value| set(&mut config.streaming.tls_certificate, optional_file(value))),
    },
    Setting {
        name: "streaming-tls-key-file",
        form: "FILE",
        default: "",
        aliases: &[],
        help: "The PEM file with the key of that certificate",
        effect: Effect::Set(|config, value| set(&mut config.streaming.tls_key, optional_file(value))),
    },
    Setting {
        name: "metrics-address",
        form: "ADDRESS",
        default: "",
        aliases: &[],
        help: "The address that serves Dockside's own Prometheus metrics at /metrics, as in 127.0.0.1:9187; empty disables them",
        effect: Effect::Set(|config, value| set(&mut config.metrics, value.text().and_then(metrics))),
    },
    Setting {
        name: "tracing-endpoint",
        form: "HOST:PORT",
        default: "",
        aliases: &[],
        help: "The OpenTelemetry collector (OTLP over gRPC) that receives traces of calls, as in 127.0.0.1:4317; empty disables them",
        effect: Effect::Set(|config, value| set(&mut config.tracing_endpoint, value.text().and_then(collector))),
    },
    Setting {
        name: "tracing-sampling-rate-per-million",
        form: "NUMBER",
        default: "0",
        aliases: &[],
        help: "How many of a million calls start a trace of their own; calls that the kubelet traces always join its trace",
        effect: Effect::Set(|config, value| {
            set(&mut config.tracing_sampling_per_million, value.text().and_then(per_million))
        }),
    },
    Setting {
        name: "network-plugin",
        form: "PLUGIN",
        default: "cni",
        aliases: &[],
        help: "Only cni. Other values are refused: pods would be on another network than expected",
        effect: Effect::Nothing(compat::network_plugin),
    },
    Setting {
        name: "hairpin-mode",
        form: "MODE",
        default: "none",
        aliases: &[],
        help: "Ignored. It configured kubenet; with CNI, set hairpinMode in the network configuration",
        effect: Effect::Nothing(compat::hairpin_mode),
    },
    Setting {
        name: "network-plugin-mtu",
        form: "NUMBER",
        default: "0",
        aliases: &[],
        help: "Ignored. It configured kubenet; with CNI, set mtu in the network configuration",
        effect: Effect::Nothing(compat::mtu),
    },
    Setting {
        name: "ipv6-dual-stack",
        form: "BOOL",
        default: "false",
        aliases: &[],
        help: "Ignored. A pod always has every address that its network assigns",
        effect: Effect::Nothing(compat::dual_stack),
    },
    Setting {
        name: "runtime-cgroups",
        form: "CGROUP",
        default: "",
        aliases: &[],
        help: "Only empty. It moved dockerd into a cgroup with a memory limit; set the limit in docker.service instead",
        effect: Effect::Nothing(compat::runtime_cgroups),
    },
];

fn set<T>(field: &mut T, value: Result<T, String>) -> Result<(), String> {
    *field = value?;
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
        // Its message would repeat the value.
        cni_runtime::Error::PodCidr { reason, .. } => reason,
        other => other.to_string(),
    })
}

fn switch(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "it is true or false".to_owned())
}

/// Catches mistakes that would only show at the first pod. Docker validates the reference itself.
fn image(text: &str) -> Result<Option<String>, String> {
    if text == BUILT_IN_PAUSE {
        return Ok(None);
    }
    if text.is_empty() || text.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return Err(format!("an image is named as in {BUILT_IN_PAUSE}, which is the default"));
    }
    Ok(Some(text.to_owned()))
}

/// With a single file, Docker would truncate it while Dockside reads it.
fn files(text: &str) -> Result<u32, String> {
    let files: u32 = text.parse().map_err(|_| "a number is needed")?;
    if (2..=100).contains(&files) { Ok(files) } else { Err("from 2 to 100 files can be kept".into()) }
}

fn deadline(text: &str) -> Result<Option<Duration>, String> {
    Ok(Some(duration(text)?).filter(|deadline| !deadline.is_zero()))
}

fn streaming(text: &str) -> Result<SocketAddr, String> {
    loopback(if text.is_empty() { STREAMING_ADDRESS } else { text })
}

fn metrics(text: &str) -> Result<Option<SocketAddr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| "an address is written as in 127.0.0.1:9187".to_owned())
}

/// An endpoint of the OpenTelemetry exporter.
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
        return duration(REQUEST_TIMEOUT);
    }
    if timeout < Duration::from_secs(1) {
        return Err("Docker needs at least 1s".into());
    }
    Ok(timeout)
}
