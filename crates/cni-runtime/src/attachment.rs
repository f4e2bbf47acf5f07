//! What a container requests of its network, as parameters for plugins: generic arguments for all, and capability arguments
//! for those that declare the capability (section 3; the names are those of CONVENTIONS.md).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::cidr::PodCidrs;
use super::conf::is_cni_name;
use super::error::Error;

/// The capability a network needs to open host ports.
pub(crate) const PORT_MAPPINGS: &str = "portMappings";
/// The capability a network needs to limit a pod's bandwidth.
pub(crate) const BANDWIDTH: &str = "bandwidth";
/// The longest name the kernel allows for an interface, in bytes.
const IFNAME_LIMIT: usize = 15;

/// One container's interface in the pod network.
#[derive(Clone, Debug, PartialEq)]
pub struct Attachment {
    /// The id of the sandbox: `CNI_CONTAINERID`.
    pub container_id: String,
    /// The interface to make inside the namespace: `CNI_IFNAME`. `eth0` by default.
    pub ifname: String,
    /// The network namespace: `CNI_NETNS`. `ADD` and `CHECK` need it; `DEL` does its best without.
    pub netns: Option<PathBuf>,
    /// The pod's name.
    pub pod_name: String,
    /// The pod's Kubernetes namespace.
    pub pod_namespace: String,
    /// The pod's uid.
    pub pod_uid: String,
    /// The ports to open. Those with host port 0 ask for nothing.
    pub port_mappings: Vec<PortMapping>,
    /// Limits of the interface's bandwidth.
    pub bandwidth: Option<Bandwidth>,
    /// The pod's name service, for plugins that serve or configure it.
    pub dns: Option<Dns>,
    /// The pod's cgroup.
    pub cgroup_path: Option<String>,
    /// The pod's annotations.
    pub annotations: BTreeMap<String, String>,
}

impl Default for Attachment {
    fn default() -> Attachment {
        Attachment {
            container_id: String::new(),
            ifname: "eth0".to_owned(),
            netns: None,
            pod_name: String::new(),
            pod_namespace: String::new(),
            pod_uid: String::new(),
            port_mappings: Vec::new(),
            bandwidth: None,
            dns: None,
            cgroup_path: None,
            annotations: BTreeMap::new(),
        }
    }
}

/// A port of the node that leads to a port of the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortMapping {
    /// The port of the node; 0 means none.
    pub host_port: u16,
    /// The port of the pod.
    pub container_port: u16,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The node's address to open it on; all of them when absent.
    pub host_ip: Option<IpAddr>,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

impl Protocol {
    fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

/// Bandwidth limits from the pod's point of view: ingress is traffic to the pod. 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// Bits per second into the pod.
    pub ingress_rate: u64,
    /// Bits into the pod at once.
    pub ingress_burst: u64,
    /// Bits per second out of the pod.
    pub egress_rate: u64,
    /// Bits out of the pod at once.
    pub egress_burst: u64,
}

/// A resolver's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Addresses of name servers.
    pub servers: Vec<String>,
    /// Domains to search.
    pub searches: Vec<String>,
    /// Options of `resolv.conf`.
    pub options: Vec<String>,
}

/// The parameters of plugin runs for one attachment, from the request or from the cache.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    pub container_id: String,
    pub ifname: String,
    pub netns: Option<PathBuf>,
    pub args: Vec<(String, String)>,
    pub capability_args: Map<String, Value>,
}

impl Parameters {
    /// The value of `CNI_ARGS`.
    pub fn args_text(&self) -> String {
        let pairs: Vec<String> = self.args.iter().map(|(key, value)| format!("{key}={value}")).collect();
        pairs.join(";")
    }
}

impl Attachment {
    /// The first host port that was asked for.
    pub fn first_host_port(&self) -> Option<u16> {
        self.port_mappings.iter().map(|mapping| mapping.host_port).find(|port| *port != 0)
    }

    /// Checks the values against the rules of the specification and translates them.
    pub fn parameters(&self, pod_cidrs: Option<&PodCidrs>) -> Result<Parameters, Error> {
        self.check()?;
        Ok(Parameters {
            container_id: self.container_id.clone(),
            ifname: self.ifname.clone(),
            netns: self.netns.clone(),
            args: self.args(),
            capability_args: self.capability_args(pod_cidrs),
        })
    }

    fn check(&self) -> Result<(), Error> {
        let refuse = |what, value: &str, reason| Err(Error::Parameter { what, value: value.to_owned(), reason });
        if !is_cni_name(&self.container_id) {
            let reason = "it must consist of letters, digits, `_`, `.` and `-`, a letter or digit first";
            return refuse("container id", &self.container_id, reason);
        }
        let ifname = self.ifname.as_str();
        if ifname.is_empty() || ifname.len() > IFNAME_LIMIT || ifname == "." || ifname == ".." {
            return refuse("interface name", ifname, "it must have 1 to 15 bytes");
        }
        if ifname.contains(|char: char| char == '/' || char == ':' || char.is_whitespace() || char == '\0') {
            return refuse("interface name", ifname, "it must not contain `/`, `:` or white space");
        }
        let names = [("pod name", &self.pod_name), ("pod namespace", &self.pod_namespace), ("pod uid", &self.pod_uid)];
        for (what, value) in names {
            // These separate the pairs of CNI_ARGS: a pod must not pass itself off as another one.
            if value.contains([';', '=', '\0']) {
                return refuse(what, value, "it must not contain `;` or `=`");
            }
        }
        Ok(())
    }

    /// What Kubernetes runtimes put into `CNI_ARGS`.
    fn args(&self) -> Vec<(String, String)> {
        let pairs = [
            ("IgnoreUnknown", "1"),
            ("K8S_POD_NAMESPACE", &self.pod_namespace),
            ("K8S_POD_NAME", &self.pod_name),
            ("K8S_POD_INFRA_CONTAINER_ID", &self.container_id),
            ("K8S_POD_UID", &self.pod_uid),
        ];
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    }

    fn capability_args(&self, pod_cidrs: Option<&PodCidrs>) -> Map<String, Value> {
        let mut args = Map::new();
        let mappings: Vec<Value> = self.port_mappings.iter().filter_map(PortMapping::to_json).collect();
        if !mappings.is_empty() {
            args.insert(PORT_MAPPINGS.to_owned(), Value::Array(mappings));
        }
        if let Some(limits) = self.bandwidth {
            args.insert(BANDWIDTH.to_owned(), limits.to_json());
        }
        if let Some(dns) = &self.dns {
            let value = json!({"servers": dns.servers, "searches": dns.searches, "options": dns.options});
            args.insert("dns".to_owned(), value);
        }
        if let Some(path) = &self.cgroup_path {
            args.insert("cgroupPath".to_owned(), Value::String(path.clone()));
        }
        if !self.annotations.is_empty() {
            args.insert("io.kubernetes.cri.pod-annotations".to_owned(), json!(self.annotations));
        }
        if let Some(cidrs) = pod_cidrs {
            args.insert("ipRanges".to_owned(), ranges(cidrs));
        }
        args
    }
}

impl PortMapping {
    fn to_json(&self) -> Option<Value> {
        if self.host_port == 0 {
            return None;
        }
        let mut entry = json!({
            "hostPort": self.host_port,
            "containerPort": self.container_port,
            "protocol": self.protocol.as_str(),
        });
        if let Some(address) = self.host_ip {
            entry["hostIP"] = Value::String(address.to_string());
        }
        Some(entry)
    }
}

impl Bandwidth {
    fn to_json(self) -> Value {
        let pairs = [
            ("ingressRate", self.ingress_rate),
            ("ingressBurst", self.ingress_burst),
            ("egressRate", self.egress_rate),
            ("egressBurst", self.egress_burst),
        ];
        let set = pairs.into_iter().filter(|(_, bits)| *bits != 0);
        Value::Object(set.map(|(key, bits)| (key.to_owned(), Value::from(bits))).collect())
    }
}

/// The address ranges as host-local's `ranges` takes them: a pod gets one address of each inner list.
pub(crate) fn ranges(cidrs: &PodCidrs) -> Value {
    cidrs.ranges().iter().map(|cidr| json!([{"subnet": cidr.to_string()}])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Attachment {
        Attachment {
            container_id: "c1".to_owned(),
            pod_name: "web".to_owned(),
            pod_namespace: "shop".to_owned(),
            pod_uid: "u-1".to_owned(),
            ..Attachment::default()
        }
    }

    #[test]
    fn cni_args_identify_the_pod() {
        assert_eq!(
            pod().parameters(None).unwrap().args_text(),
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;\
             K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=u-1"
        );
    }

    #[test]
    fn capability_arguments_are_named_as_in_the_conventions() {
        let mapping = |host_port, protocol, host_ip| PortMapping { host_port, container_port: 80, protocol, host_ip };
        let attachment = Attachment {
            port_mappings: vec![
                mapping(8080, Protocol::Tcp, None),
                mapping(0, Protocol::Tcp, None),
                mapping(53, Protocol::Udp, Some("127.0.0.1".parse().unwrap())),
            ],
            bandwidth: Some(Bandwidth { ingress_rate: 1000, ingress_burst: 10, ..Bandwidth::default() }),
            dns: Some(Dns { servers: vec!["10.96.0.10".to_owned()], ..Dns::default() }),
            cgroup_path: Some("/kubepods/pod1".to_owned()),
            annotations: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
            ..pod()
        };
        let cidrs: PodCidrs = "10.1.0.0/24,fd00::/64".parse().unwrap();
        let args = attachment.parameters(Some(&cidrs)).unwrap().capability_args;
        let expected = json!({
            "portMappings": [
                {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
                {"hostPort": 53, "containerPort": 80, "protocol": "udp", "hostIP": "127.0.0.1"},
            ],
            "bandwidth": {"ingressRate": 1000, "ingressBurst": 10},
            "dns": {"servers": ["10.96.0.10"], "searches": [], "options": []},
            "cgroupPath": "/kubepods/pod1",
            "io.kubernetes.cri.pod-annotations": {"k": "v"},
            "ipRanges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]],
        });
        assert_eq!(Value::Object(args), expected);
        assert_eq!(attachment.first_host_port(), Some(8080));
    }

    #[test]
    fn what_was_not_asked_for_is_not_passed_on() {
        let nothing = Attachment {
            port_mappings: vec![PortMapping {
                host_port: 0,
                container_port: 80,
                protocol: Protocol::Sctp,
                host_ip: None,
            }],
            ..pod()
        };
        assert!(nothing.parameters(None).unwrap().capability_args.is_empty());
        assert_eq!(nothing.first_host_port(), None);
    }

    #[test]
    fn values_that_could_be_read_as_something_else_are_refused() {
        let broken = [
            Attachment { container_id: String::new(), ..pod() },
            Attachment { container_id: "../c".to_owned(), ..pod() },
            Attachment { ifname: String::new(), ..pod() },
            Attachment { ifname: "..".to_owned(), ..pod() },
            Attachment { ifname: "a:b".to_owned(), ..pod() },
            Attachment { ifname: "sixteen-bytes-xx".to_owned(), ..pod() },
            Attachment { pod_name: "x;K8S_POD_NAMESPACE=kube-system".to_owned(), ..pod() },
            Attachment { pod_namespace: "a=b".to_owned(), ..pod() },
        ];
        for attachment in broken {
            let error = attachment.parameters(None).unwrap_err();
            assert!(matches!(error, Error::Parameter { .. }), "{attachment:?}");
        }
    }
}
