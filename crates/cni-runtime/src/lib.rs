//! The pod network: the runtime side of the Container Network Interface, version 1.1.
//!
//! This room loads the node's network configuration and keeps it current, runs the plugins, remembers what
//! it attached with which configuration, and keeps network namespaces under a name. It knows nothing of
//! Docker or of the CRI. The specification it follows is `SPEC.md` of containernetworking/cni; sections are
//! quoted where a rule comes from there.
//!
//! [`Cni`] is the door. Operations on the same container must not run at the same time: the caller holds
//! the sandbox's lock. Operations on different containers run side by side.

mod attach;
mod attachment;
mod builtin;
mod cache;
mod chain;
mod cidr;
mod conf;
mod error;
mod exec;
mod failure;
mod netns;
mod result;
mod status;
mod upkeep;
mod version;
mod watch;

#[cfg(test)]
mod real_plugins;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use parking_lot::RwLock;

pub use self::attach::Attached;
pub use self::attachment::Attachment;
pub use self::attachment::Bandwidth;
pub use self::attachment::Dns;
pub use self::attachment::PortMapping;
pub use self::attachment::Protocol;
pub use self::chain::AttachmentKey;
pub use self::cidr::Cidr;
pub use self::cidr::PodCidrs;
pub use self::conf::Source;
pub use self::error::Error;
pub use self::exec::Observer;
pub use self::exec::PluginRun;
pub use self::exec::SPANS;
pub use self::failure::Failure;
pub use self::failure::PluginError;
pub use self::failure::Verb;
pub use self::netns::is_inhabited;
pub use self::netns::is_pinned;
pub use self::netns::pin_at;
pub use self::result::AddResult;
pub use self::result::DnsResult;
pub use self::result::Interface;
pub use self::result::IpConfig;
pub use self::result::Route;
pub use self::status::NOT_READY;
pub use self::status::NetworkInfo;
pub use self::status::NetworkStatus;
pub use self::upkeep::Known;

use self::cache::Cache;
use self::conf::Network;
use self::exec::Runner;

/// Where things are, and how long they may take. Paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The directory of the network configurations. It need not exist.
    pub conf_dir: PathBuf,
    /// Where plugins are looked for, in this order.
    pub bin_dirs: Vec<PathBuf>,
    /// The directory of the result cache.
    pub cache_dir: PathBuf,
    /// The directory of named network namespaces.
    pub netns_dir: PathBuf,
    /// The time one plugin has for one call.
    pub plugin_timeout: Duration,
    /// Whether to serve the built-in network when the node has a pod CIDR and the configuration directory
    /// has no configuration.
    pub builtin_network: bool,
}

impl Default for Config {
    /// The places where all runtimes look, and where distributions put the plugins.
    fn default() -> Config {
        Config {
            conf_dir: "/etc/cni/net.d".into(),
            bin_dirs: ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"].map(PathBuf::from).into(),
            cache_dir: "/var/lib/cni".into(),
            netns_dir: "/run/netns".into(),
            plugin_timeout: Duration::from_secs(120),
            builtin_network: true,
        }
    }
}

/// The pod network of this node.
#[derive(Debug)]
pub struct Cni {
    config: Config,
    runner: Runner,
    cache: Cache,
    pod_cidrs: RwLock<Option<PodCidrs>>,
    current: RwLock<Current>,
    /// Held while the configuration is read, so that an older reading does not replace a newer one.
    reloading: Mutex<()>,
    /// Held shared by attaching and detaching, and alone by garbage collection.
    turns: tokio::sync::RwLock<()>,
}

/// The configuration as it was last read.
#[derive(Debug, Default, PartialEq)]
struct Current {
    network: Option<Arc<Network>>,
    warnings: Vec<String>,
}

impl Cni {
    /// Reads the configuration. `builtin` is the node's pod CIDR if it is known from an earlier run: the
    /// kubelet only sends it when it starts or when it changes.
    pub fn new(config: Config, builtin: Option<PodCidrs>) -> Cni {
        let cni = Cni {
            runner: Runner::new(config.bin_dirs.clone(), config.plugin_timeout),
            cache: Cache::new(&config.cache_dir),
            pod_cidrs: RwLock::new(builtin),
            current: RwLock::default(),
            reloading: Mutex::default(),
            turns: tokio::sync::RwLock::default(),
            config,
        };
        cni.reload();
        cni
    }

    /// The same, with an observer of each run of a plugin: for metrics.
    #[must_use]
    pub fn with_observer(mut self, observer: Observer) -> Cni {
        self.runner.set_observer(observer);
        self
    }

    /// Takes the node's pod CIDR: one range, or one of each family with a comma between them. The built-in
    /// network follows it at once; other networks get it as capability `ipRanges`.
    ///
    /// # Errors
    /// [`Error::PodCidr`] when pods cannot get addresses from it; the former one then stays.
    pub fn set_pod_cidr(&self, cidr: &str) -> Result<(), Error> {
        let cidrs: PodCidrs = cidr.parse()?;
        *self.pod_cidrs.write() = Some(cidrs);
        self.reload();
        Ok(())
    }

    /// The node's pod CIDR, if it is known, in the form [`set_pod_cidr`](Cni::set_pod_cidr) takes.
    pub fn pod_cidr(&self) -> Option<String> {
        self.pod_cidrs.read().as_ref().map(PodCidrs::to_string)
    }

    /// Whether pods can be attached. Answers from memory, but for a look whether the plugins are installed;
    /// runs nothing.
    pub fn status(&self) -> NetworkStatus {
        let (network, mut warnings) = {
            let current = self.current.read();
            (current.network.clone(), current.warnings.clone())
        };
        let problem = match &network {
            Some(network) => status::missing_plugins(network, &self.runner),
            None => Some(self.why_no_network(&warnings)),
        };
        warnings.extend(network.iter().filter_map(|network| status::missing_ipam(network, &self.runner)));
        NetworkStatus {
            ready: problem.is_none(),
            reason: if problem.is_none() { String::new() } else { NOT_READY.to_owned() },
            message: problem.unwrap_or_default(),
            network: network.map(|network| NetworkInfo::of(&network)),
            warnings,
        }
    }

    /// Pins the network namespace of process `pid` under `name`, so that it outlives the process and
    /// `ip netns exec <name>` works. Repeating it is fine. Returns the path of the namespace. Blocks for some
    /// milliseconds.
    ///
    /// # Errors
    /// [`Error::HostNamespace`] when the process lives in Dockside's own namespace; [`Error::Netns`].
    pub fn pin_netns(&self, name: &str, pid: u32) -> Result<PathBuf, Error> {
        netns::pin(&self.config.netns_dir, name, pid)
    }

    /// Where [`pin_netns`](Cni::pin_netns) keeps the namespace with this name.
    pub fn netns_path(&self, name: &str) -> PathBuf {
        self.config.netns_dir.join(name)
    }

    /// Removes what [`pin_netns`](Cni::pin_netns) made. It is no error if the path does not exist or is a
    /// stale file. Blocks for some milliseconds.
    ///
    /// # Errors
    /// [`Error::Netns`].
    pub fn unpin_netns(&self, path: &Path) -> Result<(), Error> {
        netns::unpin(path)
    }

    /// The network to attach to, if it can be used.
    fn usable_network(&self) -> Result<Arc<Network>, Error> {
        let current = self.current.read();
        let Some(network) = &current.network else {
            return Err(Error::NoNetwork { reason: self.why_no_network(&current.warnings) });
        };
        match status::missing_plugins(network, &self.runner) {
            Some(reason) => Err(Error::NoNetwork { reason }),
            None => Ok(Arc::clone(network)),
        }
    }

    fn why_no_network(&self, warnings: &[String]) -> String {
        let dir = self.config.conf_dir.display();
        if !warnings.is_empty() {
            return format!("no valid network configuration in {dir}: {}", warnings.join("; "));
        }
        if self.config.builtin_network {
            return format!("no network configuration in {dir}, and no pod CIDR yet for the built-in network");
        }
        format!("no network configuration in {dir}")
    }

    /// Reads the configuration again and says so in the log if it changed.
    fn reload(&self) {
        let _alone = self.reloading.lock();
        let new = self.read_configuration();
        let mut current = self.current.write();
        if *current == new {
            return;
        }
        for warning in new.warnings.iter().filter(|warning| !current.warnings.contains(warning)) {
            tracing::warn!("{warning}");
        }
        if current.network != new.network {
            match &new.network {
                Some(network) => tracing::info!(
                    network = network.name,
                    source = %network.source,
                    cni_version = %network.version,
                    "pod network configured"
                ),
                None => tracing::warn!("pod network lost: {}", self.why_no_network(&new.warnings)),
            }
        }
        *current = new;
    }

    fn read_configuration(&self) -> Current {
        let conf::Loaded { mut network, mut warnings } = conf::load_dir(&self.config.conf_dir);
        // A file that cannot be used was still meant to configure the network: do not put another one in
        // its place.
        let unconfigured = network.is_none() && warnings.is_empty();
        if unconfigured
            && self.config.builtin_network
            && let Some(cidrs) = self.pod_cidrs.read().as_ref()
        {
            match builtin::network(cidrs, |plugin| self.runner.find(plugin)) {
                Ok(made) => network = Some(made),
                Err(reason) => warnings.push(format!("could not make the built-in network: {reason}")),
            }
        }
        warnings.extend(network.iter().filter_map(status::firewall_warning));
        Current { network: network.map(Arc::new), warnings }
    }
}
