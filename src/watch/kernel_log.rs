//! What the kernel's log says of the ends of containers.
//!
//! Docker hears from containerd that memory was short, and containerd 1.x does not tell when the cgroup is gone before it
//! gets to it, as on a busy machine. The kernel's log has it for certain.

use std::fs::OpenOptions;
use std::io;
use std::io::ErrorKind;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::OFlag;

/// Each read gives a record (the kernel's Documentation/ABI/testing/dev-kmsg).
const LOG: &str = "/dev/kmsg";
/// No record is longer.
const LONGEST: usize = 8192;

/// Whether the kernel killed a process of this container because memory was short.
///
/// # Errors
/// When the log may not be read.
pub(super) fn killed_for_memory(id: &str) -> io::Result<bool> {
    let mut log = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(LOG)?;
    let mut record = vec![0; LONGEST];
    loop {
        match log.read(&mut record) {
            Ok(0) => return Ok(false),
            Ok(length) if is_kill(&String::from_utf8_lossy(&record[..length]), id) => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            // The record was overwritten before it was read; the next read gives a later one.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
}

/// A record such as `6,901,5338,-;oom-kill:constraint=CONSTRAINT_MEMCG,...,task_memcg=/docker/ID,task=sh,pid=1,uid=0`.
fn is_kill(record: &str, id: &str) -> bool {
    let Some((_, told)) = record.split_once(";oom-kill:") else { return false };
    told.split(',').any(|field| field.strip_prefix("task_memcg=").is_some_and(|cgroup| cgroup.contains(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_is_known_by_the_cgroup_of_the_process() {
        let record = "6,1041,18520001,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=c1,mems_allowed=0,\
                      oom_memcg=/kubepods/pod1,task_memcg=/kubepods/pod1/0123abc,task=sh,pid=77,uid=0\n";
        assert!(is_kill(record, "0123abc"));
        assert!(!is_kill(record, "456def"));
        assert!(!is_kill("6,1040,18520000,-;sh invoked oom-killer: task_memcg=/docker/0123abc", "0123abc"));
        let systemd = record.replace("/0123abc", "/docker-0123abc.scope");
        assert!(is_kill(&systemd, "0123abc"));
    }

    #[test]
    fn the_log_of_this_machine_comes_to_its_end() {
        // Where it may not be read, that is told.
        let found = killed_for_memory("no container has this id");
        assert!(matches!(found, Ok(false) | Err(_)), "{found:?}");
    }
}
