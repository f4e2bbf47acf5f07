//! Commands in running containers: ExecSync here, and what Exec's sessions work with.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::Instant;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::docker;
use crate::docker::Engine;
use crate::docker::ExecEnd;
use crate::docker::ExecSpec;
use crate::docker::Hijacked;
use crate::docker::Output;
use crate::docker::Source;
use crate::docker::TerminalSize;
use crate::error::Error;
use crate::proto::ExecSyncResponse;
use crate::state::Container;
use crate::state::Store;

use super::Containers;
use super::tree;

/// What an ExecSync may answer in all. The CRI allows 16 MiB for each output, but a kubelet takes no longer message
/// than that, so both share it; the rest is for the message around them.
const OUTPUT_LIMIT: usize = (16 << 20) - 1024;
/// Docker tells a command's end at about the same time as its output ends. A command that could not be started has no
/// such event.
const END_LAG: Duration = Duration::from_millis(50);
/// How long, at most, until the next look at a command whose output has ended and whose end was not told.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How long a background process that holds a command's output open after its end may be silent.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// Between two attempts to learn which process a command's is.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// How long the end of a killed command is waited for.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// Between looks whether a command that is to be killed has begun.
const BEGIN_POLL: Duration = Duration::from_millis(20);
/// The exit code when a container's end took the command along: that of SIGKILL.
const KILLED: i32 = 137;
/// What Docker 20.10 tells of a command that went with its container, when the PID namespace is another container's. It
/// is also what a shell says of an unknown command.
const LOST: i32 = 127;

/// A command in a container.
#[derive(Clone)]
pub struct Command {
    engine: Engine,
    store: Arc<Store>,
    container: String,
    id: String,
    /// For messages.
    what: String,
    end: Arc<ExecEnd>,
}

/// What is known of a process whose output somebody reads, also when Docker does not say so yet: it gets rid of the output
/// first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Runs,
    Ended,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandEnd {
    Exited(i32),
    /// It could not be started; Docker's words were its output.
    NeverRan(i32),
}

impl Containers {
    /// Runs a command to its end and returns what it wrote. When `limit` (zero: none) has passed or `cancelled` comes, all
    /// its processes are killed.
    ///
    /// # Errors
    /// [`Error::DeadlineExceeded`] after `limit`; [`Error::Precondition`] when the container does not run, or the
    /// command could not be started.
    pub async fn exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        limit: Duration,
        cancelled: CancellationToken,
    ) -> Result<ExecSyncResponse, Error> {
        let deadline = Instant::now().checked_add(limit).filter(|_| !limit.is_zero());
        let too_late = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let spec = ExecSpec { command, stdout: true, stderr: true, ..Default::default() };
        let command = self.prepare_command(id, &spec).await?;
        let mut io = None;
        let run = async {
            let Hijacked { input: _no_input, output } = io.insert(command.begin(spec.terminal).await?);
            command.capture(output).await
        };
        let killed = tokio::select! {
            answer = run => return answer.inspect_err(|error| command.abandon(error)),
            () = too_late => {
                Error::DeadlineExceeded(format!("{} was killed, as it took longer than {limit:?}", command.what))
            }
            () = cancelled.cancelled() => {
                Error::Precondition(format!("{} was killed, as nobody waits for it any more", command.what))
            }
        };
        command.kill(io.map(|io| io.output)).await;
        Err(killed)
    }

    /// Starts a command in a running container. Its input is held open until it is closed or dropped.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Precondition`] when the container does not run; [`Error::Invalid`] without a
    /// command.
    pub async fn begin_command(&self, id: &str, spec: &ExecSpec) -> Result<(Command, Hijacked), Error> {
        let command = self.prepare_command(id, spec).await?;
        match command.begin(spec.terminal).await {
            Ok(io) => Ok((command, io)),
            Err(error) => {
                command.abandon(&error);
                Err(error)
            }
        }
    }

    async fn prepare_command(&self, id: &str, spec: &ExecSpec) -> Result<Command, Error> {
        let container = self.running(id)?;
        let container = container.record.id.clone();
        if spec.command.is_empty() {
            return Err(Error::invalid(format!("container {container}"), "cmd", "is empty"));
        }
        self.engine.info()?;
        let id = self.engine.create_exec(&container, spec).await?;
        Ok(Command {
            engine: self.engine.clone(),
            store: Arc::clone(&self.store),
            what: format!("container {container}: command {:?}", spec.command),
            end: Arc::new(self.engine.exec_end(&id)),
            container,
            id,
        })
    }

    /// Joins the container's own process: its input, if it has one, and its output from now on.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Precondition`] when the container does not run.
    pub async fn attach(&self, id: &str, spec: &ExecSpec) -> Result<(Arc<Container>, Hijacked), Error> {
        let container = self.running(id)?;
        self.engine.info()?;
        // Docker's format depends on what the container has, not on what the client asked for.
        let spec = ExecSpec { terminal: container.record.config.tty, ..spec.clone() };
        let io = self.engine.attach_container(&container.record.id, &spec).await?;
        Ok((container, io))
    }

    /// Returns some time after the container has ended. By then Docker has ended the output to all who had joined, except
    /// to one that came just as the container went: Docker keeps that one for the container's next start, and there is
    /// none.
    pub async fn left_behind(&self, id: &str) {
        self.end_told(id).await;
        tokio::time::sleep(DRAIN_LIMIT).await;
    }

    /// What becomes of the container's own process. That is looked up by the call, as it can be found only while it is
    /// there.
    pub fn life(&self, container: &Container) -> impl Stream<Item = Life> {
        let first = self.first_process(container);
        let id = container.record.id.clone();
        let begun = stream::iter(first.map(|_| Life::Runs));
        let ended = async move {
            let gone = async {
                match first {
                    Some(pid) => tree::gone(pid, &id).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.end_told(&id) => Life::Ended,
                () = gone => Life::Ended,
            }
        };
        begun.chain(stream::once(ended))
    }

    async fn end_told(&self, id: &str) {
        let mut changes = self.store.changes();
        while self.store.container(id).is_some_and(|container| container.process.is_running()) {
            changes.next().await;
        }
    }

    /// Changes the size of the container's own terminal.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn resize(&self, id: &str, size: TerminalSize) -> Result<(), Error> {
        Ok(self.engine.resize_container(id, size).await?)
    }

    /// The container that `id` stands for, which runs.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Precondition`] when it does not run.
    pub fn running(&self, id: &str) -> Result<Arc<Container>, Error> {
        let container = self.existing(id)?;
        let state = match &container.process {
            process if process.is_running() => return Ok(container),
            process if process.exit().is_some() => "has exited",
            _ => "was not started yet",
        };
        Err(Error::Precondition(format!("container {} {state}", container.record.id)))
    }
}

impl Command {
    /// Starts it. That goes on when the future is dropped: Docker would otherwise lose sight of a process that it has
    /// just begun, and it could not be killed.
    async fn begin(&self, terminal: bool) -> Result<Hijacked, Error> {
        let (engine, id) = (self.engine.clone(), self.id.clone());
        match tokio::spawn(async move { engine.start_exec(&id, terminal).await }).await {
            Ok(started) => Ok(started?),
            Err(error) => Err(Error::Precondition(format!("{} could not be started: {error}", self.what))),
        }
    }

    /// Kills, in the background, what may run although Docker did not say so.
    fn abandon(&self, error: &Error) {
        if matches!(error, Error::Docker(docker::Error::Unavailable { .. } | docker::Error::Timeout { .. })) {
            let command = self.clone();
            tokio::spawn(async move { command.kill(None).await });
        }
    }

    /// Changes the size of its terminal.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn resize(&self, size: TerminalSize) -> Result<(), Error> {
        Ok(self.engine.resize_exec(&self.id, size).await?)
    }

    /// The next piece of its output. `None` after the last; also when the command has ended and a process that it left
    /// behind could still write, but does not. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When Docker goes away.
    pub async fn next(&self, output: &mut Output) -> Result<Option<(Source, Bytes)>, Error> {
        // In the ordinary case Docker ends the connection well within the limit.
        let left_open = async {
            self.end.told().await;
            tokio::time::sleep(DRAIN_LIMIT).await;
        };
        tokio::select! {
            biased;
            piece = output.next() => Ok(piece?),
            () = left_open => Ok(None),
        }
    }

    /// What becomes of its process.
    pub fn life(&self) -> impl Stream<Item = Life> {
        let begun = async {
            tokio::select! {
                _ = self.end.told() => None,
                process = self.find() => process,
            }
        };
        stream::once(begun).flat_map(move |process| {
            let ended = async move {
                let Some(pid) = process else { return Life::Ended };
                tokio::select! {
                    _ = self.end.told() => Life::Ended,
                    () = tree::gone(pid, &self.container) => Life::Ended,
                }
            };
            stream::iter(process.map(|_| Life::Runs)).chain(stream::once(ended))
        })
    }

    /// Its process; `None` when it has ended. Docker is asked until it answers.
    async fn find(&self) -> Option<i32> {
        loop {
            match self.pid().await {
                Ok(found) => return found,
                Err(Error::Docker(error)) if error.is_not_found() => return None,
                Err(error) => tracing::debug!(%error, "could not look for the process of a command yet"),
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// How it ended; to be asked when its output has ended.
    ///
    /// # Errors
    /// When Docker went away, or the container was removed, before that was known.
    pub async fn ended(&self) -> Result<CommandEnd, Error> {
        match self.told_end().await? {
            CommandEnd::Exited(LOST) if self.container_ended().await => Ok(CommandEnd::Exited(KILLED)),
            end => Ok(end),
        }
    }

    /// Whether the container has ended; Docker is asked, as its events may not have been applied yet.
    async fn container_ended(&self) -> bool {
        let seen = self.engine.inspect_container(&self.container).await;
        seen.map_or_else(|error| error.is_not_found(), |details| !details.state.running)
    }

    async fn told_end(&self) -> Result<CommandEnd, Error> {
        let mut pause = END_LAG;
        loop {
            if let Ok(code) = timeout(pause, self.end.told()).await {
                return Ok(CommandEnd::Exited(code));
            }
            let seen = self.engine.inspect_exec(&self.id).await?;
            match seen.exit_code {
                Some(code) if !seen.running && seen.pid == 0 => return Ok(CommandEnd::NeverRan(code)),
                Some(code) if !seen.running => return Ok(CommandEnd::Exited(code)),
                _ => {}
            }
            let alone = self.store.container(&self.container).is_none_or(|container| !container.process.is_running());
            if alone && pause == LOOK_AGAIN {
                return Ok(CommandEnd::Exited(KILLED));
            }
            pause = LOOK_AGAIN.min(pause * 4);
        }
    }

    /// Kills all its processes, while reading what they still write: Docker tells no end before that was taken. What goes
    /// wrong is logged: the caller's own error is the one to tell.
    async fn kill(&self, output: Option<Output>) {
        let killed = timeout(KILL_LIMIT, async {
            if let Some(pid) = self.pid().await? {
                self.with_tree(pid, tree::end).await?;
            }
            self.ended().await
        });
        tokio::select! {
            killed = killed => match killed {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "{} could not be killed", self.what),
                Err(_) => tracing::warn!("{} was killed, but Docker does not say so", self.what),
            },
            never = discard(output) => match never {},
        }
    }

    /// Tells all its processes that their terminal is gone, if they still run.
    pub async fn hang_up(&self) {
        let told = async {
            match self.pid().await? {
                Some(pid) => self.with_tree(pid, tree::hang_up).await,
                None => Ok(()),
            }
        };
        if let Ok(Err(error)) = timeout(KILL_LIMIT, told).await {
            tracing::warn!(%error, "{} could not be hung up", self.what);
        }
    }

    /// The number of its first process; `None` when it has ended. One that is just being started is waited for.
    async fn pid(&self) -> Result<Option<i32>, Error> {
        loop {
            let seen = self.engine.inspect_exec(&self.id).await?;
            match seen.exit_code {
                Some(_) if !seen.running => return Ok(None),
                _ if seen.pid > 0 => return Ok(Some(seen.pid)),
                _ => tokio::time::sleep(BEGIN_POLL).await,
            }
        }
    }

    async fn with_tree(&self, pid: i32, work: fn(i32, &str) -> Result<(), Error>) -> Result<(), Error> {
        let container = self.container.clone();
        match tokio::task::spawn_blocking(move || work(pid, &container)).await {
            Ok(outcome) => outcome,
            Err(error) => Err(Error::Precondition(format!("process {pid} could not be signalled: {error}"))),
        }
    }

    /// Everything it writes, and its end.
    async fn capture(&self, output: &mut Output) -> Result<ExecSyncResponse, Error> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut room = OUTPUT_LIMIT;
        // What is too much is read all the same, or the command would wait for ever.
        while let Some((source, bytes)) = self.next(output).await? {
            let kept = &bytes[..room.min(bytes.len())];
            room -= kept.len();
            match source {
                Source::Stdout => stdout.extend_from_slice(kept),
                Source::Stderr => stderr.extend_from_slice(kept),
            }
        }
        match self.ended().await? {
            CommandEnd::Exited(exit_code) => Ok(ExecSyncResponse { stdout, stderr, exit_code }),
            CommandEnd::NeverRan(_) => {
                let words = String::from_utf8_lossy(&stdout);
                Err(Error::Precondition(format!("{} could not be started: {}", self.what, words.trim())))
            }
        }
    }
}

async fn discard(output: Option<Output>) -> Infallible {
    if let Some(mut output) = output {
        while let Ok(Some(_)) = output.next().await {}
    }
    std::future::pending().await
}
