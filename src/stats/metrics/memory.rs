//! Memory: how much is used, of what kind, and the limits.

use crate::cgroup::MemoryDetails;

use super::family::Family;
use super::family::Value;
use super::family::one;
use super::family::stalled;
use super::family::waiting;

pub(super) const FAMILIES: &[Family<MemoryDetails>] = &[
    Family::gauge("container_memory_usage_bytes", "Memory in use, of every kind, in bytes.", |details| {
        one(details.memory.usage)
    }),
    Family::gauge(
        "container_memory_working_set_bytes",
        "Memory in use less inactive file cache, in bytes.",
        |details| one(details.memory.working_set()),
    ),
    Family::gauge("container_memory_max_usage_bytes", "The highest memory usage so far, in bytes.", |details| {
        one(details.max_usage)
    }),
    Family::gauge("container_memory_rss", "Anonymous memory, in bytes.", |details| {
        one(details.memory.stat.anonymous())
    }),
    Family::gauge("container_memory_cache", "File cache, in bytes.", |details| one(details.memory.stat.cache())),
    Family::gauge("container_memory_mapped_file", "Files mapped into memory, in bytes.", |details| {
        one(details.memory.stat.mapped_file())
    }),
    Family::gauge("container_memory_total_active_file_bytes", "Active file cache, in bytes.", |details| {
        one(details.memory.stat.active_file())
    }),
    Family::gauge("container_memory_total_inactive_file_bytes", "Inactive file cache, in bytes.", |details| {
        one(details.memory.stat.inactive_file())
    }),
    Family::gauge("container_memory_kernel_usage", "Kernel memory, in bytes.", |details| one(details.kernel)),
    Family::gauge("container_memory_swap", "Memory that was swapped out, in bytes.", |details| {
        one(details.memory.swap.map(|swap| swap.usage))
    }),
    Family::counter("container_memory_failcnt", "How often the memory limit was hit.", |details| {
        one(details.limit_hits)
    }),
    Family::counter(
        "container_memory_failures_total",
        "Page faults, of the cgroup itself and with the cgroups below it.",
        |details: &MemoryDetails| {
            let stat = &details.memory.stat;
            vec![
                Value::labelled(&["pgfault", "container"], stat.own_page_faults()),
                Value::labelled(&["pgmajfault", "container"], stat.own_major_page_faults()),
                Value::labelled(&["pgfault", "hierarchy"], stat.page_faults()),
                Value::labelled(&["pgmajfault", "hierarchy"], stat.major_page_faults()),
            ]
        },
    )
    .by(&["failure_type", "scope"]),
    Family::counter(
        "container_memory_workingset_refault_anon_total",
        "Anonymous pages that were needed soon after their reclaim.",
        |details| one(details.memory.stat.anonymous_refaults()),
    ),
    Family::counter(
        "container_memory_workingset_refault_file_total",
        "File pages that were needed soon after their reclaim.",
        |details| one(details.memory.stat.file_refaults()),
    ),
    Family::counter("container_oom_events_total", "Processes that were OOM killed.", |details| one(details.oom_kills)),
    Family::gauge("container_spec_memory_limit_bytes", "Memory limit, in bytes; 0 for none.", |details| {
        one(details.memory.limit.unwrap_or(0))
    }),
    Family::gauge(
        "container_spec_memory_swap_limit_bytes",
        "Swap limit in bytes, with cgroup v1 of memory and swap together; 0 for none.",
        |details| one(details.swap_limit),
    ),
    Family::gauge(
        "container_spec_memory_reservation_limit_bytes",
        "Memory that is protected from reclaim, in bytes; 0 for none.",
        |details| one(details.reservation),
    ),
    Family::counter(
        "container_pressure_memory_waiting_seconds_total",
        "Time in which some process waited for memory, in seconds.",
        |details| waiting(details.memory.pressure),
    ),
    Family::counter(
        "container_pressure_memory_stalled_seconds_total",
        "Time in which all processes waited for memory, in seconds.",
        |details| stalled(details.memory.pressure),
    ),
];

/// Metrics that only cgroup v2 has.
pub(super) const RECLAIM: &[Family<MemoryDetails>] = &[
    Family::gauge("container_memory_file_dirty_bytes", "Dirty file cache, in bytes.", |details| {
        one(details.memory.stat.dirty())
    }),
    Family::gauge(
        "container_memory_file_writeback_bytes",
        "File cache that is being written to disk, in bytes.",
        |details| one(details.memory.stat.writeback()),
    ),
    Family::counter("container_memory_pgscan_total", "Pages scanned for reclaim.", |details| {
        one(details.memory.stat.scanned_pages())
    }),
    Family::counter("container_memory_pgsteal_total", "Pages reclaimed.", |details| {
        one(details.memory.stat.reclaimed_pages())
    }),
    Family::counter("container_memory_events_high_total", "How often memory.high was exceeded.", |details| {
        one(details.high_hits)
    }),
    Family::counter("container_memory_events_max_total", "How often memory.max was about to be exceeded.", |details| {
        one(details.max_hits)
    }),
];
