//! The pause process during RunPodSandbox, before the sandbox is in the index.

use std::fs::File;
use std::io::Read;

/// An open file of a process in /proc. Unlike the pid, it never refers to another process: once the process is reaped,
/// reading fails with ESRCH, even if the kernel has reused the pid.
pub(super) struct PauseProcess(Option<File>);

impl PauseProcess {
    /// Opens the process with this pid.
    pub(super) fn open(pid: i32) -> PauseProcess {
        PauseProcess(File::open(format!("/proc/{pid}/status")).ok())
    }

    /// Whether the process has exited and was reaped.
    pub(super) fn is_reaped(&self) -> bool {
        self.0.as_ref().is_none_or(|mut status| status.read(&mut [0]).is_err())
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_reaped_process_is_noticed_through_the_open_file() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let (before, after) = (PauseProcess::open(pid), PauseProcess::open(pid));
        assert!(!before.is_reaped());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(after.is_reaped());
        assert!(PauseProcess::open(pid).is_reaped());
    }
}
