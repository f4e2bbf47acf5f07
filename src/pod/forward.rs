//! PortForward: TCP connections to ports inside a sandbox.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::net::TcpStream as StdTcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use nix::sched::CloneFlags;
use nix::sched::setns;
use nix::sys::socket::AddressFamily;
use nix::sys::socket::SockFlag;
use nix::sys::socket::SockType;
use nix::sys::socket::socket;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::error::Error;
use crate::state::Sandbox;

use super::Pods;

impl Pods {
    /// The sandbox with this id or id prefix, which is ready.
    ///
    /// # Errors
    /// [`Error::Lookup`]; [`Error::Precondition`] if it is not ready.
    pub(crate) fn ready(&self, id: &str) -> Result<Arc<Sandbox>, Error> {
        let sandbox = self.index.sandboxes.require(id)?;
        match sandbox.is_ready() {
            true => Ok(sandbox),
            false => Err(Error::precondition(format!("pod sandbox {}", sandbox.record.id), "is not ready")),
        }
    }

    /// Connects to a port on the loopback address of a sandbox, IPv4 first; on the host's for a pod on its network.
    ///
    /// # Errors
    /// [`Error::Precondition`] with both causes if neither address accepts the connection.
    pub(crate) async fn connect(&self, id: &str, port: u16) -> Result<TcpStream, Error> {
        let sandbox = self.ready(id)?;
        let netns = match &sandbox.record.netns {
            None if !sandbox.record.config.is_host_network() => {
                return Err(Error::precondition(format!("pod sandbox {id}"), "has no network"));
            }
            netns => netns.clone(),
        };
        let mut causes = Vec::new();
        for address in [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))] {
            match connect(netns.clone(), address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => causes.push(format!("{address}: {error}")),
            }
        }
        let object = format!("port {port} of pod sandbox {}", sandbox.record.id);
        Err(Error::precondition(object, format!("accepts no connection: {}", causes.join(", "))))
    }
}

async fn connect(netns: Option<PathBuf>, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match netns {
        Some(path) => socket_in(path, address).await?,
        None => unconnected(address)?,
    };
    TcpSocket::from_std_stream(socket).connect(address).await
}

/// A socket belongs to the network namespace of the thread that made it, wherever it is used. So a new thread enters the
/// sandbox's namespace, makes the socket and exits: it cannot be reused for anything else.
async fn socket_in(netns: PathBuf, address: SocketAddr) -> io::Result<StdTcpStream> {
    let (made, socket) = oneshot::channel();
    thread::Builder::new().name("forward".to_owned()).spawn(move || {
        let socket = enter(&netns).and_then(|()| unconnected(address));
        // It fails if the caller is gone: then the socket is closed.
        let _ = made.send(socket);
    })?;
    socket.await.map_err(io::Error::other)?
}

fn enter(netns: &Path) -> io::Result<()> {
    Ok(setns(File::open(netns)?, CloneFlags::CLONE_NEWNET)?)
}

fn unconnected(address: SocketAddr) -> io::Result<StdTcpStream> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    Ok(StdTcpStream::from(socket(family, SockType::Stream, flags, None)?))
}
