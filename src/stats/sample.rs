//! The numbers of the CRI's stats of one container or pod at one time.

use crate::cgroup::Cgroup;
use crate::cgroup::Pressure;
use crate::cgroup::Snapshot;
use crate::cgroup::Stall;
use crate::cgroup::Swap;
use crate::clock::now_ns;
use crate::proto::PsiData;
use crate::proto::PsiStats;

/// What a cgroup, or several together, had used.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    /// In nanoseconds since 1970.
    pub(super) at: i64,
    /// CPU time in nanoseconds.
    pub(super) cpu_ns: u64,
    pub(super) memory: MemorySample,
    pub(super) swap: Option<Swap>,
    /// Pressure: cgroup v2 only, where the kernel counts it.
    pub(super) cpu_pressure: Option<PsiStats>,
    pub(super) memory_pressure: Option<PsiStats>,
    pub(super) io_pressure: Option<PsiStats>,
}

/// In bytes, and counts of page faults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct MemorySample {
    pub(super) usage: u64,
    pub(super) working_set: u64,
    pub(super) anonymous: u64,
    /// `None` for no limit.
    pub(super) limit: Option<u64>,
    pub(super) page_faults: u64,
    pub(super) major_page_faults: u64,
}

impl Sample {
    /// `None` when the cgroup is gone.
    pub(super) fn read(cgroup: &Cgroup) -> Option<Sample> {
        let Snapshot { cpu, memory, io_pressure } = Snapshot::read(cgroup)?;
        Some(Sample {
            at: now_ns(),
            cpu_ns: cpu.usage_ns,
            memory: MemorySample {
                usage: memory.usage,
                working_set: memory.working_set(),
                anonymous: memory.stat.anonymous(),
                limit: memory.limit,
                page_faults: memory.stat.page_faults(),
                major_page_faults: memory.stat.major_page_faults(),
            },
            swap: memory.swap,
            cpu_pressure: cpu.pressure.map(psi),
            memory_pressure: memory.pressure.map(psi),
            io_pressure: io_pressure.map(psi),
        })
    }

    /// The sum of two samples. Limits and pressures do not add up, so the sum has none.
    pub(super) fn plus(self, other: Sample) -> Sample {
        let memory = MemorySample {
            usage: self.memory.usage + other.memory.usage,
            working_set: self.memory.working_set + other.memory.working_set,
            anonymous: self.memory.anonymous + other.memory.anonymous,
            limit: None,
            page_faults: self.memory.page_faults + other.memory.page_faults,
            major_page_faults: self.memory.major_page_faults + other.memory.major_page_faults,
        };
        let swap = self.swap.zip(other.swap);
        Sample {
            at: self.at.max(other.at),
            cpu_ns: self.cpu_ns + other.cpu_ns,
            memory,
            swap: swap.map(|(one, two)| Swap { usage: one.usage + two.usage, limit: None }),
            ..Sample::default()
        }
    }
}

fn psi(pressure: Pressure) -> PsiStats {
    let data =
        |stall: Stall| PsiData { total: stall.total_ns, avg10: stall.avg10, avg60: stall.avg60, avg300: stall.avg300 };
    PsiStats { full: pressure.full.map(data), some: pressure.some.map(data) }
}
