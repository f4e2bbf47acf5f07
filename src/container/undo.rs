//! Taking back what did not get to its end.

use std::time::Duration;

use crate::clock::now_ns;
use crate::error::Error;
use crate::proto::ContainerConfig;
use crate::state::ContainerRecord;
use crate::state::Phase;
use crate::state::VERSION;
use crate::state::key_of;

use super::Containers;

/// How long Docker may take to make a container whose creation got no answer.
const LATE_CREATE: Duration = Duration::from_secs(30);

/// Whether it is known what Docker did with a request to create a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered; what it has not made by now, it will not make.
    Known,
    /// It did not answer, or we were gone when it did.
    Unknown,
}

impl Outcome {
    /// The outcome of a request that ended with this error.
    pub fn of(error: &Error) -> Outcome {
        match error {
            Error::Docker(error) if error.is_unanswered() => Outcome::Unknown,
            _ => Outcome::Known,
        }
    }

    /// Whether a container that is not there may still come, when it was asked for at `since` (nanoseconds since 1970).
    pub fn may_come(self, since: i64) -> bool {
        let age = Duration::from_nanos(u64::try_from(now_ns() - since).unwrap_or(0));
        self == Outcome::Unknown && age < LATE_CREATE
    }
}

/// A running container that no record knows has a name that is asked for.
pub fn runs_already(name: &str, id: &str) -> Error {
    Error::AlreadyExists(format!(
        "container {id} runs under the name {name}, and Dockside has no record of it; stop it first"
    ))
}

impl Containers {
    /// Undoes what an earlier process, or a broken connection, left half-made. Containers that a verb is working on
    /// are left alone.
    pub async fn undo_half_made(&self) {
        for key in self.half_made.keys() {
            let Some(_guard) = self.store.try_lock(&key) else { continue };
            let Some(record) = self.half_made.get(&key) else { continue };
            let name = record.name.clone();
            match self.undo(record, Outcome::Unknown).await {
                Ok(true) => tracing::info!(container = name, "undid a half-made container"),
                Ok(false) => {}
                Err(error) => tracing::warn!(container = name, %error, "could not undo a half-made container yet"),
            }
        }
    }

    /// The same for one sandbox that is about to go.
    ///
    /// # Errors
    /// When Docker could not remove one.
    pub async fn undo_half_made_of(&self, sandbox_id: &str) -> Result<(), Error> {
        for record in self.half_made.find(|record| record.sandbox_id == sandbox_id) {
            let _guard = self.store.lock(&record.key).await;
            self.undo(record, Outcome::Known).await?;
        }
        Ok(())
    }

    /// Takes over a container whose record is damaged, to be undone.
    pub fn adopt_damaged(&self, name: &str, id: &str) {
        let key = key_of(name);
        let record = ContainerRecord {
            version: VERSION,
            key: key.clone(),
            name: name.to_owned(),
            id: id.to_owned(),
            sandbox_id: String::new(),
            phase: Phase::Creating,
            created_at: now_ns(),
            image_id: String::new(),
            image_settings: None,
            identity: None,
            config: ContainerConfig::default(),
        };
        self.half_made.insert(key, record);
    }

    pub(super) async fn undo_or_keep(&self, mut record: ContainerRecord, outcome: Outcome) {
        record.phase = Phase::Creating;
        match self.undo(record.clone(), outcome).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(container = record.name, %error, "could not undo a container that failed to be made; it is tried again");
            }
        }
        self.half_made.insert(record.key.clone(), record);
    }

    /// Takes back a begun CreateContainer. Every step can be repeated. False when Docker may still be making the
    /// container: then the record stays, and this has to be called again.
    pub(super) async fn undo(&self, mut record: ContainerRecord, outcome: Outcome) -> Result<bool, Error> {
        if record.id.is_empty() {
            // Killed between Docker's create and the note of the id: the name tells.
            match self.engine.find_created_since(&record.name, record.created_at).await? {
                Some(id) => record.id = id,
                None if outcome.may_come(record.created_at) => return Ok(false),
                None => {}
            }
        }
        if !record.id.is_empty() {
            self.engine.remove_container(&record.id).await?;
        }
        self.store.forget_container(&record).await?;
        self.half_made.remove(&record.key);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_request_without_an_answer_may_still_have_an_effect() {
        assert!(Outcome::Unknown.may_come(now_ns()));
        assert!(!Outcome::Known.may_come(now_ns()));
        assert!(!Outcome::Unknown.may_come(now_ns() - 60_000_000_000));
        assert_eq!(Outcome::of(&Error::AlreadyExists(String::new())), Outcome::Known);
    }
}
