//! The ExecSync RPC: runs a command, captures its output and returns its exit code.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::docker::ExecSpec;
use crate::docker::Hijacked;
use crate::docker::Output;
use crate::docker::Source;
use crate::error::Error;
use crate::proto::ExecSyncResponse;

use super::ExecOutcome;
use super::ExecProcess;
use crate::container::Containers;

/// Bytes of stdout and stderr together that an ExecSync returns. The CRI allows 16 MiB for each, but a kubelet receives
/// no message longer than 16 MiB in all; 1 KiB is left for the message's other fields.
const OUTPUT_LIMIT: usize = (16 << 20) - 1024;

impl Containers {
    /// Runs a command until it exits and returns its output and exit code. Output beyond a limit of almost 16 MiB is
    /// dropped. After `timeout` (zero: none), or when `cancelled` is cancelled, the command is killed with every process
    /// it started.
    ///
    /// # Errors
    /// [`Error::DeadlineExceeded`] after `timeout`; [`Error::Precondition`] when the container is not running, the
    /// command could not be started, or the call was cancelled.
    pub(crate) async fn exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        timeout: Duration,
        cancelled: CancellationToken,
    ) -> Result<ExecSyncResponse, Error> {
        let deadline = Instant::now().checked_add(timeout).filter(|_| !timeout.is_zero());
        let timed_out = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let spec = ExecSpec { command, stdout: true, stderr: true, ..Default::default() };
        let process = self.create_exec(id, &spec).await?;
        let mut io = None;
        let run = async {
            // Stdin stays open until the output has been read, as `io` holds it.
            let Hijacked { input: _stdin, output } = io.insert(process.start(spec.terminal).await?);
            capture_output(&process, output).await
        };
        let error = tokio::select! {
            response = run => return response.inspect_err(|error| process.kill_if_maybe_started(error)),
            () = timed_out => {
                Error::DeadlineExceeded(format!("{} was killed: it did not exit within {timeout:?}", process.label()))
            }
            () = cancelled.cancelled() => {
                Error::precondition(process.label(), "was killed: the client cancelled the call")
            }
        };
        process.kill(io.map(|io| io.output)).await;
        Err(error)
    }
}

/// Reads all output of a process, then returns it with the exit code.
async fn capture_output(process: &ExecProcess, output: &mut Output) -> Result<ExecSyncResponse, Error> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut room = OUTPUT_LIMIT;
    // Output beyond the limit is read as well, or the process would block on a full pipe for ever.
    while let Some((source, bytes)) = process.next_output(output).await? {
        let kept = &bytes[..room.min(bytes.len())];
        room -= kept.len();
        match source {
            Source::Stdout => stdout.extend_from_slice(kept),
            Source::Stderr => stderr.extend_from_slice(kept),
        }
    }
    match process.outcome().await? {
        ExecOutcome::Exited(exit_code) => Ok(ExecSyncResponse { stdout, stderr, exit_code }),
        ExecOutcome::NotStarted(_) => {
            let reason = String::from_utf8_lossy(&stdout);
            Err(Error::precondition(process.label(), format!("could not be started: {}", reason.trim())))
        }
    }
}
