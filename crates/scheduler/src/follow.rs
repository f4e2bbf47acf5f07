//! Keeps up with what the API server knows: lists every kind and then watches it, for as long as the process lives.
//!
//! Each kind is followed by a task of its own, which turns what it hears into [`Update`]s for the one who owns the
//! `world`. Nothing is lost when the server is away or has forgotten where we were (410): the watch goes on from the
//! last version seen, or everything is listed anew, and what is not in the new list is gone.

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
use super::update::Update;
use super::wire::Object;

/// How many objects a page of a list has: a page is in memory at once.
const PAGE: usize = 250;
/// The server ends a watch after this; a new one goes on where it ended.
const WATCH_SECONDS: u64 = 300;
/// A watch hears something at least every minute or so; one that is silent for longer than its whole life is dead.
pub(super) const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS + 60);
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(5);

const ACTIVE_PODS: &str = "/api/v1/pods?fieldSelector=status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed&";

const CAPACITIES: &str = "/apis/storage.k8s.io/v1/csistoragecapacities?";

/// Follows all kinds a scheduler looks at. They end with the set.
pub fn start(client: &Client, intern: &Arc<Intern>, updates: &UnboundedSender<Update>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for_each_kind(&mut Spawn { client, intern, updates, tasks: &mut tasks });
    tasks
}

/// Lists all kinds once.
///
/// # Errors
/// When one of them cannot be listed.
pub async fn list(client: &Client, intern: &Arc<Intern>) -> Result<Vec<Update>, Error> {
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

/// How an object becomes what the scheduler keeps.
type Read<W, M> = fn(&W, &Intern) -> Result<M, Invalid>;

/// What is to be done with each kind.
trait ForKind {
    fn kind<W, M>(&mut self, path: &'static str, read: Read<W, M>, wrap: fn(Change<M>) -> Update)
    where
        W: Object + Decode + 'static,
        M: Send + 'static;
}

/// The kinds, and where they are. Pods come last: what they refer to is mostly known then.
fn for_each_kind(all: &mut impl ForKind) {
    const CONTROLLER: fn(OwnerKind) -> GroupKind = GroupKind::Controller;
    all.kind("/api/v1/nodes?", read::node, Update::Node);
    all.kind("/api/v1/namespaces?", |wire, intern| Ok(read::namespace(wire, intern)), Update::Namespace);
    all.kind("/api/v1/persistentvolumeclaims?", read::claim, Update::Claim);
    all.kind("/api/v1/persistentvolumes?", read::volume, Update::Volume);
    all.kind("/apis/storage.k8s.io/v1/storageclasses?", |wire, intern| Ok(read::class(wire, intern)), Update::Class);
    all.kind("/apis/storage.k8s.io/v1/csinodes?", |wire, intern| Ok(read::csi_node(wire, intern)), Update::CsiNode);
    all.kind(
        "/apis/storage.k8s.io/v1/csidrivers?",
        |wire, intern| Ok(read::csi_driver(wire, intern)),
        Update::CsiDriver,
    );
    all.kind(CAPACITIES, read::capacity, Update::Capacity);
    all.kind(
        "/apis/storage.k8s.io/v1/volumeattachments?",
        |wire, intern| Ok(read::attachment(wire, intern)),
        Update::Attachment,
    );
    all.kind("/apis/policy/v1/poddisruptionbudgets?", read::budget, Update::Budget);
    all.kind(
        "/api/v1/services?",
        |wire, intern| Ok(read::service(GroupKind::Service, wire, intern)),
        |change| Update::Group(GroupKind::Service, change),
    );
    all.kind(
        "/api/v1/replicationcontrollers?",
        |wire, intern| Ok(read::service(CONTROLLER(OwnerKind::ReplicationController), wire, intern)),
        |change| Update::Group(CONTROLLER(OwnerKind::ReplicationController), change),
    );
    all.kind(
        "/apis/apps/v1/replicasets?",
        |wire, intern| read::group(CONTROLLER(OwnerKind::ReplicaSet), wire, intern),
        |change| Update::Group(CONTROLLER(OwnerKind::ReplicaSet), change),
    );
    all.kind(
        "/apis/apps/v1/statefulsets?",
        |wire, intern| read::group(CONTROLLER(OwnerKind::StatefulSet), wire, intern),
        |change| Update::Group(CONTROLLER(OwnerKind::StatefulSet), change),
    );
    all.kind(ACTIVE_PODS, read::pod, Update::Pod);
}

struct Spawn<'a> {
    client: &'a Client,
    intern: &'a Arc<Intern>,
    updates: &'a UnboundedSender<Update>,
    tasks: &'a mut JoinSet<()>,
}

impl ForKind for Spawn<'_> {
    fn kind<W, M>(&mut self, path: &'static str, read: Read<W, M>, wrap: fn(Change<M>) -> Update)
    where
        W: Object + Decode + 'static,
        M: Send + 'static,
    {
        let follower = Follower::new(self.client, self.intern, self.updates, path, read, wrap);
        self.tasks.spawn(follower.run());
    }
}

struct ListOnce<'a> {
    client: &'a Client,
    intern: &'a Arc<Intern>,
    updates: &'a UnboundedSender<Update>,
    tasks: &'a mut JoinSet<Result<(), Error>>,
}

impl ForKind for ListOnce<'_> {
    fn kind<W, M>(&mut self, path: &'static str, read: Read<W, M>, wrap: fn(Change<M>) -> Update)
    where
        W: Object + Decode + 'static,
        M: Send + 'static,
    {
        let mut follower = Follower::new(self.client, self.intern, self.updates, path, read, wrap);
        self.tasks.spawn(async move { follower.list().await.map(drop) });
    }
}

/// Follows one kind.
struct Follower<W, M> {
    client: Client,
    intern: Arc<Intern>,
    updates: UnboundedSender<Update>,
    /// With everything in front of further parameters.
    path: &'static str,
    read: Read<W, M>,
    wrap: fn(Change<M>) -> Update,
    /// What to ask for: Protobuf until something could not be read in it.
    encoding: Encoding,
}

impl<W: Object + Decode, M> Follower<W, M> {
    fn new(
        client: &Client,
        intern: &Arc<Intern>,
        updates: &UnboundedSender<Update>,
        path: &'static str,
        read: Read<W, M>,
        wrap: fn(Change<M>) -> Update,
    ) -> Self {
        Follower {
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
        let mut patience = Patience::new(self.path);
        loop {
            match self.list().await {
                Ok(version) => {
                    patience.succeeded();
                    self.watch(version, &mut patience).await;
                }
                Err(error) => patience.failed(&error).await,
            }
            if self.updates.is_closed() {
                return;
            }
        }
    }

    /// Tells of everything there is; returns the version of the list.
    async fn list(&mut self) -> Result<String, Error> {
        self.tell(Change::Begin);
        let mut next = String::new();
        loop {
            let path = format!("{}limit={PAGE}{next}", self.path);
            let page: Page<W> = match self.client.page(&path, self.encoding).await {
                Ok(page) => page,
                Err(Error::Garbled { reason, .. }) if self.encoding == Encoding::Protobuf => {
                    self.give_up_protobuf(&reason);
                    continue;
                }
                // The one kind that an old API server may not have.
                Err(error) if error.code() == Some(404) && self.path == CAPACITIES => {
                    tracing::debug!(%error, "there is nothing of a kind");
                    Page::default()
                }
                Err(error) => return Err(error),
            };
            for object in &page.items {
                self.put(object);
            }
            if page.metadata.next.is_empty() {
                self.tell(Change::Complete);
                return Ok(page.metadata.resource_version);
            }
            next = format!("&continue={}", page.metadata.next);
        }
    }

    /// Watches from a version on, until the server does not know it any more.
    async fn watch(&mut self, mut version: String, patience: &mut Patience) {
        while !self.updates.is_closed() {
            match self.watch_once(&mut version).await {
                Ok(()) => patience.succeeded(),
                Err(error) if error.code() == Some(410) => {
                    tracing::debug!(path = self.path, "the API server has forgotten where the watch was: listing anew");
                    // Never in a circle without a pause.
                    tokio::time::sleep(FIRST_RETRY).await;
                    return;
                }
                Err(error) => patience.failed(&error).await,
            }
        }
    }

    /// Watches until the server ends it.
    async fn watch_once(&mut self, version: &mut String) -> Result<(), Error> {
        let path = format!(
            "{}watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={version}",
            self.path
        );
        let mut parts = self.client.watch(&path, self.encoding, SILENCE).await?;
        let encoding = parts.encoding();
        while let Some(part) = parts.next().await? {
            self.hear(encoding, &part, version)?;
        }
        Ok(())
    }

    fn hear(&mut self, encoding: Encoding, part: &Bytes, version: &mut String) -> Result<(), Error> {
        let broken = |reason| Error::Broken { path: self.path.to_owned(), reason };
        let event = encoding.event(part).map_err(broken)?;
        if event.kind == "ERROR" {
            return Err(Error::in_watch(self.path, encoding, &event.object));
        }
        let object: W = match encoding.object(&event.object) {
            Ok(object) => object,
            Err(reason) if self.encoding == Encoding::Protobuf => {
                self.give_up_protobuf(&reason);
                // The next watch begins with this object.
                return Err(broken(reason));
            }
            Err(error) => {
                // Its version is not known then, but the next object brings one.
                tracing::error!(path = self.path, error, "could not understand an object");
                return Ok(());
            }
        };
        match event.kind.as_str() {
            "ADDED" | "MODIFIED" => self.put(&object),
            "DELETED" => {
                // What it is called is enough, and can be read also where the rest cannot.
                if let Some(gone) = self.understand(&object.bare()) {
                    self.tell(Change::Gone(gone));
                }
            }
            _ => {}
        }
        version.clone_from(&object.meta().resource_version);
        Ok(())
    }

    /// What cannot be read in Protobuf can in JSON: see [`Encoding`].
    fn give_up_protobuf(&mut self, reason: &str) {
        tracing::warn!(path = self.path, reason, "could not understand Protobuf; asking for JSON from now on");
        self.encoding = Encoding::Json;
    }

    fn put(&self, object: &W) {
        if let Some(read) = self.understand(object) {
            self.tell(Change::Put(read));
        }
    }

    fn understand(&self, object: &W) -> Option<M> {
        (self.read)(object, &self.intern)
            .inspect_err(|error| tracing::error!(%error, "could not understand an object"))
            .ok()
    }

    fn tell(&self, change: Change<M>) {
        // Nobody listens any more only when everything ends.
        let _ = self.updates.send((self.wrap)(change));
    }
}

/// Waits longer after each failure, and tells of the first of them.
struct Patience {
    path: &'static str,
    wait: Duration,
}

impl Patience {
    fn new(path: &'static str) -> Patience {
        Patience { path, wait: FIRST_RETRY }
    }

    fn succeeded(&mut self) {
        if self.wait > FIRST_RETRY {
            tracing::info!(path = self.path, "following again");
        }
        self.wait = FIRST_RETRY;
    }

    async fn failed(&mut self, error: &Error) {
        if self.wait == FIRST_RETRY {
            tracing::warn!(%error, "could not follow; trying again");
        } else {
            tracing::debug!(%error, "could not follow; trying again");
        }
        // Not all kinds at the same time.
        tokio::time::sleep(self.wait.mul_f64(0.5 + fastrand::f64())).await;
        self.wait = (self.wait * 2).min(LAST_RETRY);
    }
}
