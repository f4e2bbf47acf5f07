//! Processor time, and the share of it that a cgroup may take.

use std::fs;

use crate::proto::PsiStats;

use super::super::cgroup::Table;
use super::super::cgroup::pressure;
use super::super::cgroup::value;
use super::family::Family;
use super::family::SECOND;
use super::family::Value;
use super::family::one;
use super::family::seconds;
use super::place::Place;

/// A tick of `cpuacct.stat`: the kernel counts a hundred a second towards programs, whatever it uses itself (time(7)).
const TICK: u64 = 10_000_000;

/// Times in nanoseconds, but for the period and the quota, which are in microseconds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Cpu {
    total: u64,
    user: Option<u64>,
    system: Option<u64>,
    shares: Option<u64>,
    period: Option<u64>,
    /// `None` when nothing but the machine limits it.
    quota: Option<u64>,
    throttling: Throttling,
    pressure: Option<PsiStats>,
}

#[derive(Debug, Default, PartialEq)]
struct Throttling {
    periods: Option<u64>,
    throttled: Option<u64>,
    time: Option<u64>,
    /// Linux 5.15 and later: what was used beyond the quota, of what was saved before.
    bursts: Option<u64>,
    burst_time: Option<u64>,
}

impl Cpu {
    /// `None` when the cgroup is gone.
    pub(super) fn read(place: &Place) -> Option<Cpu> {
        if place.is_version_2 { Cpu::version_2(place) } else { Cpu::version_1(place) }
    }

    fn version_1(place: &Place) -> Option<Cpu> {
        let (cpu, cpuacct) = (place.cpu(), place.cpuacct());
        let total = value(&cpuacct.join("cpuacct.usage"))?;
        let times = Table::read(&cpuacct.join("cpuacct.stat"));
        let ticks = |name: &str| Some(times.as_ref()?.find(name)? * TICK);
        // "-1" is no number of this type, and no quota.
        let quota = value(&cpu.join("cpu.cfs_quota_us"));
        let stat = Table::read(&cpu.join("cpu.stat"));
        Some(Cpu {
            total,
            user: ticks("user"),
            system: ticks("system"),
            shares: value(&cpu.join("cpu.shares")),
            period: value(&cpu.join("cpu.cfs_period_us")),
            quota,
            throttling: throttling(quota.and(stat.as_ref()), ["throttled_time", "burst_time"], 1),
            pressure: None,
        })
    }

    fn version_2(place: &Place) -> Option<Cpu> {
        let directory = place.unified();
        let stat = Table::read(&directory.join("cpu.stat"))?;
        let max = fs::read_to_string(directory.join("cpu.max")).unwrap_or_default();
        let (quota, period) = max.trim().split_once(' ').unwrap_or_default();
        let quota = quota.parse().ok();
        Some(Cpu {
            total: stat.find("usage_usec")? * 1000,
            user: stat.find("user_usec").map(|time| time * 1000),
            system: stat.find("system_usec").map(|time| time * 1000),
            shares: value(&directory.join("cpu.weight")).map(shares),
            period: period.parse().ok(),
            quota,
            throttling: throttling(quota.map(|_| &stat), ["throttled_usec", "burst_usec"], 1000),
            pressure: pressure(&directory.join("cpu.pressure")),
        })
    }
}

fn throttling(stat: Option<&Table>, [time, burst_time]: [&str; 2], unit: u64) -> Throttling {
    let find = |name: &str| stat.and_then(|stat| stat.find(name));
    Throttling {
        periods: find("nr_periods"),
        throttled: find("nr_throttled"),
        time: find(time).map(|time| time * unit),
        bursts: find("nr_bursts"),
        burst_time: find(burst_time).map(|time| time * unit),
    }
}

/// Shares are what Kubernetes speaks of; a weight of version 2 was made from them, [2..262144] to [1..10000].
fn shares(weight: u64) -> u64 {
    2 + weight.saturating_sub(1) * 262_142 / 9_999
}

pub(super) const FAMILIES: &[Family<Cpu>] = &[
    Family::<Cpu>::counter("container_cpu_usage_seconds_total", "Processor time used, in seconds.", |cpu| {
        vec![Value::labelled(&["total"], cpu.total / SECOND)]
    })
    .by(&["cpu"]),
    Family::counter(
        "container_cpu_user_seconds_total",
        "Processor time used by programs themselves, in seconds.",
        |cpu| seconds(cpu.user),
    ),
    Family::counter(
        "container_cpu_system_seconds_total",
        "Processor time used by the kernel on behalf of programs, in seconds.",
        |cpu| seconds(cpu.system),
    ),
    Family::counter("container_cpu_cfs_periods_total", "Periods in which the processor quota was in force.", |cpu| {
        one(cpu.throttling.periods)
    }),
    Family::counter("container_cpu_cfs_throttled_periods_total", "Periods in which the quota was used up.", |cpu| {
        one(cpu.throttling.throttled)
    }),
    Family::counter(
        "container_cpu_cfs_throttled_seconds_total",
        "Time for which processes had to wait for the next period, in seconds.",
        |cpu| seconds(cpu.throttling.time),
    ),
    Family::counter("container_cpu_cfs_burst_periods_total", "Periods in which more than the quota was used.", |cpu| {
        one(cpu.throttling.bursts)
    }),
    Family::counter(
        "container_cpu_cfs_burst_seconds_total",
        "Processor time used beyond the quota, in seconds.",
        |cpu| seconds(cpu.throttling.burst_time),
    ),
    Family::gauge("container_spec_cpu_shares", "Share of the processors when they are contended for.", |cpu| {
        one(cpu.shares)
    }),
    Family::gauge("container_spec_cpu_period", "Length of a period, in microseconds.", |cpu| one(cpu.period)),
    Family::gauge("container_spec_cpu_quota", "Processor time allowed in a period, in microseconds.", |cpu| {
        one(cpu.quota)
    }),
    Family::counter(
        "container_pressure_cpu_waiting_seconds_total",
        "Time in which some process waited for a processor, in seconds.",
        |cpu| seconds(super::waiting(cpu.pressure.as_ref())),
    ),
    Family::counter(
        "container_pressure_cpu_stalled_seconds_total",
        "Time in which all processes waited for a processor, in seconds.",
        |cpu| seconds(super::stalled(cpu.pressure.as_ref())),
    ),
];
