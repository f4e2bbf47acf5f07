//! Processes in running containers: exec, and attach to the init process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::query_parameters::ResizeContainerTTYOptions;
use bollard::query_parameters::ResizeExecOptions;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::watch;

use super::Engine;
use super::Error;
use super::hijack::Hijacked;
use super::request::ExecRequest;
use super::transport::encode;
use super::transport::request;
use super::transport::with_json;

/// A key sequence that nobody types. By default Docker detaches on Ctrl-P Ctrl-Q, and holds each Ctrl-P back until the
/// next key.
const NO_DETACH_KEYS: &str = "ctrl-^,ctrl-@,ctrl-^,ctrl-_,ctrl-@,ctrl-\\,ctrl-^,ctrl-_";
/// How long Docker may take to start an exec or to attach.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A command to run in a container, or what to attach to.
#[derive(Debug, Clone, Default)]
pub struct ExecSpec {
    /// The program and its arguments; not used for an attach.
    pub command: Vec<String>,
    /// Whether the process has a terminal.
    pub terminal: bool,
    /// Whether to attach standard input.
    pub stdin: bool,
    /// Whether to attach standard output.
    pub stdout: bool,
    /// Whether to attach standard error.
    pub stderr: bool,
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// The parts of `GET /exec/{id}/json` that Dockside reads.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExecDetails {
    /// Whether the process runs.
    pub running: bool,
    /// `None` until the process has exited.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// In Docker's PID namespace; 0 when the process was never started.
    #[serde(default)]
    pub pid: i32,
}

/// The tasks that wait for the exit of an exec, by its id. Docker reports exits on its event stream.
#[derive(Debug, Default)]
pub(super) struct ExecExits(Mutex<HashMap<String, watch::Sender<Option<i32>>>>);

/// The exit of an exec, to be awaited.
#[derive(Debug)]
pub struct ExecExit {
    id: String,
    exits: Arc<ExecExits>,
    code: watch::Receiver<Option<i32>>,
}

impl ExecExit {
    /// The exit code, as soon as Docker reports it; pending for ever when the event stream breaks before that. May be
    /// called repeatedly, and by several tasks.
    pub async fn code(&self) -> i32 {
        match self.code.clone().wait_for(Option::is_some).await.ok().and_then(|code| *code) {
            Some(code) => code,
            None => std::future::pending().await,
        }
    }
}

impl Drop for ExecExit {
    fn drop(&mut self) {
        self.exits.0.lock().remove(&self.id);
    }
}

impl Engine {
    /// Creates an exec and returns its id. Nothing runs yet.
    ///
    /// # Errors
    /// [`Cause::Conflict`](super::Cause::Conflict) when the container does not run or is paused, [`Cause::NotFound`](super::Cause::NotFound) when it does not exist.
    pub async fn create_exec(&self, container: &str, spec: &ExecSpec) -> Result<String, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Created {
            id: String,
        }
        let body = ExecRequest {
            attach_stdin: spec.stdin,
            attach_stdout: spec.stdout,
            attach_stderr: spec.stderr,
            tty: spec.terminal,
            cmd: &spec.command,
            detach_keys: NO_DETACH_KEYS,
        };
        let path = format!("/containers/{}/exec", encode(container));
        let creating = self.transport.post_json::<Created>(&path, &body);
        Ok(self.call("create an exec in container", container, creating).await?.id)
    }

    /// Starts an exec. The connection carries its output, or Docker's error message when it cannot be started.
    ///
    /// # Errors
    /// [`Cause::Conflict`](super::Cause::Conflict) when the container has exited.
    pub async fn start_exec(&self, id: &str, terminal: bool) -> Result<Hijacked, Error> {
        let body = serde_json::json!({ "Detach": false, "Tty": terminal }).to_string();
        let path = format!("/exec/{}/start", encode(id));
        self.hijack("start exec", id, &path, Some(body), terminal).await
    }

    /// Waits for the exit of an exec. To be called before [`start_exec`](Engine::start_exec), so that the exit is not
    /// missed.
    pub fn exec_exit(&self, id: &str) -> ExecExit {
        let (sender, code) = watch::channel(None);
        self.exec_exits.0.lock().insert(id.to_owned(), sender);
        ExecExit { id: id.to_owned(), exits: Arc::clone(&self.exec_exits), code }
    }

    /// Records the exit that Docker reported on its event stream.
    pub fn record_exec_exit(&self, id: &str, code: i32) {
        if let Some(waiting) = self.exec_exits.0.lock().get(id) {
            waiting.send_replace(Some(code));
        }
    }

    /// The state of an exec.
    ///
    /// # Errors
    /// [`Cause::NotFound`](super::Cause::NotFound) when Docker does not keep it any more, as after the container's exit.
    pub async fn inspect_exec(&self, id: &str) -> Result<ExecDetails, Error> {
        let path = format!("/exec/{}/json", encode(id));
        self.call("inspect exec", id, self.transport.get_json(&path)).await
    }

    /// Changes the size of an exec's terminal; waits until the process has started.
    ///
    /// # Errors
    /// When the process has exited.
    pub async fn resize_exec(&self, id: &str, size: TerminalSize) -> Result<(), Error> {
        let options = ResizeExecOptions { h: size.height.into(), w: size.width.into() };
        self.call("resize the terminal of exec", id, self.api.resize_exec(id, options)).await
    }

    /// Attaches to the init process of a running container, from now on.
    ///
    /// # Errors
    /// [`Cause::Conflict`](super::Cause::Conflict) when the container is paused or restarting.
    pub async fn attach_container(&self, id: &str, spec: &ExecSpec) -> Result<Hijacked, Error> {
        let path = format!(
            "/containers/{}/attach?stream=1&logs=0&stdin={}&stdout={}&stderr={}&detachKeys={}",
            encode(id),
            u8::from(spec.stdin),
            u8::from(spec.stdout),
            u8::from(spec.stderr),
            encode(NO_DETACH_KEYS)
        );
        self.hijack("attach to container", id, &path, None, spec.terminal).await
    }

    /// Changes the size of a container's terminal.
    ///
    /// # Errors
    /// When the container does not run.
    pub async fn resize_container(&self, id: &str, size: TerminalSize) -> Result<(), Error> {
        let options = ResizeContainerTTYOptions { h: size.height.into(), w: size.width.into() };
        let request = self.api.resize_container_tty(id, options);
        self.call("resize the terminal of container", id, request).await
    }

    async fn hijack(
        &self,
        operation: &'static str,
        object: &str,
        path: &str,
        body: Option<String>,
        terminal: bool,
    ) -> Result<Hijacked, Error> {
        self.call_within(START_LIMIT, operation, object, async {
            let mut request = request("POST", path)?;
            if let Some(body) = body {
                request = with_json(request, body.into_bytes());
            }
            let headers = request.headers_mut();
            headers.insert(http::header::CONNECTION, http::HeaderValue::from_static("Upgrade"));
            headers.insert(http::header::UPGRADE, http::HeaderValue::from_static("tcp"));
            Hijacked::from_answer(self.transport.send(request).await?, object, terminal).await
        })
        .await
    }
}
