//! Serves both services, and drains them at shutdown.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::Error;
use tonic::transport::Server;

use crate::proto::image_service_server::ImageServiceServer;
use crate::proto::runtime_service_server::RuntimeServiceServer;

use super::deadline::DeadlineLayer;
use super::log::LogLayer;
use super::service::Service;
use super::socket::Socket;

/// The length of a request, in bytes. It fits a list of many pods, and is the most that a kubelet receives.
const MESSAGE_LIMIT: usize = 16 << 20;
/// How long shutdown waits for verbs in progress. Unfinished ones are undone at the next start.
pub(crate) const DRAIN_LIMIT: Duration = Duration::from_secs(10);
/// How long the last responses may then take to reach their clients.
const RESPONSE_TIME: Duration = Duration::from_millis(200);
/// Pause after a connection could not be accepted, which happens when the process has no free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves both services on `socket` until `shutdown`, then waits for the verbs in progress.
///
/// # Errors
/// When the socket cannot be served.
pub(crate) async fn serve(service: Service, socket: Socket, shutdown: CancellationToken) -> Result<(), Error> {
    let service = Arc::new(service);
    let runtime = RuntimeServiceServer::from_arc(Arc::clone(&service)).max_decoding_message_size(MESSAGE_LIMIT);
    let images = ImageServiceServer::from_arc(Arc::clone(&service)).max_decoding_message_size(MESSAGE_LIMIT);
    let connections = pause_after_errors(connections(socket));
    let router = Server::builder()
        .layer(LogLayer { calls: service.calls.clone() })
        .layer(DeadlineLayer)
        .add_service(runtime)
        .add_service(images);
    // Connections stay open while their verbs are in progress, so that clients get the responses.
    let drained = async {
        shutdown.cancelled().await;
        service.jobs.close();
        if timeout(DRAIN_LIMIT, service.jobs.wait()).await.is_err() {
            let verbs = service.jobs.len();
            tracing::warn!(verbs, "stopping with unfinished verbs; they are undone at the next start");
        }
    };
    let served = router.serve_with_incoming_shutdown(connections, shutdown.cancelled());
    let (mut served, mut drained) = (pin!(served), pin!(drained));
    tokio::select! {
        served = &mut served => {
            if shutdown.is_cancelled() {
                drained.await;
            }
            return served;
        }
        () = &mut drained => {}
    }
    // Responses of the last verbs may still be in flight. A client that keeps its connection open is not waited for.
    timeout(RESPONSE_TIME, served).await.unwrap_or(Ok(()))
}

/// The connections to a socket. At shutdown the stream is dropped and closes the socket before the verbs are drained, so
/// that the next process can listen and new requests go there.
fn connections(socket: Socket) -> impl Stream<Item = io::Result<UnixStream>> {
    stream::unfold(socket, async |socket| Some((socket.accept().await, socket)))
}

/// Pauses after a connection that could not be accepted: it stays in the queue, and accepting it again at once would spin.
fn pause_after_errors<T>(connections: impl Stream<Item = io::Result<T>>) -> impl Stream<Item = io::Result<T>> {
    connections.then(async |connection| {
        if let Err(error) = &connection {
            tracing::warn!(%error, "could not accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
        connection
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_process_without_free_files_does_not_spin() {
        let start = tokio::time::Instant::now();
        let failing = stream::repeat_with(|| Err::<(), _>(io::Error::from_raw_os_error(nix::libc::EMFILE))).take(10);
        assert_eq!(pause_after_errors(failing).count().await, 10);
        assert_eq!(start.elapsed(), ACCEPT_PAUSE * 10);
        let start = tokio::time::Instant::now();
        assert_eq!(pause_after_errors(stream::repeat_with(|| Ok(())).take(10)).count().await, 10);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
