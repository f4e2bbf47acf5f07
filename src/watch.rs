//! Keeps the index true: reconciles it with Docker, then follows Docker's events.
//!
//! [`Watch`] runs one session with Docker after another. A session negotiates the API version, opens the event stream
//! and reconciles the index with one listing, in this order, so that no event falls between the listing and the stream.
//! It ends when the stream breaks or Docker stops answering pings; the next one begins by itself. During a session
//! unfinished records are undone in the background, because a CNI plugin may take long.
//!
//! No other room changes the state of the [connection](docker::Connection).

mod apply;
mod kernel_log;
mod reconcile;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use futures_util::StreamExt;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::container::Containers;
use crate::docker;
use crate::docker::Engine;
use crate::docker::Event;
use crate::image::Images;
use crate::lifecycle::Lifecycle;
use crate::observability;
use crate::pod::Pods;
use crate::refresh::Refresher;
use crate::state::Store;

/// Between two attempts to reach a Docker that is down.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// Between two pings.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// How long Docker may take to answer a ping, or to open the event stream.
const PING_LIMIT: Duration = Duration::from_secs(5);
/// After this many unanswered pings in a row Docker is down.
const MISSED_PINGS: u32 = 3;
/// Between the first two attempts to list the images, doubled for each later one.
const FIRST_IMAGES_RETRY: Duration = Duration::from_secs(1);
/// Between two attempts to list the images, at most.
const LAST_IMAGES_RETRY: Duration = Duration::from_secs(60);
/// Between two attempts to undo unfinished records.
const UNDO_INTERVAL: Duration = Duration::from_secs(5);

/// Keeps the index true; see the module's documentation.
pub(crate) struct Watch {
    engine: Engine,
    store: Arc<Store>,
    images: Arc<Images>,
    containers: Arc<Containers>,
    pods: Arc<Pods>,
    refresher: Refresher,
    images_changed: Notify,
    reloaded: Notify,
    /// The keys of damaged records.
    damaged: HashSet<String>,
    first_attempt: Notify,
    sessions: Sessions,
}

/// Metrics of the sessions with Docker.
#[derive(Debug, Clone)]
pub(crate) struct Sessions {
    /// How often a session was joined.
    pub joined: Counter,
    /// How long each reconciliation took, in seconds.
    pub reconciled: Histogram,
}

/// What [`Watch`] needs.
pub(crate) struct Dependencies {
    /// The connection to Docker.
    pub engine: Engine,
    /// The index to keep true.
    pub store: Arc<Store>,
    /// Refreshed when Docker's images change.
    pub images: Arc<Images>,
    /// Undoes unfinished containers.
    pub containers: Arc<Containers>,
    /// Undoes unfinished sandboxes.
    pub pods: Arc<Pods>,
    /// Keys of records that cannot be read.
    pub damaged: HashSet<String>,
}

impl Watch {
    /// A watch that has not begun; see [`Watch::run`].
    pub(crate) fn new(dependencies: Dependencies) -> Watch {
        let Dependencies { engine, store, images, containers, pods, damaged } = dependencies;
        Watch {
            refresher: containers.refresher().clone(),
            engine,
            store,
            images,
            containers,
            pods,
            images_changed: Notify::new(),
            reloaded: Notify::new(),
            damaged,
            first_attempt: Notify::new(),
            sessions: Sessions { joined: Counter::default(), reconciled: observability::duration() },
        }
    }

    /// Handles of the metrics, which change as sessions are joined.
    pub(crate) fn sessions(&self) -> Sessions {
        self.sessions.clone()
    }

    /// Resolves once the index was reconciled, or the first attempt has failed. Before that, List* would answer that no
    /// pod runs.
    pub(crate) async fn first_attempt(&self) {
        self.first_attempt.notified().await;
    }

    /// Runs sessions until `shutdown`.
    pub(crate) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let watching = async {
            loop {
                let error = self.session().await;
                self.set_down(&error);
                self.first_attempt.notify_one();
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        };
        tokio::select! {
            () = watching => {}
            () = self.refresh_images() => {}
            () = shutdown.cancelled() => {}
        }
    }

    /// Records that Docker is down, and logs it once for each reason.
    fn set_down(&self, error: &docker::Error) {
        let reason = match &error.cause {
            docker::Cause::Unavailable(reason) => reason.clone(),
            _ => error.to_string(),
        };
        let known = matches!(self.engine.connection().state(), docker::ConnectionState::Down(known) if known == reason);
        if !known {
            tracing::warn!(reason, "Docker is not available");
            self.engine.connection().set_down(reason);
        }
    }

    /// One session with Docker, until the error that ends it.
    async fn session(self: &Arc<Self>) -> docker::Error {
        match self.join().await {
            Ok(events) => self.follow(events).await,
            Err(error) => error,
        }
    }

    async fn join(
        self: &Arc<Self>,
    ) -> Result<impl futures_util::Stream<Item = Result<Event, docker::Error>> + use<>, docker::Error> {
        self.within_ping_limit(self.engine.ping()).await?;
        let info = self.engine.contact().await?;
        let events = self.within_ping_limit(self.engine.events()).await?;
        self.engine.connection().set_joining(info.clone());
        let began = Instant::now();
        self.reconcile().await?;
        self.sessions.reconciled.observe(began.elapsed().as_secs_f64());
        self.sessions.joined.inc();
        self.store.set_synced();
        tracing::info!(version = info.version, api = %info.api, "Docker is available");
        self.engine.connection().set_up(info);
        self.first_attempt.notify_one();
        Ok(events)
    }

    /// Applies events, and runs the background work of a session, until the connection breaks.
    async fn follow(
        self: &Arc<Self>,
        events: impl futures_util::Stream<Item = Result<Event, docker::Error>>,
    ) -> docker::Error {
        let mut events = std::pin::pin!(events);
        let applying = async {
            loop {
                match events.next().await {
                    Some(Ok(event)) => self.apply(&event),
                    Some(Err(error)) => return error,
                    None => return self.session_ended("Docker closed the event stream"),
                }
            }
        };
        let background = async {
            tokio::join!(self.refresh_unsettled(), self.undo_unfinished(), self.refresh_engine_info());
        };
        tokio::select! {
            error = applying => error,
            error = self.ping() => error,
            () = background => self.session_ended("its background work ended"),
        }
    }

    /// Pings Docker until it is down. After one unanswered ping it is suspect, and verbs are refused; only after
    /// several are the requests in flight given up.
    async fn ping(&self) -> docker::Error {
        let mut missed = 0;
        loop {
            tokio::time::sleep(PING_INTERVAL).await;
            match self.within_ping_limit(self.engine.ping()).await {
                Ok(()) => {
                    missed = 0;
                    self.engine.connection().clear_suspicion();
                }
                Err(error) if missed + 1 == MISSED_PINGS => return error,
                Err(error) => {
                    missed += 1;
                    tracing::warn!(%error, "Docker is slow");
                    self.engine.connection().set_suspect(error.to_string());
                }
            }
        }
    }

    /// Undoes unfinished records, again and again while that fails. Networks without a record are torn down once.
    async fn undo_unfinished(&self) {
        self.pods.detach_stale().await;
        loop {
            self.containers.undo_unfinished().await;
            self.pods.undo_unfinished().await;
            tokio::time::sleep(UNDO_INTERVAL).await;
        }
    }

    /// Reads the engine's properties after each reload of its configuration, which may change the OCI runtimes.
    async fn refresh_engine_info(&self) {
        loop {
            self.reloaded.notified().await;
            match self.engine.contact().await {
                Ok(info) => self.engine.connection().set_up(info),
                Err(error) => tracing::warn!(%error, "could not read Docker's properties after a reload"),
            }
        }
    }

    /// Refreshes the list of images when they change: once for the many events of one build or pull. A refresh that
    /// fails is repeated until Docker is down; the next session begins with one.
    async fn refresh_images(&self) {
        loop {
            self.images_changed.notified().await;
            let mut pause = FIRST_IMAGES_RETRY;
            while let Err(error) = self.images.refresh().await {
                tracing::warn!(%error, "could not refresh the list of images");
                if matches!(self.engine.connection().state(), docker::ConnectionState::Down(_)) {
                    break;
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.images_changed.notified() => {}
                }
                pause = LAST_IMAGES_RETRY.min(pause * 2);
            }
        }
    }

    async fn within_ping_limit<T>(
        &self,
        request: impl Future<Output = Result<T, docker::Error>>,
    ) -> Result<T, docker::Error> {
        match tokio::time::timeout(PING_LIMIT, request).await {
            Ok(answer) => answer,
            Err(_) => Err(self.session_ended(&format!("Docker did not answer within {PING_LIMIT:?}"))),
        }
    }

    fn session_ended(&self, reason: &str) -> docker::Error {
        docker::Error::unavailable("follow Docker at", &self.engine.socket().display().to_string(), reason)
    }
}
