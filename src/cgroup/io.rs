//! What a cgroup reads from and writes to disks.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::file::Pressure;
use super::path::Cgroup;

/// A count for each disk, by its number such as `8:0`, and operation: `Read`, `Write`, `Total`, `Discard`, ...
pub(crate) type IoCounts = BTreeMap<(String, String), u64>;

/// Prefixes of cgroup v1's files: the BFQ scheduler, the CFQ scheduler of kernels before 5.0, and what is counted under
/// any scheduler. The first with a disk in it is used: a scheduler that is not in use has empty files.
const V1_PREFIXES: [&str; 3] = ["blkio.bfq.", "blkio.", "blkio.throttle."];

/// Counts since the cgroup was made.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Io {
    /// Bytes moved.
    pub(crate) bytes: IoCounts,
    /// Operations done.
    pub(crate) operations: IoCounts,
    /// Operations merged with another. This and the next two are kept only by schedulers of cgroup v1, and by BFQ only
    /// in a debug build.
    pub(crate) merged: IoCounts,
    /// Time that operations took, in nanoseconds.
    pub(crate) time_ns: IoCounts,
    /// Operations in progress.
    pub(crate) queued: IoCounts,
    pub(crate) pressure: Option<Pressure>,
}

impl Io {
    /// `None` when the cgroup is gone, or the kernel does not count.
    pub(crate) fn read(cgroup: &Cgroup) -> Option<Io> {
        let directory = cgroup.controller("blkio");
        if cgroup.is_v2() { Io::read_v2(&directory) } else { Io::read_v1(&directory) }
    }

    /// Only the pressure: a file less than [`Io::read`] takes.
    pub(super) fn read_pressure(cgroup: &Cgroup) -> Option<Pressure> {
        cgroup.is_v2().then(|| Pressure::read(&cgroup.controller("io").join("io.pressure")))?
    }

    /// Whether an I/O scheduler of cgroup v1 counts merges, times and queues.
    pub(crate) fn has_scheduler_counts(cgroup: &Cgroup) -> bool {
        !cgroup.is_v2() && Io::read(cgroup).is_some_and(|io| !io.merged.is_empty())
    }

    fn read_v1(directory: &Path) -> Option<Io> {
        let counts = |prefix: &str, name: &str| {
            let text = fs::read_to_string(directory.join(format!("{prefix}{name}_recursive"))).unwrap_or_default();
            parse_v1(&text)
        };
        if !directory.exists() {
            return None;
        }
        let used = V1_PREFIXES.iter().find(|prefix| !counts(prefix, "io_service_bytes").is_empty());
        Some(used.map_or_else(Io::default, |prefix| Io {
            bytes: counts(prefix, "io_service_bytes"),
            operations: counts(prefix, "io_serviced"),
            merged: counts(prefix, "io_merged"),
            time_ns: counts(prefix, "io_service_time"),
            queued: counts(prefix, "io_queued"),
            pressure: None,
        }))
    }

    fn read_v2(directory: &Path) -> Option<Io> {
        let text = fs::read_to_string(directory.join("io.stat")).ok()?;
        let mut io = Io { pressure: Pressure::read(&directory.join("io.pressure")), ..Io::default() };
        for line in text.lines() {
            let Some((disk, fields)) = line.split_once(' ') else { continue };
            for (name, value) in fields.split(' ').filter_map(|field| field.split_once('=')) {
                let (counts, operation) = match name {
                    "rbytes" => (&mut io.bytes, "Read"),
                    "wbytes" => (&mut io.bytes, "Write"),
                    "dbytes" => (&mut io.bytes, "Discard"),
                    "rios" => (&mut io.operations, "Read"),
                    "wios" => (&mut io.operations, "Write"),
                    "dios" => (&mut io.operations, "Discard"),
                    _ => continue,
                };
                if let Ok(value) = value.parse() {
                    counts.insert((disk.to_owned(), operation.to_owned()), value);
                }
            }
        }
        Some(io)
    }
}

/// Lines such as `8:0 Read 4096`. The line `Total 4096` of all disks has no disk and is skipped.
fn parse_v1(text: &str) -> IoCounts {
    let rows = text.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let key = (words.next()?.to_owned(), words.next()?.to_owned());
        Some((key, words.next()?.parse().ok()?))
    });
    rows.collect()
}
