//! Exec and attach sessions: a client's channels joined to a process, until the process exits or the client disconnects.

mod output;
mod resize;

use std::convert::Infallible;

use futures_util::stream::try_unfold;

use crate::container::Containers;
use crate::container::ExecOutcome;
use crate::container::ExecProcess;
use crate::docker::ExecSpec;
use crate::docker::Hijacked;
use crate::docker::Input;
use crate::docker::Output;
use crate::error::Error;
use crate::state::Container;

use super::channels::CloseSignal;
use super::channels::Disconnected;
use super::channels::Reader;
use super::channels::Received;
use super::channels::Writer;
use super::status::SessionStatus;
use super::status::StatusFormat;

use self::output::forward_output;
use self::resize::Terminal;
use self::resize::forward_resizes;

/// The channels that a client has open.
pub(super) struct Channels {
    pub(super) stdin: Option<Reader>,
    pub(super) stdout: Option<Writer>,
    pub(super) stderr: Option<Writer>,
    pub(super) resize: Option<Reader>,
    pub(super) error: Writer,
    /// The format of what is sent on `error`.
    pub(super) status_format: StatusFormat,
    pub(super) close_signal: CloseSignal,
}

impl Channels {
    /// Half-closes the outputs and sends the session's status.
    async fn finish(&self, status: &SessionStatus) {
        for output in [&self.stdout, &self.stderr].into_iter().flatten() {
            output.half_close().await;
        }
        let message = status.encode(self.status_format);
        if !message.is_empty() && self.error.write(message).await.is_err() {
            return;
        }
        self.error.half_close().await;
    }

    /// Sends the failure of a session that closes before its process exits: without a status, clients would report
    /// success. Has no effect when the client has disconnected.
    async fn finish_closed(&self) {
        let reason = self.close_signal.reason();
        let message = format!("the session was closed before the process exited: {reason}");
        self.finish(&SessionStatus::Failure(message)).await;
    }
}

/// Runs a command for a client. When the client disconnects, the process's stdin is closed, and a process with a terminal
/// gets SIGHUP.
pub(super) async fn exec(containers: &Containers, container: &str, spec: &ExecSpec, mut channels: Channels) {
    let (process, io) = match containers.start_exec(container, spec).await {
        Ok(started) => started,
        Err(error) => return channels.finish(&SessionStatus::Failure(error.to_string())).await,
    };
    let Hijacked { mut input, mut output } = io;
    let (stdin, resize) = (channels.stdin.take(), channels.resize.take());
    let status = tokio::select! {
        status = wait_exec(&process, &mut output, &channels) => status,
        () = channels.close_signal.closed() => Err(Disconnected),
        never = forward_stdin(stdin, &mut input, !spec.terminal) => match never {},
        never = forward_resizes(resize, Terminal::Exec(&process)) => match never {},
    };
    match status {
        Ok(status) => channels.finish(&status).await,
        Err(Disconnected) => {
            drop(input);
            if spec.terminal {
                process.hang_up().await;
            }
            channels.finish_closed().await;
        }
    }
}

/// Attaches a client to a container's init process, which keeps running when the client disconnects.
pub(super) async fn attach(containers: &Containers, container: &str, spec: &ExecSpec, mut channels: Channels) {
    let (container, io) = match containers.attach(container, spec).await {
        Ok(attached) => attached,
        Err(error) => return channels.finish(&SessionStatus::Failure(error.to_string())).await,
    };
    let Hijacked { mut input, mut output } = io;
    let config = &container.record.config;
    let (stdin, resize) = (channels.stdin.take(), channels.resize.take());
    let status = tokio::select! {
        status = wait_attached(containers, &container, &mut output, &channels) => status,
        () = channels.close_signal.closed() => Err(Disconnected),
        never = forward_stdin(stdin, &mut input, !(config.stdin_once && config.tty)) => match never {},
        never = forward_resizes(resize, Terminal::Container(containers, &container.record.id)) => match never {},
    };
    match status {
        Ok(status) => channels.finish(&status).await,
        Err(Disconnected) => channels.finish_closed().await,
    }
}

/// Forwards an exec'd process's output, then waits for its exit code.
async fn wait_exec(
    process: &ExecProcess,
    output: &mut Output,
    channels: &Channels,
) -> Result<SessionStatus, Disconnected> {
    let chunks = try_unfold(output, |output| async move {
        let chunk = process.next_output(output).await?;
        Ok::<_, Error>(chunk.map(|chunk| (chunk, output)))
    });
    if let Some(failure) = forward_output(chunks, process.states(), channels).await? {
        return Ok(failure);
    }
    Ok(match process.outcome().await {
        // The reason why a process was not started is in its output.
        Ok(ExecOutcome::Exited(code) | ExecOutcome::NotStarted(code)) => SessionStatus::from_exit_code(code),
        Err(error) => SessionStatus::Failure(error.to_string()),
    })
}

/// Forwards a container's output until Docker closes it, or until some seconds after the container has exited.
async fn wait_attached(
    containers: &Containers,
    container: &Container,
    output: &mut Output,
    channels: &Channels,
) -> Result<SessionStatus, Disconnected> {
    let drain_deadline = Box::pin(containers.output_drain_deadline(&container.record.id));
    let chunks = try_unfold((output, drain_deadline), |(output, mut drain_deadline)| async move {
        let chunk = tokio::select! {
            biased;
            chunk = output.next() => chunk?,
            () = &mut drain_deadline => None,
        };
        Ok::<_, Error>(chunk.map(|chunk| (chunk, (output, drain_deadline))))
    });
    let failure = forward_output(chunks, containers.process_states(container), channels).await?;
    Ok(failure.unwrap_or(SessionStatus::Success))
}

/// Forwards the client's stdin. Never returns: the session lasts until the process exits.
///
/// `close`: whether to pass on the end of the client's input. It closes the stdin of a process without a terminal, and of
/// a container with `stdin_once`; where a container's stdin stays open for the next client, it makes Docker detach this
/// client, which `kubectl run --leave-stdin-open` waits for. With a terminal it could cut off output.
async fn forward_stdin(stdin: Option<Reader>, input: &mut Input, close: bool) -> Infallible {
    if let Some(mut stdin) = stdin {
        while let Received::Data(bytes) = stdin.next().await {
            if input.write(&bytes).await.is_err() {
                break;
            }
        }
        if close {
            input.close().await;
        }
    }
    std::future::pending().await
}
