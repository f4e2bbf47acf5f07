//! Memory: how much is used, of what kind, and the limits.

use super::file::Pressure;
use super::file::Table;
use super::file::is_limit;
use super::file::limit;
use super::file::limit_or_zero;
use super::file::value;
use super::path::Cgroup;

/// The memory of a cgroup with all cgroups below it, in bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Memory {
    /// Memory of every kind, file cache included.
    pub(crate) usage: u64,
    /// `None` for no limit.
    pub(crate) limit: Option<u64>,
    /// `None` where the kernel does not account swap.
    pub(crate) swap: Option<Swap>,
    pub(crate) stat: MemoryStat,
    pub(crate) pressure: Option<Pressure>,
}

/// In bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Swap {
    pub(crate) usage: u64,
    /// Of swap alone; `None` for no limit.
    pub(crate) limit: Option<u64>,
}

/// `memory.stat`. Each value is parsed when it is asked for; in bytes, if it is not a count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MemoryStat {
    table: Table,
    is_v2: bool,
}

/// [`Memory`], and what takes more files to read. `None` where this kernel does not have a value.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct MemoryDetails {
    pub(crate) memory: Memory,
    /// The highest usage so far, in bytes.
    pub(crate) max_usage: Option<u64>,
    /// Memory of the kernel, in bytes.
    pub(crate) kernel: Option<u64>,
    /// How often the memory limit was hit.
    pub(crate) limit_hits: Option<u64>,
    /// How often `memory.high` was exceeded; cgroup v2 only.
    pub(crate) high_hits: Option<u64>,
    /// How often `memory.max` was about to be exceeded; cgroup v2 only.
    pub(crate) max_hits: Option<u64>,
    /// How many processes were OOM killed.
    pub(crate) oom_kills: Option<u64>,
    /// The swap limit in bytes, 0 for none. cgroup v1 limits memory and swap together.
    pub(crate) swap_limit: Option<u64>,
    /// Memory that is protected from reclaim (v2), or the soft limit (v1), in bytes; 0 for none.
    pub(crate) reservation: Option<u64>,
}

impl Memory {
    /// `None` when the cgroup is gone.
    pub(super) fn read(cgroup: &Cgroup) -> Option<Memory> {
        if cgroup.is_v2() { Memory::read_v2(cgroup) } else { Memory::read_v1(cgroup) }
    }

    fn read_v1(cgroup: &Cgroup) -> Option<Memory> {
        let directory = cgroup.controller("memory");
        let file = |name: &str| directory.join(name);
        let stat = MemoryStat { table: Table::read(&file("memory.stat"))?, is_v2: false };
        // The table says whether there is a limit, here or above: without one, a file less is read.
        let is_limited = stat.table.get("hierarchical_memory_limit").is_none_or(is_limit);
        let memory_limit = is_limited.then(|| limit(&file("memory.limit_in_bytes"))).flatten();
        let swap = stat.table.get("total_swap").map(|usage| Swap {
            usage,
            // memory.memsw limits memory and swap together.
            limit: memory_limit.and_then(|memory_limit| {
                Some(limit(&file("memory.memsw.limit_in_bytes"))?.saturating_sub(memory_limit))
            }),
        });
        Some(Memory { usage: value(&file("memory.usage_in_bytes"))?, limit: memory_limit, swap, stat, pressure: None })
    }

    fn read_v2(cgroup: &Cgroup) -> Option<Memory> {
        let directory = cgroup.controller("memory");
        let file = |name: &str| directory.join(name);
        let swap = value(&file("memory.swap.current"));
        Some(Memory {
            usage: value(&file("memory.current"))?,
            limit: limit(&file("memory.max")),
            swap: swap.map(|usage| Swap { usage, limit: limit(&file("memory.swap.max")) }),
            stat: MemoryStat { table: Table::read(&file("memory.stat"))?, is_v2: true },
            pressure: Pressure::read(&file("memory.pressure")),
        })
    }

    /// The memory that the kernel cannot reclaim at once, by which the kubelet evicts: the usage less inactive file
    /// cache, as cAdvisor computes it.
    pub(crate) fn working_set(&self) -> u64 {
        self.usage.saturating_sub(self.stat.inactive_file())
    }
}

impl MemoryStat {
    /// The value under its name in cgroup v1, where the prefix `total_` counts cgroups below in, or in cgroup v2.
    fn get(&self, v1: &str, v2: &str) -> Option<u64> {
        self.table.get(if self.is_v2 { v2 } else { v1 })
    }

    fn get_v2(&self, name: &str) -> Option<u64> {
        self.is_v2.then(|| self.table.get(name))?
    }

    /// Anonymous memory.
    pub(crate) fn anonymous(&self) -> u64 {
        self.get("total_rss", "anon").unwrap_or(0)
    }

    /// File cache, tmpfs and shared memory.
    pub(crate) fn cache(&self) -> u64 {
        self.get("total_cache", "file").unwrap_or(0)
    }

    /// Files mapped into memory.
    pub(crate) fn mapped_file(&self) -> u64 {
        self.get("total_mapped_file", "file_mapped").unwrap_or(0)
    }

    /// File cache on the kernel's active list.
    pub(crate) fn active_file(&self) -> u64 {
        self.get("total_active_file", "active_file").unwrap_or(0)
    }

    /// File cache on the kernel's inactive list: the first to be reclaimed.
    pub(crate) fn inactive_file(&self) -> u64 {
        self.get("total_inactive_file", "inactive_file").unwrap_or(0)
    }

    /// The count of page faults, with cgroups below.
    pub(crate) fn page_faults(&self) -> u64 {
        self.get("total_pgfault", "pgfault").unwrap_or(0)
    }

    /// The count of major page faults, with cgroups below.
    pub(crate) fn major_page_faults(&self) -> u64 {
        self.get("total_pgmajfault", "pgmajfault").unwrap_or(0)
    }

    /// The count of page faults: with cgroup v1 of this cgroup alone.
    pub(crate) fn own_page_faults(&self) -> u64 {
        self.table.get("pgfault").unwrap_or(0)
    }

    /// The count of major page faults: with cgroup v1 of this cgroup alone.
    pub(crate) fn own_major_page_faults(&self) -> u64 {
        self.table.get("pgmajfault").unwrap_or(0)
    }

    /// The count of anonymous pages that were needed soon after their reclaim. cgroup v1 has it since Linux 5.9.
    pub(crate) fn anonymous_refaults(&self) -> Option<u64> {
        self.get("total_workingset_refault_anon", "workingset_refault_anon")
    }

    /// The count of file pages that were needed soon after their reclaim. cgroup v1 has it since Linux 5.9.
    pub(crate) fn file_refaults(&self) -> Option<u64> {
        self.get("total_workingset_refault_file", "workingset_refault_file")
    }

    /// Dirty file cache; cgroup v2 only.
    pub(crate) fn dirty(&self) -> Option<u64> {
        self.get_v2("file_dirty")
    }

    /// File cache that is being written to disk; cgroup v2 only.
    pub(crate) fn writeback(&self) -> Option<u64> {
        self.get_v2("file_writeback")
    }

    /// The count of pages scanned for reclaim; cgroup v2 only.
    pub(crate) fn scanned_pages(&self) -> Option<u64> {
        self.get_v2("pgscan")
    }

    /// The count of pages reclaimed; cgroup v2 only.
    pub(crate) fn reclaimed_pages(&self) -> Option<u64> {
        self.get_v2("pgsteal")
    }
}

impl MemoryDetails {
    /// `None` when the cgroup is gone.
    pub(crate) fn read(cgroup: &Cgroup) -> Option<MemoryDetails> {
        let memory = Memory::read(cgroup)?;
        Some(if cgroup.is_v2() { memory.details_v2(cgroup) } else { memory.details_v1(cgroup) })
    }
}

impl Memory {
    fn details_v1(self, cgroup: &Cgroup) -> MemoryDetails {
        let directory = cgroup.controller("memory");
        let file = |name: &str| directory.join(name);
        MemoryDetails {
            memory: self,
            max_usage: value(&file("memory.max_usage_in_bytes")),
            kernel: value(&file("memory.kmem.usage_in_bytes")),
            limit_hits: value(&file("memory.failcnt")),
            high_hits: None,
            max_hits: None,
            oom_kills: Table::read(&file("memory.oom_control")).and_then(|oom| oom.get("oom_kill")),
            swap_limit: limit_or_zero(&file("memory.memsw.limit_in_bytes")),
            reservation: limit_or_zero(&file("memory.soft_limit_in_bytes")),
        }
    }

    fn details_v2(self, cgroup: &Cgroup) -> MemoryDetails {
        let directory = cgroup.controller("memory");
        let file = |name: &str| directory.join(name);
        let events = Table::read(&file("memory.events"));
        let event = |name: &str| events.as_ref().and_then(|events| events.get(name));
        MemoryDetails {
            max_usage: value(&file("memory.peak")),
            kernel: self.stat.get_v2("kernel"),
            limit_hits: event("max"),
            high_hits: event("high"),
            max_hits: event("max"),
            oom_kills: event("oom_kill"),
            swap_limit: limit_or_zero(&file("memory.swap.max")),
            reservation: limit_or_zero(&file("memory.min")),
            memory: self,
        }
    }
}
