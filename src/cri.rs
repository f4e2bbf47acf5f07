//! The door: the CRI's two services on a unix socket.
//!
//! Each RPC is one short method that hands its request to a verb and wraps the answer; no logic lives here.

mod chunks;
mod deadline;
mod events;
mod image;
mod log;
mod runtime;
mod socket;
mod status;
mod trace;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::stream;
use serde::Serialize;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::transport::Server;
use tracing::Instrument;

use crate::container::Containers;
use crate::docker::Engine;
use crate::error::Error;
use crate::image::Images;
use crate::pod::Pods;
use crate::proto::image_service_server::ImageServiceServer;
use crate::proto::runtime_service_server::RuntimeServiceServer;
use crate::state::Index;
use crate::state::Store;
use crate::stats::Stats;
use crate::stream::Streams;
use cni_runtime::Cni;

pub use self::log::Calls;
pub use self::socket::BindError;
pub use self::socket::Socket;

/// A kubelet's list of many pods fits; it is also the most a kubelet takes.
const MESSAGE_LIMIT: usize = 16 << 20;
/// How long a stop waits for verbs that are at work. What is not done by then is undone at the next start.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(10);
/// How long answers may take to reach their clients after that.
const LAST_ANSWERS: Duration = Duration::from_millis(200);

/// Between accepting again after the process ran out of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What both services answer from.
pub struct Service {
    pub engine: Engine,
    pub store: Arc<Store>,
    pub cni: Arc<Cni>,
    pub images: Arc<Images>,
    pub containers: Arc<Containers>,
    pub pods: Arc<Pods>,
    pub streams: Arc<Streams>,
    pub stats: Arc<Stats>,
    pub settings: Settings,
    pub calls: Calls,
    /// The verbs at work.
    pub jobs: TaskTracker,
}

/// The part of the configuration that `Status` shows to a person.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    pub sandbox_image: String,
    pub state_dir: PathBuf,
    pub cni_conf_dir: PathBuf,
    pub cni_bin_dirs: Vec<PathBuf>,
}

/// What events are made of.
struct Watched {
    index: Index,
    containers: Arc<Containers>,
    pods: Arc<Pods>,
}

impl Service {
    fn watched(&self) -> Watched {
        Watched {
            index: self.store.index().clone(),
            containers: Arc::clone(&self.containers),
            pods: Arc::clone(&self.pods),
        }
    }

    /// Runs a verb to its end, even when the client goes away in the middle: tonic drops the handler then, and a
    /// verb that stopped halfway would leave things behind.
    async fn job<T: Send + 'static>(
        &self,
        verb: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Status> {
        match self.jobs.spawn(verb.in_current_span()).await {
            Ok(outcome) => Ok(outcome?),
            Err(error) => {
                tracing::error!(%error, "a verb did not come to its end");
                Err(Status::internal(format!("the request ended unexpectedly: {error}")))
            }
        }
    }
}

/// Serves both services on `socket` until `shutdown`, then lets the verbs at work come to their end.
///
/// # Errors
/// When the connection cannot be served.
pub async fn serve(
    service: Service,
    socket: Socket,
    shutdown: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let service = Arc::new(service);
    let runtime = RuntimeServiceServer::from_arc(Arc::clone(&service)).max_decoding_message_size(MESSAGE_LIMIT);
    let images = ImageServiceServer::from_arc(Arc::clone(&service)).max_decoding_message_size(MESSAGE_LIMIT);
    let connections = unhurried(connections(socket));
    let serving = Server::builder()
        .layer(log::LogLayer { calls: service.calls.clone() })
        .layer(deadline::DeadlineLayer)
        .add_service(runtime)
        .add_service(images);
    // Connections stay open while their verbs are at work, so that clients get their answers.
    let drained = async {
        shutdown.cancelled().await;
        service.jobs.close();
        if tokio::time::timeout(DRAIN_LIMIT, service.jobs.wait()).await.is_err() {
            tracing::warn!(verbs = service.jobs.len(), "stopping with work unfinished; it is undone at the next start");
        }
    };
    let served = serving.serve_with_incoming_shutdown(connections, shutdown.cancelled());
    let (mut served, mut drained) = (std::pin::pin!(served), std::pin::pin!(drained));
    tokio::select! {
        served = &mut served => {
            if shutdown.is_cancelled() {
                drained.await;
            }
            return served;
        }
        () = &mut drained => {}
    }
    // The answers of the last verbs are on their way; a client that keeps its connection open is not waited for.
    tokio::time::timeout(LAST_ANSWERS, served).await.unwrap_or(Ok(()))
}

/// The connections that come to a socket, which is closed when the stream is dropped: with `shutdown`, while verbs come
/// to their end. A client had better go to the next process then, and that can have the socket at once.
fn connections(socket: Socket) -> impl Stream<Item = io::Result<UnixStream>> {
    stream::unfold(socket, async |socket| Some((socket.accept().await, socket)))
}

/// The same, with a pause after a connection that could not be accepted: it stays where it is, and would be tried again at
/// once.
fn unhurried<T>(connections: impl Stream<Item = io::Result<T>>) -> impl Stream<Item = io::Result<T>> {
    connections.then(async |connection| {
        if let Err(error) = &connection {
            tracing::warn!(%error, "could not accept");
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
        let began = tokio::time::Instant::now();
        let failing = stream::repeat_with(|| Err::<(), _>(io::Error::from_raw_os_error(nix::libc::EMFILE))).take(10);
        assert_eq!(unhurried(failing).count().await, 10);
        assert_eq!(began.elapsed(), ACCEPT_PAUSE * 10);
        let began = tokio::time::Instant::now();
        assert_eq!(unhurried(stream::repeat_with(|| Ok(())).take(10)).count().await, 10);
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
