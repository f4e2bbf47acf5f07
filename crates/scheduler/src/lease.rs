//! Which of several replicas works: the one that holds the lease.
//!
//! The lease is an object in the cluster that its holder renews. Who waits measures by its own clock how long the lease
//! has not changed, so that clocks need not agree. A holder that cannot renew in time stops at once: the others may
//! take over from then on.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::api::Client;
use super::api::Error;
use super::api::Lane;
use super::wire::Meta;
use super::wire::micro_time;

/// How long a lease is good that nobody renews.
const DURATION: Duration = Duration::from_secs(15);
/// A holder that could not renew for so long gives up.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(2);

/// Which lease it is about, and who we are.
#[derive(Clone, Debug)]
pub struct Settings {
    pub namespace: String,
    pub name: String,
    pub identity: String,
}

/// Whether we work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Waiting,
    Holder,
    /// We were the holder and are it no more: the process has to end.
    Lost,
}

/// The lease as the API server has it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Record {
    holder_identity: Option<String>,
    lease_duration_seconds: Option<u64>,
    acquire_time: Option<String>,
    renew_time: Option<String>,
    lease_transitions: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Lease {
    metadata: Meta,
    spec: Record,
}

/// Takes part in the election.
pub struct Election {
    client: Client,
    settings: Settings,
    /// What was last seen, and when it was first seen.
    seen: Option<(Record, Instant)>,
    role: watch::Sender<Role>,
}

impl Election {
    /// Starts to take part; tells the role by the channel. It ends when nobody listens.
    pub fn start(client: &Client, settings: Settings) -> watch::Receiver<Role> {
        let (role, roles) = watch::channel(Role::Waiting);
        let election = Election { client: client.clone(), settings, seen: None, role };
        tokio::spawn(election.run());
        roles
    }

    async fn run(mut self) {
        let mut renewed = Instant::now();
        while !self.role.is_closed() {
            let was_holder = *self.role.borrow() == Role::Holder;
            // The others count from the moment the server took it, which is after this one. An attempt that hangs must
            // not outlast the lease.
            let begun = Instant::now();
            let attempt = tokio::time::timeout(RENEW_DEADLINE / 2, self.attempt()).await;
            match attempt {
                Ok(Ok(true)) => {
                    renewed = begun;
                    if !was_holder {
                        tracing::info!(lease = self.settings.name, "holding the lease: this replica works");
                        self.role.send_replace(Role::Holder);
                    }
                }
                Ok(Ok(false)) if was_holder => return self.lose("somebody else holds the lease"),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "could not renew the lease"),
                Err(_) => tracing::warn!("could not renew the lease in time"),
            }
            if was_holder && renewed.elapsed() > RENEW_DEADLINE {
                return self.lose("the lease could not be renewed");
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY.mul_f64(0.9 + 0.2 * fastrand::f64())) => {}
                () = self.role.closed() => return,
            }
        }
    }

    fn lose(&self, reason: &str) {
        tracing::error!(reason, "this replica has to stop");
        self.role.send_replace(Role::Lost);
    }

    /// Takes or renews the lease if that is possible; returns whether we hold it.
    async fn attempt(&mut self) -> Result<bool, Error> {
        let path = path(&self.settings);
        let lease: Lease = match self.client.get(Lane::Call, &path).await {
            Err(error) if error.code() == Some(404) => return self.create().await,
            answer => answer?,
        };
        let now = Instant::now();
        if self.seen.as_ref().is_none_or(|(record, _)| *record != lease.spec) {
            self.seen = Some((lease.spec.clone(), now));
        }
        let age = self.seen.as_ref().map_or(Duration::ZERO, |(_, since)| now.duration_since(*since));
        if !lease.spec.is_free_for(&self.settings.identity, age) {
            return Ok(false);
        }
        let record = lease.spec.renewed(&self.settings.identity);
        let body = self.object(&record, Some(&lease.metadata.resource_version));
        match self.client.put(Lane::Call, &path, &body).await {
            // Somebody was quicker.
            Err(error) if error.code() == Some(409) => Ok(false),
            Err(error) => Err(error),
            Ok(()) => Ok(true),
        }
    }

    async fn create(&self) -> Result<bool, Error> {
        let record = Record::default().renewed(&self.settings.identity);
        let path = collection(&self.settings);
        match self.client.post(Lane::Call, &path, &self.object(&record, None)).await {
            Err(error) if error.code() == Some(409) => Ok(false),
            Err(error) => Err(error),
            Ok(()) => Ok(true),
        }
    }

    fn object(&self, record: &Record, version: Option<&str>) -> Value {
        object(&self.settings, record, version)
    }
}

/// Gives the lease up, so that another replica need not wait for its end.
pub async fn release(client: &Client, settings: &Settings) {
    let released = async {
        let lease: Lease = client.get(Lane::Call, &path(settings)).await?;
        if lease.spec.holder_identity.as_deref() != Some(&settings.identity) {
            return Ok(());
        }
        let record = Record {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            renew_time: Some(now()),
            ..lease.spec
        };
        let body = object(settings, &record, Some(&lease.metadata.resource_version));
        client.put(Lane::Call, &path(settings), &body).await
    };
    if let Err(error) = released.await {
        let error: Error = error;
        tracing::warn!(%error, "could not give up the lease");
    }
}

impl Record {
    /// Whether `identity` may take or renew a lease that has not changed for `age`.
    fn is_free_for(&self, identity: &str, age: Duration) -> bool {
        let holder = self.holder_identity.as_deref().unwrap_or_default();
        let good = self.lease_duration_seconds.map_or(DURATION, Duration::from_secs);
        holder.is_empty() || holder == identity || age > good
    }

    /// The record after `identity` has taken or renewed it.
    fn renewed(&self, identity: &str) -> Record {
        let is_ours = self.holder_identity.as_deref() == Some(identity);
        let transitions = self.lease_transitions.unwrap_or(0);
        let is_new = self.renew_time.is_none();
        Record {
            holder_identity: Some(identity.to_owned()),
            lease_duration_seconds: Some(DURATION.as_secs()),
            acquire_time: if is_ours { self.acquire_time.clone() } else { Some(now()) },
            renew_time: Some(now()),
            lease_transitions: Some(transitions + u64::from(!is_ours && !is_new)),
        }
    }
}

fn now() -> String {
    micro_time(Timestamp::now())
}

fn collection(settings: &Settings) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", settings.namespace)
}

fn path(settings: &Settings) -> String {
    format!("{}/{}", collection(settings), settings.name)
}

fn object(settings: &Settings, record: &Record, version: Option<&str>) -> Value {
    let mut object = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": settings.name, "namespace": settings.namespace},
        "spec": {
            "holderIdentity": record.holder_identity,
            "leaseDurationSeconds": record.lease_duration_seconds,
            "acquireTime": record.acquire_time,
            "renewTime": record.renew_time,
            "leaseTransitions": record.lease_transitions,
        },
    });
    if let Some(version) = version {
        object["metadata"]["resourceVersion"] = json!(version);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(holder: &str) -> Record {
        Record { holder_identity: Some(holder.into()), lease_duration_seconds: Some(15), ..Record::default() }
    }

    #[test]
    fn a_lease_is_taken_when_it_is_free_ours_or_over() {
        let seconds = Duration::from_secs;
        assert!(held_by("").is_free_for("us", seconds(0)));
        assert!(held_by("us").is_free_for("us", seconds(0)));
        assert!(!held_by("them").is_free_for("us", seconds(15)));
        assert!(held_by("them").is_free_for("us", seconds(16)));
        assert!(Record::default().is_free_for("us", seconds(0)));
    }

    #[test]
    fn taking_over_counts_as_a_transition_and_renewing_does_not() {
        let first = Record::default().renewed("us");
        assert_eq!((first.lease_transitions, first.acquire_time.is_some()), (Some(0), true));
        let renewed = Record { acquire_time: Some("then".into()), ..first }.renewed("us");
        assert_eq!((renewed.lease_transitions, renewed.acquire_time.as_deref()), (Some(0), Some("then")));
        let taken = renewed.renewed("them");
        assert_eq!((taken.lease_transitions, taken.holder_identity.as_deref()), (Some(1), Some("them")));
    }
}
