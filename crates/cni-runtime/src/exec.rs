//! Runs one plugin once (CNI specification, section 2).
//!
//! The plugin reads its configuration from standard input, its parameters from the environment, and answers
//! on standard output. All three pipes are served at the same time: a plugin that writes before it reads,
//! or fills its standard error, must not stop.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use nix::sys::signal::Signal;
use nix::sys::signal::killpg;
use nix::unistd::Pid;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::process::Child;
use tokio::process::Command;
use tokio::time::timeout;
use tracing::Instrument;

use super::failure::Failure;
use super::failure::OUTPUT_LIMIT;
use super::failure::PluginError;
use super::failure::Verb;
use super::failure::reported_error;
use super::failure::shortened;

/// How long to wait for more output after the plugin exited: a process that it left running may hold the pipes open.
const EXIT_GRACE: Duration = Duration::from_secs(1);
/// How long to wait for a killed plugin to exit.
const KILL_GRACE: Duration = Duration::from_secs(1);
/// How often to retry while the executable is open for writing (ETXTBSY) because it is being installed, and the pause
/// between attempts: about five seconds in total.
const BUSY_ATTEMPTS: u32 = 50;
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// Variables that a service manager sets for this process. Plugins must not inherit them, or they could talk to the service
/// manager in its name.
const NOT_INHERITED: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// The CNI variables of one run. `None` leaves a variable unset.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// `CNI_CONTAINERID`
    pub container_id: Option<String>,
    /// `CNI_NETNS`
    pub netns: Option<PathBuf>,
    /// `CNI_IFNAME`
    pub ifname: Option<String>,
    /// `CNI_ARGS`
    pub args: Option<String>,
}

/// The target of the span that each plugin run is inside of, for tracing subscribers that export traces.
pub const SPANS: &str = "cni_runtime::spans";

/// One finished run of a plugin, as an [`Observer`] sees it.
#[derive(Debug, Clone, Copy)]
pub struct PluginRun<'a> {
    /// The plugin's `type`, which is the name of its executable.
    pub plugin: &'a str,
    /// What it was asked to do.
    pub verb: Verb,
    /// Whether it succeeded.
    pub ok: bool,
    /// From the search for the executable to its last output.
    pub elapsed: Duration,
}

/// Called after each run of a plugin, in the task that ran it: it must not block.
#[derive(Clone)]
pub struct Observer(Arc<dyn Fn(PluginRun<'_>) + Send + Sync>);

impl Observer {
    /// An observer that calls `observe`.
    pub fn new(observe: impl Fn(PluginRun<'_>) + Send + Sync + 'static) -> Observer {
        Observer(Arc::new(observe))
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// Finds plugins and runs them.
#[derive(Debug)]
pub(crate) struct Runner {
    bin_dirs: Vec<PathBuf>,
    cni_path: OsString,
    deadline: Duration,
    observer: Option<Observer>,
}

impl Runner {
    /// `deadline` is the time one plugin has for one call.
    pub(crate) fn new(bin_dirs: Vec<PathBuf>, deadline: Duration) -> Runner {
        let mut cni_path = OsString::new();
        for (place, dir) in bin_dirs.iter().enumerate() {
            if place > 0 {
                cni_path.push(":");
            }
            cni_path.push(dir);
        }
        Runner { bin_dirs, cni_path, deadline, observer: None }
    }

    /// Calls `observer` after each run from now on.
    pub(crate) fn set_observer(&mut self, observer: Observer) {
        self.observer = Some(observer);
    }

    /// Where plugins are looked for.
    pub(crate) fn bin_dirs(&self) -> &[PathBuf] {
        &self.bin_dirs
    }

    /// The path of a plugin's executable, in the first directory that has it.
    pub(crate) fn find(&self, plugin: &str) -> Option<PathBuf> {
        self.bin_dirs.iter().map(|dir| dir.join(plugin)).find(|path| is_executable(path))
    }

    /// Runs `plugin` with `config` as its standard input and returns what it wrote to standard output.
    pub(crate) async fn run(
        &self,
        plugin: &str,
        verb: Verb,
        environment: &Environment,
        config: &[u8],
    ) -> Result<Vec<u8>, PluginError> {
        let began = Instant::now();
        let call = async {
            let Some(path) = self.find(plugin) else {
                return Err(Failure::NotFound { bin_dirs: self.bin_dirs.clone() });
            };
            let child = start(self.command(&path, verb, environment)).await?;
            let run = attend(child, config, self.deadline).await?;
            run.into_output()
        };
        let span = tracing::info_span!(target: SPANS, "cni", otel.name = format!("CNI {verb} {plugin}"));
        let outcome = call.instrument(span).await;
        if let Some(Observer(observe)) = &self.observer {
            observe(PluginRun { plugin, verb, ok: outcome.is_ok(), elapsed: began.elapsed() });
        }
        tracing::debug!(
            plugin,
            %verb,
            container = environment.container_id,
            elapsed = ?began.elapsed(),
            ok = outcome.is_ok(),
            "plugin ended"
        );
        outcome.map_err(|failure| PluginError { plugin: plugin.to_owned(), verb, failure })
    }

    fn command(&self, path: &Path, verb: Verb, environment: &Environment) -> Command {
        let mut command = Command::new(path);
        command
            .env("CNI_COMMAND", verb.as_str())
            .env("CNI_PATH", &self.cni_path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A process group of its own, so that plugins it delegates to are killed with it.
            .process_group(0)
            .kill_on_drop(true);
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        let optional = [
            ("CNI_CONTAINERID", environment.container_id.as_ref().map(OsString::from)),
            ("CNI_NETNS", environment.netns.as_ref().map(OsString::from)),
            ("CNI_IFNAME", environment.ifname.as_ref().map(OsString::from)),
            ("CNI_ARGS", environment.args.as_ref().map(OsString::from)),
        ];
        for (name, value) in optional {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Starts the plugin, with retries while its file is being written.
async fn start(mut command: Command) -> io::Result<Child> {
    let mut attempt = 1;
    loop {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && attempt < BUSY_ATTEMPTS => {
                attempt += 1;
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

/// A plugin that exited.
struct Run {
    status: ExitStatus,
    stdout: Capture,
    stderr: Capture,
}

/// Serves the plugin's pipes until it exits, or kills it at the deadline.
async fn attend(mut child: Child, config: &[u8], deadline: Duration) -> Result<Run, Failure> {
    let mut group = Group::of(&child);
    let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut stdout, mut stderr) = (Capture::default(), Capture::default());
    let exit = {
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A plugin may answer without reading: the broken pipe is then not an error.
                let _ = stdin.write_all(config).await;
            }
        };
        let mut pipes = std::pin::pin!(async { tokio::join!(feed, stdout.fill(out), stderr.fill(err)) });
        let mut drained = false;
        let exit = timeout(deadline, async {
            loop {
                tokio::select! {
                    status = child.wait() => break status,
                    _ = &mut pipes, if !drained => drained = true,
                }
            }
        });
        let exit = exit.await;
        if exit.is_ok() {
            group.reaped();
            if !drained {
                let _ = timeout(EXIT_GRACE, &mut pipes).await;
            }
        }
        exit
    };
    match exit {
        Ok(status) => {
            let status = status?;
            Ok(Run { status, stdout, stderr })
        }
        Err(_) => {
            drop(group);
            let _ = timeout(KILL_GRACE, child.wait()).await;
            Err(Failure::Deadline { after: deadline, stderr: stderr.message() })
        }
    }
}

impl Run {
    fn into_output(self) -> Result<Vec<u8>, Failure> {
        if self.status.success() {
            return if self.stdout.cut { Err(Failure::TooMuchOutput) } else { Ok(self.stdout.bytes) };
        }
        if let Some(reported) = reported_error(&self.stdout.bytes) {
            return Err(reported);
        }
        let output = match self.stderr.message() {
            message if message.is_empty() => self.stdout.message(),
            message => message,
        };
        Err(Failure::Exit { status: self.status, output })
    }
}

/// The output from one pipe, up to [`OUTPUT_LIMIT`].
#[derive(Default)]
struct Capture {
    bytes: Vec<u8>,
    cut: bool,
}

impl Capture {
    /// Reads until the pipe is closed. Bytes above the limit are discarded, so that the plugin does not block.
    async fn fill(&mut self, pipe: Option<impl AsyncRead + Unpin>) {
        let Some(mut pipe) = pipe else { return };
        let mut chunk = vec![0; 8192];
        while let Ok(count) = pipe.read(&mut chunk).await {
            if count == 0 {
                break;
            }
            let kept = count.min(OUTPUT_LIMIT - self.bytes.len());
            self.bytes.extend_from_slice(&chunk[..kept]);
            self.cut |= kept < count;
        }
    }

    fn message(&self) -> String {
        shortened(String::from_utf8_lossy(&self.bytes).trim())
    }
}

/// The process group of a running plugin. If it is dropped before the plugin exited, it kills the group.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Group {
        Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    /// The plugin was reaped: its pid may be reused, so the group must not be killed any more.
    fn reaped(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = killpg(pid, Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests;
