//! Leader election among replicas: the one that holds the Lease schedules (client-go's leaderelection).
//!
//! The holder renews the Lease object periodically. A standby measures with its own clock how long the Lease has not
//! changed, so clocks need not be synchronised. A holder that cannot renew in time stops at once, because another
//! replica may take over from then on.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::api::Client;
use super::api::Error;
use super::api::Pool;
use super::wire::Meta;
use super::wire::micro_time;

/// A lease not renewed for this long may be taken by another replica (LeaseDuration).
const LEASE_DURATION: Duration = Duration::from_secs(15);
/// A holder that has not renewed for this long gives up.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// The interval between two attempts.
const RETRY_PERIOD: Duration = Duration::from_secs(2);

/// The lease, and the identity of this replica.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The namespace of the Lease.
    pub(crate) namespace: String,
    /// The name of the Lease.
    pub(crate) name: String,
    /// What is written as `holderIdentity`; unique to the process.
    pub(crate) identity: String,
}

/// Whether this replica schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It does not hold the lease.
    Standby,
    /// It holds the lease and schedules.
    Holder,
    /// It has lost the lease: the process has to exit.
    Lost,
}

/// The spec of a Lease.
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

/// One replica's part in the election.
pub(crate) struct Election {
    client: Client,
    settings: Settings,
    /// The last observed spec, and when it was observed first.
    seen: Option<(Record, Instant)>,
    role: watch::Sender<Role>,
}

impl Election {
    /// Joins the election and publishes the role. Ends when the receiver is dropped.
    pub(crate) fn start(client: &Client, settings: Settings) -> watch::Receiver<Role> {
        let (role, roles) = watch::channel(Role::Standby);
        let election = Election { client: client.clone(), settings, seen: None, role };
        tokio::spawn(election.run());
        roles
    }

    async fn run(mut self) {
        let mut renewed = Instant::now();
        while !self.role.is_closed() {
            let was_holder = *self.role.borrow() == Role::Holder;
            // Standbys count from when the server stored the renewal, which is later than this. An attempt that hangs
            // must not outlast the lease.
            let started = Instant::now();
            let attempt = tokio::time::timeout(RENEW_DEADLINE / 2, self.try_acquire_or_renew()).await;
            match attempt {
                Ok(Ok(true)) => {
                    renewed = started;
                    if !was_holder {
                        tracing::info!(lease = self.settings.name, "acquired the lease: this replica is the leader");
                        self.role.send_replace(Role::Holder);
                    }
                }
                Ok(Ok(false)) if was_holder => return self.lose("another replica holds the lease"),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "could not renew the lease"),
                Err(_) => tracing::warn!("could not renew the lease: timed out"),
            }
            if was_holder && renewed.elapsed() > RENEW_DEADLINE {
                return self.lose("could not renew the lease before the deadline");
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY_PERIOD.mul_f64(0.9 + 0.2 * fastrand::f64())) => {}
                () = self.role.closed() => return,
            }
        }
    }

    fn lose(&self, reason: &str) {
        tracing::error!(reason, "lost the lease: this replica stops");
        self.role.send_replace(Role::Lost);
    }

    /// Acquires or renews the lease if possible; returns whether this replica holds it.
    async fn try_acquire_or_renew(&mut self) -> Result<bool, Error> {
        let path = path(&self.settings);
        let lease: Lease = match self.client.get(Pool::Call, &path).await {
            Err(error) if error.code() == Some(404) => return self.create().await,
            answer => answer?,
        };
        let now = Instant::now();
        if self.seen.as_ref().is_none_or(|(record, _)| *record != lease.spec) {
            self.seen = Some((lease.spec.clone(), now));
        }
        let age = self.seen.as_ref().map_or(Duration::ZERO, |(_, since)| now.duration_since(*since));
        if !lease.spec.is_available_to(&self.settings.identity, age) {
            return Ok(false);
        }
        let record = lease.spec.renewed(&self.settings.identity);
        let body = self.object(&record, Some(&lease.metadata.resource_version));
        match self.client.put(Pool::Call, &path, &body).await {
            // Another replica updated the lease first.
            Err(error) if error.code() == Some(409) => Ok(false),
            Err(error) => Err(error),
            Ok(()) => Ok(true),
        }
    }

    async fn create(&self) -> Result<bool, Error> {
        let record = Record::default().renewed(&self.settings.identity);
        let path = collection(&self.settings);
        match self.client.post(Pool::Call, &path, &self.object(&record, None)).await {
            Err(error) if error.code() == Some(409) => Ok(false),
            Err(error) => Err(error),
            Ok(()) => Ok(true),
        }
    }

    fn object(&self, record: &Record, version: Option<&str>) -> Value {
        object(&self.settings, record, version)
    }
}

/// Releases the lease, so that a standby need not wait until it expires.
pub(crate) async fn release(client: &Client, settings: &Settings) {
    let released = async {
        let lease: Lease = client.get(Pool::Call, &path(settings)).await?;
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
        client.put(Pool::Call, &path(settings), &body).await
    };
    if let Err(error) = released.await {
        let error: Error = error;
        tracing::warn!(%error, "could not release the lease");
    }
}

impl Record {
    /// Whether `identity` may acquire or renew a lease that has not changed for `age`.
    fn is_available_to(&self, identity: &str, age: Duration) -> bool {
        let holder = self.holder_identity.as_deref().unwrap_or_default();
        let duration = self.lease_duration_seconds.map_or(LEASE_DURATION, Duration::from_secs);
        holder.is_empty() || holder == identity || age > duration
    }

    /// The spec after `identity` has acquired or renewed the lease.
    fn renewed(&self, identity: &str) -> Record {
        let is_ours = self.holder_identity.as_deref() == Some(identity);
        let transitions = self.lease_transitions.unwrap_or(0);
        let is_new = self.renew_time.is_none();
        Record {
            holder_identity: Some(identity.to_owned()),
            lease_duration_seconds: Some(LEASE_DURATION.as_secs()),
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
    fn a_lease_is_acquired_when_it_is_free_ours_or_expired() {
        let seconds = Duration::from_secs;
        assert!(held_by("").is_available_to("us", seconds(0)));
        assert!(held_by("us").is_available_to("us", seconds(0)));
        assert!(!held_by("them").is_available_to("us", seconds(15)));
        assert!(held_by("them").is_available_to("us", seconds(16)));
        assert!(Record::default().is_available_to("us", seconds(0)));
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
