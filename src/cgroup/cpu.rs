//! CPU time, and the share of it that a cgroup may take.

use std::fs;

use super::file::Pressure;
use super::file::Table;
use super::file::value;
use super::path::CPUACCT;
use super::path::Cgroup;

/// A tick of `cpuacct.stat` in nanoseconds: the kernel reports a hundred a second to user space (time(7)).
const TICK: u64 = 10_000_000;
/// The unit of cgroup v2's `cpu.stat`, in nanoseconds.
const MICROSECOND: u64 = 1000;

/// The CPU time of a cgroup with all cgroups below it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Cpu {
    /// In nanoseconds.
    pub(crate) usage_ns: u64,
    pub(crate) pressure: Option<Pressure>,
}

/// [`Cpu`], and what takes more files to read. `None` where this kernel does not have a value.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct CpuDetails {
    pub(crate) cpu: Cpu,
    /// Time in user mode, in nanoseconds.
    pub(crate) user_ns: Option<u64>,
    /// Time in kernel mode, in nanoseconds.
    pub(crate) system_ns: Option<u64>,
    /// CPU shares as Kubernetes has them, 2 to 262144.
    pub(crate) shares: Option<u64>,
    /// The CFS period in microseconds.
    pub(crate) period_us: Option<u64>,
    /// The CFS quota in microseconds a period; `None` for no quota.
    pub(crate) quota_us: Option<u64>,
    pub(crate) throttling: Throttling,
}

/// What the CFS quota did. All `None` without a quota.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Throttling {
    /// Periods that passed.
    pub(crate) periods: Option<u64>,
    /// Periods in which the quota was used up.
    pub(crate) throttled_periods: Option<u64>,
    /// How long processes waited for the next period, in nanoseconds.
    pub(crate) throttled_ns: Option<u64>,
    /// Periods in which more than the quota was used; Linux 5.15 and later.
    pub(crate) burst_periods: Option<u64>,
    /// CPU time used beyond the quota, in nanoseconds; Linux 5.15 and later.
    pub(crate) burst_ns: Option<u64>,
}

impl Cpu {
    /// `None` when the cgroup is gone.
    pub(super) fn read(cgroup: &Cgroup) -> Option<Cpu> {
        if cgroup.is_v2() { Cpu::read_v2(cgroup).map(|(cpu, _)| cpu) } else { Cpu::read_v1(cgroup) }
    }

    fn read_v1(cgroup: &Cgroup) -> Option<Cpu> {
        let usage = |name: &&str| value(&cgroup.controller(name).join("cpuacct.usage"));
        Some(Cpu { usage_ns: CPUACCT.iter().find_map(usage)?, pressure: None })
    }

    fn read_v2(cgroup: &Cgroup) -> Option<(Cpu, Table)> {
        let directory = cgroup.controller("cpu");
        let stat = Table::read(&directory.join("cpu.stat"))?;
        let usage_ns = stat.get("usage_usec")? * MICROSECOND;
        Some((Cpu { usage_ns, pressure: Pressure::read(&directory.join("cpu.pressure")) }, stat))
    }
}

impl CpuDetails {
    /// `None` when the cgroup is gone.
    pub(crate) fn read(cgroup: &Cgroup) -> Option<CpuDetails> {
        if cgroup.is_v2() { CpuDetails::read_v2(cgroup) } else { CpuDetails::read_v1(cgroup) }
    }

    fn read_v1(cgroup: &Cgroup) -> Option<CpuDetails> {
        let cpu = Cpu::read_v1(cgroup)?;
        let directory = cgroup.cpu();
        let times = Table::read(&cgroup.cpuacct().join("cpuacct.stat"));
        let time = |name: &str| Some(times.as_ref()?.get(name)? * TICK);
        // "-1" for no quota does not parse as a u64.
        let quota_us = value(&directory.join("cpu.cfs_quota_us"));
        let stat = Table::read(&directory.join("cpu.stat"));
        Some(CpuDetails {
            cpu,
            user_ns: time("user"),
            system_ns: time("system"),
            shares: value(&directory.join("cpu.shares")),
            period_us: value(&directory.join("cpu.cfs_period_us")),
            quota_us,
            throttling: Throttling::parse(quota_us.and(stat.as_ref()), ["throttled_time", "burst_time"], 1),
        })
    }

    fn read_v2(cgroup: &Cgroup) -> Option<CpuDetails> {
        let (cpu, stat) = Cpu::read_v2(cgroup)?;
        let directory = cgroup.controller("cpu");
        let max = fs::read_to_string(directory.join("cpu.max")).unwrap_or_default();
        let (quota, period) = max.trim().split_once(' ').unwrap_or_default();
        let quota_us = quota.parse().ok();
        Some(CpuDetails {
            cpu,
            user_ns: stat.get("user_usec").map(|time| time * MICROSECOND),
            system_ns: stat.get("system_usec").map(|time| time * MICROSECOND),
            shares: value(&directory.join("cpu.weight")).map(shares),
            period_us: period.parse().ok(),
            quota_us,
            throttling: Throttling::parse(quota_us.map(|_: u64| &stat), ["throttled_usec", "burst_usec"], MICROSECOND),
        })
    }
}

impl Throttling {
    /// `unit` is that of the two times, in nanoseconds.
    fn parse(stat: Option<&Table>, [throttled, burst]: [&str; 2], unit: u64) -> Throttling {
        let get = |name: &str| stat.and_then(|stat| stat.get(name));
        Throttling {
            periods: get("nr_periods"),
            throttled_periods: get("nr_throttled"),
            throttled_ns: get(throttled).map(|time| time * unit),
            burst_periods: get("nr_bursts"),
            burst_ns: get(burst).map(|time| time * unit),
        }
    }
}

/// Kubernetes' CPU shares from the weight of cgroup v2 that was made of them: [1..10000] to [2..262144].
fn shares(weight: u64) -> u64 {
    2 + weight.saturating_sub(1) * 262_142 / 9_999
}
