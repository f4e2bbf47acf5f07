//! Keeps the records true: learns what happened while nobody watched, then follows Docker's events.
//!
//! This is the only writer of the link's state. What was half-made is undone beside all that, as a plugin may take its
//! time.
//!
//!  A session with Docker begins with its version, its event stream
//! and one listing, in this order, so that nothing can happen between the listing and the first event; it ends
//! when the stream breaks or a ping stays unanswered, and the next one begins by itself.

mod apply;
mod kernel_log;
mod reconcile;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use futures_util::StreamExt;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::container::Containers;
use crate::docker;
use crate::docker::Engine;
use crate::docker::Event;
use crate::image::Images;
use crate::measure;
use crate::pod::Pods;
use crate::state::Store;

/// Between two attempts to reach a Docker that is away.
const RETRY_EVERY: Duration = Duration::from_millis(500);
/// Between two looks whether a silent Docker still answers.
const PING_EVERY: Duration = Duration::from_secs(5);
/// A Docker that takes longer to say that it is there, is not.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// So many late answers in a row, and Docker counts as gone.
const MISSES: u32 = 3;
/// Between the first two attempts to list the images, and between later ones.
const FIRST_IMAGES_RETRY: Duration = Duration::from_secs(1);
const LAST_IMAGES_RETRY: Duration = Duration::from_secs(60);
/// Between two attempts to undo what is half-made.
const UNDO_EVERY: Duration = Duration::from_secs(5);

/// See the module's documentation.
pub struct Watch {
    engine: Engine,
    store: Arc<Store>,
    images: Arc<Images>,
    containers: Arc<Containers>,
    pods: Arc<Pods>,
    /// Containers in which the kernel killed a process for want of memory; Docker tells it apart from their end.
    out_of_memory: Mutex<HashSet<String>>,
    images_changed: Notify,
    reloaded: Notify,
    damaged: HashSet<String>,
    first_attempt: Notify,
    sessions: Sessions,
}

/// How often Docker was joined, and how long it took to learn what happened before.
#[derive(Debug, Clone)]
pub struct Sessions {
    pub joined: Counter,
    pub reconciled: Histogram,
}

impl Watch {
    /// `damaged` are the keys of records that cannot be read.
    pub fn new(
        engine: Engine,
        store: Arc<Store>,
        images: Arc<Images>,
        containers: Arc<Containers>,
        pods: Arc<Pods>,
        damaged: HashSet<String>,
    ) -> Watch {
        Watch {
            engine,
            store,
            images,
            containers,
            pods,
            out_of_memory: Mutex::default(),
            images_changed: Notify::new(),
            reloaded: Notify::new(),
            damaged,
            first_attempt: Notify::new(),
            sessions: Sessions { joined: Counter::default(), reconciled: measure::duration() },
        }
    }

    /// What is counted, going on as it changes.
    pub fn sessions(&self) -> Sessions {
        self.sessions.clone()
    }

    /// Resolves once Docker was reached and the index is true, or the first attempt has failed. Before that, a List
    /// would tell a client that its pods do not run.
    pub async fn first_attempt(&self) {
        self.first_attempt.notified().await;
    }

    /// Watches until `shutdown`.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let watching = async {
            loop {
                let error = self.session().await;
                self.lost(&error);
                self.first_attempt.notify_one();
                tokio::time::sleep(RETRY_EVERY).await;
            }
        };
        tokio::select! {
            () = watching => {}
            () = self.refresh_images() => {}
            () = shutdown.cancelled() => {}
        }
    }

    /// Tells of a lost connection, once for each reason.
    fn lost(&self, error: &docker::Error) {
        let reason = match error {
            docker::Error::Unavailable { reason, .. } => reason.clone(),
            other => other.to_string(),
        };
        let known = matches!(self.engine.connection().state(), docker::ConnectionState::Down(known) if known == reason);
        if !known {
            tracing::warn!(reason, "Docker is not available");
            self.engine.connection().set_down(reason);
        }
    }

    /// One connection to Docker, from its version to the error that ends it.
    async fn session(self: &Arc<Self>) -> docker::Error {
        match self.join().await {
            Ok(events) => self.follow(events).await,
            Err(error) => error,
        }
    }

    async fn join(
        self: &Arc<Self>,
    ) -> Result<impl futures_util::Stream<Item = Result<Event, docker::Error>> + use<>, docker::Error> {
        self.within(self.engine.ping()).await?;
        let info = self.engine.contact().await?;
        let events = self.within(self.engine.events()).await?;
        self.engine.connection().set_joining(info.clone());
        let began = Instant::now();
        self.reconcile().await?;
        self.sessions.reconciled.observe(began.elapsed().as_secs_f64());
        self.sessions.joined.inc();
        self.store.set_true();
        tracing::info!(version = info.version, api = %info.api, "Docker is available");
        self.engine.connection().set_up(info);
        self.first_attempt.notify_one();
        Ok(events)
    }

    /// Applies events until the connection ends, and does beside that what goes on for as long as it lasts.
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
                    None => return self.ended("Docker closed the event stream"),
                }
            }
        };
        tokio::select! {
            error = applying => error,
            error = self.keep_asking() => error,
            () = self.keep_settling() => self.ended("never reached"),
            () = self.keep_undoing() => self.ended("never reached"),
            () = self.refresh_engine_info() => self.ended("never reached"),
        }
    }

    /// Asks again and again whether Docker is there. One late answer makes it suspect, and nothing new is begun; only
    /// after several the calls in flight are given up.
    async fn keep_asking(&self) -> docker::Error {
        let mut misses = 0;
        loop {
            tokio::time::sleep(PING_EVERY).await;
            match self.within(self.engine.ping()).await {
                Ok(()) => {
                    misses = 0;
                    self.engine.connection().clear_suspicion();
                }
                Err(error) if misses + 1 == MISSES => return error,
                Err(error) => {
                    misses += 1;
                    tracing::warn!(%error, "Docker is slow");
                    self.engine.connection().set_suspect(error.to_string());
                }
            }
        }
    }

    /// Undoes what is half-made, and tries again what could not be undone. What no record knows goes once.
    async fn keep_undoing(&self) {
        self.pods.detach_stale().await;
        loop {
            self.containers.undo_half_made().await;
            self.pods.undo_half_made().await;
            tokio::time::sleep(UNDO_EVERY).await;
        }
    }

    /// After a reload Docker may have other runtimes.
    async fn refresh_engine_info(&self) {
        loop {
            self.reloaded.notified().await;
            match self.engine.contact().await {
                Ok(info) => self.engine.connection().set_up(info),
                Err(error) => tracing::warn!(%error, "could not learn what Docker's reload changed"),
            }
        }
    }

    /// Many events of one build or pull become one refresh. One that fails is tried again, while Docker is there: a
    /// session begins with one.
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

    async fn within<T>(&self, request: impl Future<Output = Result<T, docker::Error>>) -> Result<T, docker::Error> {
        match tokio::time::timeout(ANSWER_LIMIT, request).await {
            Ok(answer) => answer,
            Err(_) => Err(self.ended(&format!("Docker did not answer within {ANSWER_LIMIT:?}"))),
        }
    }

    fn ended(&self, reason: &str) -> docker::Error {
        docker::Error::Unavailable {
            doing: "follow Docker at",
            object: self.engine.socket().display().to_string(),
            reason: reason.to_owned(),
        }
    }
}
