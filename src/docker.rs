//! The only room that knows Docker's API.
//!
//! Everything else asks an [`Engine`] for one thing at a time and gets a typed [`Error`] that names the
//! operation and the object. [`request`] has the bodies of requests. The types of answers are lenient: a new enum value
//! of a newer daemon must not make a running pod invisible.

mod connection;
mod container;
mod demux;
mod error;
mod exec;
mod hijack;
mod image;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties;
pub mod request;
mod system;
mod transport;

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
pub use self::error::Error;
pub use self::exec::ExecDetails;
pub use self::exec::ExecEnd;
pub use self::exec::ExecSpec;
pub use self::exec::TerminalSize;
pub use self::hijack::Hijacked;
pub use self::hijack::Input;
pub use self::hijack::Output;
pub use self::image::Credentials;
pub use self::image::ImageDetails;
pub use self::image::ImageEntry;
pub use self::image::PullProgress;
pub use self::system::ApiVersion;
pub use self::system::CgroupDriver;
pub use self::system::EngineInfo;
pub use self::system::Event;
pub use self::transport::RequestCounts;

use self::exec::ExecEnds;
use self::transport::Transport;

/// A connection to one Docker Engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    api: bollard::Docker,
    transport: Arc<Transport>,
    connection: Arc<Connection>,
    exec_ends: Arc<ExecEnds>,
    socket: Arc<PathBuf>,
    timeout: Duration,
}

impl Engine {
    /// Prepares a client for the Docker Engine that listens on `socket`; nothing is connected yet.
    ///
    /// `timeout` bounds one ordinary request. Pulls, stops and event streams have bounds of their own.
    ///
    /// # Errors
    /// [`Error::Client`] when the HTTP client cannot be built.
    pub fn new(socket: &Path, timeout: Duration) -> Result<Engine, Error> {
        let transport = Arc::new(Transport::new(socket));
        let for_bollard = Arc::clone(&transport);
        // bollard's own timeout is in whole seconds and covers response headers only, so it is set beyond any
        // request of ours; `call` has the real one.
        let api = bollard::Docker::connect_with_custom_transport(
            move |request| for_bollard.send(request),
            Some("http://docker"),
            u64::from(u32::MAX),
            bollard::API_DEFAULT_VERSION,
        )
        .map_err(|source| Error::Client(source.to_string()))?;
        Ok(Engine {
            api,
            transport,
            connection: Arc::new(Connection::new()),
            exec_ends: Arc::default(),
            socket: Arc::new(socket.to_owned()),
            timeout,
        })
    }

    /// The same connection, for requests that get no more time than `limit`.
    #[must_use]
    pub fn with_timeout(&self, limit: Duration) -> Engine {
        Engine { timeout: limit.min(self.timeout), ..self.clone() }
    }

    /// Whether Docker answers, and what it is.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What is known of this Docker, which answers just now.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while it does not answer.
    pub fn info(&self) -> Result<Arc<EngineInfo>, Error> {
        match self.connection.state() {
            ConnectionState::Up(info) => Ok(info),
            ConnectionState::Joining(_) => {
                Err(self.unreachable("Docker came back, and the state of its containers is being learnt"))
            }
            ConnectionState::Suspect(reason) | ConnectionState::Down(reason) => Err(self.unreachable(&reason)),
        }
    }

    /// What is known of this Docker, also while it does not answer.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it never has.
    pub fn last_info(&self) -> Result<Arc<EngineInfo>, Error> {
        self.connection.info().map_or_else(|| self.info(), Ok)
    }

    fn unreachable(&self, reason: &str) -> Error {
        Error::unavailable("reach Docker at", &self.socket.display().to_string(), reason)
    }

    /// The socket this engine is reached at.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// How many requests were sent so far, by kind.
    pub fn request_counts(&self) -> RequestCounts {
        self.transport.counts()
    }

    /// Runs one request within the ordinary deadline; see [`Engine::call_within`].
    async fn call<T>(
        &self,
        doing: &'static str,
        object: &str,
        request: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, Error> {
        self.call_within(self.timeout, doing, object, request).await
    }

    /// Runs one request: refused at once while Docker is known to be away, given up as soon as it goes away,
    /// and never waiting longer than `limit`.
    async fn call_within<T>(
        &self,
        limit: Duration,
        doing: &'static str,
        object: &str,
        request: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, Error> {
        if let Some(reason) = self.connection.down_reason() {
            return Err(Error::unavailable(doing, object, reason));
        }
        tokio::select! {
            answer = request => answer.map_err(|source| Error::from_bollard(doing, object, source)),
            reason = self.connection.wait_down() => Err(Error::unavailable(doing, object, reason)),
            () = tokio::time::sleep(limit) => Err(Error::Timeout { doing, object: object.to_owned(), limit }),
        }
    }
}

/// Engines to write tests against.
#[cfg(test)]
pub(crate) mod testing {
    use tempfile::TempDir;
    use tokio::io::AsyncBufReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::io::BufReader;
    use tokio::net::UnixListener;

    use super::*;

    /// The status of an answer that never comes.
    pub(crate) const NEVER: u16 = 0;

    /// An engine whose Docker answers each request, such as `GET /images/json`, as `answer` says: by status and body.
    /// It is there for as long as the directory is.
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

    /// An engine on cgroup v1 with API 1.`minor` and nothing special.
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
