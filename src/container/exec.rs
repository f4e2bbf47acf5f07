//! Exec and attach: processes that join a running container, and clients that join its init process.
//!
//! `cri` calls [`Containers::exec_sync`]; `stream` serves the clients of Exec and Attach with [`Containers::start_exec`]
//! and [`Containers::attach`].
//!
//! * `exec_sync`: the ExecSync RPC, from the request to the captured output.
//! * `process`: [`ExecProcess`], the exec'd process: create, start, output, resize, kill.
//! * `exit_code`: decides the exit code of an exec from Docker's event, inspect and the container's state.
//! * `attach`: the streams of a container's init process.

mod attach;
mod exec_sync;
mod exit_code;
mod process;

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::state::Container;

use super::Containers;

pub(crate) use self::exit_code::ExecOutcome;
pub(crate) use self::process::ExecProcess;

/// How long output is still read after the process exited: a background process that it left behind may keep the output
/// open without writing to it.
const OUTPUT_DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Whether a process whose output is being read still runs. Found from the host, because Docker reports an exit only
/// after it has delivered the process's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcessState {
    /// The process exists.
    Running,
    /// The process has exited, or never started.
    Exited,
}

impl Containers {
    /// The running container with this id, or with an id that begins so.
    ///
    /// # Errors
    /// [`Error::Lookup`]; [`Error::Precondition`] when it is not running.
    pub(crate) fn running(&self, id: &str) -> Result<Arc<Container>, Error> {
        let container = self.existing(id)?;
        let state = match &container.process {
            process if process.is_running() => return Ok(container),
            process if process.exit().is_some() => "has exited",
            _ => "was not started yet",
        };
        Err(Error::precondition(format!("container {}", container.record.id), state))
    }
}
