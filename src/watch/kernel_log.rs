//! OOM kills in the kernel's log.
//!
//! Docker's `oom` events come from containerd. containerd 1.x sends none if the cgroup is removed before it reads the
//! cgroup's counters, as happens on a busy machine. The kernel logs every OOM kill.

use std::fs::OpenOptions;
use std::io;
use std::io::ErrorKind;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::OFlag;

/// Each read returns one record (the kernel's Documentation/ABI/testing/dev-kmsg).
const LOG: &str = "/dev/kmsg";
/// The longest record, in bytes.
const LONGEST: usize = 8192;

/// Whether the log has an OOM kill of a process of the container `id`. Blocks.
///
/// # Errors
/// When the log cannot be read, as without CAP_SYSLOG.
pub(super) fn has_oom_kill(id: &str) -> io::Result<bool> {
    let mut log = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(LOG)?;
    let mut record = vec![0; LONGEST];
    loop {
        match log.read(&mut record) {
            Ok(0) => return Ok(false),
            Ok(length) if is_kill(&String::from_utf8_lossy(&record[..length]), id) => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            // EPIPE: the record was overwritten before it was read; the next read returns a later one.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
}

/// A record such as `6,901,5338,-;oom-kill:constraint=CONSTRAINT_MEMCG,...,task_memcg=/docker/ID,task=sh,pid=1,uid=0`.
fn is_kill(record: &str, id: &str) -> bool {
    let Some((_, fields)) = record.split_once(";oom-kill:") else { return false };
    fields.split(',').any(|field| field.strip_prefix("task_memcg=").is_some_and(|cgroup| cgroup.contains(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oom_kill_is_recognized_by_the_cgroup_of_the_process() {
        let record = "6,1041,18520001,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=c1,mems_allowed=0,\
                      oom_memcg=/kubepods/pod1,task_memcg=/kubepods/pod1/0123abc,task=sh,pid=77,uid=0\n";
        assert!(is_kill(record, "0123abc"));
        assert!(!is_kill(record, "456def"));
        assert!(!is_kill("6,1040,18520000,-;sh invoked oom-killer: task_memcg=/docker/0123abc", "0123abc"));
        let systemd = record.replace("/0123abc", "/docker-0123abc.scope");
        assert!(is_kill(&systemd, "0123abc"));
    }

    #[test]
    fn reading_the_log_of_this_machine_ends() {
        // The log may be unreadable here.
        let found = has_oom_kill("no container has this id");
        assert!(matches!(found, Ok(false) | Err(_)), "{found:?}");
    }
}
