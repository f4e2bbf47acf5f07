//! Creating and undoing, for both kinds of objects.
//!
//! A sandbox and a container are each one Docker container with a name derived from the request. RunPodSandbox and
//! CreateContainer save a record of phase creating before they call Docker, and a finished one after. Between the two,
//! Dockside may be killed or Docker may go away, so undoing starts from the record alone and every step can be repeated:
//!
//! 1. Find the Docker container: by the record's id, or by its name if Dockside was killed before it saved the id.
//! 2. Take back what the verb made, including that container ([`Lifecycle::teardown`]).
//! 3. Remove the record.
//!
//! `pod` and `container` implement [`Lifecycle`]; `watch` calls [`Lifecycle::undo_unfinished`] while Docker answers.

use std::time::Duration;

use crate::clock::now_ns;
use crate::docker::Engine;
use crate::error::Error;
use crate::state::Object;
use crate::state::Phase;
use crate::state::Record;
use crate::state::Store;
use crate::state::Stored;
use crate::state::Unfinished;

/// How long Docker may take to carry out a create request that got no answer.
const LATE_CREATE: Duration = Duration::from_secs(30);

/// Whether Docker's answer to a create request is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It answered; a container that does not exist now will not be made.
    Known,
    /// It did not answer, or Dockside was not there for the answer.
    Unknown,
}

impl Outcome {
    /// The outcome of a request that failed with this error.
    pub(crate) fn of(error: &Error) -> Outcome {
        match error {
            Error::Docker(error) if error.is_unanswered() => Outcome::Unknown,
            _ => Outcome::Known,
        }
    }

    /// Whether a missing container may still appear, if the verb began at `since` (nanoseconds since 1970).
    fn may_appear(self, since: i64) -> bool {
        let age = Duration::from_nanos(u64::try_from(now_ns() - since).unwrap_or(0));
        self == Outcome::Unknown && age < LATE_CREATE
    }
}

/// What [`Lifecycle`] works with.
pub(crate) struct Handles<'a, R> {
    /// The connection to Docker.
    pub(crate) engine: &'a Engine,
    /// The records.
    pub(crate) store: &'a Store,
    /// The objects to undo.
    pub(crate) unfinished: &'a Unfinished<R>,
}

/// The verbs on one kind of objects, as far as both kinds create and undo alike.
pub(crate) trait Lifecycle {
    /// The kind.
    type Object: Stored;

    /// What identifies an object of this kind to its client, for messages.
    const IDENTITY: &'static str;

    /// What the provided methods work with.
    fn handles(&self) -> Handles<'_, RecordOf<Self>>;

    /// Takes back, in reverse order, what the verb made: the Docker container `record.id`, which may be missing, and
    /// what belongs to it. Can be repeated.
    fn teardown(&self, record: &mut RecordOf<Self>) -> impl Future<Output = Result<(), Error>> + Send;

    /// Keeps an object that could not be undone: by default as unfinished, which `watch` retries.
    fn keep(&self, mut record: RecordOf<Self>) -> impl Future<Output = ()> + Send
    where
        Self: Sync,
    {
        record.set_phase(Phase::Creating);
        self.handles().unfinished.insert(record);
        std::future::ready(())
    }

    /// Undoes what an earlier process, or a broken connection to Docker, left unfinished. Objects that a verb works on
    /// are skipped; failures are logged and left for the next call.
    async fn undo_unfinished(&self) {
        for key in self.handles().unfinished.keys() {
            let Some(_guard) = self.handles().store.try_lock(&key) else { continue };
            let Some(record) = self.handles().unfinished.get(&key) else { continue };
            let (name, kind) = (record.name().to_owned(), Self::Object::KIND);
            match self.undo(record, Outcome::Unknown).await {
                Ok(true) => tracing::info!(name, "undid an unfinished {kind}"),
                Ok(false) => {}
                Err(error) => tracing::warn!(name, %error, "could not undo an unfinished {kind} yet"),
            }
        }
    }

    /// Adopts a Docker container whose record is damaged, to be undone.
    fn adopt_damaged(&self, name: &str, id: &str) {
        let mut record = RecordOf::<Self>::creating(name.to_owned(), now_ns(), Default::default());
        record.set_id(id.to_owned());
        self.handles().unfinished.insert(record);
    }

    /// The id of the object with this key if `same` accepts it: the client repeats a request whose answer it lost. What
    /// a failed attempt left under this key is undone first. `object` is how messages name the requested object. The
    /// caller holds the lock of `key`.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] if a different request made the object.
    async fn find_repeated(
        &self,
        key: &str,
        object: String,
        same: impl FnOnce(&Self::Object) -> bool + Send,
    ) -> Result<Option<String>, Error> {
        if let Some(record) = self.handles().unfinished.get(key) {
            self.undo(record, Outcome::Known).await?;
            return Ok(None);
        }
        let Some(existing) = Self::Object::writer(self.handles().store).reader().by_key(key) else { return Ok(None) };
        let record = existing.record();
        if record.phase() == Phase::Broken {
            self.undo(record.clone(), Outcome::Known).await?;
            return Ok(None);
        }
        if same(&existing) {
            return Ok(Some(record.id().to_owned()));
        }
        let (kind, id, identity) = (Self::Object::KIND, record.id(), Self::IDENTITY);
        let reason = format!("has the same {identity} as {kind} {id}; remove that or raise metadata.attempt");
        Err(Error::AlreadyExists { object, reason })
    }

    /// Undoes an object whose verb failed, or keeps it for another try.
    async fn undo_or_keep(&self, record: RecordOf<Self>, outcome: Outcome)
    where
        Self: Sync,
    {
        match self.undo(record.clone(), outcome).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => {
                let (name, kind) = (record.name(), Self::Object::KIND);
                tracing::warn!(name, %error, "could not undo a {kind} that failed to be made; it is kept");
            }
        }
        self.keep(record).await;
    }

    /// Undoes an object. Returns false if Docker may still be making its container: then the record stays, and this has
    /// to be called again. The caller holds the object's lock.
    ///
    /// # Errors
    /// If a step failed; the call can be repeated.
    async fn undo(&self, mut record: RecordOf<Self>, outcome: Outcome) -> Result<bool, Error> {
        if record.id().is_empty() {
            // Docker may have made the container before Dockside could save its id.
            match self.handles().engine.find_created_since(record.name(), record.created_at()).await? {
                Some(id) => record.set_id(id),
                None if outcome.may_appear(record.created_at()) => return Ok(false),
                None => {}
            }
        }
        if !record.id().is_empty() {
            self.teardown(&mut record).await?;
        }
        Self::Object::writer(self.handles().store).remove(&record).await?;
        self.handles().unfinished.remove(record.key());
        Ok(true)
    }
}

/// The record of the objects that `L` makes.
pub(crate) type RecordOf<L> = <<L as Lifecycle>::Object as Object>::Record;

/// Frees a container name that Docker refused as taken. The container that has it is unknown to every record, such as
/// after the state directory was lost: it is removed unless it runs.
///
/// # Errors
/// [`Error::AlreadyExists`] if it runs.
pub(crate) async fn free_name(engine: &Engine, name: &str) -> Result<(), Error> {
    match engine.remove_unless_running(name).await? {
        None => Ok(()),
        Some(id) => Err(Error::AlreadyExists {
            object: format!("container {id}"),
            reason: format!("runs under the name {name}, and Dockside has no record of it; stop it first"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_request_without_an_answer_may_still_have_an_effect() {
        assert!(Outcome::Unknown.may_appear(now_ns()));
        assert!(!Outcome::Known.may_appear(now_ns()));
        assert!(!Outcome::Unknown.may_appear(now_ns() - 60_000_000_000));
        assert_eq!(Outcome::of(&Error::precondition("container a", "has exited")), Outcome::Known);
    }
}
