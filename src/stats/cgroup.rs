//! The numbers of a cgroup, of version 1 or 2.
//!
//! Memory is counted as the kubelet's eviction does: the working set is what is used less the file pages that were not
//! touched lately, as cAdvisor has it.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;

use crate::clock::now_ns;
use crate::container::cgroup as place;
use crate::docker::EngineInfo;
use crate::proto::PsiData;
use crate::proto::PsiStats;

pub(super) const ROOT: &str = "/sys/fs/cgroup";
/// Where version 1 counts processor time; some distributions mount two controllers as one.
const CPUACCT: [&str; 2] = ["cpuacct", "cpu,cpuacct"];
/// Limits beyond this are none: version 1 writes the largest number of whole pages.
const NO_LIMIT: u64 = 1 << 62;

/// What a cgroup had used at one time.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    /// In nanoseconds since 1970.
    pub(super) at: i64,
    pub(super) cpu_ns: u64,
    pub(super) memory: Memory,
    pub(super) swap: Option<Swap>,
    /// Version 2 only, where the kernel has it.
    pub(super) cpu_pressure: Option<PsiStats>,
    pub(super) memory_pressure: Option<PsiStats>,
    pub(super) io_pressure: Option<PsiStats>,
}

/// In bytes, and in faults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) usage: u64,
    pub(super) working_set: u64,
    pub(super) anonymous: u64,
    pub(super) limit: Option<u64>,
    pub(super) page_faults: u64,
    pub(super) major_page_faults: u64,
}

/// In bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Swap {
    pub(super) usage: u64,
    pub(super) limit: Option<u64>,
}

impl Sample {
    /// Both together. Limits do not add up to one, nor do pressures.
    pub(super) fn plus(self, other: Sample) -> Sample {
        let memory = Memory {
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

/// What a container has used; `None` when it has no cgroup any more.
pub(super) fn of_container(info: &EngineInfo, parent: &str, id: &str) -> Option<Sample> {
    read(info, &|root| place::directory(root, info.cgroup_driver, parent, id))
}

/// What all of a pod has used: `parent` is the cgroup that the kubelet made for it.
pub(super) fn of_pod(info: &EngineInfo, parent: &str) -> Option<Sample> {
    read(info, &|root| place::parent_directory(root, info.cgroup_driver, parent))
}

/// How many processes a container has.
pub(super) fn processes_of_container(info: &EngineInfo, parent: &str, id: &str) -> Option<u64> {
    count(info, &|root| place::directory(root, info.cgroup_driver, parent, id))
}

/// How many processes all of a pod has.
pub(super) fn processes_of_pod(info: &EngineInfo, parent: &str) -> Option<u64> {
    count(info, &|root| place::parent_directory(root, info.cgroup_driver, parent))
}

fn count(info: &EngineInfo, within: &dyn Fn(&Path) -> PathBuf) -> Option<u64> {
    let root = Path::new(ROOT);
    let directory = if info.cgroup_version >= 2 { within(root) } else { within(&root.join("pids")) };
    value(&directory.join("pids.current"))
}

/// `within` gives the cgroup's directory in the tree with this root.
fn read(info: &EngineInfo, within: &dyn Fn(&Path) -> PathBuf) -> Option<Sample> {
    let root = Path::new(ROOT);
    if info.cgroup_version >= 2 { version_2(&within(root)) } else { version_1(root, within) }
}

fn version_1(root: &Path, within: &dyn Fn(&Path) -> PathBuf) -> Option<Sample> {
    let cpuacct = CPUACCT.iter().map(|name| within(&root.join(name)));
    let cpu_ns = cpuacct.filter_map(|directory| value(&directory.join("cpuacct.usage"))).next()?;
    let memory = within(&root.join("memory"));
    let stat = Table::read(&memory.join("memory.stat"))?;
    let usage: u64 = value(&memory.join("memory.usage_in_bytes"))?;
    // A look into the table spares a file where there is no limit, neither here nor above.
    let limited = stat.find("hierarchical_memory_limit").is_none_or(|limit| limit < NO_LIMIT);
    let memory_limit = limited.then(|| limit(&memory.join("memory.limit_in_bytes"))).flatten();
    // There where swap is counted. A limit is of memory and swap together.
    let swap = stat.find("total_swap").map(|usage| Swap {
        usage,
        limit: memory_limit.and_then(|memory_limit| {
            let both = limit(&memory.join("memory.memsw.limit_in_bytes"))?;
            Some(both.saturating_sub(memory_limit))
        }),
    });
    Some(Sample {
        at: now_ns(),
        cpu_ns,
        memory: Memory {
            usage,
            working_set: usage.saturating_sub(stat.get("total_inactive_file")),
            anonymous: stat.get("total_rss"),
            limit: memory_limit,
            page_faults: stat.get("total_pgfault"),
            major_page_faults: stat.get("total_pgmajfault"),
        },
        swap,
        ..Sample::default()
    })
}

fn version_2(directory: &Path) -> Option<Sample> {
    let cpu = Table::read(&directory.join("cpu.stat"))?;
    let stat = Table::read(&directory.join("memory.stat"))?;
    let usage: u64 = value(&directory.join("memory.current"))?;
    let swap = value(&directory.join("memory.swap.current"));
    Some(Sample {
        at: now_ns(),
        cpu_ns: cpu.get("usage_usec") * 1000,
        memory: Memory {
            usage,
            working_set: usage.saturating_sub(stat.get("inactive_file")),
            anonymous: stat.get("anon"),
            limit: limit(&directory.join("memory.max")),
            page_faults: stat.get("pgfault"),
            major_page_faults: stat.get("pgmajfault"),
        },
        swap: swap.map(|usage| Swap { usage, limit: limit(&directory.join("memory.swap.max")) }),
        cpu_pressure: pressure(&directory.join("cpu.pressure")),
        memory_pressure: pressure(&directory.join("memory.pressure")),
        io_pressure: pressure(&directory.join("io.pressure")),
    })
}

/// A file that the kernel writes when it is read: one that is shorter than the buffer comes whole by one read (the
/// kernel's fs/seq_file.c), and the second that would tell of its end is left out. A list of all pods reads hundreds.
fn text(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let mut buffer = [0; 4096];
    let length = file.read(&mut buffer).ok()?;
    let mut bytes = buffer[..length].to_vec();
    if length == buffer.len() {
        file.read_to_end(&mut bytes).ok()?;
    }
    String::from_utf8(bytes).ok()
}

/// A file that has one number.
pub(super) fn value<T: FromStr>(path: &Path) -> Option<T> {
    text(path)?.trim().parse().ok()
}

/// A file with a limit, which version 2 calls `max` when there is none.
pub(super) fn limit(path: &Path) -> Option<u64> {
    value(path).filter(|limit| *limit < NO_LIMIT)
}

/// A file whose lines are a name and a number each.
pub(super) struct Table(String);

impl Table {
    pub(super) fn read(path: &Path) -> Option<Table> {
        Some(Table(text(path)?))
    }

    /// The number of that name; 0 where this kernel does not have it.
    pub(super) fn get(&self, name: &str) -> u64 {
        self.find(name).unwrap_or(0)
    }

    pub(super) fn find(&self, name: &str) -> Option<u64> {
        let mut lines = self.0.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(key, _)| *key == name).and_then(|(_, value)| value.trim().parse().ok())
    }
}

/// Pressure stall information (the kernel's accounting/psi): `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and a line
/// `full` where it has one.
pub(super) fn pressure(path: &Path) -> Option<PsiStats> {
    parse_pressure(&text(path)?)
}

fn parse_pressure(text: &str) -> Option<PsiStats> {
    let data = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
        let field = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let average = |name: &str| field(name).and_then(|value| value.parse().ok()).unwrap_or(0.0);
        Some(PsiData {
            total: field("total").and_then(|value| value.parse::<u64>().ok()).unwrap_or(0) * 1000,
            avg10: average("avg10"),
            avg60: average("avg60"),
            avg300: average("avg300"),
        })
    };
    let (some, full) = (data("some "), data("full "));
    (some.is_some() || full.is_some()).then_some(PsiStats { full, some })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write(directory: &Path, name: &str, text: &str) {
        fs::create_dir_all(directory).unwrap();
        fs::write(directory.join(name), text).unwrap();
    }

    #[test]
    fn version_1_is_read_from_its_trees() {
        let root = tempfile::tempdir().unwrap();
        let within = |tree: &Path| tree.join("kubepods/pod1/c1");
        write(&within(&root.path().join("cpu,cpuacct")), "cpuacct.usage", "123456789\n");
        let memory = within(&root.path().join("memory"));
        write(&memory, "memory.usage_in_bytes", "1000\n");
        write(&memory, "memory.limit_in_bytes", "9223372036854771712\n");
        write(&memory, "memory.stat", "inactive_file 1\ntotal_rss 500\ntotal_inactive_file 300\ntotal_pgfault 7\n");
        let sample = version_1(root.path(), &within).unwrap();
        assert_eq!(sample.cpu_ns, 123_456_789);
        let expected = Memory { usage: 1000, working_set: 700, anonymous: 500, page_faults: 7, ..Memory::default() };
        assert_eq!((sample.memory, sample.swap), (expected, None));
        write(&memory, "memory.limit_in_bytes", "4096\n");
        write(&memory, "memory.memsw.limit_in_bytes", "5096\n");
        write(&memory, "memory.stat", "total_rss 500\ntotal_swap 30\n");
        let sample = version_1(root.path(), &within).unwrap();
        assert_eq!((sample.memory.limit, sample.swap), (Some(4096), Some(Swap { usage: 30, limit: Some(1000) })));
    }

    #[test]
    fn version_2_is_read_from_its_directory() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "cpu.stat", "usage_usec 5\nuser_usec 3\n");
        write(root.path(), "memory.current", "1000\n");
        write(root.path(), "memory.max", "4096\n");
        write(root.path(), "memory.swap.current", "10\n");
        write(root.path(), "memory.swap.max", "max\n");
        write(root.path(), "memory.stat", "anon 400\ninactive_file 1200\n");
        write(root.path(), "cpu.pressure", "some avg10=1.50 avg60=0.00 avg300=0.00 total=12\n");
        let sample = version_2(root.path()).unwrap();
        assert_eq!(sample.cpu_ns, 5000);
        assert_eq!((sample.memory.working_set, sample.memory.limit), (0, Some(4096)));
        assert_eq!(sample.swap, Some(Swap { usage: 10, limit: None }));
        let some = sample.cpu_pressure.unwrap().some.unwrap();
        assert_eq!((some.avg10, some.total), (1.5, 12_000));
        assert!(sample.io_pressure.is_none());
    }

    #[test]
    fn a_cgroup_that_is_gone_is_no_sample() {
        let root = tempfile::tempdir().unwrap();
        assert!(version_2(root.path()).is_none());
        assert!(version_1(root.path(), &|tree| tree.join("x")).is_none());
    }
}
