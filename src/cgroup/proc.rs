//! The files of `/proc/PID` that Dockside reads. Each parser takes only the fields that are used: these files are read
//! for every container every few seconds.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use nix::errno::Errno;

/// What `/proc/PID/stat` says of a process (proc_pid_stat(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessStat {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) session: i32,
    /// Time in user mode, in clock ticks.
    pub(crate) user_ticks: u64,
    /// Time in kernel mode, in clock ticks.
    pub(crate) system_ticks: u64,
    /// When the process started, in clock ticks since the machine booted. A pid is reused, a pid with its start is not.
    pub(crate) start_ticks: u64,
    /// A zombie, or dead.
    pub(crate) is_dead: bool,
}

impl ProcessStat {
    /// Reads a process; `None` when it is gone or cannot be read.
    pub(crate) fn read(pid: i32) -> Option<ProcessStat> {
        ProcessStat::try_read(pid).ok()?
    }

    /// Reads a process; `None` when it is gone.
    ///
    /// # Errors
    /// When `/proc` cannot be read: the process may be running.
    pub(crate) fn try_read(pid: i32) -> io::Result<Option<ProcessStat>> {
        match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(text) => Ok(ProcessStat::parse(pid, &text)),
            // ESRCH: the process exited between open and read.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::ESRCH as i32) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// All processes. One that exits during the call may be missing.
    ///
    /// # Errors
    /// When `/proc` cannot be listed.
    pub(crate) fn all() -> io::Result<Vec<ProcessStat>> {
        let mut processes = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Ok(pid) = entry?.file_name().to_string_lossy().parse() else { continue };
            processes.extend(ProcessStat::read(pid));
        }
        Ok(processes)
    }

    /// The name stands in parentheses and may contain any character, so fields are counted from the last parenthesis.
    fn parse(pid: i32, text: &str) -> Option<ProcessStat> {
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let session = fields.nth(1)?.parse().ok()?;
        let user_ticks = fields.nth(7)?.parse().ok()?;
        let system_ticks = fields.next()?.parse().ok()?;
        let start_ticks = fields.nth(6)?.parse().ok()?;
        let is_dead = matches!(state, "Z" | "X");
        Some(ProcessStat { pid, parent, session, user_ticks, system_ticks, start_ticks, is_dead })
    }
}

/// The counters of one network interface, in the order of `/proc/PID/net/dev`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct InterfaceCounters {
    pub(crate) name: String,
    counters: Vec<u64>,
}

/// A column of `/proc/PID/net/dev`: eight of what was received, then eight of what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InterfaceCounter {
    ReceivedBytes = 0,
    ReceivedPackets = 1,
    ReceiveErrors = 2,
    ReceiveDropped = 3,
    SentBytes = 8,
    SentPackets = 9,
    SendErrors = 10,
    SendDropped = 11,
}

impl InterfaceCounters {
    /// The interfaces in the network namespace of process `pid`, in the kernel's order; `None` when the process is gone.
    pub(crate) fn read_all(pid: i32) -> Option<Vec<InterfaceCounters>> {
        Some(InterfaceCounters::parse(&fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()?))
    }

    /// Two lines of headings, then a line for each interface (proc_pid_net(5)).
    pub(crate) fn parse(text: &str) -> Vec<InterfaceCounters> {
        let interface = |line: &str| {
            let (name, counters) = line.split_once(':')?;
            let counters = counters.split_ascii_whitespace().filter_map(|counter| counter.parse().ok()).collect();
            Some(InterfaceCounters { name: name.trim().to_owned(), counters })
        };
        text.lines().skip(2).filter_map(interface).collect()
    }

    /// The value of a column; `None` when the line has no such column.
    pub(crate) fn get(&self, counter: InterfaceCounter) -> Option<u64> {
        self.counters.get(counter as usize).copied()
    }
}

/// `/proc/PID/mountinfo`: the mounts that a process sees (proc_pid_mountinfo(5)).
#[derive(Debug, Clone, Default)]
pub(crate) struct MountInfo(Vec<u8>);

/// One mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mount<'a> {
    /// The number of its device, such as `8:1`.
    pub(crate) device: &'a [u8],
    point: &'a [u8],
    /// The type of the filesystem, such as `overlay`.
    pub(crate) filesystem: &'a [u8],
    /// What is mounted, such as `/dev/sda1`.
    pub(crate) source: &'a [u8],
    /// The options of the filesystem, separated by commas.
    options: &'a [u8],
}

impl MountInfo {
    /// The mounts in the mount namespace of process `pid`.
    ///
    /// # Errors
    /// When the process is gone, or may not be read.
    pub(crate) fn read(pid: i32) -> io::Result<MountInfo> {
        Ok(MountInfo(fs::read(format!("/proc/{pid}/mountinfo"))?))
    }

    /// The mounts in Dockside's own mount namespace.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub(crate) fn read_own() -> io::Result<MountInfo> {
        Ok(MountInfo(fs::read("/proc/self/mountinfo")?))
    }

    /// The mounts, in the order in which they were made. Lines that are no mounts are skipped.
    pub(crate) fn mounts(&self) -> impl Iterator<Item = Mount<'_>> {
        self.0.split(|byte| *byte == b'\n').filter_map(Mount::parse)
    }
}

impl From<&str> for MountInfo {
    fn from(text: &str) -> MountInfo {
        MountInfo(text.as_bytes().to_vec())
    }
}

impl<'a> Mount<'a> {
    /// Fields are separated by spaces. A lone dash ends the optional fields, whose number varies.
    fn parse(line: &'a [u8]) -> Option<Mount<'a>> {
        let mut fields = line.split(|byte| *byte == b' ');
        let device = fields.nth(2)?;
        let point = fields.nth(1)?;
        let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
        let filesystem = fields.next()?;
        Some(Mount {
            device,
            point,
            filesystem,
            source: fields.next().unwrap_or_default(),
            options: fields.next().unwrap_or_default(),
        })
    }

    /// Whether this is the root of the mount namespace.
    pub(crate) fn is_root(&self) -> bool {
        self.point == b"/"
    }

    /// Where it is mounted.
    pub(crate) fn point(&self) -> PathBuf {
        unescape(self.point)
    }

    /// The value of the filesystem's option `name`, as a path.
    pub(crate) fn option_path(&self, name: &str) -> Option<PathBuf> {
        let mut options = self.options.split(|byte| *byte == b',');
        options.find_map(|option| Some(unescape(option.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?)))
    }
}

/// White space, commas in options, and backslashes are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'\\').then(|| after.get(..3)).flatten();
        let code = code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        path.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(OsString::from_vec(path))
}

/// The soft limit of open files of a process; `None` when it has none, or is gone.
pub(crate) fn open_files_limit(pid: i32) -> Option<u64> {
    parse_open_files_limit(&fs::read_to_string(format!("/proc/{pid}/limits")).ok()?)
}

/// `/proc/PID/limits` (proc_pid_limits(5)): the name of a limit, then the soft one, the hard one and the unit.
fn parse_open_files_limit(limits: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
}

/// How many files a process has open, and how many of these are sockets: both 0 for a process that has exited.
pub(crate) fn open_files(pid: &str) -> (u64, u64) {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return (0, 0) };
    entries.filter_map(Result::ok).fold((0, 0), |(files, sockets), entry| {
        let is_socket = fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().starts_with("socket"));
        (files + 1, sockets + u64::from(is_socket))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let stat = ProcessStat::parse(7, "7 (a) b) S 3 4 5 0 -1 0 0 0 0 0 8 9 0 0 20 0 1 0 4711 0").unwrap();
        let expected = ProcessStat {
            pid: 7,
            parent: 3,
            session: 5,
            user_ticks: 8,
            system_ticks: 9,
            start_ticks: 4711,
            is_dead: false,
        };
        assert_eq!(stat, expected);
        assert!(ProcessStat::parse(7, "7 (x) Z 3 4 5 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0").unwrap().is_dead);
    }

    #[test]
    fn the_start_of_a_process_is_read() {
        let own = ProcessStat::read(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(ProcessStat::read(1).unwrap().start_ticks <= own.start_ticks && own.start_ticks > 0);
        assert_eq!(ProcessStat::read(i32::MAX), None);
    }

    #[test]
    fn mounts_have_a_point_a_filesystem_and_options() {
        let text = "22 1 0:20 / / rw,relatime shared:1 - overlay overlay rw,upperdir=/a\\040b\\054c,workdir=/w\n\
                    30 22 0:26 / /a\\040b\\134c rw - tmpfs tmpfs rw,size=64k\n\
                    31 22 0:27 / /optional rw master:1 propagate_from:2 - ext4 /dev/x rw\nbroken\n";
        let info = MountInfo::from(text);
        let mounts: Vec<Mount<'_>> = info.mounts().collect();
        let points: Vec<PathBuf> = mounts.iter().map(Mount::point).collect();
        assert_eq!(points, ["/", "/a b\\c", "/optional"].map(PathBuf::from));
        let filesystems: Vec<&[u8]> = mounts.iter().map(|mount| mount.filesystem).collect();
        assert_eq!(filesystems, [&b"overlay"[..], b"tmpfs", b"ext4"]);
        assert!(mounts[0].is_root() && !mounts[1].is_root());
        assert_eq!(mounts[0].option_path("upperdir"), Some(PathBuf::from("/a b,c")));
        assert_eq!(mounts[1].option_path("upperdir"), None);
        assert_eq!((mounts[2].device, mounts[2].source), (&b"0:27"[..], &b"/dev/x"[..]));
    }

    #[test]
    fn the_soft_limit_of_open_files_is_found_and_unlimited_is_none() {
        let limits = "Limit       Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files     \n";
        assert_eq!(parse_open_files_limit(limits), Some(1024));
        assert_eq!(parse_open_files_limit(&limits.replace("1024", "unlimited")), None);
    }

    #[test]
    fn files_and_sockets_of_a_process_are_counted() {
        assert!(open_files("self").0 > 0);
        assert_eq!(open_files("0"), (0, 0));
    }
}
