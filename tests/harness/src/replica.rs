//! `dockside-scheduler run`, that ends with its test at the latest.

use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;

use nix::sys::signal::Signal;
use nix::sys::signal::kill;
use nix::unistd::Pid;

pub struct Replica(Child);

impl Replica {
    pub fn start(args: &[&str]) -> Replica {
        Replica(Command::new(crate::program("dockside-scheduler")).arg("run").args(args).spawn().unwrap())
    }

    /// In peace.
    pub fn stop(mut self) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }

    /// How it ended, if it has.
    pub fn end(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }
}

/// By SIGKILL.
impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
