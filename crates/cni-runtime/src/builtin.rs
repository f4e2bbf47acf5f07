//! The network Dockside makes when nobody configured one: a bridge with addresses from the node's pod CIDR,
//! as a person would set it up by hand.

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

/// Its name. The result cache and host-local's address files are named after it.
pub const NAME: &str = "dockside";
/// The bridge on the node.
pub const BRIDGE: &str = "cni0";

/// The built-in network.
///
/// `find` tells where a plugin is: `bandwidth` only joins the chain when it is installed, because no pod
/// needs it unless it asks for a limit. The other plugins are not optional: without `firewall`, the FORWARD
/// policy that Docker sets to DROP cuts the pods off.
///
/// # Errors
/// Only if the configuration breaks its own rules.
pub fn network(cidrs: &PodCidrs, find: impl Fn(&str) -> Option<PathBuf>) -> Result<Network, String> {
    let default_route = |v4: bool| if v4 { "0.0.0.0/0" } else { "::/0" };
    let routes: Vec<Value> =
        cidrs.ranges().iter().map(|cidr| json!({"dst": default_route(cidr.address.is_ipv4())})).collect();
    let mut plugins = vec![
        json!({
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": true,
            "ipMasq": true,
            "hairpinMode": true,
            // A bridge left over from another network, or from this node's earlier pod CIDR, must not make
            // every ADD fail with `"cni0" already has an IP address different from ...`.
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
        ("name".to_owned(), json!(NAME)),
        // Version 1.1.1 of the plugins fails without a cause: portmap when a pod with a host port has no
        // IPv6 address, bandwidth when a pod has no limit.
        ("disableCheck".to_owned(), json!(true)),
        ("plugins".to_owned(), Value::Array(plugins)),
    ]);
    Network::from_list(list, Source::BuiltIn)
}

/// The network for one attachment: the built-in one without the plugins that have nothing to do for it,
/// which is `portmap` without host ports and `bandwidth` without a limit. Running them would only cost
/// time, about 4 ms each on `ADD` and on `DEL`. What others configured is never changed.
pub fn for_attachment(network: Arc<Network>, capability_args: &Map<String, Value>) -> Arc<Network> {
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

    fn kinds(network: &Network) -> Vec<&str> {
        network.plugins.iter().map(|plugin| plugin.kind.as_str()).collect()
    }

    #[test]
    fn each_family_has_a_range_and_a_default_route() {
        let network = network(&"fd00::/64,10.1.0.0/24".parse().unwrap(), |_| None).unwrap();
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
        let network = network(&"10.1.0.0/24".parse().unwrap(), |_| Some("/x".into())).unwrap();
        assert_eq!(kinds(&network), ["bridge", "portmap", "firewall", "bandwidth"]);
        assert!(network.has_capability(BANDWIDTH));
    }

    #[test]
    fn plugins_without_work_are_left_out_of_the_built_in_network_alone() {
        let builtin = Arc::new(network(&"10.1.0.0/24".parse().unwrap(), |_| Some("/x".into())).unwrap());
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
