//! `dockside-scheduler run`, stopped with its test at the latest.

use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;

use nix::sys::signal::Signal;
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// A running `dockside-scheduler run`.
pub struct Replica(Child);

impl Replica {
    /// Starts it with these arguments.
    pub fn start(args: &[&str]) -> Replica {
        Replica(Command::new(crate::program("dockside-scheduler")).arg("run").args(args).spawn().unwrap())
    }

    /// Stops it with SIGTERM.
    pub fn stop(mut self) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }

    /// Its exit status, if it has exited.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }
}

/// Kills it with SIGKILL.
impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
