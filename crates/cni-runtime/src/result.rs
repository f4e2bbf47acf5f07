//! Results of ADD (section 5), of all versions of the specification.

use std::net::IpAddr;

use serde::Deserialize;
use serde::Deserializer;
use serde_json::Map;
use serde_json::Value;

use super::cidr::Cidr;

/// The result of an `ADD`, of any version of the specification.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AddResult {
    /// The interfaces that were created, including those on the host. Empty before version 0.3.0.
    pub interfaces: Vec<Interface>,
    /// The addresses that were assigned.
    pub ips: Vec<IpConfig>,
    /// The routes that were made.
    pub routes: Vec<Route>,
    /// The resolver configuration.
    pub dns: DnsResult,
}

/// An interface of a result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// Its name.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Its hardware address; may be empty.
    #[serde(deserialize_with = "or_default")]
    pub mac: String,
    /// The path of the network namespace it is in; empty for the host's.
    #[serde(deserialize_with = "or_default")]
    pub sandbox: String,
}

/// An address of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpConfig {
    /// The address, with its prefix length.
    pub address: Cidr,
    /// The gateway of its network.
    pub gateway: Option<IpAddr>,
    /// The index of its interface in the result, if the result has a valid one.
    pub interface: Option<usize>,
}

/// A route of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The destination.
    pub dst: Cidr,
    /// The next hop; when absent, the gateway of an address.
    pub gw: Option<IpAddr>,
}

/// The resolver configuration of a result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct DnsResult {
    /// Name servers.
    #[serde(deserialize_with = "or_default")]
    pub nameservers: Vec<String>,
    /// The local domain.
    #[serde(deserialize_with = "or_default")]
    pub domain: String,
    /// Domains to search.
    #[serde(deserialize_with = "or_default")]
    pub search: Vec<String>,
    /// Options of the resolver.
    #[serde(deserialize_with = "or_default")]
    pub options: Vec<String>,
}

/// Plugins write `null` for what they leave out.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// All keys of all versions, as they are on the wire.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire {
    #[serde(deserialize_with = "or_default")]
    interfaces: Vec<Interface>,
    #[serde(deserialize_with = "or_default")]
    ips: Vec<WireIp>,
    #[serde(deserialize_with = "or_default")]
    routes: Vec<WireRoute>,
    #[serde(deserialize_with = "or_default")]
    dns: DnsResult,
    /// Before version 0.3.0.
    ip4: Option<WireOldIp>,
    ip6: Option<WireOldIp>,
}

#[derive(Deserialize)]
struct WireIp {
    address: String,
    #[serde(default)]
    gateway: Option<String>,
    #[serde(default)]
    interface: Option<i64>,
}

#[derive(Deserialize)]
struct WireRoute {
    dst: String,
    #[serde(default)]
    gw: Option<String>,
}

#[derive(Deserialize)]
struct WireOldIp {
    ip: String,
    #[serde(default)]
    gateway: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    routes: Vec<WireRoute>,
}

impl AddResult {
    /// Reads a result; says what is wrong with it when it cannot be read.
    pub fn parse(raw: &Map<String, Value>) -> Result<AddResult, String> {
        let wire = Wire::deserialize(raw).map_err(|error| error.to_string())?;
        let mut result = AddResult { interfaces: wire.interfaces, dns: wire.dns, ..AddResult::default() };
        for old in [wire.ip4, wire.ip6].into_iter().flatten() {
            result.push_ip(WireIp { address: old.ip, gateway: old.gateway, interface: None })?;
            result.push_routes(old.routes)?;
        }
        for ip in wire.ips {
            result.push_ip(ip)?;
        }
        result.push_routes(wire.routes)?;
        Ok(result)
    }

    fn push_ip(&mut self, ip: WireIp) -> Result<(), String> {
        let interface = ip.interface.and_then(|index| usize::try_from(index).ok());
        self.ips.push(IpConfig {
            address: ip.address.parse()?,
            gateway: address(ip.gateway)?,
            interface: interface.filter(|index| *index < self.interfaces.len()),
        });
        Ok(())
    }

    fn push_routes(&mut self, routes: Vec<WireRoute>) -> Result<(), String> {
        for route in routes {
            self.routes.push(Route { dst: route.dst.parse()?, gw: address(route.gw)? });
        }
        Ok(())
    }

    /// The addresses of the pod's interface `ifname`, in the order of the result: the first is the pod's
    /// primary address. Addresses of interfaces on the host side are not the pod's. A result that does
    /// not say where its addresses are is taken to mean the pod.
    pub fn pod_ips(&self, ifname: &str) -> Vec<IpAddr> {
        let in_pod = |ip: &&IpConfig| self.interface_of(ip).is_none_or(|found| !found.sandbox.is_empty());
        let on_ifname = |ip: &&IpConfig| self.interface_of(ip).is_some_and(|found| found.name == ifname);
        let inside: Vec<&IpConfig> = self.ips.iter().filter(in_pod).collect();
        let named: Vec<&IpConfig> = inside.iter().copied().filter(on_ifname).collect();
        let chosen = match (named.is_empty(), inside.is_empty()) {
            (false, _) => named,
            (true, false) => inside,
            (true, true) => self.ips.iter().collect(),
        };
        let mut addresses = Vec::new();
        for ip in chosen {
            if !addresses.contains(&ip.address.address) {
                addresses.push(ip.address.address);
            }
        }
        addresses
    }

    fn interface_of(&self, ip: &IpConfig) -> Option<&Interface> {
        ip.interface.and_then(|index| self.interfaces.get(index))
    }
}

fn address(text: Option<String>) -> Result<Option<IpAddr>, String> {
    match text.filter(|text| !text.is_empty()) {
        Some(text) => text.parse().map(Some).map_err(|_| format!("`{text}` is not an address")),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<AddResult, String> {
        AddResult::parse(&serde_json::from_str(text).unwrap())
    }

    fn ips(text: &str) -> Vec<String> {
        parse(text).unwrap().pod_ips("eth0").iter().map(IpAddr::to_string).collect()
    }

    #[test]
    fn a_result_of_the_bridge_plugin_is_read() {
        let result = parse(
            r#"{"cniVersion":"0.3.1",
            "interfaces":[{"name":"cni0","mac":"aa:aa"},{"name":"veth1","mac":"bb:bb"},
                          {"name":"eth0","mac":"cc:cc","sandbox":"/run/netns/x"}],
            "ips":[{"version":"4","interface":2,"address":"10.1.0.5/16","gateway":"10.1.0.1"}],
            "routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0","gw":"fd00::1"}],
            "dns":{"nameservers":["10.96.0.10"],"search":null}}"#,
        )
        .unwrap();
        assert_eq!(result.interfaces[2].sandbox, "/run/netns/x");
        assert_eq!(result.ips[0].address.to_string(), "10.1.0.5/16");
        assert_eq!(result.ips[0].gateway, Some("10.1.0.1".parse().unwrap()));
        assert_eq!(result.routes[1].gw, Some("fd00::1".parse().unwrap()));
        assert_eq!(result.dns.nameservers, ["10.96.0.10"]);
    }

    #[test]
    fn addresses_keep_the_order_of_the_result() {
        let two = r#"{"interfaces":[{"name":"eth0","sandbox":"/ns"}],
            "ips":[{"address":"fd00::5/64","interface":0},{"address":"10.1.0.5/24","interface":0},
                   {"address":"fd00::5/64","interface":0}]}"#;
        assert_eq!(ips(two), ["fd00::5", "10.1.0.5"]);
    }

    #[test]
    fn addresses_on_the_host_side_are_not_the_pods() {
        let mixed = r#"{"interfaces":[{"name":"veth1"},{"name":"eth0","sandbox":"/ns"},{"name":"net1","sandbox":"/ns"}],
            "ips":[{"address":"10.0.0.1/32","interface":0},{"address":"10.0.0.2/32","interface":1},
                   {"address":"10.0.0.3/32","interface":2}]}"#;
        assert_eq!(ips(mixed), ["10.0.0.2"]);
        let unnamed = mixed.replace("\"eth0\"", "\"other\"");
        assert_eq!(ips(&unnamed), ["10.0.0.2", "10.0.0.3"]);
    }

    #[test]
    fn addresses_without_an_interface_are_the_pods() {
        assert_eq!(ips(r#"{"ips":[{"address":"10.0.0.2/32"},{"address":"10.0.0.3/32"}]}"#), ["10.0.0.2", "10.0.0.3"]);
        let nonsense = r#"{"interfaces":[],"ips":[{"address":"10.0.0.2/32","interface":-1},
            {"address":"10.0.0.3/32","interface":7}]}"#;
        assert_eq!(ips(nonsense), ["10.0.0.2", "10.0.0.3"]);
        let host_only = r#"{"interfaces":[{"name":"v"}],"ips":[{"address":"10.0.0.2/32","interface":0}]}"#;
        assert_eq!(ips(host_only), ["10.0.0.2"]);
    }

    #[test]
    fn results_from_before_version_0_3_are_read() {
        let old = r#"{"cniVersion":"0.2.0","ip4":{"ip":"10.1.0.5/24","gateway":"10.1.0.1",
            "routes":[{"dst":"0.0.0.0/0"}]},"ip6":{"ip":"fd00::5/64"},"dns":{}}"#;
        assert_eq!(ips(old), ["10.1.0.5", "fd00::5"]);
        assert_eq!(parse(old).unwrap().routes.len(), 1);
    }

    #[test]
    fn what_is_left_out_may_be_null() {
        let text = r#"{"interfaces":null,"ips":null,"routes":null,"dns":null}"#;
        assert_eq!(parse(text).unwrap(), AddResult::default());
        assert_eq!(parse("{}").unwrap().pod_ips("eth0"), Vec::<IpAddr>::new());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            r#"{"ips":[{"address":"10.1.0.5"}]}"#,
            r#"{"ips":[{"address":"x/24"}]}"#,
            r#"{"ips":[{}]}"#,
            r#"{"ips":"10.1.0.5"}"#,
            r#"{"ips":[{"address":"10.1.0.5/24","gateway":"y"}]}"#,
            r#"{"routes":[{"dst":"z"}]}"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
