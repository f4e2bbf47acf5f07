//! Exec, attach and port-forward for clients that stay: an HTTP server on the loopback address.
//!
//! `cri` registers what a client asked for and gets an address with a one-time token; the kubelet, or crictl, connects
//! there and upgrades to SPDY/3.1 or WebSocket. [`spdy`] and [`websocket`] carry channels, [`session`] and [`forward`] join
//! them to processes and ports by the verbs of `container` and `pod`. How clients and servers talk here is given by
//! client-go's remotecommand and portforward packages and by the kubelet's own streaming server.

mod channels;
mod forward;
mod framing;
mod negotiate;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties;
mod server;
mod session;
mod spdy;
mod tls;
mod tokens;
mod upgrade;
mod verdict;
mod websocket;

use std::io;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::container::Containers;
use crate::docker::ExecSpec;
use crate::error;
use crate::pod::Pods;
use crate::proto::AttachRequest;
use crate::proto::ExecRequest;
use crate::proto::PortForwardRequest;

pub use self::server::Server;

use self::tokens::Tokens;

/// Where and how to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// A loopback address; port 0 takes a free one.
    pub address: SocketAddr,
    /// A session on which nothing is sent for this long, pings included, is closed.
    pub idle: Duration,
    /// A certificate chain in PEM, and with it TLS.
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's key in PEM.
    pub tls_key: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            idle: Duration::from_secs(4 * 60 * 60),
            tls_certificate: None,
            tls_key: None,
        }
    }
}

/// Why the server could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("could not serve exec, attach and port-forward on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("streaming-tls-cert-file and streaming-tls-key-file belong together: one of them is missing")]
    HalfTls,
    #[error("could not use {} for TLS: {reason}", path.display())]
    Tls { path: PathBuf, reason: String },
}

/// What a token stands for.
#[derive(Debug)]
enum Promise {
    Exec { container: String, spec: ExecSpec },
    Attach { container: String, spec: ExecSpec },
    PortForward { sandbox: String, ports: Vec<u16> },
}

/// What clients were promised, and the sessions under way.
pub struct Streams {
    containers: Arc<Containers>,
    pods: Arc<Pods>,
    tokens: Tokens<Promise>,
    /// Such as `http://127.0.0.1:34567`.
    base: String,
    idle: Duration,
    sessions: TaskTracker,
    stop: CancellationToken,
}

impl Streams {
    /// Prepares a command; returns the address at which a client gets it.
    ///
    /// # Errors
    /// [`error::Error::Invalid`] for streams that cannot be had; as [`Containers::running`].
    pub fn exec(&self, request: ExecRequest) -> Result<String, error::Error> {
        let container = self.containers.running(&request.container_id)?.record.id.clone();
        let object = format!("container {container}");
        if request.cmd.is_empty() {
            return Err(error::Error::invalid(object, "cmd", "is empty"));
        }
        let spec = ExecSpec {
            command: request.cmd,
            terminal: request.tty,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
        };
        check(&object, &spec)?;
        self.promise("exec", Promise::Exec { container, spec })
    }

    /// Prepares an attachment to a container's own process; returns the address at which a client gets it.
    ///
    /// # Errors
    /// As [`Streams::exec`].
    pub fn attach(&self, request: &AttachRequest) -> Result<String, error::Error> {
        let container = self.containers.running(&request.container_id)?.record.id.clone();
        let spec = ExecSpec {
            command: Vec::new(),
            terminal: request.tty,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
        };
        check(&format!("container {container}"), &spec)?;
        self.promise("attach", Promise::Attach { container, spec })
    }

    /// Prepares connections to a sandbox's ports; returns the address at which a client gets them.
    ///
    /// # Errors
    /// [`error::Error::Invalid`] for a number that is no port; as [`Pods::ready`].
    pub fn port_forward(&self, request: &PortForwardRequest) -> Result<String, error::Error> {
        let sandbox = self.pods.ready(&request.pod_sandbox_id)?.record.id.clone();
        let port = |number: &i32| {
            u16::try_from(*number).ok().filter(|port| *port > 0).ok_or_else(|| {
                let reason = format!("{number} is not a port (1 to 65535)");
                error::Error::invalid(format!("pod sandbox {sandbox}"), "port", reason)
            })
        };
        let ports = request.port.iter().map(port).collect::<Result<_, _>>()?;
        self.promise("portforward", Promise::PortForward { sandbox, ports })
    }

    fn promise(&self, verb: &str, promise: Promise) -> Result<String, error::Error> {
        match self.tokens.put(promise) {
            Ok(token) => Ok(format!("{}/{verb}/{token}", self.base)),
            Err(tokens::Error::TooMany) => Err(error::Error::Exhausted(tokens::Error::TooMany.to_string())),
            Err(tokens::Error::Random(source)) => {
                Err(error::Error::Io { doing: "read", path: PathBuf::from("/dev/urandom"), source })
            }
        }
    }
}

/// A terminal has only one output, and a client that wants nothing cannot be served.
fn check(object: &str, spec: &ExecSpec) -> Result<(), error::Error> {
    if spec.terminal && spec.stderr {
        return Err(error::Error::invalid(object, "stderr", "cannot be had apart from stdout with tty"));
    }
    if !spec.stdin && !spec.stdout && !spec.stderr {
        return Err(error::Error::invalid(object, "stdin", "one of stdin, stdout and stderr has to be asked for"));
    }
    Ok(())
}
