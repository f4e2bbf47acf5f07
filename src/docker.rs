//! The only room that knows Docker's API.
//!
//! The other rooms call methods of an [`Engine`], one for each request. An [`Error`] names the operation and the
//! object. The bodies of requests are in [`request`]. The types of answers are lenient: an unknown enum value from a
//! newer daemon must not make a running pod invisible. The client library, bollard, appears in no signature outside
//! this room.

mod connection;
mod container;
mod demux;
mod error;
mod exec;
mod hijack;
mod image;
#[cfg(any(test, fuzzing, clippy))]
pub(crate) mod properties;
mod registry;
pub mod request;
mod system;
mod transport;
mod version;

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use self::connection::Connection;
pub use self::connection::ConnectionState;
pub use self::container::ContainerDetails;
pub use self::container::ContainerEntry;
pub use self::container::ContainerState;
pub use self::container::parse_time;
pub use self::demux::Source;
pub use self::error::Cause;
pub use self::error::Error;
pub use self::exec::ExecDetails;
pub use self::exec::ExecExit;
pub use self::exec::ExecSpec;
pub use self::exec::TerminalSize;
pub use self::hijack::Hijacked;
pub use self::hijack::Input;
pub use self::hijack::Output;
pub use self::image::Credentials;
pub use self::image::ImageDetails;
pub use self::image::ImageEntry;
pub use self::image::PullProgress;
pub use self::system::CgroupDriver;
pub use self::system::EngineInfo;
pub use self::system::Event;
pub use self::transport::RequestCounts;
pub use self::version::ApiVersion;

use self::exec::ExecExits;
use self::transport::Transport;

/// The client of one Docker Engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    api: bollard::Docker,
    transport: Arc<Transport>,
    connection: Arc<Connection>,
    exec_exits: Arc<ExecExits>,
    socket: Arc<PathBuf>,
    timeout: Duration,
}

impl Engine {
    /// A client of the Docker Engine that listens on `socket`; nothing is connected yet.
    ///
    /// `timeout` bounds one ordinary request. Pulls, stops and event streams have limits of their own.
    ///
    /// # Errors
    /// [`Cause::Failed`] when the HTTP client cannot be built.
    pub fn new(socket: &Path, timeout: Duration) -> Result<Engine, Error> {
        let transport = Arc::new(Transport::new(socket));
        let for_bollard = Arc::clone(&transport);
        // bollard's timeout is in whole seconds and covers only the response's headers, so it is set out of the
        // way; `call` has the one that counts.
        let api = bollard::Docker::connect_with_custom_transport(
            move |request| for_bollard.send(request),
            Some("http://docker"),
            u64::from(u32::MAX),
            bollard::API_DEFAULT_VERSION,
        )
        .map_err(|source| Error::failed("make a client of Docker at", &socket.display().to_string(), source))?;
        Ok(Engine {
            api,
            transport,
            connection: Arc::new(Connection::new()),
            exec_exits: Arc::default(),
            socket: Arc::new(socket.to_owned()),
            timeout,
        })
    }

    /// The same client, with at most `limit` for one request.
    #[must_use]
    pub fn with_timeout(&self, limit: Duration) -> Engine {
        Engine { timeout: limit.min(self.timeout), ..self.clone() }
    }

    /// Whether Docker answers, and its properties.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The properties of this Docker, if it answers.
    ///
    /// # Errors
    /// [`Cause::Unavailable`] while it does not answer, or is slow, or the index is being reconciled.
    pub fn info(&self) -> Result<Arc<EngineInfo>, Error> {
        match self.connection.state() {
            ConnectionState::Up(info) => Ok(info),
            ConnectionState::Joining(_) => {
                Err(self.unreachable("Docker is back, and the state of its containers is being reconciled"))
            }
            ConnectionState::Suspect(reason) | ConnectionState::Down(reason) => Err(self.unreachable(&reason)),
        }
    }

    /// The properties of this Docker when it last answered.
    ///
    /// # Errors
    /// [`Cause::Unavailable`] when it never did.
    pub fn last_info(&self) -> Result<Arc<EngineInfo>, Error> {
        self.connection.info().map_or_else(|| self.info(), Ok)
    }

    fn unreachable(&self, reason: &str) -> Error {
        Error::unavailable("reach Docker at", &self.socket.display().to_string(), reason)
    }

    /// Docker's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// How many requests were sent since the start, by kind.
    pub fn request_counts(&self) -> RequestCounts {
        self.transport.counts()
    }

    /// [`Engine::call_within`] the ordinary timeout.
    async fn call<T>(
        &self,
        operation: &'static str,
        object: &str,
        request: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, Error> {
        self.call_within(self.timeout, operation, object, request).await
    }

    /// Runs one request. It fails at once while Docker is down, as soon as Docker goes down, and after `limit`.
    async fn call_within<T>(
        &self,
        limit: Duration,
        operation: &'static str,
        object: &str,
        request: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, Error> {
        if let Some(reason) = self.connection.down_reason() {
            return Err(Error::unavailable(operation, object, reason));
        }
        tokio::select! {
            answer = request => answer.map_err(|source| Error::from_bollard(operation, object, source)),
            reason = self.connection.wait_down() => Err(Error::unavailable(operation, object, reason)),
            () = tokio::time::sleep(limit) => Err(Error::new(operation, object, Cause::Timeout(limit))),
        }
    }
}

/// Engines for tests.
#[cfg(test)]
pub(crate) mod testing {
    use tempfile::TempDir;
    use tokio::io::AsyncBufReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::io::BufReader;
    use tokio::net::UnixListener;

    use super::*;

    /// A status for which no answer is sent.
    pub(crate) const NEVER: u16 = 0;

    /// An engine whose Docker answers each request, such as `GET /images/json`, with the status and body that `answer`
    /// returns. It runs until the directory is dropped.
    pub(crate) fn engine(answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> (Engine, TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move {
            let mut unanswered = Vec::new();
            while let Ok((connection, _)) = listener.accept().await {
                let mut connection = BufReader::new(connection);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && connection.read_line(&mut head).await.unwrap() > 0 {}
                let request = head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1");
                let (status, body) = answer(request.split('?').next().unwrap_or_default());
                if status == NEVER {
                    unanswered.push(connection);
                    continue;
                }
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
                     Connection: close\r\n\r\n{body}"
                );
                let _ = connection.write_all(answer.as_bytes()).await;
            }
        });
        let engine = Engine::new(&socket, Duration::from_secs(5)).unwrap();
        engine.connection.set_up(engine_info(41));
        (engine, directory)
    }

    /// An engine with API 1.`minor` on cgroup v1, without security modules.
    pub(crate) fn engine_info(minor: u16) -> EngineInfo {
        EngineInfo {
            version: "20.10.24".to_owned(),
            api: ApiVersion::v1(minor),
            root_dir: "/var/lib/docker".into(),
            image_dir: "/var/lib/docker".into(),
            cgroup_driver: CgroupDriver::Cgroupfs,
            cgroup_version: 1,
            runtimes: vec!["runc".to_owned()],
            default_runtime: "runc".to_owned(),
            kernel: "6.1.0".to_owned(),
            apparmor: false,
            selinux: false,
            live_restore: false,
            oom_score_floor: None,
        }
    }
}
