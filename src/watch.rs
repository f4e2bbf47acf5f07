//! Keeps the records true: learns what happened while nobody watched, then follows Docker's events.
//!
//! This is the only writer of the link's state. A session with Docker begins with its version, its event stream
//! and one listing, in this order, so that nothing can happen between the listing and the first event; it ends
//! when the stream breaks or a ping stays unanswered, and the next one begins by itself.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::container::Containers;
use crate::docker;
use crate::docker::Engine;
use crate::docker::Event;
use crate::image::Images;
use crate::naming;
use crate::observe;
use crate::pod::Pods;
use crate::state::Exit;
use crate::state::Process;
use crate::state::Store;

/// Between two attempts to reach a Docker that is away.
const RETRY_EVERY: Duration = Duration::from_millis(500);
/// Between two looks whether a silent Docker still answers.
const PING_EVERY: Duration = Duration::from_secs(5);
/// A Docker that takes longer to say that it is there, is not.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// How many containers are inspected at a time.
const INSPECT_AT_ONCE: usize = 8;

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
    first_attempt: Notify,
}

impl Watch {
    pub fn new(
        engine: Engine,
        store: Arc<Store>,
        images: Arc<Images>,
        containers: Arc<Containers>,
        pods: Arc<Pods>,
    ) -> Watch {
        Watch {
            engine,
            store,
            images,
            containers,
            pods,
            out_of_memory: Mutex::default(),
            images_changed: Notify::new(),
            first_attempt: Notify::new(),
        }
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
        let known = matches!(self.engine.link().state(), docker::LinkState::Down(known) if known == reason);
        if !known {
            tracing::warn!(reason, "Docker is not available");
            self.engine.link().set_down(reason);
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
        let facts = self.within(self.engine.contact()).await?;
        let events = self.within(self.engine.events()).await?;
        self.engine.link().set_joining(facts.clone());
        self.reconcile().await?;
        tracing::info!(version = facts.version, api = %facts.api, "Docker is available");
        self.engine.link().set_up(facts);
        self.first_attempt.notify_one();
        Ok(events)
    }

    async fn follow(
        self: &Arc<Self>,
        events: impl futures_util::Stream<Item = Result<Event, docker::Error>>,
    ) -> docker::Error {
        let mut events = std::pin::pin!(events);
        let mut ping = tokio::time::interval(PING_EVERY);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => self.apply(&event),
                    Some(Err(error)) => return error,
                    None => return self.ended("Docker closed the event stream"),
                },
                _ = ping.tick() => {
                    if let Err(error) = self.within(self.engine.ping()).await {
                        return error;
                    }
                }
            }
        }
    }

    /// Makes the index agree with Docker, and finishes with what was half-made.
    async fn reconcile(&self) -> Result<(), docker::Error> {
        self.images.ensure_builtin_pause().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the pause image is not ready; it is tried again with the first pod");
        });
        self.images.refresh().await?;
        self.containers.undo_half_made().await;
        self.pods.undo_half_made().await;
        let present: HashSet<String> =
            self.engine.list_containers(naming::TYPE).await?.into_iter().map(|row| row.id).collect();
        let sandboxes = self.store.sandboxes().into_iter().map(|sandbox| sandbox.record.id.clone());
        let containers = self.store.containers().into_iter().map(|container| container.record.id.clone());
        let (here, away): (Vec<String>, Vec<String>) = sandboxes.chain(containers).partition(|id| present.contains(id));
        for id in away {
            observe::gone(&self.store, &id);
        }
        let mut looks = stream::iter(here)
            .map(|id| async move { observe::refresh(&self.engine, &self.store, &id).await })
            .buffer_unordered(INSPECT_AT_ONCE);
        while let Some(look) = looks.next().await {
            look?;
        }
        Ok(())
    }

    fn apply(self: &Arc<Self>, event: &Event) {
        let id = event.actor.id.as_str();
        match (event.kind.as_str(), event.action.as_str()) {
            ("container", "start") => self.note_start(id),
            ("container", "oom") if self.store.knows(id) => self.note_out_of_memory(id),
            ("container", "die") if self.store.knows(id) => self.learn(id.to_owned()),
            ("container", "destroy") => {
                self.out_of_memory.lock().remove(id);
                observe::gone(&self.store, id);
            }
            ("image", "pull" | "tag" | "untag" | "delete" | "import" | "load") => self.images_changed.notify_one(),
            ("daemon", "reload") => self.learn_facts(),
            _ => {}
        }
    }

    /// A start by a verb is told by that verb; one by a person's hand is looked up, as the event's own time can be
    /// later than the end of a process that was quick.
    fn note_start(self: &Arc<Self>, id: &str) {
        let container = self.store.container(id).map(|c| (c.record.key.clone(), c.process.is_running()));
        let sandbox = self.store.sandbox(id).map(|s| (s.record.key.clone(), s.process.is_running()));
        let Some((key, false)) = container.or(sandbox) else { return };
        if self.store.try_lock(&key).is_some() {
            self.learn(id.to_owned());
        }
    }

    /// An event has an exit code, but not the exact time, nor whether memory was the cause: Docker is asked.
    fn learn(self: &Arc<Self>, id: String) {
        let watch = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = observe::refresh(&watch.engine, &watch.store, &id).await {
                tracing::warn!(container = id, %error, "could not learn the state of a container");
            }
            if watch.out_of_memory.lock().contains(&id) {
                watch.mark_out_of_memory(&id);
            }
        });
    }

    fn note_out_of_memory(&self, id: &str) {
        self.out_of_memory.lock().insert(id.to_owned());
        self.mark_out_of_memory(id);
    }

    /// The kernel may have killed any process of the container; it is the container's end only if that was by KILL.
    fn mark_out_of_memory(&self, id: &str) {
        self.store.change_process(id, |process| match process {
            Process::Exited { started_at, exit } if exit.code == 137 => {
                Process::Exited { started_at: *started_at, exit: Exit { oom_killed: true, ..exit.clone() } }
            }
            other => other.clone(),
        });
    }

    /// After a reload Docker may have other runtimes.
    fn learn_facts(self: &Arc<Self>) {
        let watch = Arc::clone(self);
        tokio::spawn(async move {
            match watch.engine.contact().await {
                Ok(facts) => watch.engine.link().set_up(facts),
                Err(error) => tracing::warn!(%error, "could not learn what Docker's reload changed"),
            }
        });
    }

    /// Many events of one build or pull become one refresh.
    async fn refresh_images(&self) {
        loop {
            self.images_changed.notified().await;
            if let Err(error) = self.images.refresh().await {
                tracing::warn!(%error, "could not refresh the list of images");
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
