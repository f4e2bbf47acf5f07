//! Memory: what is used, of what kind, and what may be used.

use std::path::Path;

use crate::proto::PsiStats;

use super::super::cgroup::Table;
use super::super::cgroup::limit;
use super::super::cgroup::pressure;
use super::super::cgroup::value;
use super::family::Family;
use super::family::Value;
use super::family::one;
use super::family::seconds;
use super::place::Place;

/// In bytes, but for the counts of what happened.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Memory {
    usage: u64,
    most: Option<u64>,
    cache: u64,
    anonymous: u64,
    mapped: u64,
    active_file: u64,
    inactive_file: u64,
    kernel: Option<u64>,
    swap: Option<u64>,
    /// How often a limit was hit.
    failures: Option<u64>,
    oom_kills: Option<u64>,
    faults: Faults,
    /// Pages that were needed again soon after they had been won back. Version 1 counts them since Linux 5.9.
    refaults_anonymous: Option<u64>,
    refaults_file: Option<u64>,
    limit: Limits,
    reclaim: Reclaim,
    pressure: Option<PsiStats>,
}

/// How memory was won back: [`RECLAIM`].
#[derive(Debug, Default, PartialEq)]
struct Reclaim {
    /// In bytes.
    dirty: Option<u64>,
    writeback: Option<u64>,
    /// In pages.
    scanned: Option<u64>,
    stolen: Option<u64>,
    /// How often these limits were hit.
    high: Option<u64>,
    max: Option<u64>,
}

/// Page faults of the cgroup itself, and of those below it as well.
#[derive(Debug, Default, PartialEq)]
struct Faults {
    own: u64,
    own_major: u64,
    all: u64,
    all_major: u64,
}

/// 0 for no limit, `None` where the kernel has no such limit.
#[derive(Debug, Default, PartialEq)]
struct Limits {
    memory: Option<u64>,
    swap: Option<u64>,
    reservation: Option<u64>,
}

impl Memory {
    /// `None` when the cgroup is gone.
    pub(super) fn read(place: &Place) -> Option<Memory> {
        if place.is_version_2 { Memory::version_2(&place.unified()) } else { Memory::version_1(&place.tree("memory")) }
    }

    fn version_1(directory: &Path) -> Option<Memory> {
        let file = |name: &str| directory.join(name);
        let stat = Table::read(&file("memory.stat"))?;
        let oom = Table::read(&file("memory.oom_control"));
        Some(Memory {
            usage: value(&file("memory.usage_in_bytes"))?,
            most: value(&file("memory.max_usage_in_bytes")),
            cache: stat.get("total_cache"),
            anonymous: stat.get("total_rss"),
            mapped: stat.get("total_mapped_file"),
            active_file: stat.get("total_active_file"),
            inactive_file: stat.get("total_inactive_file"),
            kernel: value(&file("memory.kmem.usage_in_bytes")),
            swap: stat.find("total_swap"),
            failures: value(&file("memory.failcnt")),
            oom_kills: oom.and_then(|oom| oom.find("oom_kill")),
            faults: Faults {
                own: stat.get("pgfault"),
                own_major: stat.get("pgmajfault"),
                all: stat.get("total_pgfault"),
                all_major: stat.get("total_pgmajfault"),
            },
            refaults_anonymous: stat.find("total_workingset_refault_anon"),
            refaults_file: stat.find("total_workingset_refault_file"),
            limit: Limits {
                memory: told(&file("memory.limit_in_bytes")),
                swap: told(&file("memory.memsw.limit_in_bytes")),
                reservation: told(&file("memory.soft_limit_in_bytes")),
            },
            reclaim: Reclaim::default(),
            pressure: None,
        })
    }

    fn version_2(directory: &Path) -> Option<Memory> {
        let file = |name: &str| directory.join(name);
        let stat = Table::read(&file("memory.stat"))?;
        let events = Table::read(&file("memory.events"));
        let event = |name: &str| events.as_ref().and_then(|events| events.find(name));
        let (faults, major) = (stat.get("pgfault"), stat.get("pgmajfault"));
        Some(Memory {
            usage: value(&file("memory.current"))?,
            most: value(&file("memory.peak")),
            cache: stat.get("file"),
            anonymous: stat.get("anon"),
            mapped: stat.get("file_mapped"),
            active_file: stat.get("active_file"),
            inactive_file: stat.get("inactive_file"),
            kernel: stat.find("kernel"),
            swap: value(&file("memory.swap.current")),
            failures: event("max"),
            oom_kills: event("oom_kill"),
            faults: Faults { own: faults, own_major: major, all: faults, all_major: major },
            refaults_anonymous: stat.find("workingset_refault_anon"),
            refaults_file: stat.find("workingset_refault_file"),
            limit: Limits {
                memory: told(&file("memory.max")),
                swap: told(&file("memory.swap.max")),
                reservation: told(&file("memory.min")),
            },
            reclaim: Reclaim {
                dirty: stat.find("file_dirty"),
                writeback: stat.find("file_writeback"),
                scanned: stat.find("pgscan"),
                stolen: stat.find("pgsteal"),
                high: event("high"),
                max: event("max"),
            },
            pressure: pressure(&file("memory.pressure")),
        })
    }

    /// What cannot be had back at once, by which the kubelet evicts.
    fn working_set(&self) -> u64 {
        self.usage.saturating_sub(self.inactive_file)
    }
}

/// A limit as cAdvisor tells it.
fn told(path: &Path) -> Option<u64> {
    path.exists().then(|| limit(path).unwrap_or(0))
}

pub(super) const FAMILIES: &[Family<Memory>] = &[
    Family::gauge(
        "container_memory_usage_bytes",
        "Memory in use, of every kind, in bytes.",
        |memory| one(memory.usage),
    ),
    Family::gauge(
        "container_memory_working_set_bytes",
        "Memory in use less file pages that were not touched lately, in bytes.",
        |memory| one(memory.working_set()),
    ),
    Family::gauge("container_memory_max_usage_bytes", "The most memory that was in use, in bytes.", |memory| {
        one(memory.most)
    }),
    Family::gauge("container_memory_rss", "Anonymous memory, in bytes.", |memory| one(memory.anonymous)),
    Family::gauge("container_memory_cache", "Memory that holds pages of files, in bytes.", |memory| one(memory.cache)),
    Family::gauge("container_memory_mapped_file", "Files mapped into memory, in bytes.", |memory| one(memory.mapped)),
    Family::gauge(
        "container_memory_total_active_file_bytes",
        "File pages that were touched lately, in bytes.",
        |memory| one(memory.active_file),
    ),
    Family::gauge(
        "container_memory_total_inactive_file_bytes",
        "File pages that were not touched lately, in bytes.",
        |memory| one(memory.inactive_file),
    ),
    Family::gauge("container_memory_kernel_usage", "Memory that the kernel uses for it, in bytes.", |memory| {
        one(memory.kernel)
    }),
    Family::gauge("container_memory_swap", "Memory that was swapped out, in bytes.", |memory| one(memory.swap)),
    Family::counter("container_memory_failcnt", "How often the memory limit was hit.", |memory| one(memory.failures)),
    Family::counter(
        "container_memory_failures_total",
        "Page faults, of the cgroup itself and with all below it.",
        |memory: &Memory| {
            let faults = &memory.faults;
            vec![
                Value::labelled(&["pgfault", "container"], faults.own),
                Value::labelled(&["pgmajfault", "container"], faults.own_major),
                Value::labelled(&["pgfault", "hierarchy"], faults.all),
                Value::labelled(&["pgmajfault", "hierarchy"], faults.all_major),
            ]
        },
    )
    .by(&["failure_type", "scope"]),
    Family::counter(
        "container_memory_workingset_refault_anon_total",
        "Anonymous pages that were needed again soon after they had been won back.",
        |memory| one(memory.refaults_anonymous),
    ),
    Family::counter(
        "container_memory_workingset_refault_file_total",
        "File pages that were needed again soon after they had been won back.",
        |memory| one(memory.refaults_file),
    ),
    Family::counter("container_oom_events_total", "Processes killed because memory ran out.", |memory| {
        one(memory.oom_kills)
    }),
    Family::gauge("container_spec_memory_limit_bytes", "Memory limit, in bytes; 0 for none.", |memory| {
        one(memory.limit.memory)
    }),
    Family::gauge(
        "container_spec_memory_swap_limit_bytes",
        "Swap limit as the cgroup has it, in bytes: version 1 counts memory in; 0 for none.",
        |memory| one(memory.limit.swap),
    ),
    Family::gauge(
        "container_spec_memory_reservation_limit_bytes",
        "Memory that is not taken away when others want it, in bytes; 0 for none.",
        |memory| one(memory.limit.reservation),
    ),
    Family::counter(
        "container_pressure_memory_waiting_seconds_total",
        "Time in which some process waited for memory, in seconds.",
        |memory| seconds(super::waiting(memory.pressure.as_ref())),
    ),
    Family::counter(
        "container_pressure_memory_stalled_seconds_total",
        "Time in which all processes waited for memory, in seconds.",
        |memory| seconds(super::stalled(memory.pressure.as_ref())),
    ),
];

/// What version 2 tells alone.
pub(super) const RECLAIM: &[Family<Memory>] = &[
    Family::gauge(
        "container_memory_file_dirty_bytes",
        "File pages that have to be written to disk, in bytes.",
        |memory| one(memory.reclaim.dirty),
    ),
    Family::gauge(
        "container_memory_file_writeback_bytes",
        "File pages that are being written to disk, in bytes.",
        |memory| one(memory.reclaim.writeback),
    ),
    Family::counter("container_memory_pgscan_total", "Pages looked at to win memory back.", |memory| {
        one(memory.reclaim.scanned)
    }),
    Family::counter("container_memory_pgsteal_total", "Pages won back.", |memory| one(memory.reclaim.stolen)),
    Family::counter("container_memory_events_high_total", "How often memory.high was exceeded.", |memory| {
        one(memory.reclaim.high)
    }),
    Family::counter("container_memory_events_max_total", "How often memory.max was about to be exceeded.", |memory| {
        one(memory.reclaim.max)
    }),
];
