//! The CRI's stats of a pod's network.

use crate::cgroup::InterfaceCounter;
use crate::cgroup::InterfaceCounters;
use crate::clock::now_ns;
use crate::proto::NetworkInterfaceUsage;
use crate::proto::NetworkUsage;
use crate::proto::UInt64Value;

/// The interface with the pod's address.
const DEFAULT_INTERFACE: &str = "eth0";
const LOOPBACK: &str = "lo";

/// The usage of the network namespace of process `pid`; `None` when the process is gone.
pub(super) fn usage(pid: i32) -> Option<NetworkUsage> {
    Some(render(&InterfaceCounters::read_all(pid)?, now_ns()))
}

fn render(interfaces: &[InterfaceCounters], timestamp: i64) -> NetworkUsage {
    let mut all: Vec<NetworkInterfaceUsage> =
        interfaces.iter().filter(|interface| interface.name != LOOPBACK).map(interface_usage).collect();
    let default = all.iter().position(|interface| interface.name == DEFAULT_INTERFACE);
    NetworkUsage { timestamp, default_interface: default.map(|index| all.remove(index)), interfaces: all }
}

fn interface_usage(interface: &InterfaceCounters) -> NetworkInterfaceUsage {
    let counter = |counter| interface.get(counter).map(|value| UInt64Value { value });
    NetworkInterfaceUsage {
        name: interface.name.clone(),
        rx_bytes: counter(InterfaceCounter::ReceivedBytes),
        rx_errors: counter(InterfaceCounter::ReceiveErrors),
        tx_bytes: counter(InterfaceCounter::SentBytes),
        tx_errors: counter(InterfaceCounter::SendErrors),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interface_of_the_address_stands_apart_and_loopback_does_not_count() {
        let text = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     840      10    0    0    0     0          0         0      840      10    0    0    0     0       0          0
  net1:       1       1    2    0    0     0          0         0        3       1    4    0    0     0       0          0
  eth0:1500       10    0    0    0     0          0         0      2500       12    1    0    0     0       0          0
";
        let usage = render(&InterfaceCounters::parse(text), 7);
        let default = usage.default_interface.unwrap();
        assert_eq!((default.name.as_str(), default.rx_bytes.unwrap().value), ("eth0", 1500));
        assert_eq!((default.tx_bytes.unwrap().value, default.tx_errors.unwrap().value), (2500, 1));
        assert_eq!(usage.interfaces.len(), 1);
        assert_eq!(usage.interfaces[0].rx_errors.as_ref().unwrap().value, 2);
    }
}
