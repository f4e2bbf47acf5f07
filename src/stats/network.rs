//! The traffic of a pod, as a process in its network namespace sees it.

use std::fs;

use crate::clock::now_ns;
use crate::proto::NetworkInterfaceUsage;
use crate::proto::NetworkUsage;
use crate::proto::UInt64Value;

/// The interface that the pod's address is on.
const DEFAULT: &str = "eth0";
const LOOPBACK: &str = "lo";

/// The counters of the network namespace of process `pid`; `None` when the process is gone.
pub(super) fn usage(pid: i32) -> Option<NetworkUsage> {
    Some(parse(&fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()?, now_ns()))
}

/// `/proc/PID/net/dev`: two lines of headings, then a line for each interface (proc_pid_net(5)).
fn parse(text: &str, timestamp: i64) -> NetworkUsage {
    let mut all: Vec<NetworkInterfaceUsage> = text.lines().skip(2).filter_map(interface).collect();
    all.retain(|interface| interface.name != LOOPBACK);
    let default = all.iter().position(|interface| interface.name == DEFAULT);
    NetworkUsage { timestamp, default_interface: default.map(|index| all.remove(index)), interfaces: all }
}

fn interface(line: &str) -> Option<NetworkInterfaceUsage> {
    let (name, counters) = line.split_once(':')?;
    let counters: Vec<u64> = counters.split_ascii_whitespace().filter_map(|counter| counter.parse().ok()).collect();
    let counter = |index: usize| counters.get(index).map(|value| UInt64Value { value: *value });
    Some(NetworkInterfaceUsage {
        name: name.trim().to_owned(),
        rx_bytes: counter(0),
        rx_errors: counter(2),
        tx_bytes: counter(8),
        tx_errors: counter(10),
    })
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
        let usage = parse(text, 7);
        let default = usage.default_interface.unwrap();
        assert_eq!((default.name.as_str(), default.rx_bytes.unwrap().value), ("eth0", 1500));
        assert_eq!((default.tx_bytes.unwrap().value, default.tx_errors.unwrap().value), (2500, 1));
        assert_eq!(usage.interfaces.len(), 1);
        assert_eq!(usage.interfaces[0].rx_errors.as_ref().unwrap().value, 2);
    }
}
