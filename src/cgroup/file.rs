//! The formats of cgroup files (the kernel's admin-guide/cgroup-v2): one number, flat keyed, pressure.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

/// A limit above this is no limit: cgroup v1 writes the largest number of whole pages.
const NO_LIMIT: u64 = 1 << 62;
/// Microseconds are the unit of pressure files.
const MICROSECOND: u64 = 1000;

/// Reads a kernel file. One that is shorter than the buffer is complete after one read (the kernel's fs/seq_file.c), which
/// saves the second read that would return 0: a list of all pods reads hundreds of files.
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

/// A file with one number; `None` when it is missing or has something else.
pub(super) fn value<T: FromStr>(path: &Path) -> Option<T> {
    text(path)?.trim().parse().ok()
}

/// A file with a limit; `None` for no limit, which cgroup v2 writes as `max`.
pub(super) fn limit(path: &Path) -> Option<u64> {
    value(path).filter(|limit| is_limit(*limit))
}

/// A file with a limit, 0 for no limit; `None` where the kernel has no such file.
pub(super) fn limit_or_zero(path: &Path) -> Option<u64> {
    path.exists().then(|| limit(path).unwrap_or(0))
}

/// Whether a number that cgroup v1 writes for a limit is one.
pub(super) fn is_limit(value: u64) -> bool {
    value < NO_LIMIT
}

/// A flat keyed file: each line is a name and a number. Lines are parsed when they are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Table(String);

impl Table {
    /// `None` when the file cannot be read.
    pub(super) fn read(path: &Path) -> Option<Table> {
        Some(Table(text(path)?))
    }

    /// The number under this name; `None` where this kernel does not have it.
    pub(super) fn get(&self, name: &str) -> Option<u64> {
        let mut lines = self.0.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(key, _)| *key == name).and_then(|(_, value)| value.trim().parse().ok())
    }
}

/// Pressure stall information of one resource (the kernel's accounting/psi). Only cgroup v2 has it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Pressure {
    /// Some process waited.
    pub(crate) some: Option<Stall>,
    /// All processes waited.
    pub(crate) full: Option<Stall>,
}

/// How long processes waited.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Stall {
    /// In nanoseconds, since the cgroup was made.
    pub(crate) total_ns: u64,
    /// In percent of the last 10, 60 and 300 seconds.
    pub(crate) avg10: f64,
    pub(crate) avg60: f64,
    pub(crate) avg300: f64,
}

impl Pressure {
    /// `None` where the kernel does not count, or the cgroup is gone.
    pub(super) fn read(path: &Path) -> Option<Pressure> {
        Pressure::parse(&text(path)?)
    }

    /// Lines such as `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
    fn parse(text: &str) -> Option<Pressure> {
        let stall = |kind: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
            let field =
                |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            let average = |name: &str| field(name).and_then(|value| value.parse().ok()).unwrap_or(0.0);
            let total: u64 = field("total").and_then(|value| value.parse().ok()).unwrap_or(0);
            Some(Stall {
                total_ns: total * MICROSECOND,
                avg10: average("avg10"),
                avg60: average("avg60"),
                avg300: average("avg300"),
            })
        };
        let (some, full) = (stall("some "), stall("full "));
        (some.is_some() || full.is_some()).then_some(Pressure { some, full })
    }
}
