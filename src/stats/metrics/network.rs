//! The traffic of a pod, interface by interface.

use std::fs;

use super::family::Family;
use super::family::Value;

/// Interfaces that cAdvisor leaves out: the loopback, and what belongs to containers that run inside of the pod.
const IGNORED: [&str; 3] = ["lo", "veth", "docker"];

/// What the interfaces counted.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Network(Vec<Interface>);

#[derive(Debug, Default, PartialEq)]
struct Interface {
    name: String,
    /// In the order of `/proc/PID/net/dev`: eight of what was received, then eight of what was sent.
    counters: Vec<u64>,
}

impl Network {
    /// The counters of the network namespace of process `pid`; `None` when it is gone.
    pub(super) fn read(pid: i32) -> Option<Network> {
        Some(parse(&fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()?))
    }

    fn each(&self, column: usize) -> Vec<Value> {
        let value = |interface: &Interface| {
            interface.counters.get(column).map(|value| Value::labelled(&[&interface.name], *value))
        };
        self.0.iter().filter_map(value).collect()
    }
}

/// Two lines of headings, then a line for each interface (proc_pid_net(5)).
pub(super) fn parse(text: &str) -> Network {
    let interfaces = text.lines().skip(2).filter_map(|line| {
        let (name, counters) = line.split_once(':')?;
        let counters = counters.split_ascii_whitespace().filter_map(|counter| counter.parse().ok()).collect();
        Some(Interface { name: name.trim().to_owned(), counters })
    });
    Network(interfaces.filter(|one| !IGNORED.iter().any(|prefix| one.name.starts_with(prefix))).collect())
}

pub(super) const FAMILIES: &[Family<Network>] = &[
    Family::<Network>::counter("container_network_receive_bytes_total", "Bytes received.", |all| all.each(0))
        .by(&["interface"]),
    Family::<Network>::counter("container_network_receive_packets_total", "Packets received.", |all| all.each(1))
        .by(&["interface"]),
    Family::<Network>::counter("container_network_receive_errors_total", "Packets received with an error.", |all| {
        all.each(2)
    })
    .by(&["interface"]),
    Family::<Network>::counter(
        "container_network_receive_packets_dropped_total",
        "Packets dropped on their way in.",
        |all| all.each(3),
    )
    .by(&["interface"]),
    Family::<Network>::counter("container_network_transmit_bytes_total", "Bytes sent.", |all| all.each(8))
        .by(&["interface"]),
    Family::<Network>::counter("container_network_transmit_packets_total", "Packets sent.", |all| all.each(9))
        .by(&["interface"]),
    Family::<Network>::counter("container_network_transmit_errors_total", "Packets that could not be sent.", |all| {
        all.each(10)
    })
    .by(&["interface"]),
    Family::<Network>::counter(
        "container_network_transmit_packets_dropped_total",
        "Packets dropped on their way out.",
        |all| all.each(11),
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
        let network = parse(&text);
        let told: Vec<Vec<Value>> = FAMILIES.iter().map(|family| family.values(&network)).collect();
        let expected = [1, 2, 3, 4, 9, 10, 11, 12]
            .map(|value| vec![Value::labelled(&["eth0"], value), Value::labelled(&["net1"], value)]);
        assert_eq!(told, expected);
    }
}
