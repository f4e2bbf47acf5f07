//! Keeps up with the API server: each kind is listed, then watched, until the process exits (client-go's Reflector).
//!
//! Each kind has its own task, which sends [`Update`]s to the owner of the `Store`. Nothing is lost while the server is
//! unavailable or when it answers 410 Gone: the watch resumes from the last resourceVersion, or the kind is listed
//! again and whatever is missing in the new list is deleted.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

use super::api::Client;
use super::api::Decode;
use super::api::Encoding;
use super::api::Error;
use super::api::Page;
use super::model::GroupKind;
use super::model::Intern;
use super::model::OwnerKind;
use super::read;
use super::read::Invalid;
use super::update::Change;
use super::update::Kind;
use super::update::Update;
use super::wire::Object;

/// Objects per page of a list. A page is held in memory at once.
const PAGE: usize = 250;
/// The server closes a watch after this many seconds; the next watch resumes from the last resourceVersion.
const WATCH_SECONDS: u64 = 300;
/// A watch receives a bookmark about once a minute. One that is silent for longer than its server-side timeout is dead.
pub(super) const WATCH_IDLE_TIMEOUT: Duration = Duration::from_secs(WATCH_SECONDS + 60);
const INITIAL_RETRY: Duration = Duration::from_millis(200);
const MAX_RETRY: Duration = Duration::from_secs(5);

const ACTIVE_PODS: &str = "/api/v1/pods?fieldSelector=status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed&";

const CAPACITIES: &str = "/apis/storage.k8s.io/v1/csistoragecapacities?";

/// Starts a reflector for every kind. The tasks are aborted when the set is dropped.
pub(crate) fn start(client: &Client, intern: &Arc<Intern>, updates: &UnboundedSender<Update>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for_each_kind(&mut Spawn { client, intern, updates, tasks: &mut tasks });
    tasks
}

/// Lists every kind once.
///
/// # Errors
/// Any kind cannot be listed.
pub(crate) async fn list(client: &Client, intern: &Arc<Intern>) -> Result<Vec<Update>, Error> {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    for_each_kind(&mut ListOnce { client, intern, updates: &sender, tasks: &mut tasks });
    while let Some(listed) = tasks.join_next().await {
        listed.map_err(|error| Error::Config(error.to_string()))??;
    }
    drop(sender);
    let mut all = Vec::new();
    while let Some(update) = receiver.recv().await {
        all.push(update);
    }
    Ok(all)
}

/// Converts an object from its wire type to the scheduler's model.
type Read<W, M> = fn(&W, &Intern) -> Result<M, Invalid>;

/// Receives each kind with its path and conversion.
trait KindVisitor {
    /// `path` ends where query parameters are appended.
    fn kind<W, M>(&mut self, path: &'static str, read: Read<W, M>, wrap: fn(Change<M>) -> Update)
    where
        W: Object + Decode + 'static,
        M: Send + 'static;
}

/// Passes every kind of [`Kind::ALL`] to `all`.
fn for_each_kind(all: &mut impl KindVisitor) {
    Kind::ALL.iter().for_each(|kind| add_kind(*kind, all));
}

/// Where a kind is listed, and how it is converted. The match is exhaustive: a new [`Kind`] does not compile without it.
fn add_kind(kind: Kind, all: &mut impl KindVisitor) {
    const CONTROLLER: fn(OwnerKind) -> GroupKind = GroupKind::Controller;
    match kind {
        Kind::Node => all.kind("/api/v1/nodes?", read::node, Update::Node),
        Kind::Namespace => {
            all.kind("/api/v1/namespaces?", |wire, intern| Ok(read::namespace(wire, intern)), Update::Namespace);
        }
        Kind::Claim => all.kind("/api/v1/persistentvolumeclaims?", read::claim, Update::Claim),
        Kind::Volume => all.kind("/api/v1/persistentvolumes?", read::volume, Update::Volume),
        Kind::Class => {
            let read: Read<_, _> = |wire, intern| Ok(read::class(wire, intern));
            all.kind("/apis/storage.k8s.io/v1/storageclasses?", read, Update::Class);
        }
        Kind::CsiNode => {
            let read: Read<_, _> = |wire, intern| Ok(read::csi_node(wire, intern));
            all.kind("/apis/storage.k8s.io/v1/csinodes?", read, Update::CsiNode);
        }
        Kind::CsiDriver => {
            let read: Read<_, _> = |wire, intern| Ok(read::csi_driver(wire, intern));
            all.kind("/apis/storage.k8s.io/v1/csidrivers?", read, Update::CsiDriver);
        }
        Kind::Capacity => all.kind(CAPACITIES, read::capacity, Update::Capacity),
        Kind::Attachment => {
            let read: Read<_, _> = |wire, intern| Ok(read::attachment(wire, intern));
            all.kind("/apis/storage.k8s.io/v1/volumeattachments?", read, Update::Attachment);
        }
        Kind::Budget => all.kind("/apis/policy/v1/poddisruptionbudgets?", read::budget, Update::Budget),
        Kind::Service => all.kind(
            "/api/v1/services?",
            |wire, intern| Ok(read::service(GroupKind::Service, wire, intern)),
            |change| Update::Group(GroupKind::Service, change),
        ),
        Kind::ReplicationController => all.kind(
            "/api/v1/replicationcontrollers?",
            |wire, intern| Ok(read::service(CONTROLLER(OwnerKind::ReplicationController), wire, intern)),
            |change| Update::Group(CONTROLLER(OwnerKind::ReplicationController), change),
        ),
        Kind::ReplicaSet => all.kind(
            "/apis/apps/v1/replicasets?",
            |wire, intern| read::group(CONTROLLER(OwnerKind::ReplicaSet), wire, intern),
            |change| Update::Group(CONTROLLER(OwnerKind::ReplicaSet), change),
        ),
        Kind::StatefulSet => all.kind(
            "/apis/apps/v1/statefulsets?",
            |wire, intern| read::group(CONTROLLER(OwnerKind::StatefulSet), wire, intern),
            |change| Update::Group(CONTROLLER(OwnerKind::StatefulSet), change),
        ),
        Kind::Pod => all.kind(ACTIVE_PODS, read::pod, Update::Pod),
    }
}

/// Starts a task per kind.
struct Spawn<'a> {
    client: &'a Client,
    intern: &'a Arc<Intern>,
    updates: &'a UnboundedSender<Update>,
    tasks: &'a mut JoinSet<()>,
}

impl KindVisitor for Spawn<'_> {
    fn kind<W, M>(&mut self, path: &'static str, read: Read<W, M>, wrap: fn(Change<M>) -> Update)
    where
        W: Object + Decode + 'static,
        M: Send + 'static,
    {
        let reflector = Reflector::new(self.client, self.intern, self.updates, path, read, wrap);
        self.tasks.spawn(reflector.run());
    }
}

/// Lists each kind once, in a task of its own.
struct ListOnce<'a> {
    client: &'a Client,
    intern: &'a Arc<Intern>,
    updates: &'a UnboundedSender<Update>,
    tasks: &'a mut JoinSet<Result<(), Error>>,
}

impl KindVisitor for ListOnce<'_> {
    fn kind<W, M>(&mut self, path: &'static str, read: Read<W, M>, wrap: fn(Change<M>) -> Update)
    where
        W: Object + Decode + 'static,
        M: Send + 'static,
    {
        let mut reflector = Reflector::new(self.client, self.intern, self.updates, path, read, wrap);
        self.tasks.spawn(async move { reflector.list().await.map(drop) });
    }
}

/// Lists and watches one kind.
struct Reflector<W, M> {
    client: Client,
    intern: Arc<Intern>,
    updates: UnboundedSender<Update>,
    /// The path, up to where query parameters are appended.
    path: &'static str,
    read: Read<W, M>,
    wrap: fn(Change<M>) -> Update,
    /// What to request: Protobuf, until an object could not be decoded.
    encoding: Encoding,
}

impl<W: Object + Decode, M> Reflector<W, M> {
    fn new(
        client: &Client,
        intern: &Arc<Intern>,
        updates: &UnboundedSender<Update>,
        path: &'static str,
        read: Read<W, M>,
        wrap: fn(Change<M>) -> Update,
    ) -> Self {
        Reflector {
            client: client.clone(),
            intern: intern.clone(),
            updates: updates.clone(),
            path,
            read,
            wrap,
            encoding: Encoding::Protobuf,
        }
    }

    async fn run(mut self) {
        let mut backoff = Backoff::new(self.path);
        loop {
            match self.list().await {
                Ok(version) => {
                    backoff.succeeded();
                    self.watch(version, &mut backoff).await;
                }
                Err(error) => backoff.failed(&error).await,
            }
            if self.updates.is_closed() {
                return;
            }
        }
    }

    /// Sends every object of the kind; returns the list's resourceVersion.
    async fn list(&mut self) -> Result<String, Error> {
        self.send(Change::ListStarted);
        let mut next = String::new();
        loop {
            let path = format!("{}limit={PAGE}{next}", self.path);
            let page: Page<W> = match self.client.page(&path, self.encoding).await {
                Ok(page) => page,
                Err(Error::DecodeProtobuf { reason, .. }) if self.encoding == Encoding::Protobuf => {
                    self.fall_back_to_json(&reason);
                    continue;
                }
                // The only kind that an old API server may not serve.
                Err(error) if error.code() == Some(404) && self.path == CAPACITIES => {
                    tracing::debug!(%error, "the API server does not serve this kind");
                    Page::default()
                }
                Err(error) => return Err(error),
            };
            for object in &page.items {
                self.put(object);
            }
            if page.metadata.next.is_empty() {
                self.send(Change::ListComplete);
                return Ok(page.metadata.resource_version);
            }
            next = format!("&continue={}", page.metadata.next);
        }
    }

    /// Watches from a resourceVersion until it has expired on the server.
    async fn watch(&mut self, mut version: String, backoff: &mut Backoff) {
        while !self.updates.is_closed() {
            match self.watch_once(&mut version).await {
                Ok(()) => backoff.succeeded(),
                Err(error) if error.code() == Some(410) => {
                    tracing::debug!(path = self.path, "the resourceVersion has expired: listing again");
                    // Never list in a tight loop.
                    tokio::time::sleep(INITIAL_RETRY).await;
                    return;
                }
                Err(error) => backoff.failed(&error).await,
            }
        }
    }

    /// Watches until the server closes the watch.
    async fn watch_once(&mut self, version: &mut String) -> Result<(), Error> {
        let path = format!(
            "{}watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={version}",
            self.path
        );
        let mut stream = self.client.watch(&path, self.encoding, WATCH_IDLE_TIMEOUT).await?;
        let encoding = stream.encoding();
        while let Some(frame) = stream.next().await? {
            self.handle_frame(encoding, &frame, version)?;
        }
        Ok(())
    }

    fn handle_frame(&mut self, encoding: Encoding, frame: &Bytes, version: &mut String) -> Result<(), Error> {
        let broken = |reason| Error::Broken { path: self.path.to_owned(), reason };
        let event = encoding.event(frame).map_err(broken)?;
        if event.kind == "ERROR" {
            return Err(Error::from_watch(self.path, encoding, &event.object));
        }
        let object: W = match encoding.object(&event.object) {
            Ok(object) => object,
            Err(reason) if self.encoding == Encoding::Protobuf => {
                self.fall_back_to_json(&reason);
                // The next watch starts with this object.
                return Err(broken(reason));
            }
            Err(error) => {
                // Its resourceVersion is unknown, but the next object brings one.
                tracing::error!(path = self.path, error, "could not decode an object");
                return Ok(());
            }
        };
        match event.kind.as_str() {
            "ADDED" | "MODIFIED" => self.put(&object),
            "DELETED" => {
                // The metadata is enough to delete it, even when the rest cannot be converted.
                if let Some(gone) = self.convert(&object.bare()) {
                    self.send(Change::Deleted(gone));
                }
            }
            _ => {}
        }
        version.clone_from(&object.meta().resource_version);
        Ok(())
    }

    /// Objects that cannot be decoded in Protobuf can be in JSON: see [`Encoding`].
    fn fall_back_to_json(&mut self, reason: &str) {
        tracing::warn!(path = self.path, reason, "could not decode Protobuf: requesting JSON from now on");
        self.encoding = Encoding::Json;
    }

    fn put(&self, object: &W) {
        if let Some(read) = self.convert(object) {
            self.send(Change::Applied(read));
        }
    }

    fn convert(&self, object: &W) -> Option<M> {
        (self.read)(object, &self.intern)
            .inspect_err(|error| tracing::error!(%error, "could not convert an object"))
            .ok()
    }

    fn send(&self, change: Change<M>) {
        // The receiver is dropped only at shutdown.
        let _ = self.updates.send((self.wrap)(change));
    }
}

/// Exponential backoff with jitter. Only the first of several failures is logged as a warning.
struct Backoff {
    path: &'static str,
    delay: Duration,
}

impl Backoff {
    fn new(path: &'static str) -> Backoff {
        Backoff { path, delay: INITIAL_RETRY }
    }

    fn succeeded(&mut self) {
        if self.delay > INITIAL_RETRY {
            tracing::info!(path = self.path, "watching again");
        }
        self.delay = INITIAL_RETRY;
    }

    async fn failed(&mut self, error: &Error) {
        if self.delay == INITIAL_RETRY {
            tracing::warn!(%error, "could not list or watch: retrying");
        } else {
            tracing::debug!(%error, "could not list or watch: retrying");
        }
        // The kinds do not retry all at the same time.
        tokio::time::sleep(self.delay.mul_f64(0.5 + fastrand::f64())).await;
        self.delay = (self.delay * 2).min(MAX_RETRY);
    }
}
