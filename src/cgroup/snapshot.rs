//! What a cgroup had used at one time, in as few files as the CRI's stats take.

use super::cpu::Cpu;
use super::file::Pressure;
use super::io::Io;
use super::memory::Memory;
use super::path::Cgroup;

/// What a cgroup with all cgroups below it had used.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Snapshot {
    pub(crate) cpu: Cpu,
    pub(crate) memory: Memory,
    pub(crate) io_pressure: Option<Pressure>,
}

impl Snapshot {
    /// `None` when the cgroup is gone.
    pub(crate) fn read(cgroup: &Cgroup) -> Option<Snapshot> {
        let cpu = Cpu::read(cgroup)?;
        Some(Snapshot { cpu, memory: Memory::read(cgroup)?, io_pressure: Io::read_pressure(cgroup) })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::memory::Swap;
    use super::*;

    const PATH: &str = "kubepods/pod1/c1";

    fn write(directory: &Path, name: &str, text: &str) {
        fs::create_dir_all(directory).unwrap();
        fs::write(directory.join(name), text).unwrap();
    }

    #[test]
    fn cgroup_v1_is_read_from_its_hierarchies() {
        let root = tempfile::tempdir().unwrap();
        let cgroup = Cgroup::new(root.path(), PATH, false);
        write(&cgroup.controller("cpu,cpuacct"), "cpuacct.usage", "123456789\n");
        let memory = cgroup.controller("memory");
        write(&memory, "memory.usage_in_bytes", "1000\n");
        write(&memory, "memory.limit_in_bytes", "9223372036854771712\n");
        write(&memory, "memory.stat", "inactive_file 1\ntotal_rss 500\ntotal_inactive_file 300\ntotal_pgfault 7\n");
        let Snapshot { cpu, memory: read, io_pressure } = Snapshot::read(&cgroup).unwrap();
        assert_eq!((cpu, io_pressure), (Cpu { usage_ns: 123_456_789, pressure: None }, None));
        assert_eq!((read.usage, read.working_set(), read.stat.anonymous()), (1000, 700, 500));
        assert_eq!((read.stat.page_faults(), read.stat.major_page_faults()), (7, 0));
        assert_eq!((read.limit, read.swap), (None, None));
        write(&memory, "memory.limit_in_bytes", "4096\n");
        write(&memory, "memory.memsw.limit_in_bytes", "5096\n");
        write(&memory, "memory.stat", "total_rss 500\ntotal_swap 30\n");
        let read = Snapshot::read(&cgroup).unwrap().memory;
        assert_eq!((read.limit, read.swap), (Some(4096), Some(Swap { usage: 30, limit: Some(1000) })));
        write(&memory, "memory.stat", "total_rss 500\nhierarchical_memory_limit 9223372036854771712\n");
        assert_eq!(Snapshot::read(&cgroup).unwrap().memory.limit, None);
    }

    #[test]
    fn cgroup_v2_is_read_from_its_directory() {
        let root = tempfile::tempdir().unwrap();
        let cgroup = Cgroup::new(root.path(), PATH, true);
        let directory = cgroup.controller("");
        write(&directory, "cpu.stat", "usage_usec 5\nuser_usec 3\n");
        write(&directory, "memory.current", "1000\n");
        write(&directory, "memory.max", "4096\n");
        write(&directory, "memory.swap.current", "10\n");
        write(&directory, "memory.swap.max", "max\n");
        write(&directory, "memory.stat", "anon 400\ninactive_file 1200\n");
        write(&directory, "cpu.pressure", "some avg10=1.50 avg60=0.00 avg300=0.00 total=12\n");
        let snapshot = Snapshot::read(&cgroup).unwrap();
        assert_eq!(snapshot.cpu.usage_ns, 5000);
        assert_eq!((snapshot.memory.working_set(), snapshot.memory.limit), (0, Some(4096)));
        assert_eq!(snapshot.memory.swap, Some(Swap { usage: 10, limit: None }));
        let some = snapshot.cpu.pressure.unwrap().some.unwrap();
        assert_eq!((some.avg10, some.total_ns), (1.5, 12_000));
        assert!(snapshot.io_pressure.is_none());
    }

    #[test]
    fn a_cgroup_that_is_gone_has_no_snapshot() {
        let root = tempfile::tempdir().unwrap();
        for is_v2 in [false, true] {
            assert!(Snapshot::read(&Cgroup::new(root.path(), PATH, is_v2)).is_none());
        }
    }
}
