//! The readiness of the network, from configuration and installed plugins.

use super::conf::Network;
use super::conf::Source;
use super::exec::Runner;

/// The reason of a false `NetworkReady` condition, as other CRI runtimes report it.
pub const NOT_READY: &str = "NetworkPluginNotReady";

/// Whether containers can be attached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkStatus {
    /// Whether there is a valid configuration with all its plugins installed.
    pub ready: bool,
    /// [`NOT_READY`], or empty when ready.
    pub reason: String,
    /// Why the network is not ready, for people; empty when ready.
    pub message: String,
    /// The network, if one is configured.
    pub network: Option<NetworkInfo>,
    /// Problems that do not make the network unready.
    pub warnings: Vec<String>,
}

/// A configured network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkInfo {
    /// Its name.
    pub name: String,
    /// Where it was configured.
    pub source: Source,
    /// The CNI version used with its plugins.
    pub cni_version: String,
    /// The types of its plugins, in the order of ADD.
    pub plugins: Vec<String>,
}

impl NetworkInfo {
    pub(super) fn of(network: &Network) -> NetworkInfo {
        NetworkInfo {
            name: network.name.clone(),
            source: network.source.clone(),
            cni_version: network.version.to_string(),
            plugins: network.plugins.iter().map(|plugin| plugin.kind.clone()).collect(),
        }
    }
}

/// Why the network cannot be used, if a plugin of it is not installed.
pub(crate) fn missing_plugins(network: &Network, runner: &Runner) -> Option<String> {
    let mut needed: Vec<&str> = network.plugins.iter().map(|plugin| plugin.kind.as_str()).collect();
    if network.source == Source::BuiltIn {
        needed.extend(network.plugins.iter().filter_map(|plugin| plugin.ipam.as_deref()));
    }
    let missing = not_installed(needed, runner);
    if missing.is_empty() {
        return None;
    }
    Some(format!(
        "network {} needs the plugins {}, which are not in {}",
        network.name,
        missing.join(", "),
        directories(runner)
    ))
}

/// Warns about IPAM plugins that are not installed. Not an error: some plugins implement their `ipam` type themselves.
pub(crate) fn missing_ipam(network: &Network, runner: &Runner) -> Option<String> {
    let missing = not_installed(network.plugins.iter().filter_map(|plugin| plugin.ipam.as_deref()).collect(), runner);
    if missing.is_empty() || network.source == Source::BuiltIn {
        return None;
    }
    Some(format!(
        "network {} assigns addresses with {}, which is not in {}",
        network.name,
        missing.join(", "),
        directories(runner)
    ))
}

fn not_installed<'a>(mut plugins: Vec<&'a str>, runner: &Runner) -> Vec<&'a str> {
    plugins.retain(|plugin| runner.find(plugin).is_none());
    plugins.dedup();
    plugins
}

fn directories(runner: &Runner) -> String {
    let dirs: Vec<String> = runner.bin_dirs().iter().map(|dir| dir.display().to_string()).collect();
    dirs.join(", ")
}

/// Warns about bridges without the `firewall` plugin. Docker sets the FORWARD policy to DROP, and with `br_netfilter` even
/// traffic between two ports of a bridge passes FORWARD: pods then reach neither each other nor anything else.
pub(crate) fn firewall_warning(network: &Network) -> Option<String> {
    let on_node = network.has_plugin("bridge") || network.has_plugin("ptp");
    if !on_node || network.has_plugin("firewall") {
        return None;
    }
    Some(format!(
        "network {} has no `firewall` plugin: Docker sets the policy of the iptables chain FORWARD to DROP, \
         and pods may then reach neither each other nor anything else; add {{\"type\": \"firewall\"}} to the \
         end of the plugins in {}",
        network.name, network.source
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn network(kinds: &[&str]) -> Network {
        let plugins: Vec<_> = kinds.iter().map(|kind| json!({"type": kind})).collect();
        let list = json!({"name": "n", "cniVersion": "1.0.0", "plugins": plugins});
        Network::from_list(list.as_object().unwrap().clone(), Source::File("/f".into())).unwrap()
    }

    #[test]
    fn a_bridge_behind_dockers_forward_policy_is_warned_about() {
        for kinds in [&["bridge", "portmap"][..], &["ptp"]] {
            let warning = firewall_warning(&network(kinds)).unwrap();
            assert!(warning.contains(r#"add {"type": "firewall"} to the end of the plugins in /f"#), "{warning}");
        }
        for kinds in [&["bridge", "firewall"][..], &["calico"], &["flannel", "portmap"]] {
            assert_eq!(firewall_warning(&network(kinds)), None);
        }
    }
}
