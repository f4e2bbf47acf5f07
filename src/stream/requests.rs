//! The CRI calls Exec, Attach and PortForward: each validates its request, keeps it and returns a URL with a one-time
//! token. The server finds the request by that token when the client connects.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::container::Containers;
use crate::docker::ExecSpec;
use crate::error::Error;
use crate::pod::Pods;
use crate::proto::AttachRequest;
use crate::proto::ExecRequest;
use crate::proto::PortForwardRequest;

use super::tokens;
use super::tokens::Tokens;

/// A request whose client has not connected yet.
#[derive(Debug)]
pub(super) enum PendingRequest {
    Exec { container: String, spec: ExecSpec },
    Attach { container: String, spec: ExecSpec },
    PortForward { sandbox: String, ports: Vec<u16> },
}

/// The streaming requests that wait for their clients, and the sessions in progress.
pub(crate) struct Streams {
    pub(super) containers: Arc<Containers>,
    pub(super) pods: Arc<Pods>,
    pub(super) tokens: Tokens<PendingRequest>,
    /// The server's URL, such as `http://127.0.0.1:34567`.
    pub(super) base: String,
    pub(super) idle: Duration,
    pub(super) sessions: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl Streams {
    /// Prepares an exec session and returns the URL where the client gets it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for streams that cannot be combined; as [`Containers::running`].
    pub(crate) fn exec(&self, request: ExecRequest) -> Result<String, Error> {
        let container = self.containers.running(&request.container_id)?.record.id.clone();
        let object = format!("container {container}");
        if request.cmd.is_empty() {
            return Err(Error::invalid(object, "cmd", "is empty"));
        }
        let spec = ExecSpec {
            command: request.cmd,
            terminal: request.tty,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
        };
        check_streams(&object, &spec)?;
        self.issue_url("exec", PendingRequest::Exec { container, spec })
    }

    /// Prepares an attach session and returns the URL where the client gets it.
    ///
    /// # Errors
    /// As [`Streams::exec`].
    pub(crate) fn attach(&self, request: &AttachRequest) -> Result<String, Error> {
        let container = self.containers.running(&request.container_id)?.record.id.clone();
        let spec = ExecSpec {
            command: Vec::new(),
            terminal: request.tty,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
        };
        check_streams(&format!("container {container}"), &spec)?;
        self.issue_url("attach", PendingRequest::Attach { container, spec })
    }

    /// Prepares a port-forward session to a sandbox and returns the URL where the client gets it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a number that is not a port; as [`Pods::ready`].
    pub(crate) fn port_forward(&self, request: &PortForwardRequest) -> Result<String, Error> {
        let sandbox = self.pods.ready(&request.pod_sandbox_id)?.record.id.clone();
        let port = |number: &i32| {
            u16::try_from(*number).ok().filter(|port| *port > 0).ok_or_else(|| {
                let reason = format!("{number} is not a port (1 to 65535)");
                Error::invalid(format!("pod sandbox {sandbox}"), "port", reason)
            })
        };
        let ports = request.port.iter().map(port).collect::<Result<_, _>>()?;
        self.issue_url("portforward", PendingRequest::PortForward { sandbox, ports })
    }

    fn issue_url(&self, verb: &str, request: PendingRequest) -> Result<String, Error> {
        match self.tokens.put(request) {
            Ok(token) => Ok(format!("{}/{verb}/{token}", self.base)),
            Err(tokens::Error::TooMany) => Err(Error::Exhausted(tokens::Error::TooMany.to_string())),
            Err(tokens::Error::Random(source)) => {
                Err(Error::Io { doing: "read", path: PathBuf::from("/dev/urandom"), source })
            }
        }
    }
}

/// A terminal has one output, and a session without any stream is useless.
fn check_streams(object: &str, spec: &ExecSpec) -> Result<(), Error> {
    if spec.terminal && spec.stderr {
        return Err(Error::invalid(object, "stderr", "cannot be requested together with tty"));
    }
    if !spec.stdin && !spec.stdout && !spec.stderr {
        return Err(Error::invalid(object, "stdin", "at least one of stdin, stdout and stderr must be requested"));
    }
    Ok(())
}
