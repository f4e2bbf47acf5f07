//! The processes of a cgroup, by pid in the host's pid namespace, and what they hold.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use super::file::limit_or_zero;
use super::file::value;
use super::path::Cgroup;
use super::proc;
use super::proc::ProcessStat;

/// The cgroup v1 hierarchies in which Docker always makes a container's cgroup.
const V1_CONTROLLERS: [&str; 2] = ["pids", "memory"];
/// How many cgroups below a container's own are searched for processes. The init process is in one of the highest.
const MAX_CHILDREN: usize = 256;

impl Cgroup {
    /// The pid of the init process of a running container; `None` when it cannot be determined. It is the process that
    /// started first: a person's exec comes later. A container that runs containers or systemd keeps its processes in
    /// cgroups below its own, because cgroup v2 allows no processes in inner cgroups.
    pub(crate) fn init_pid(&self) -> Option<i32> {
        let (directory, own) = self.pids()?;
        let pids = if own.is_empty() { pids_below(&directory) } else { own };
        match *pids {
            [only] => Some(only),
            _ => {
                let started = |pid| Some((ProcessStat::read(pid)?.start_ticks, pid));
                pids.into_iter().filter_map(started).min().map(|(_, pid)| pid)
            }
        }
    }

    /// The pid of the only process in this cgroup; `None` when there are more or none. Cgroups below are not searched.
    pub(crate) fn only_pid(&self) -> Option<i32> {
        match *self.pids()?.1 {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The cgroup's directory, and the processes in it, those of cgroups below left out.
    fn pids(&self) -> Option<(PathBuf, Vec<i32>)> {
        V1_CONTROLLERS.iter().find_map(|controller| {
            let directory = self.controller(controller);
            pids_in(&directory).map(|pids| (directory, pids))
        })
    }
}

/// The processes and threads of a cgroup, and what the processes hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Processes {
    /// Processes in the cgroup itself, those of cgroups below left out. The next two are of these processes.
    pub(crate) processes: u64,
    pub(crate) open_files: u64,
    /// Of the open files.
    pub(crate) sockets: u64,
    /// Threads, with cgroups below.
    pub(crate) threads: Option<u64>,
    /// 0 for no limit.
    pub(crate) threads_limit: Option<u64>,
    /// The soft limit of open files of the init process; `None` for no limit or no init process.
    pub(crate) open_files_limit: Option<u64>,
}

impl Processes {
    /// `init_pid` is the container's init process; a pod has none. `None` when the cgroup is gone.
    pub(crate) fn read(cgroup: &Cgroup, init_pid: Option<i32>) -> Option<Processes> {
        let pids = cgroup.controller("pids");
        let list = fs::read_to_string(cgroup.cpu().join("cgroup.procs")).ok()?;
        let mut read = Processes {
            threads: thread_count(cgroup),
            threads_limit: limit_or_zero(&pids.join("pids.max")),
            open_files_limit: init_pid.and_then(proc::open_files_limit),
            ..Processes::default()
        };
        for pid in list.lines() {
            let (files, sockets) = proc::open_files(pid);
            read.processes += 1;
            read.open_files += files;
            read.sockets += sockets;
        }
        Some(read)
    }
}

/// How many threads a cgroup has, with cgroups below; `None` when it is gone.
pub(crate) fn thread_count(cgroup: &Cgroup) -> Option<u64> {
    value(&cgroup.controller("pids").join("pids.current"))
}

fn pids_in(directory: &Path) -> Option<Vec<i32>> {
    let pids = fs::read_to_string(directory.join("cgroup.procs")).ok()?;
    Some(pids.lines().filter_map(|pid| pid.parse().ok()).collect())
}

/// The processes in the cgroups below a directory, breadth first.
fn pids_below(directory: &Path) -> Vec<i32> {
    let mut pids = Vec::new();
    let mut queue = VecDeque::from([directory.to_owned()]);
    let mut found = 0;
    while let Some(next) = queue.pop_front() {
        pids.extend(pids_in(&next).unwrap_or_default());
        let Ok(entries) = fs::read_dir(&next) else { continue };
        let children = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let before = queue.len();
        queue.extend(children.take(MAX_CHILDREN - found).map(|entry| entry.path()));
        found += queue.len() - before;
    }
    pids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_found_in_the_cgroups_below() {
        let dir = tempfile::tempdir().unwrap();
        let cgroup = |path: &str, processes: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("cgroup.procs"), processes).unwrap();
        };
        cgroup("", "");
        cgroup("init.scope", "41\n");
        cgroup("system.slice/a.service", "43\n44\n");
        assert_eq!(pids_in(dir.path()), Some(Vec::new()));
        let mut found = pids_below(dir.path());
        found.sort_unstable();
        assert_eq!(found, [41, 43, 44]);
        for number in 0..2 * MAX_CHILDREN {
            cgroup(&format!("many/{number}"), "50\n");
        }
        let found = pids_below(dir.path());
        assert!(found.contains(&41) && found.len() <= MAX_CHILDREN + 2, "{}", found.len());
        assert_eq!(pids_in(&dir.path().join("gone")), None);
    }
}
