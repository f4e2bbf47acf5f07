//! The runtime side of the Container Network Interface (CNI), version 1.1 and older.
//!
//! [`Cni`] loads a node's network configuration and keeps it current, executes the plugins for ADD, DEL, CHECK, STATUS
//! and GC, caches each attachment with the configuration it was made with, and pins network namespaces under a name. It
//! is independent of any container engine. The rules are those of `SPEC.md` in containernetworking/cni; comments name its
//! sections.
//!
//! Two operations on the same container must not run at the same time: the caller holds a lock for it. Operations on
//! different containers may run in parallel. Everything runs on tokio.
//!
//! ```no_run
//! use cni_runtime::{Attachment, Cni, Config};
//!
//! # async fn example(pid: u32) -> Result<(), cni_runtime::Error> {
//! let cni = Cni::new(Config::default(), None);
//! let netns = cni.pin_netns("pod-1", pid)?;
//! let attachment = Attachment { container_id: "pod-1".into(), netns: Some(netns.clone()), ..Attachment::default() };
//! let attached = cni.add(&attachment).await?;
//! println!("{:?}", attached.ips);
//! cni.del(&attachment).await?;
//! cni.unpin_netns(&netns)?;
//! # Ok(())
//! # }
//! ```

#![deny(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]

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
mod maintenance;
mod netns;
mod result;
mod status;
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
pub use self::builtin::BuiltinNetwork;
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
pub use self::maintenance::CachedAttachment;
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

use self::cache::Cache;
use self::conf::Network;
use self::exec::Runner;

/// Directories and limits. Paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The directory of the network configurations. It need not exist.
    pub conf_dir: PathBuf,
    /// The directories that are searched for plugins, in this order.
    pub bin_dirs: Vec<PathBuf>,
    /// The directory of the result cache.
    pub cache_dir: PathBuf,
    /// The directory of named network namespaces.
    pub netns_dir: PathBuf,
    /// How long one run of a plugin may take before it is killed.
    pub plugin_timeout: Duration,
    /// The network to use while the configuration directory has no configuration and a pod CIDR is set. `None`: there is
    /// none.
    pub builtin_network: Option<BuiltinNetwork>,
}

impl Default for Config {
    /// The directories that container runtimes and distributions use, and no built-in network.
    fn default() -> Config {
        Config {
            conf_dir: "/etc/cni/net.d".into(),
            bin_dirs: ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"].map(PathBuf::from).into(),
            cache_dir: "/var/lib/cni".into(),
            netns_dir: "/run/netns".into(),
            plugin_timeout: Duration::from_secs(120),
            builtin_network: None,
        }
    }
}

/// The container network of one node; see the crate's documentation.
#[derive(Debug)]
pub struct Cni {
    config: Config,
    runner: Runner,
    cache: Cache,
    pod_cidrs: RwLock<Option<PodCidrs>>,
    current: RwLock<Current>,
    /// Held while the configuration is read, so that an older version cannot replace a newer one.
    reloading: Mutex<()>,
    /// Held shared by ADD, DEL and CHECK, and exclusively by GC (section 3).
    operations: tokio::sync::RwLock<()>,
}

/// The configuration as it was last read.
#[derive(Debug, Default, PartialEq)]
struct Current {
    network: Option<Arc<Network>>,
    warnings: Vec<String>,
}

impl Cni {
    /// Reads the configuration. `pod_cidrs` is the node's pod CIDR if it is known already; see
    /// [`set_pod_cidr`](Cni::set_pod_cidr).
    pub fn new(config: Config, pod_cidrs: Option<PodCidrs>) -> Cni {
        let cni = Cni {
            runner: Runner::new(config.bin_dirs.clone(), config.plugin_timeout),
            cache: Cache::new(&config.cache_dir),
            pod_cidrs: RwLock::new(pod_cidrs),
            current: RwLock::default(),
            reloading: Mutex::default(),
            operations: tokio::sync::RwLock::default(),
            config,
        };
        cni.reload();
        cni
    }

    /// Calls `observer` after each run of a plugin, for metrics.
    #[must_use]
    pub fn with_observer(mut self, observer: Observer) -> Cni {
        self.runner.set_observer(observer);
        self
    }

    /// Sets the node's pod CIDR: one range, or one per address family separated by a comma. The built-in network assigns
    /// addresses from it; other networks receive it as the capability argument `ipRanges`.
    ///
    /// # Errors
    /// [`Error::PodCidr`] when it cannot serve pods; the previous one stays in use.
    pub fn set_pod_cidr(&self, cidr: &str) -> Result<(), Error> {
        let cidrs: PodCidrs = cidr.parse()?;
        *self.pod_cidrs.write() = Some(cidrs);
        self.reload();
        Ok(())
    }

    /// The node's pod CIDR in the form that [`set_pod_cidr`](Cni::set_pod_cidr) accepts, or `None` if it is not set.
    pub fn pod_cidr(&self) -> Option<String> {
        self.pod_cidrs.read().as_ref().map(PodCidrs::to_string)
    }

    /// Whether containers can be attached. Answers from memory, except that it checks whether the plugins are installed;
    /// no plugin is run (that is [`plugin_status`](Cni::plugin_status)).
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
    /// `ip netns exec <name>` works. Returns the path of the namespace. Can be repeated. Blocks for some milliseconds.
    ///
    /// # Errors
    /// [`Error::HostNamespace`] when the process is in the caller's own namespace; [`Error::Parameter`] for a bad name;
    /// [`Error::Netns`].
    pub fn pin_netns(&self, name: &str, pid: u32) -> Result<PathBuf, Error> {
        netns::pin(&self.config.netns_dir, name, pid)
    }

    /// The path at which [`pin_netns`](Cni::pin_netns) pins the namespace with this name.
    pub fn netns_path(&self, name: &str) -> PathBuf {
        self.config.netns_dir.join(name)
    }

    /// Undoes [`pin_netns`](Cni::pin_netns). A missing path or a stale file is not an error. Blocks for some milliseconds.
    ///
    /// # Errors
    /// [`Error::Netns`].
    pub fn unpin_netns(&self, path: &Path) -> Result<(), Error> {
        netns::unpin(path)
    }

    /// The configured network, if all its plugins are installed.
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
        if self.config.builtin_network.is_some() {
            return format!("no network configuration in {dir}, and no pod CIDR yet for the built-in network");
        }
        format!("no network configuration in {dir}")
    }

    /// Reads the configuration again, and logs a change.
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
        // An invalid file was still meant to configure the network: the built-in network must not replace it.
        let unconfigured = network.is_none() && warnings.is_empty();
        if unconfigured
            && let Some(builtin) = &self.config.builtin_network
            && let Some(cidrs) = self.pod_cidrs.read().as_ref()
        {
            match builtin::network(builtin, cidrs, |plugin| self.runner.find(plugin)) {
                Ok(made) => network = Some(made),
                Err(reason) => warnings.push(format!("could not make the built-in network: {reason}")),
            }
        }
        warnings.extend(network.iter().filter_map(status::firewall_warning));
        Current { network: network.map(Arc::new), warnings }
    }
}
