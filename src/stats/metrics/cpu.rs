//! CPU time, and the share of it that a cgroup may take.

use crate::cgroup::CpuDetails;

use super::family::Family;
use super::family::SECOND;
use super::family::Value;
use super::family::one;
use super::family::seconds;
use super::family::stalled;
use super::family::waiting;

pub(super) const FAMILIES: &[Family<CpuDetails>] = &[
    Family::<CpuDetails>::counter("container_cpu_usage_seconds_total", "CPU time used, in seconds.", |cpu| {
        vec![Value::labelled(&["total"], cpu.cpu.usage_ns / SECOND)]
    })
    .by(&["cpu"]),
    Family::counter("container_cpu_user_seconds_total", "CPU time used in user mode, in seconds.", |cpu| {
        seconds(cpu.user_ns)
    }),
    Family::counter("container_cpu_system_seconds_total", "CPU time used in kernel mode, in seconds.", |cpu| {
        seconds(cpu.system_ns)
    }),
    Family::counter("container_cpu_cfs_periods_total", "Periods in which the CPU quota was enforced.", |cpu| {
        one(cpu.throttling.periods)
    }),
    Family::counter("container_cpu_cfs_throttled_periods_total", "Periods in which the quota was used up.", |cpu| {
        one(cpu.throttling.throttled_periods)
    }),
    Family::counter(
        "container_cpu_cfs_throttled_seconds_total",
        "Time in which processes waited for the next period, in seconds.",
        |cpu| seconds(cpu.throttling.throttled_ns),
    ),
    Family::counter("container_cpu_cfs_burst_periods_total", "Periods in which more than the quota was used.", |cpu| {
        one(cpu.throttling.burst_periods)
    }),
    Family::counter("container_cpu_cfs_burst_seconds_total", "CPU time used beyond the quota, in seconds.", |cpu| {
        seconds(cpu.throttling.burst_ns)
    }),
    Family::gauge("container_spec_cpu_shares", "CPU shares, which count while the CPUs are contended.", |cpu| {
        one(cpu.shares)
    }),
    Family::gauge("container_spec_cpu_period", "Length of a CFS period, in microseconds.", |cpu| one(cpu.period_us)),
    Family::gauge(
        "container_spec_cpu_quota",
        "CPU time allowed in a period, in microseconds.",
        |cpu| one(cpu.quota_us),
    ),
    Family::counter(
        "container_pressure_cpu_waiting_seconds_total",
        "Time in which some process waited for a CPU, in seconds.",
        |cpu| waiting(cpu.cpu.pressure),
    ),
    Family::counter(
        "container_pressure_cpu_stalled_seconds_total",
        "Time in which all processes waited for a CPU, in seconds.",
        |cpu| stalled(cpu.cpu.pressure),
    ),
];
