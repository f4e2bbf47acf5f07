//! The unix socket: for root only. The socket of a process that died is replaced, that of a running one never.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt;
use nix::sys::stat::Mode;
use nix::sys::stat::umask;
use tokio::net::UnixListener;

/// How long a socket must accept connections to count as that of a running process.
const STALE_LIMIT: Duration = Duration::from_secs(1);

/// A listening socket. Its file is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Socket {
    // The order of the drops matters: see [`SocketFile`].
    _file: SocketFile,
    listener: UnixListener,
}

/// Removes the socket's file when dropped. That must happen before the listener is closed: from then on the next process
/// may have its own file there.
#[derive(Debug)]
struct SocketFile(PathBuf);

/// Why the socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process accepts connections on it.
    #[error("could not listen on {}: another process serves it", .0.display())]
    InUse(PathBuf),
    /// The path is another kind of file.
    #[error("could not listen on {}: the file exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// A system call failed.
    #[error("could not listen on {}: {source}", path.display())]
    Io {
        /// The socket's path.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
}

impl Socket {
    /// Listens on `path`; creates its directory when it is missing.
    ///
    /// # Errors
    /// See [`BindError`].
    pub(crate) async fn bind(path: &Path) -> Result<Socket, BindError> {
        let failed = |source| BindError::Io { path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(failed)?;
        }
        remove_stale(path).await?;
        // Every process that can connect can become root on this node, so the socket must never be open to other users.
        let previous = umask(Mode::from_bits_truncate(0o177));
        let listener = UnixListener::bind(path);
        umask(previous);
        Ok(Socket { listener: listener.map_err(failed)?, _file: SocketFile(path.to_owned()) })
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<tokio::net::UnixStream> {
        self.listener.accept().await.map(|(connection, _)| connection)
    }
}

/// Removes the socket that a process left when it died.
async fn remove_stale(path: &Path) -> Result<(), BindError> {
    let failed = |source| BindError::Io { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(BindError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    let start = Instant::now();
    while let Ok(connection) = UnixStream::connect(path) {
        // A process killed while it was starting a plugin leaves a child that holds the socket for a moment.
        if listener_is_dead(&connection) {
            break;
        }
        if start.elapsed() > STALE_LIMIT {
            return Err(BindError::InUse(path.to_owned()));
        }
        tokio::time::sleep(STALE_LIMIT / 20).await;
    }
    match std::fs::remove_file(path) {
        // The previous process was just exiting and has removed its file itself.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome.map_err(failed),
    }
}

/// Whether the process that called listen(2) on the other end has died: the kernel keeps its pid (SO_PEERCRED).
fn listener_is_dead(connection: &UnixStream) -> bool {
    let listener = getsockopt(connection, sockopt::PeerCredentials).map(|credentials| credentials.pid());
    // The pid is 0 where the process is in a PID namespace that cannot be seen from here. A zombie has no executable.
    listener.is_ok_and(|pid| pid > 0 && std::fs::read_link(format!("/proc/{pid}/exe")).is_err())
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn the_socket_is_for_its_owner_only_and_is_removed_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/dockside.sock");
        let socket = Socket::bind(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_in_use_is_refused_and_a_stale_one_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dockside.sock");
        let first = Socket::bind(&path).await.unwrap();
        assert!(matches!(Socket::bind(&path).await, Err(BindError::InUse(_))));
        // SIGKILL leaves the file without a listener.
        let Socket { _file: file, listener } = first;
        std::mem::forget(file);
        drop(listener);
        Socket::bind(&path).await.unwrap();
    }

    #[tokio::test]
    async fn an_exiting_process_may_remove_its_socket_at_the_same_time() {
        for _ in 0..5 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("dockside.sock");
            let socket = Socket::bind(&path).await.unwrap();
            let ending = tokio::task::spawn_blocking(move || {
                std::thread::sleep(Duration::from_millis(60));
                drop(socket);
            });
            Socket::bind(&path).await.unwrap();
            ending.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_file_that_is_not_a_socket_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("precious");
        std::fs::write(&path, "x").unwrap();
        assert!(matches!(Socket::bind(&path).await, Err(BindError::NotASocket(_))));
        assert!(path.exists());
    }
}
