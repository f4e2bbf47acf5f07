//! A process exec'd in a running container, from its creation to its end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::timeout;

use crate::docker::Engine;
use crate::docker::ExecExit;
use crate::docker::ExecSpec;
use crate::docker::Hijacked;
use crate::docker::Output;
use crate::docker::Source;
use crate::docker::TerminalSize;
use crate::error::Error;
use crate::state::Index;

use super::OUTPUT_DRAIN_LIMIT;
use super::ProcessState;
use crate::cgroup::process_tree;
use crate::container::Containers;

/// Pause after a failed inspect for a process's pid.
const PID_RETRY: Duration = Duration::from_secs(1);
/// Pause between inspects of a process that is being started.
const START_POLL: Duration = Duration::from_millis(20);
/// How long killing a process may take, until Docker reports its exit.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// A process exec'd in a container. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ExecProcess {
    pub(super) engine: Engine,
    pub(super) index: Index,
    pub(super) container: String,
    /// Docker's exec id.
    pub(super) id: String,
    /// For messages: the container and the command line.
    label: String,
    pub(super) exit_event: Arc<ExecExit>,
}

impl Containers {
    /// Starts a command in a running container. Its stdin stays open until [`Hijacked::input`] is closed or dropped.
    ///
    /// # Errors
    /// [`Error::Lookup`]; [`Error::Precondition`] when the container is not running; [`Error::Invalid`] without a
    /// command.
    pub(crate) async fn start_exec(&self, id: &str, spec: &ExecSpec) -> Result<(ExecProcess, Hijacked), Error> {
        let process = self.create_exec(id, spec).await?;
        match process.start(spec.terminal).await {
            Ok(io) => Ok((process, io)),
            Err(error) => {
                process.kill_if_maybe_started(&error);
                Err(error)
            }
        }
    }

    /// Creates Docker's exec object; nothing runs yet.
    pub(super) async fn create_exec(&self, id: &str, spec: &ExecSpec) -> Result<ExecProcess, Error> {
        let container = self.running(id)?;
        let container = container.record.id.clone();
        if spec.command.is_empty() {
            return Err(Error::invalid(format!("container {container}"), "cmd", "is empty"));
        }
        self.engine.info()?;
        let id = self.engine.create_exec(&container, spec).await?;
        Ok(ExecProcess {
            engine: self.engine.clone(),
            index: self.index.clone(),
            label: format!("container {container}: command {:?}", spec.command),
            exit_event: Arc::new(self.engine.exec_exit(&id)),
            container,
            id,
        })
    }
}

impl ExecProcess {
    /// How messages name the process: `container ID: command ["sh", ...]`.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Starts the process. The start continues when this future is dropped: otherwise Docker would lose track of a
    /// process it has just started, and that could not be killed.
    pub(super) async fn start(&self, terminal: bool) -> Result<Hijacked, Error> {
        let (engine, id) = (self.engine.clone(), self.id.clone());
        match tokio::spawn(async move { engine.start_exec(&id, terminal).await }).await {
            Ok(started) => Ok(started?),
            Err(error) => Err(Error::precondition(&self.label, format!("could not be started: {error}"))),
        }
    }

    /// Kills the process in the background where `error` leaves it open whether Docker has started it.
    pub(super) fn kill_if_maybe_started(&self, error: &Error) {
        if matches!(error, Error::Docker(error) if error.is_unanswered()) {
            let process = self.clone();
            tokio::spawn(async move { process.kill(None).await });
        }
    }

    /// Resizes the process's terminal.
    ///
    /// # Errors
    /// When the process has exited.
    pub(crate) async fn resize(&self, size: TerminalSize) -> Result<(), Error> {
        Ok(self.engine.resize_exec(&self.id, size).await?)
    }

    /// The next chunk of output. `None` after the last one, or some seconds after the process exited while a process
    /// that it left behind keeps the output open. Cancel safe: dropping the future loses no output.
    ///
    /// # Errors
    /// When Docker becomes unavailable.
    pub(crate) async fn next_output(&self, output: &mut Output) -> Result<Option<(Source, Bytes)>, Error> {
        // Usually Docker closes the connection well before this.
        let drain_deadline = async {
            self.exit_event.code().await;
            tokio::time::sleep(OUTPUT_DRAIN_LIMIT).await;
        };
        tokio::select! {
            biased;
            chunk = output.next() => Ok(chunk?),
            () = drain_deadline => Ok(None),
        }
    }

    /// The states of the process: Running, if it can be found, then Exited.
    pub(crate) fn states(&self) -> impl Stream<Item = ProcessState> {
        let pid = async {
            tokio::select! {
                _ = self.exit_event.code() => None,
                pid = self.wait_for_pid() => pid,
            }
        };
        stream::once(pid).flat_map(move |pid| {
            let exited = async move {
                let Some(pid) = pid else { return ProcessState::Exited };
                tokio::select! {
                    _ = self.exit_event.code() => ProcessState::Exited,
                    () = process_tree::wait_gone(pid, &self.container) => ProcessState::Exited,
                }
            };
            stream::iter(pid.map(|_| ProcessState::Running)).chain(stream::once(exited))
        })
    }

    /// The process's pid on the host; `None` when it has exited. Retries until Docker answers.
    async fn wait_for_pid(&self) -> Option<i32> {
        loop {
            match self.pid().await {
                Ok(pid) => return pid,
                Err(Error::Docker(error)) if error.is_not_found() => return None,
                Err(error) => tracing::debug!(%error, "could not look up the pid of a command; retrying"),
            }
            tokio::time::sleep(PID_RETRY).await;
        }
    }

    /// The process's pid on the host; `None` when it has exited. Waits while the process is being started.
    async fn pid(&self) -> Result<Option<i32>, Error> {
        loop {
            let details = self.engine.inspect_exec(&self.id).await?;
            match details.exit_code {
                Some(_) if !details.running => return Ok(None),
                _ if details.pid > 0 => return Ok(Some(details.pid)),
                _ => tokio::time::sleep(START_POLL).await,
            }
        }
    }

    /// Kills the process with every process it started. `output` is read meanwhile, because Docker reports the exit only
    /// after its output has been taken. Failures are logged: the caller returns the error that made it kill the process.
    pub(super) async fn kill(&self, output: Option<Output>) {
        let killed = timeout(KILL_LIMIT, async {
            if let Some(pid) = self.pid().await? {
                self.signal_tree(pid, process_tree::kill).await?;
            }
            self.outcome().await
        });
        tokio::select! {
            killed = killed => match killed {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "could not kill {}", self.label),
                Err(_) => tracing::warn!("{} was killed, but Docker did not report its exit", self.label),
            },
            never = discard(output) => match never {},
        }
    }

    /// Sends SIGHUP to the process and every process it started, as the kernel does when a terminal closes. Failures
    /// are logged.
    pub(crate) async fn hang_up(&self) {
        let sent = async {
            match self.pid().await? {
                Some(pid) => self.signal_tree(pid, process_tree::hang_up).await,
                None => Ok(()),
            }
        };
        if let Ok(Err(error)) = timeout(KILL_LIMIT, sent).await {
            tracing::warn!(%error, "could not send SIGHUP to {}", self.label);
        }
    }

    async fn signal_tree(&self, pid: i32, signal: fn(i32, &str) -> Result<(), Error>) -> Result<(), Error> {
        let container = self.container.clone();
        match tokio::task::spawn_blocking(move || signal(pid, &container)).await {
            Ok(outcome) => outcome,
            Err(error) => {
                Err(Error::precondition(format!("process {pid}"), format!("could not be signalled: {error}")))
            }
        }
    }
}

/// Reads and drops output for as long as the future is polled.
async fn discard(output: Option<Output>) -> Infallible {
    if let Some(mut output) = output {
        while let Ok(Some(_)) = output.next().await {}
    }
    std::future::pending().await
}
