//! The processes of a command that was run in a container, seen from the host: the first one, all that descend from
//! it, and all of its session.
//!
//! Docker can start a command but not end it. The OCI runtime gives each command a session of its own, so a process
//! whose parent has died is still found by it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::error::Error;

/// A process may fork while it is being killed; each round finds those that the last one missed.
const ROUNDS: u32 = 50;
const BETWEEN_ROUNDS: Duration = Duration::from_millis(2);
/// Between looks whether a process is gone.
const GONE_POLL: Duration = Duration::from_millis(200);

/// One row of the process table.
struct Row {
    pid: i32,
    parent: i32,
    session: i32,
    /// In ticks since the machine started. With it, a number that was given to another process is told from the first.
    began: u64,
    dead: bool,
}

/// Sends SIGKILL until none of them is left. Blocks for some milliseconds.
///
/// # Errors
/// [`Error::Precondition`] when `first` is no process of that container, or they do not go away.
pub(super) fn end(first: i32, container: &str) -> Result<(), Error> {
    check_home(first, container)?;
    let mut known = HashMap::new();
    for _ in 0..ROUNDS {
        let living = find(first, &mut known)?;
        if living.is_empty() {
            return Ok(());
        }
        send(&living, Signal::SIGKILL);
        thread::sleep(BETWEEN_ROUNDS);
    }
    Err(Error::precondition(
        format!("process {first} of container {container}"),
        "and its descendants did not exit after SIGKILL",
    ))
}

/// Tells them that their terminal is gone: SIGHUP, and SIGCONT for those that are stopped.
///
/// # Errors
/// As [`end`].
pub(super) fn hang_up(first: i32, container: &str) -> Result<(), Error> {
    check_home(first, container)?;
    let living = find(first, &mut HashMap::new())?;
    send(&living, Signal::SIGHUP);
    send(&living, Signal::SIGCONT);
    Ok(())
}

/// A number that Docker gave may belong to another process by now.
fn check_home(pid: i32, container: &str) -> Result<(), Error> {
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

/// Returns when a process of that container is gone; at once, when there is none of this number. A failure to look is no
/// proof of anything.
pub(super) async fn gone(pid: i32, container: &str) {
    let mut first = None;
    loop {
        match look(pid) {
            Ok(None) => return,
            Ok(Some(row)) if first.is_none() => match check_home(pid, container) {
                Err(Error::Precondition { .. }) => return,
                home => first = home.is_ok().then_some(row.began),
            },
            Ok(Some(row)) if first != Some(row.began) => return,
            Ok(Some(_)) | Err(_) => {}
        }
        tokio::time::sleep(GONE_POLL).await;
    }
}

fn send(pids: &[i32], signal: Signal) {
    for pid in pids {
        match kill(Pid::from_raw(*pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => tracing::warn!(pid, %signal, %errno, "could not signal a process of a command"),
        }
    }
}

/// Those that live. `known` remembers all that were ever found with their beginnings, so that children of the dead are
/// found too.
fn find(first: i32, known: &mut HashMap<i32, u64>) -> Result<Vec<i32>, Error> {
    let rows = table().map_err(|source| Error::Io { doing: "list", path: PathBuf::from("/proc"), source })?;
    let by_pid: HashMap<i32, u64> = rows.iter().map(|row| (row.pid, row.began)).collect();
    loop {
        let before = known.len();
        // A parent that is another process by now is nobody's.
        let is_parent = |pid| known.get(&pid).is_some_and(|began| by_pid.get(&pid).is_none_or(|now| now == began));
        let related = rows.iter().filter(|row| row.pid == first || row.session == first || is_parent(row.parent));
        let related: Vec<(i32, u64)> = related.map(|row| (row.pid, row.began)).collect();
        for (pid, began) in related {
            known.entry(pid).or_insert(began);
        }
        if known.len() == before {
            break;
        }
    }
    let living = rows.iter().filter(|row| !row.dead && known.get(&row.pid) == Some(&row.began));
    Ok(living.map(|row| row.pid).collect())
}

fn table() -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse() else { continue };
        // One that ends in this moment is no longer of interest.
        rows.extend(row(pid));
    }
    Ok(rows)
}

/// When a process began, in ticks since the machine did; `None` when it is gone.
pub(super) fn began(pid: i32) -> Option<u64> {
    Some(row(pid)?.began)
}

fn row(pid: i32) -> Option<Row> {
    look(pid).ok()?
}

fn look(pid: i32) -> io::Result<Option<Row>> {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => Ok(parse(pid, &stat)),
        // The second is for one that ends between opening and reading.
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::ESRCH as i32) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// `/proc/PID/stat`: the name stands in parentheses and may contain any character, so the rest begins after the last
/// one (proc_pid_stat(5)).
fn parse(pid: i32, stat: &str) -> Option<Row> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    let began = fields.nth(15)?.parse().ok()?;
    Some(Row { pid, parent, session, began, dead: matches!(state, "Z" | "X") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let row = parse(7, "7 (a) b) S 3 4 5 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0").unwrap();
        assert_eq!((row.pid, row.parent, row.session, row.began, row.dead), (7, 3, 5, 4711, false));
        assert!(parse(7, "7 (x) Z 3 4 5 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0").unwrap().dead);
    }

    #[test]
    fn the_beginning_of_a_process_is_known() {
        let own = began(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(began(1).unwrap() <= own && own > 0);
        assert_eq!(began(i32::MAX), None);
    }

    #[tokio::test]
    async fn a_process_that_is_gone_is_noticed() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        // What stands for a container's id is in every process's list of cgroups.
        let mut watching = tokio::spawn(gone(pid, "0:"));
        assert!(tokio::time::timeout(GONE_POLL * 3, &mut watching).await.is_err());
        child.kill().unwrap();
        child.wait().unwrap();
        tokio::time::timeout(Duration::from_secs(10), watching).await.unwrap().unwrap();
        // Another container's is none of this one.
        gone(i32::try_from(std::process::id()).unwrap(), &"0123456789abcdef".repeat(4)).await;
    }

    #[test]
    fn a_process_of_another_container_is_left_alone() {
        let own = i32::try_from(std::process::id()).unwrap();
        let refused = end(own, &"0123456789abcdef".repeat(4)).unwrap_err().to_string();
        assert!(refused.contains("does not belong"), "{refused}");
    }
}
