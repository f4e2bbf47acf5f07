//! The scheduling loop: applies updates, schedules one pod after another, and binds them.
//!
//! One task owns the `Store` and makes every decision. Bindings, evictions and reports take time and run in tasks of
//! their own, which send back a [`TaskResult`]. A pod is assumed to be on its node while its binding is in flight.
//! Correctness rests on that and on the API server accepting one binding per pod, not on the latency of the watch.

mod results;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::time::Instant;

use super::api::Client;
use super::bind;
use super::bind::Outcome;
use super::cluster::AssumedVolumes;
use super::decide::FitError;
use super::decide::Placement;
use super::decide::decide;
use super::evict::evict;
use super::filter::ClusterEvents;
use super::lease;
use super::lease::Election;
use super::lease::Role;
use super::metrics;
use super::model::Intern;
use super::model::Pod;
use super::preempt;
use super::preempt::NotPreempted;
use super::queue::Attempt;
use super::queue::MonotonicTime;
use super::reflector;
use super::report::Reason;
use super::report::Reporter;
use super::serve;
use super::serve::Health;
use super::store::Store;
use super::update::Update;

/// The settings of the scheduler.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Pods with one of these as `spec.schedulerName` are scheduled.
    pub(crate) names: Vec<String>,
    /// Where health and metrics are served.
    pub(crate) address: SocketAddr,
    /// The lease for leader election; `None`: no leader election.
    pub(crate) lease: Option<lease::Settings>,
    /// The most bindings in flight.
    pub(crate) bindings: usize,
}

/// Why the scheduler stopped by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The address of health and metrics is in use, or cannot be used.
    #[error("could not listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    /// Leader election: the process has to exit, a supervisor restarts it as standby.
    #[error("lost the lease: another replica may be the leader now")]
    LeaseLost,
}

/// The most decisions before updates are received again.
const MAX_DECISIONS: usize = 16;
/// The most pods that poll their volumes at a time.
const MAX_VOLUME_POLLS: usize = 16;
/// No further decision starts after this: in a large cluster one decision takes milliseconds.
const DECIDE_FOR: Duration = Duration::from_millis(50);
/// How long to wait for bindings in flight before exiting.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// A bound pod that the watch has not shown after this is fetched.
const CONFIRM_WITHIN: Duration = Duration::from_secs(30);
/// The interval of periodic work.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(1);

/// A pod whose binding is in flight.
struct Binding {
    pod: Arc<Pod>,
    node: Arc<str>,
    volumes: AssumedVolumes,
    started: Instant,
    attempt: u32,
    since: MonotonicTime,
}

/// What a spawned task sends back.
enum TaskResult {
    /// A binding ended.
    Bound {
        /// The pod.
        uid: Arc<str>,
        /// How it ended.
        outcome: Outcome,
        /// `None`: it ended before the API server was asked to bind the pod.
        permit: Option<OwnedSemaphorePermit>,
    },
    /// An unconfirmed pod was fetched; `found` is `None` if it was deleted.
    Fetched { uid: Arc<str>, found: Option<Arc<Pod>> },
    /// Some victims could not be deleted.
    EvictionFailed,
}

/// The state of the scheduling loop.
struct Scheduler {
    client: Client,
    intern: Arc<Intern>,
    store: Store,
    reporter: Reporter,
    health: Arc<Health>,
    results: UnboundedSender<TaskResult>,
    bindings: HashMap<Arc<str>, Binding>,
    max_bindings: usize,
    /// One permit per binding request in flight. A pod whose volumes are still being bound holds none, so that it does
    /// not delay other pods, possibly for minutes.
    permits: Arc<Semaphore>,
    /// One permit per pod that polls its volumes. Many pods may wait for volumes, and the lease and the bindings of
    /// others share the connection.
    polls: Arc<Semaphore>,
    /// Bound pods that the watch has not shown yet, with the time of the last check.
    unconfirmed: HashMap<Arc<str>, (Arc<Pod>, Instant)>,
    start: Instant,
}

/// Schedules pods until `stop` completes.
///
/// # Errors
/// The lease was lost, or the address could not be listened on.
pub(crate) async fn run(client: Client, options: Options, stop: impl Future<Output = ()>) -> Result<(), Error> {
    let health = Arc::new(Health::default());
    let served = serve::start(options.address, health.clone()).await;
    let address = served.map_err(|source| Error::Listen { address: options.address, source })?;
    tracing::info!(%address, "serving health and metrics");
    let intern = Arc::new(Intern::default());
    let (updates, received) = mpsc::unbounded_channel();
    let reflectors = reflector::start(&client, &intern, &updates);
    let roles = match &options.lease {
        Some(settings) => Election::start(&client, settings.clone()),
        None => watch::channel(Role::Holder).1,
    };
    let identity = options.lease.as_ref().map_or_else(|| options.names[0].clone(), |lease| lease.identity.clone());
    let (results, task_results) = mpsc::unbounded_channel();
    let reporter = Reporter::start(&client, &identity);
    let mut scheduler = Scheduler::new(&client, intern, &options, reporter, health, results);
    let outcome = scheduler.run_loop(received, task_results, roles, stop).await;
    drop(reflectors);
    scheduler.reporter.finish().await;
    if let (Ok(()), Some(settings)) = (&outcome, &options.lease) {
        lease::release(&client, settings).await;
    }
    outcome
}

impl Scheduler {
    fn new(
        client: &Client,
        intern: Arc<Intern>,
        options: &Options,
        reporter: Reporter,
        health: Arc<Health>,
        results: UnboundedSender<TaskResult>,
    ) -> Scheduler {
        Scheduler {
            store: Store::new(options.names.iter().map(|name| intern.str(name))),
            client: client.clone(),
            intern,
            reporter,
            health,
            results,
            bindings: HashMap::new(),
            max_bindings: options.bindings,
            permits: Arc::new(Semaphore::new(options.bindings)),
            polls: Arc::new(Semaphore::new(MAX_VOLUME_POLLS)),
            unconfirmed: HashMap::new(),
            start: Instant::now(),
        }
    }

    async fn run_loop(
        &mut self,
        mut updates: UnboundedReceiver<Update>,
        mut results: UnboundedReceiver<TaskResult>,
        mut roles: watch::Receiver<Role>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let mut stop = std::pin::pin!(stop);
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING_INTERVAL);
        loop {
            self.receive(&mut updates, &mut results);
            let due = self.store.queue.flush(self.now());
            let role = *roles.borrow_and_update();
            let more = match role {
                Role::Lost => return Err(Error::LeaseLost),
                Role::Holder if self.store.is_synced() => self.schedule_some(),
                Role::Holder | Role::Standby => false,
            };
            if more {
                // Yield to I/O and to the other tasks.
                tokio::task::yield_now().await;
                continue;
            }
            let due = due.map_or_else(|| Instant::now() + HOUSEKEEPING_INTERVAL, |due| self.start + due);
            tokio::select! {
                Some(update) = updates.recv() => self.store.apply(update, self.start.elapsed()),
                Some(one) = results.recv() => self.handle_result(one),
                _ = housekeeping.tick() => self.housekeeping(role),
                () = tokio::time::sleep_until(due) => {}
                _ = roles.changed(), if role != Role::Holder || has_leader_election(&roles) => {}
                () = &mut stop => break,
            }
        }
        tracing::info!(bindings = self.bindings.len(), "stopping");
        let end = Instant::now() + STOP_TIMEOUT;
        // Pods waiting for volumes are left to the next leader.
        while self.in_flight() > 0 {
            match tokio::time::timeout_at(end, results.recv()).await {
                Ok(Some(one)) => self.handle_result(one),
                Ok(None) | Err(_) => break,
            }
        }
        Ok(())
    }

    fn now(&self) -> MonotonicTime {
        self.start.elapsed()
    }

    /// The number of binding requests in flight.
    fn in_flight(&self) -> usize {
        self.max_bindings - self.permits.available_permits()
    }

    /// Receives everything that is queued in both channels.
    fn receive(&mut self, updates: &mut UnboundedReceiver<Update>, results: &mut UnboundedReceiver<TaskResult>) {
        let now = self.now();
        while let Ok(update) = updates.try_recv() {
            self.store.apply(update, now);
        }
        while let Ok(one) = results.try_recv() {
            self.handle_result(one);
        }
    }

    /// Schedules some pods; returns whether there may be more to schedule now.
    fn schedule_some(&mut self) -> bool {
        let started = Instant::now();
        for _ in 0..MAX_DECISIONS {
            if started.elapsed() > DECIDE_FOR {
                return true;
            }
            let Ok(permit) = self.permits.clone().try_acquire_owned() else { return false };
            let now = self.now();
            let Some(attempt) = self.store.queue.pop(now) else { return false };
            self.schedule_one(attempt, permit);
        }
        true
    }

    fn schedule_one(&mut self, attempt: Attempt, permit: OwnedSemaphorePermit) {
        let started = Instant::now();
        let decision = decide(&attempt.pod, &mut self.store.cluster, |several| fastrand::usize(..several));
        self.health.metrics.algorithm_seconds.observe(started.elapsed().as_secs_f64());
        match decision {
            Ok(placement) => self.bind(attempt, placement, started, permit),
            Err(fit_error) => self.reject(&attempt, &fit_error, started),
        }
    }

    /// Assumes the pod on its node, and spawns its binding.
    fn bind(&mut self, attempt: Attempt, placement: Placement, started: Instant, permit: OwnedSemaphorePermit) {
        let Attempt { pod, number, since } = attempt;
        let cluster = &mut self.store.cluster;
        let node = cluster.node(placement.node).node.name.clone();
        tracing::debug!(pod = %pod, %node, feasible = placement.feasible, "chose a node");
        let cleared = cluster.nominations.remove(&pod.uid);
        cluster.assume(pod.clone(), placement.node);
        let volumes = cluster.storage.assume(&placement.volumes, &node);
        if cleared.is_some_and(|cleared| cleared != node) {
            self.store.queue.requeue(ClusterEvents::POD_REMOVED, self.start.elapsed());
        }
        let binding = Binding { pod: pod.clone(), node: node.clone(), volumes, started, attempt: number, since };
        self.bindings.insert(pod.uid.clone(), binding);
        let permit = Some(permit).filter(|_| placement.volumes.is_empty());
        self.reporter.set_bindings(self.in_flight());
        let (client, intern, results) = (self.client.clone(), self.intern.clone(), self.results.clone());
        let (permits, polls) = (self.permits.clone(), self.polls.clone());
        tokio::spawn(async move {
            let uid = pod.uid.clone();
            let bound = match bind::bind_volumes(&client, &intern, &pod, &node, &placement.volumes, &polls).await {
                Ok(()) => {
                    let permit = if permit.is_some() { permit } else { permits.acquire_owned().await.ok() };
                    let outcome = bind::bind_pod(&client, &intern, &pod, &node).await;
                    TaskResult::Bound { uid, outcome, permit }
                }
                Err(outcome) => TaskResult::Bound { uid, outcome, permit },
            };
            // The receiver is dropped only at shutdown.
            let _ = results.send(bound);
        });
    }

    /// Handles a pod that fits no node: tries preemption, reports, and returns the pod to the queue.
    fn reject(&mut self, attempt: &Attempt, fit_error: &FitError, started: Instant) {
        let pod = &attempt.pod;
        let mut message = fit_error.message();
        let found = (fit_error.nodes > 0).then(|| {
            self.health.metrics.preemption_attempts.inc();
            preempt::find(pod, &mut self.store.cluster, fit_error, fastrand::usize(..))
        });
        if let Some(Err(spared)) = &found {
            message = format!("{message} {spared}");
        }
        let nominated = match found {
            Some(Ok(preemption)) => Some(self.preempt(pod, preemption)),
            // The status patch with the nomination may have been lost.
            Some(Err(NotPreempted::NotEligible(_))) => self.store.cluster.nominations.unconfirmed(&pod.uid),
            // A nomination does not help the pod.
            Some(Err(NotPreempted::NotHelpful(_))) | None => pod.nominated.as_ref().map(|_| {
                self.store.clear_nomination(pod, self.start.elapsed());
                Arc::from("")
            }),
        };
        tracing::info!(pod = %pod, reason = message, "no node fits");
        self.reporter.failed(pod, Reason::Unschedulable, &message, nominated.as_deref());
        self.store.queue.mark_unschedulable(&pod.uid, fit_error.filters(), self.start.elapsed());
        let seconds = started.elapsed().as_secs_f64();
        self.health.metrics.attempt(metrics::Result::Unschedulable, &pod.shape.scheduler, seconds);
    }

    /// Nominates the node for the pod and spawns the eviction of the victims; returns the node's name.
    fn preempt(&mut self, pod: &Arc<Pod>, preemption: preempt::Preemption) -> Arc<str> {
        let now = self.now();
        let cluster = &self.store.cluster;
        let node = cluster.node(preemption.node).node.name.clone();
        self.health.metrics.preemption_victims.observe(preemption.victims.len() as f64);
        for other in cluster.nominations.below(&node, pod.shape.priority) {
            self.store.clear_nomination(&other, now);
            self.reporter.clear_nomination(&other);
        }
        let pod = self.store.nominate(pod, &node, now);
        let (client, reporter, results, nominated_node) =
            (self.client.clone(), self.reporter.clone(), self.results.clone(), node.clone());
        tokio::spawn(async move {
            if let Err(error) = evict(&client, &reporter, &preemption.victims, &pod, &nominated_node).await {
                tracing::warn!(pod = %pod, %error, "could not evict pods");
                let _ = results.send(TaskResult::EvictionFailed);
            }
        });
        node
    }

    /// Periodic work: metrics, readiness, unconfirmed pods.
    fn housekeeping(&mut self, role: Role) {
        let store = &self.store;
        let (pods, assumed) = store.cluster.pod_counts();
        let metrics = &self.health.metrics;
        metrics.sizes(store.queue.counts(), store.cluster.node_count(), pods, assumed);
        metrics.leader.set(i64::from(role == Role::Holder));
        if store.is_synced() && !self.health.is_synced.swap(true, Ordering::Relaxed) {
            let (nodes, waiting) = (store.cluster.node_count(), store.queue.pods().count());
            tracing::info!(nodes, pods, waiting, "caches synced");
        }
        self.reporter.retain(|uid| store.queue.get(uid).is_some());
        self.fetch_unconfirmed();
    }

    /// Fetches pods that were bound some time ago and that the watch has not shown.
    fn fetch_unconfirmed(&mut self) {
        let cluster = &self.store.cluster;
        self.unconfirmed.retain(|uid, _| cluster.is_assumed(uid));
        for (pod, since) in self.unconfirmed.values_mut() {
            if since.elapsed() < CONFIRM_WITHIN {
                continue;
            }
            *since = Instant::now();
            tracing::info!(pod = %pod, "fetching a bound pod that the watch does not show");
            let (client, intern, results, pod) =
                (self.client.clone(), self.intern.clone(), self.results.clone(), pod.clone());
            tokio::spawn(async move {
                let found = bind::fetch(&client, &intern, &pod).await;
                let _ = results.send(TaskResult::Fetched { uid: pod.uid.clone(), found });
            });
        }
    }
}

/// Whether leader election is enabled: the sender of the role exists.
fn has_leader_election(roles: &watch::Receiver<Role>) -> bool {
    roles.has_changed().is_ok()
}
