//! The traffic of a pod, by interface.

use crate::cgroup::InterfaceCounter;
use crate::cgroup::InterfaceCounters;

use super::family::Family;
use super::family::Value;

/// Prefixes of interfaces that cAdvisor leaves out: the loopback, and those of containers that run inside the pod.
const IGNORED: [&str; 3] = ["lo", "veth", "docker"];

/// The interfaces of a pod that have metrics.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Network(Vec<InterfaceCounters>);

impl Network {
    /// The interfaces in the network namespace of process `pid`; `None` when it is gone.
    pub(super) fn read(pid: i32) -> Option<Network> {
        InterfaceCounters::read_all(pid).map(Network::new)
    }

    pub(super) fn new(mut interfaces: Vec<InterfaceCounters>) -> Network {
        interfaces.retain(|interface| !IGNORED.iter().any(|prefix| interface.name.starts_with(prefix)));
        Network(interfaces)
    }

    fn values(&self, counter: InterfaceCounter) -> Vec<Value> {
        let value = |interface: &InterfaceCounters| Some(Value::labelled(&[&interface.name], interface.get(counter)?));
        self.0.iter().filter_map(value).collect()
    }
}

pub(super) const FAMILIES: &[Family<Network>] = &[
    Family::<Network>::counter("container_network_receive_bytes_total", "Bytes received.", |network| {
        network.values(InterfaceCounter::ReceivedBytes)
    })
    .by(&["interface"]),
    Family::<Network>::counter("container_network_receive_packets_total", "Packets received.", |network| {
        network.values(InterfaceCounter::ReceivedPackets)
    })
    .by(&["interface"]),
    Family::<Network>::counter(
        "container_network_receive_errors_total",
        "Packets received with an error.",
        |network| network.values(InterfaceCounter::ReceiveErrors),
    )
    .by(&["interface"]),
    Family::<Network>::counter(
        "container_network_receive_packets_dropped_total",
        "Incoming packets dropped.",
        |network| network.values(InterfaceCounter::ReceiveDropped),
    )
    .by(&["interface"]),
    Family::<Network>::counter("container_network_transmit_bytes_total", "Bytes sent.", |network| {
        network.values(InterfaceCounter::SentBytes)
    })
    .by(&["interface"]),
    Family::<Network>::counter("container_network_transmit_packets_total", "Packets sent.", |network| {
        network.values(InterfaceCounter::SentPackets)
    })
    .by(&["interface"]),
    Family::<Network>::counter(
        "container_network_transmit_errors_total",
        "Packets that could not be sent.",
        |network| network.values(InterfaceCounter::SendErrors),
    )
    .by(&["interface"]),
    Family::<Network>::counter(
        "container_network_transmit_packets_dropped_total",
        "Outgoing packets dropped.",
        |network| network.values(InterfaceCounter::SendDropped),
    )
    .by(&["interface"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_interface_of_the_pod_has_its_counters_and_loopback_and_inner_ones_have_none() {
        let line = |name: &str| format!("{name}: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n");
        let text: String = ["heading", "heading", "  eth0", "net1", "lo", "veth12", "docker0"].map(line).concat();
        let network = Network::new(InterfaceCounters::parse(&text));
        let values: Vec<Vec<Value>> = FAMILIES.iter().map(|family| family.values(&network)).collect();
        let expected = [1, 2, 3, 4, 9, 10, 11, 12]
            .map(|value| vec![Value::labelled(&["eth0"], value), Value::labelled(&["net1"], value)]);
        assert_eq!(values, expected);
    }
}
