//! Processes, and what each of them holds.

use std::fs;
use std::path::Path;

use super::super::cgroup::limit;
use super::super::cgroup::value;
use super::family::Family;
use super::family::Value;
use super::family::one;
use super::place::Place;

/// How many.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Processes {
    processes: u64,
    files: u64,
    sockets: u64,
    threads: Option<u64>,
    /// 0 for no limit, as cAdvisor has it.
    most_threads: Option<u64>,
    /// Of the first process; `None` when it is not limited.
    open_files: Option<u64>,
}

impl Processes {
    /// `first` is the container's first process; a pod has none. `None` when the cgroup is gone.
    pub(super) fn read(place: &Place, first: Option<i32>) -> Option<Processes> {
        let (processes, pids) = match place.is_version_2 {
            true => (place.unified(), place.unified()),
            false => (place.cpu(), place.tree("pids")),
        };
        let list = fs::read_to_string(processes.join("cgroup.procs")).ok()?;
        let mut read = Processes {
            threads: value(&pids.join("pids.current")),
            most_threads: pids.join("pids.max").exists().then(|| limit(&pids.join("pids.max")).unwrap_or(0)),
            open_files: first.and_then(|pid| soft_limit(&fs::read_to_string(format!("/proc/{pid}/limits")).ok()?)),
            ..Processes::default()
        };
        for pid in list.lines() {
            let (files, sockets) = open_files(&Path::new("/proc").join(pid).join("fd"));
            read.processes += 1;
            read.files += files;
            read.sockets += sockets;
        }
        Some(read)
    }
}

/// Open files, and how many of them are sockets: none for a process that has just ended.
fn open_files(directory: &Path) -> (u64, u64) {
    let Ok(entries) = fs::read_dir(directory) else { return (0, 0) };
    entries.filter_map(Result::ok).fold((0, 0), |(files, sockets), entry| {
        let is_socket = fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().starts_with("socket"));
        (files + 1, sockets + u64::from(is_socket))
    })
}

/// `/proc/PID/limits` (proc_pid_limits(5)): the name of a limit, then the soft one, the hard one and the unit.
fn soft_limit(limits: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
}

pub(super) const FAMILIES: &[Family<Processes>] = &[
    Family::gauge("container_processes", "Processes in the cgroup itself.", |all| one(all.processes)),
    Family::gauge("container_threads", "Threads, those of cgroups below counted in.", |all| one(all.threads)),
    Family::gauge("container_threads_max", "The most threads there may be; 0 for any number.", |all| {
        one(all.most_threads)
    }),
    Family::gauge("container_file_descriptors", "Files that the processes have open.", |all| one(all.files)),
    Family::gauge("container_sockets", "Sockets that the processes have open.", |all| one(all.sockets)),
    Family::<Processes>::gauge(
        "container_ulimits_soft",
        "Soft limits of the first process; none told where it has none.",
        |all| all.open_files.map(|limit| Value::labelled(&["max_open_files"], limit)).into_iter().collect(),
    )
    .by(&["ulimit"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_of_open_files_is_found_and_no_limit_is_none() {
        let limits = "Limit       Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files     \n";
        assert_eq!(soft_limit(limits), Some(1024));
        assert_eq!(soft_limit(&limits.replace("1024", "unlimited")), None);
    }

    #[test]
    fn files_and_sockets_of_a_process_are_counted() {
        let before = open_files(Path::new("/proc/self/fd"));
        assert!(before.0 > 0);
        assert_eq!(open_files(Path::new("/proc/0/fd")), (0, 0));
    }
}
