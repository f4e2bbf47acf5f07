//! Processes in running containers: exec, and attach to the container's own.

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

/// Keys that nobody types. Docker otherwise takes Ctrl-P Ctrl-Q from what goes to a terminal, and holds each Ctrl-P
/// back until the next key.
const NO_DETACH_KEYS: &str = "ctrl-^,ctrl-@,ctrl-^,ctrl-_,ctrl-@,ctrl-\\,ctrl-^,ctrl-_";
/// How long Docker may take to begin a process.
const BEGIN_LIMIT: Duration = Duration::from_secs(60);

/// A command to run in a container.
#[derive(Debug, Clone, Default)]
pub struct ExecSpec {
    pub command: Vec<String>,
    pub terminal: bool,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    pub width: u16,
    pub height: u16,
}

/// What Docker knows of a command's process.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExecDetails {
    pub running: bool,
    /// `None` until it has ended.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// In the PID namespace of Docker; 0 when it never ran.
    #[serde(default)]
    pub pid: i32,
}

/// Who waits for the end of which command. Docker tells ends on its event stream.
#[derive(Debug, Default)]
pub(super) struct ExecEnds(Mutex<HashMap<String, watch::Sender<Option<i32>>>>);

/// The end of a command, to be awaited.
#[derive(Debug)]
pub struct ExecEnd {
    id: String,
    ends: Arc<ExecEnds>,
    code: watch::Receiver<Option<i32>>,
}

impl ExecEnd {
    /// The exit code, as soon as Docker tells it; never, when its event stream breaks before that. May be awaited
    /// again, and by several.
    pub async fn told(&self) -> i32 {
        match self.code.clone().wait_for(Option::is_some).await.ok().and_then(|code| *code) {
            Some(code) => code,
            None => std::future::pending().await,
        }
    }
}

impl Drop for ExecEnd {
    fn drop(&mut self) {
        self.ends.0.lock().remove(&self.id);
    }
}

impl Engine {
    /// Prepares a command and returns its id. Nothing runs yet.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the container does not run or is paused, [`Error::NotFound`] when it does not exist.
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
        Ok(self.call("prepare a command in container", container, creating).await?.id)
    }

    /// Starts a prepared command. What it writes comes on the connection, and so does Docker's complaint when it could
    /// not be started.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the container has ended meanwhile.
    pub async fn start_exec(&self, id: &str, terminal: bool) -> Result<Hijacked, Error> {
        let body = serde_json::json!({ "Detach": false, "Tty": terminal }).to_string();
        let path = format!("/exec/{}/start", encode(id));
        self.hijack("start command", id, &path, Some(body), terminal).await
    }

    /// To be called before [`start_exec`](Engine::start_exec), so that no end is missed.
    pub fn exec_end(&self, id: &str) -> ExecEnd {
        let (told, code) = watch::channel(None);
        self.exec_ends.0.lock().insert(id.to_owned(), told);
        ExecEnd { id: id.to_owned(), ends: Arc::clone(&self.exec_ends), code }
    }

    /// Docker told the end of a command.
    pub fn note_exec_end(&self, id: &str, code: i32) {
        if let Some(waiting) = self.exec_ends.0.lock().get(id) {
            waiting.send_replace(Some(code));
        }
    }

    /// What became of a command.
    ///
    /// # Errors
    /// [`Error::NotFound`] when Docker has forgotten it.
    pub async fn inspect_exec(&self, id: &str) -> Result<ExecDetails, Error> {
        let path = format!("/exec/{}/json", encode(id));
        self.call("look at command", id, self.transport.get_json(&path)).await
    }

    /// Changes the size of a command's terminal; waits until the command has started.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn resize_exec(&self, id: &str, size: TerminalSize) -> Result<(), Error> {
        let options = ResizeExecOptions { h: size.height.into(), w: size.width.into() };
        self.call("resize the terminal of command", id, self.api.resize_exec(id, options)).await
    }

    /// Joins a running container's own input and output, from now on.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it is paused or restarting.
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
    /// When it does not run.
    pub async fn resize_container(&self, id: &str, size: TerminalSize) -> Result<(), Error> {
        let options = ResizeContainerTTYOptions { h: size.height.into(), w: size.width.into() };
        let request = self.api.resize_container_tty(id, options);
        self.call("resize the terminal of container", id, request).await
    }

    async fn hijack(
        &self,
        doing: &'static str,
        object: &str,
        path: &str,
        body: Option<String>,
        terminal: bool,
    ) -> Result<Hijacked, Error> {
        self.call_within(BEGIN_LIMIT, doing, object, async {
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
