//! The processes of a command that was executed in a container: its first process, all descendants of that, and all
//! processes of its session. Docker can start a command but not end it.
//!
//! The OCI runtime gives each command a session of its own, which still identifies a process after its parent exited.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::error::Error;

use super::proc::ProcessStat;

/// A process may fork while it is being killed; each round finds the children that the last one missed.
const KILL_ROUNDS: u32 = 50;
const KILL_INTERVAL: Duration = Duration::from_millis(2);
/// How often [`wait_gone`] looks for the process.
const GONE_POLL: Duration = Duration::from_millis(200);

/// Sends SIGKILL to the tree below `root` until no process is left. Blocks for some milliseconds.
///
/// # Errors
/// [`Error::Precondition`] when `root` is not a process of that container, or processes survive; [`Error::Io`] when
/// `/proc` cannot be read.
pub(crate) fn kill(root: i32, container: &str) -> Result<(), Error> {
    check_container(root, container)?;
    let mut known = HashMap::new();
    for _ in 0..KILL_ROUNDS {
        let live = live_processes(root, &mut known)?;
        if live.is_empty() {
            return Ok(());
        }
        send(&live, Signal::SIGKILL);
        thread::sleep(KILL_INTERVAL);
    }
    Err(Error::precondition(
        format!("process {root} of container {container}"),
        "and its descendants did not exit after SIGKILL",
    ))
}

/// Sends the tree below `root` what the kernel sends when a terminal closes: SIGHUP, and SIGCONT for stopped processes.
///
/// # Errors
/// As [`kill`].
pub(crate) fn hang_up(root: i32, container: &str) -> Result<(), Error> {
    check_container(root, container)?;
    let live = live_processes(root, &mut HashMap::new())?;
    send(&live, Signal::SIGHUP);
    send(&live, Signal::SIGCONT);
    Ok(())
}

/// Returns when process `pid` of that container is gone: at once, when no such process exists. While `/proc` cannot be
/// read it keeps waiting.
pub(crate) async fn wait_gone(pid: i32, container: &str) {
    let mut start_ticks = None;
    loop {
        match ProcessStat::try_read(pid) {
            Ok(None) => return,
            Ok(Some(stat)) if start_ticks.is_none() => match check_container(pid, container) {
                Err(Error::Precondition { .. }) => return,
                checked => start_ticks = checked.is_ok().then_some(stat.start_ticks),
            },
            Ok(Some(stat)) if start_ticks != Some(stat.start_ticks) => return,
            Ok(Some(_)) | Err(_) => {}
        }
        tokio::time::sleep(GONE_POLL).await;
    }
}

/// Docker's pid may have been reused by a process outside of the container.
fn check_container(pid: i32, container: &str) -> Result<(), Error> {
    match fs::read_to_string(format!("/proc/{pid}/cgroup")) {
        Ok(cgroups) if cgroups.contains(container) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(_) => Err(Error::precondition(
            format!("process {pid}"),
            format!("does not belong to container {container} any more"),
        )),
        Err(source) => Err(Error::Io { doing: "read", path: PathBuf::from(format!("/proc/{pid}/cgroup")), source }),
    }
}

fn send(pids: &[i32], signal: Signal) {
    for pid in pids {
        match signal::kill(Pid::from_raw(*pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => tracing::warn!(pid, %signal, %errno, "could not signal a process of a command"),
        }
    }
}

/// The pids of the tree that are not dead. `known` keeps every process found so far, with its start, so that children of
/// dead processes are found by the next call.
fn live_processes(root: i32, known: &mut HashMap<i32, u64>) -> Result<Vec<i32>, Error> {
    let all = ProcessStat::all().map_err(|source| Error::Io { doing: "list", path: PathBuf::from("/proc"), source })?;
    let starts: HashMap<i32, u64> = all.iter().map(|stat| (stat.pid, stat.start_ticks)).collect();
    loop {
        let before = known.len();
        // A pid that was reused since is not the parent.
        let is_parent = |pid| known.get(&pid).is_some_and(|start| starts.get(&pid).is_none_or(|now| now == start));
        let related = all.iter().filter(|stat| stat.pid == root || stat.session == root || is_parent(stat.parent));
        let related: Vec<(i32, u64)> = related.map(|stat| (stat.pid, stat.start_ticks)).collect();
        for (pid, start) in related {
            known.entry(pid).or_insert(start);
        }
        if known.len() == before {
            break;
        }
    }
    let live = all.iter().filter(|stat| !stat.is_dead && known.get(&stat.pid) == Some(&stat.start_ticks));
    Ok(live.map(|stat| stat.pid).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_exit_of_a_process_is_noticed() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        // Every process's list of cgroups contains this, which stands in for a container's id.
        let mut waiting = tokio::spawn(wait_gone(pid, "0:"));
        assert!(tokio::time::timeout(GONE_POLL * 3, &mut waiting).await.is_err());
        child.kill().unwrap();
        child.wait().unwrap();
        tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
        // A process of another container does not count.
        wait_gone(i32::try_from(std::process::id()).unwrap(), &"0123456789abcdef".repeat(4)).await;
    }

    #[test]
    fn a_process_of_another_container_is_left_alone() {
        let own = i32::try_from(std::process::id()).unwrap();
        let refused = kill(own, &"0123456789abcdef".repeat(4)).unwrap_err().to_string();
        assert!(refused.contains("does not belong"), "{refused}");
    }
}
