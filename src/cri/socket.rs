//! The unix socket: for root only, taken over from a process that died, never from one that lives.

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

/// A socket that is answered for longer than this is served by a process that lives.
const STALE_LIMIT: Duration = Duration::from_secs(1);

/// A listening socket whose file goes away with it.
#[derive(Debug)]
pub struct Socket {
    // Dropped in this order.
    _file: File,
    listener: UnixListener,
}

/// Removes the socket's file when dropped. That has to be before the listener is closed: from then on the next process
/// may have its own there.
#[derive(Debug)]
struct File(PathBuf);

/// Why the socket could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("could not listen on {}: another process serves it", .0.display())]
    InUse(PathBuf),
    #[error("could not listen on {}: it is there and is not a socket", .0.display())]
    NotASocket(PathBuf),
    #[error("could not listen on {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl Socket {
    /// Listens on `path`, making its directory where it is missing.
    ///
    /// # Errors
    /// [`BindError::InUse`] when a process answers there already.
    pub async fn bind(path: &Path) -> Result<Socket, BindError> {
        let failed = |source| BindError::Io { path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(failed)?;
        }
        clear(path).await?;
        // Who can connect can become root on this node, so nobody else may, not even for a moment.
        let former = umask(Mode::from_bits_truncate(0o177));
        let listener = UnixListener::bind(path);
        umask(former);
        Ok(Socket { listener: listener.map_err(failed)?, _file: File(path.to_owned()) })
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<tokio::net::UnixStream> {
        self.listener.accept().await.map(|(connection, _)| connection)
    }
}

/// Removes the socket that a process left when it died.
async fn clear(path: &Path) -> Result<(), BindError> {
    let failed = |source| BindError::Io { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    let began = Instant::now();
    while let Ok(connection) = UnixStream::connect(path) {
        // A process that was killed while it started a plugin leaves, for a moment, a child that still holds the socket.
        if is_left_by_the_dead(&connection) {
            break;
        }
        if began.elapsed() > STALE_LIMIT {
            return Err(BindError::InUse(path.to_owned()));
        }
        tokio::time::sleep(STALE_LIMIT / 20).await;
    }
    match std::fs::remove_file(path) {
        // The process before this one was not dead but at its end, and took its file away itself.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome.map_err(failed),
    }
}

/// Whether the process that began to listen at the other end is gone: the kernel keeps its number.
fn is_left_by_the_dead(connection: &UnixStream) -> bool {
    let listener = getsockopt(connection, sockopt::PeerCredentials).map(|credentials| credentials.pid());
    // One in a namespace that cannot be seen from here has the number 0. A zombie has no program.
    listener.is_ok_and(|pid| pid > 0 && std::fs::read_link(format!("/proc/{pid}/exe")).is_err())
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn the_socket_is_for_its_owner_only_and_goes_with_its_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/dockside.sock");
        let socket = Socket::bind(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_live_socket_is_refused_and_a_stale_one_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dockside.sock");
        let first = Socket::bind(&path).await.unwrap();
        assert!(matches!(Socket::bind(&path).await, Err(BindError::InUse(_))));
        // What SIGKILL leaves: the file without a listener.
        let Socket { _file: file, listener } = first;
        std::mem::forget(file);
        drop(listener);
        Socket::bind(&path).await.unwrap();
    }

    #[tokio::test]
    async fn a_process_that_ends_meanwhile_may_take_its_file_away_itself() {
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
    async fn a_file_that_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("precious");
        std::fs::write(&path, "x").unwrap();
        assert!(matches!(Socket::bind(&path).await, Err(BindError::NotASocket(_))));
        assert!(path.exists());
    }
}
