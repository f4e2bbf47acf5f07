//! The built-in network, for nodes without a network configuration: a bridge with addresses from the node's pod CIDR.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::attachment::BANDWIDTH;
use super::attachment::PORT_MAPPINGS;
use super::attachment::ranges;
use super::cidr::PodCidrs;
use super::conf::Network;
use super::conf::Plugin;
use super::conf::Source;

/// What identifies the built-in network on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltinNetwork {
    /// The network's name. The result cache and host-local's address files are named after it.
    pub name: String,
    /// The name of the bridge device.
    pub bridge: String,
}

/// The built-in network.
///
/// `find` returns the path of a plugin. `bandwidth` is in the chain only if it is installed, since only pods with a limit
/// need it. The other plugins are required: without `firewall`, a FORWARD policy of DROP, which Docker sets, blocks pod
/// traffic.
///
/// # Errors
/// When the configuration is invalid, such as a bad name.
pub(crate) fn network(
    builtin: &BuiltinNetwork,
    cidrs: &PodCidrs,
    find: impl Fn(&str) -> Option<PathBuf>,
) -> Result<Network, String> {
    let default_route = |v4: bool| if v4 { "0.0.0.0/0" } else { "::/0" };
    let routes: Vec<Value> =
        cidrs.ranges().iter().map(|cidr| json!({"dst": default_route(cidr.address.is_ipv4())})).collect();
    let mut plugins = vec![
        json!({
            "type": "bridge",
            "bridge": builtin.bridge,
            "isGateway": true,
            "ipMasq": true,
            "hairpinMode": true,
            // Without it, a bridge that has an address of another network or of an earlier pod CIDR makes every ADD
            // fail.
            "forceAddress": true,
            "ipam": {"type": "host-local", "ranges": ranges(cidrs), "routes": routes},
        }),
        json!({"type": "portmap", "capabilities": {PORT_MAPPINGS: true}, "snat": true}),
        json!({"type": "firewall"}),
    ];
    if find(BANDWIDTH).is_some() {
        plugins.push(json!({"type": "bandwidth", "capabilities": {BANDWIDTH: true}}));
    }
    let list = Map::from_iter([
        ("cniVersion".to_owned(), json!("1.0.0")),
        ("name".to_owned(), json!(builtin.name)),
        // CHECK of version 1.1.1 of the plugins fails on healthy attachments: portmap's if a pod with a host port has no
        // IPv6 address, bandwidth's if a pod has no limit.
        ("disableCheck".to_owned(), json!(true)),
        ("plugins".to_owned(), Value::Array(plugins)),
    ]);
    Network::from_list(list, Source::BuiltIn)
}

/// The network for one attachment. For the built-in network, plugins that would do nothing are left out: `portmap` without
/// host ports, `bandwidth` without a limit. Each would cost about 4 ms on ADD and on DEL. Other networks are not changed.
pub(crate) fn for_attachment(network: Arc<Network>, capability_args: &Map<String, Value>) -> Arc<Network> {
    let asked_for = |plugin: &Plugin| {
        plugin.capabilities.is_empty() || plugin.capabilities.iter().any(|name| capability_args.contains_key(name))
    };
    if network.source != Source::BuiltIn || network.plugins.iter().all(asked_for) {
        return network;
    }
    let mut needed = Network::clone(&network);
    needed.plugins.retain(asked_for);
    let configs = needed.plugins.iter().map(|plugin| Value::Object(plugin.raw.clone())).collect();
    needed.list.insert("plugins".to_owned(), Value::Array(configs));
    Arc::new(needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builtin() -> BuiltinNetwork {
        BuiltinNetwork { name: "builtin".to_owned(), bridge: "cni0".to_owned() }
    }

    fn kinds(network: &Network) -> Vec<&str> {
        network.plugins.iter().map(|plugin| plugin.kind.as_str()).collect()
    }

    #[test]
    fn each_family_has_a_range_and_a_default_route() {
        let network = network(&builtin(), &"fd00::/64,10.1.0.0/24".parse().unwrap(), |_| None).unwrap();
        assert_eq!(kinds(&network), ["bridge", "portmap", "firewall"]);
        assert_eq!(
            network.plugins[0].raw["ipam"],
            json!({
                "type": "host-local",
                "ranges": [[{"subnet": "fd00::/64"}], [{"subnet": "10.1.0.0/24"}]],
                "routes": [{"dst": "::/0"}, {"dst": "0.0.0.0/0"}],
            })
        );
        assert!(network.has_capability(PORT_MAPPINGS) && !network.has_capability(BANDWIDTH));
    }

    #[test]
    fn bandwidth_limits_work_when_the_plugin_is_installed() {
        let network = network(&builtin(), &"10.1.0.0/24".parse().unwrap(), |_| Some("/x".into())).unwrap();
        assert_eq!(kinds(&network), ["bridge", "portmap", "firewall", "bandwidth"]);
        assert!(network.has_capability(BANDWIDTH));
    }

    #[test]
    fn plugins_without_work_are_left_out_of_the_built_in_network_alone() {
        let builtin = Arc::new(network(&builtin(), &"10.1.0.0/24".parse().unwrap(), |_| Some("/x".into())).unwrap());
        let args = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), json!(1))).collect();
        for (asked, run) in [
            (&["dns"][..], &["bridge", "firewall"][..]),
            (&[PORT_MAPPINGS], &["bridge", "portmap", "firewall"]),
            (&[PORT_MAPPINGS, BANDWIDTH], &["bridge", "portmap", "firewall", "bandwidth"]),
        ] {
            let chosen = for_attachment(Arc::clone(&builtin), &args(asked));
            assert_eq!(kinds(&chosen), run);
            let cached = Network::from_list(chosen.list.clone(), Source::Cache).unwrap();
            assert_eq!(cached.plugins, chosen.plugins, "DEL runs the same plugins");
        }
        let theirs = Arc::new(Network { source: Source::File("/f".into()), ..Network::clone(&builtin) });
        assert_eq!(for_attachment(Arc::clone(&theirs), &args(&[])), theirs);
    }
}
