//! Decides the exit code of an exec'd process.
//!
//! Docker's `exec_die` event carries the code and usually arrives with the end of the output. An inspect is asked when it
//! does not: no event is sent for a process that could not be started, and events are lost when Docker's event stream
//! breaks. A process killed with its container may get neither, or a wrong code from Docker 20.10; it counts as killed by
//! SIGKILL.

use std::time::Duration;

use tokio::time::timeout;

use crate::error::Error;

use super::ExecProcess;

/// How long the exit event is waited for before the first inspect.
const EXIT_EVENT_WAIT: Duration = Duration::from_millis(50);
/// The longest pause between two inspects of a process whose output has ended and whose exit is not known.
const INSPECT_INTERVAL_MAX: Duration = Duration::from_secs(5);
/// The exit code of a process that SIGKILL ended (128 + 9).
const SIGKILL_EXIT_CODE: i32 = 137;
/// The exit code that Docker 20.10 reports for a process killed with its container, where the PID namespace belongs to
/// another container. A shell exits with it as well: command not found.
const LOST_EXIT_CODE: i32 = 127;

/// What became of an exec'd process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExecOutcome {
    /// It exited with this code.
    Exited(i32),
    /// It could not be started. Docker reports this code (126 or 127) and wrote the reason to stdout.
    NotStarted(i32),
}

impl ExecProcess {
    /// Waits for the process's exit and returns its exit code. To be called after the last
    /// [`next_output`](ExecProcess::next_output).
    ///
    /// # Errors
    /// When Docker becomes unavailable, or the container is removed, before the exit is known.
    pub(crate) async fn outcome(&self) -> Result<ExecOutcome, Error> {
        match self.reported_outcome().await? {
            ExecOutcome::Exited(LOST_EXIT_CODE) if self.container_exited().await => {
                Ok(ExecOutcome::Exited(SIGKILL_EXIT_CODE))
            }
            outcome => Ok(outcome),
        }
    }

    /// The outcome as Docker reports it: by the exit event, else by inspect.
    async fn reported_outcome(&self) -> Result<ExecOutcome, Error> {
        let mut pause = EXIT_EVENT_WAIT;
        loop {
            if let Ok(code) = timeout(pause, self.exit_event.code()).await {
                return Ok(ExecOutcome::Exited(code));
            }
            let details = self.engine.inspect_exec(&self.id).await?;
            match details.exit_code {
                Some(code) if !details.running && details.pid == 0 => return Ok(ExecOutcome::NotStarted(code)),
                Some(code) if !details.running => return Ok(ExecOutcome::Exited(code)),
                _ => {}
            }
            let running =
                self.index.containers.get(&self.container).is_some_and(|container| container.process.is_running());
            if !running && pause == INSPECT_INTERVAL_MAX {
                return Ok(ExecOutcome::Exited(SIGKILL_EXIT_CODE));
            }
            pause = INSPECT_INTERVAL_MAX.min(pause * 4);
        }
    }

    /// Whether the container has exited, by an inspect: its `die` event may not have reached the index yet.
    async fn container_exited(&self) -> bool {
        let inspected = self.engine.inspect_container(&self.container).await;
        inspected.map_or_else(|error| error.is_not_found(), |details| !details.state.running)
    }
}
