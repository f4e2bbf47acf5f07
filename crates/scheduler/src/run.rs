//! The scheduler at work: hears news, decides about one pod after the other, and has them bound.
//!
//! One task owns the `World`, and with it every decision; what takes time (bindings, evictions, reports) runs in tasks
//! of its own and sends back what came of it. A pod that is being bound is assumed to be on its node meanwhile.
//! Correctness rests on that and on the API server's rule that a pod is bound once, not on how quick the watch is.

mod settle;
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
use super::decide::Placement;
use super::decide::Unfit;
use super::decide::decide;
use super::evict::evict;
use super::filter::Events;
use super::follow;
use super::lease;
use super::lease::Election;
use super::lease::Role;
use super::metrics;
use super::model::Intern;
use super::model::Pod;
use super::preempt;
use super::preempt::Spared;
use super::queue::Attempt;
use super::queue::Moment;
use super::report::Reason;
use super::report::Reporter;
use super::serve;
use super::serve::Health;
use super::update::Update;
use super::world::World;

/// How the scheduler is to work.
#[derive(Clone, Debug)]
pub struct Options {
    /// Pods that ask for one of these are placed.
    pub names: Vec<String>,
    /// Where health and metrics are served.
    pub address: SocketAddr,
    /// The lease to hold; `None`: this is the only replica.
    pub lease: Option<lease::Settings>,
    /// How many bindings may be under way.
    pub bindings: usize,
}

/// Why the scheduler stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("could not listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("the lease is lost: another replica works now")]
    LeaseLost,
}

/// So many decisions are made before news is heard again.
const DECISIONS_AT_ONCE: usize = 16;
/// How many pods that wait for their volumes look after them at a time.
const LOOKS: usize = 16;
/// And no more once it has taken so long: in a large cluster one decision takes some of it.
const DECIDE_FOR: Duration = Duration::from_millis(50);
/// Bindings that are under way may take so long after a stop.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// A bound pod that the watch has not shown by then is looked at.
const CONFIRM_WITHIN: Duration = Duration::from_secs(30);
/// How often what is not urgent is done.
const CHORES: Duration = Duration::from_secs(1);

/// A pod that is being bound, or was bound and is not confirmed.
struct Binding {
    pod: Arc<Pod>,
    node: Arc<str>,
    volumes: AssumedVolumes,
    begun: Instant,
    attempt: u32,
    since: Moment,
}

/// What a task that ran beside sends back.
enum News {
    Bound {
        uid: Arc<str>,
        outcome: Outcome,
        /// `None`: it came to nothing before the API server was asked to bind the pod.
        permit: Option<OwnedSemaphorePermit>,
    },
    /// A pod that should have been confirmed was looked at.
    Looked { uid: Arc<str>, found: Option<Arc<Pod>> },
    /// Victims could not be sent away.
    NotEvicted,
}

struct Scheduler {
    client: Client,
    intern: Arc<Intern>,
    world: World,
    reporter: Reporter,
    health: Arc<Health>,
    news: UnboundedSender<News>,
    bindings: HashMap<Arc<str>, Binding>,
    most_bindings: usize,
    /// One for each binding that the API server may be asked for. A pod that waits for its volumes, for minutes perhaps,
    /// has none, so that it holds up nobody.
    permits: Arc<Semaphore>,
    /// One for each pod that waits for its volumes and may look after them: many wait, and the lease and the bindings of
    /// others are asked for on the same connection.
    looks: Arc<Semaphore>,
    /// Bound pods that the watch has not shown yet.
    unconfirmed: HashMap<Arc<str>, (Arc<Pod>, Instant)>,
    start: Instant,
}

/// Works until `stop` is done.
///
/// # Errors
/// When the lease is lost, or the address cannot be listened on.
pub async fn run(client: Client, options: Options, stop: impl Future<Output = ()>) -> Result<(), Error> {
    let health = Arc::new(Health::default());
    let served = serve::start(options.address, health.clone()).await;
    let address = served.map_err(|source| Error::Listen { address: options.address, source })?;
    tracing::info!(%address, "serving health and metrics");
    let intern = Arc::new(Intern::default());
    let (updates, received) = mpsc::unbounded_channel();
    let followers = follow::start(&client, &intern, &updates);
    let roles = match &options.lease {
        Some(settings) => Election::start(&client, settings.clone()),
        None => watch::channel(Role::Holder).1,
    };
    let identity = options.lease.as_ref().map_or_else(|| options.names[0].clone(), |lease| lease.identity.clone());
    let (news, heard) = mpsc::unbounded_channel();
    let reporter = Reporter::start(&client, &identity);
    let mut scheduler = Scheduler::new(&client, intern, &options, reporter, health, news);
    let outcome = scheduler.work(received, heard, roles, stop).await;
    drop(followers);
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
        news: UnboundedSender<News>,
    ) -> Scheduler {
        Scheduler {
            world: World::new(options.names.iter().map(|name| intern.str(name))),
            client: client.clone(),
            intern,
            reporter,
            health,
            news,
            bindings: HashMap::new(),
            most_bindings: options.bindings,
            permits: Arc::new(Semaphore::new(options.bindings)),
            looks: Arc::new(Semaphore::new(LOOKS)),
            unconfirmed: HashMap::new(),
            start: Instant::now(),
        }
    }

    async fn work(
        &mut self,
        mut updates: UnboundedReceiver<Update>,
        mut news: UnboundedReceiver<News>,
        mut roles: watch::Receiver<Role>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let mut stop = std::pin::pin!(stop);
        let mut chores = tokio::time::interval(CHORES);
        loop {
            self.hear(&mut updates, &mut news);
            let due = self.world.queue.tick(self.now());
            let role = *roles.borrow_and_update();
            let more = match role {
                Role::Lost => return Err(Error::LeaseLost),
                Role::Holder if self.world.is_complete() => self.decide_some(),
                Role::Holder | Role::Waiting => false,
            };
            if more {
                // Whoever else has something to do, and the network, come first.
                tokio::task::yield_now().await;
                continue;
            }
            let due = due.map_or_else(|| Instant::now() + CHORES, |due| self.start + due);
            tokio::select! {
                Some(update) = updates.recv() => self.world.apply(update, self.start.elapsed()),
                Some(one) = news.recv() => self.settle(one),
                _ = chores.tick() => self.chores(role),
                () = tokio::time::sleep_until(due) => {}
                _ = roles.changed(), if role != Role::Holder || has_lease(&roles) => {}
                () = &mut stop => break,
            }
        }
        tracing::info!(bindings = self.bindings.len(), "stopping");
        let end = Instant::now() + STOP_PATIENCE;
        // Who waits for volumes is decided about by the next that works.
        while self.under_way() > 0 {
            match tokio::time::timeout_at(end, news.recv()).await {
                Ok(Some(one)) => self.settle(one),
                Ok(None) | Err(_) => break,
            }
        }
        Ok(())
    }

    fn now(&self) -> Moment {
        self.start.elapsed()
    }

    /// How many bindings the API server is being asked for.
    fn under_way(&self) -> usize {
        self.most_bindings - self.permits.available_permits()
    }

    /// Takes all the news there is.
    fn hear(&mut self, updates: &mut UnboundedReceiver<Update>, news: &mut UnboundedReceiver<News>) {
        let now = self.now();
        while let Ok(update) = updates.try_recv() {
            self.world.apply(update, now);
        }
        while let Ok(one) = news.try_recv() {
            self.settle(one);
        }
    }

    /// Decides about some pods; returns whether there may be more to decide now.
    fn decide_some(&mut self) -> bool {
        let begun = Instant::now();
        for _ in 0..DECISIONS_AT_ONCE {
            if begun.elapsed() > DECIDE_FOR {
                return true;
            }
            let Ok(permit) = self.permits.clone().try_acquire_owned() else { return false };
            let now = self.now();
            let Some(attempt) = self.world.queue.next(now) else { return false };
            self.decide(attempt, permit);
        }
        true
    }

    fn decide(&mut self, attempt: Attempt, permit: OwnedSemaphorePermit) {
        let begun = Instant::now();
        let decision = decide(&attempt.pod, &mut self.world.cluster, |several| fastrand::usize(..several));
        self.health.metrics.algorithm_seconds.observe(begun.elapsed().as_secs_f64());
        match decision {
            Ok(placement) => self.bind(attempt, placement, begun, permit),
            Err(unfit) => self.reject(&attempt, &unfit, begun),
        }
    }

    /// Assumes that the pod is on its node, and has it bound.
    fn bind(&mut self, attempt: Attempt, placement: Placement, begun: Instant, permit: OwnedSemaphorePermit) {
        let Attempt { pod, number, since } = attempt;
        let cluster = &mut self.world.cluster;
        let node = cluster.node(placement.node).node.name.clone();
        tracing::debug!(pod = %pod, %node, feasible = placement.feasible, "chose a node");
        let kept = cluster.nominations.remove(&pod.uid);
        cluster.assume(pod.clone(), placement.node);
        let volumes = cluster.storage.assume(&placement.volumes, &node);
        if kept.is_some_and(|kept| kept != node) {
            self.world.queue.wake(Events::POD_GONE, self.start.elapsed());
        }
        let binding = Binding { pod: pod.clone(), node: node.clone(), volumes, begun, attempt: number, since };
        self.bindings.insert(pod.uid.clone(), binding);
        let permit = Some(permit).filter(|_| placement.volumes.is_empty());
        self.reporter.set_bindings(self.under_way());
        let (client, intern, news) = (self.client.clone(), self.intern.clone(), self.news.clone());
        let (permits, looks) = (self.permits.clone(), self.looks.clone());
        tokio::spawn(async move {
            let uid = pod.uid.clone();
            let bound = match bind::bind_volumes(&client, &intern, &pod, &node, &placement.volumes, &looks).await {
                Ok(()) => {
                    let permit = if permit.is_some() { permit } else { permits.acquire_owned().await.ok() };
                    let outcome = bind::bind_pod(&client, &intern, &pod, &node).await;
                    News::Bound { uid, outcome, permit }
                }
                Err(outcome) => News::Bound { uid, outcome, permit },
            };
            // Nobody listens any more only when everything ends.
            let _ = news.send(bound);
        });
    }

    /// Nothing fits: perhaps others can be pushed aside.
    fn reject(&mut self, attempt: &Attempt, unfit: &Unfit, begun: Instant) {
        let pod = &attempt.pod;
        let mut message = unfit.message();
        let found = (unfit.nodes > 0).then(|| {
            self.health.metrics.preemption_attempts.inc();
            preempt::find(pod, &mut self.world.cluster, unfit, fastrand::usize(..))
        });
        if let Some(Err(spared)) = &found {
            message = format!("{message} {spared}");
        }
        let nominated = match found {
            Some(Ok(preemption)) => Some(self.preempt(pod, preemption)),
            // The report that told of it may have been lost.
            Some(Err(Spared::Ineligible(_))) => self.world.cluster.nominations.untold(&pod.uid),
            // There is no use in keeping a node for it.
            Some(Err(Spared::Useless(_))) | None => pod.nominated.as_ref().map(|_| {
                self.world.denominate(pod, self.start.elapsed());
                Arc::from("")
            }),
        };
        tracing::info!(pod = %pod, reason = message, "no node fits");
        self.reporter.failed(pod, Reason::Unschedulable, &message, nominated.as_deref());
        self.world.queue.unfit(&pod.uid, unfit.filters(), self.start.elapsed());
        let seconds = begun.elapsed().as_secs_f64();
        self.health.metrics.attempt(metrics::Result::Unschedulable, &pod.shape.scheduler, seconds);
    }

    /// Sends the victims away and keeps their node for the pod; returns its name.
    fn preempt(&mut self, pod: &Arc<Pod>, preemption: preempt::Preemption) -> Arc<str> {
        let now = self.now();
        let cluster = &self.world.cluster;
        let node = cluster.node(preemption.node).node.name.clone();
        self.health.metrics.preemption_victims.observe(preemption.victims.len() as f64);
        for other in cluster.nominations.below(&node, pod.shape.priority) {
            self.world.denominate(&other, now);
            self.reporter.denominate(&other);
        }
        let pod = self.world.nominate(pod, &node, now);
        let (client, reporter, news, kept) =
            (self.client.clone(), self.reporter.clone(), self.news.clone(), node.clone());
        tokio::spawn(async move {
            if let Err(error) = evict(&client, &reporter, &preemption.victims, &pod, &kept).await {
                tracing::warn!(pod = %pod, %error, "could not send pods away");
                let _ = news.send(News::NotEvicted);
            }
        });
        node
    }

    /// What is done once a second.
    fn chores(&mut self, role: Role) {
        let world = &self.world;
        let (pods, assumed) = world.cluster.pod_counts();
        let metrics = &self.health.metrics;
        metrics.sizes(world.queue.counts(), world.cluster.node_count(), pods, assumed);
        metrics.leader.set(i64::from(role == Role::Holder));
        if world.is_complete() && !self.health.is_complete.swap(true, Ordering::Relaxed) {
            let (nodes, waiting) = (world.cluster.node_count(), world.queue.pods().count());
            tracing::info!(nodes, pods, waiting, "everything was listed");
        }
        self.reporter.keep(|uid| world.queue.get(uid).is_some());
        self.look_for_unconfirmed();
    }

    /// Looks at pods that were bound a while ago and that no watch has shown.
    fn look_for_unconfirmed(&mut self) {
        let cluster = &self.world.cluster;
        self.unconfirmed.retain(|uid, _| cluster.is_assumed(uid));
        for (pod, since) in self.unconfirmed.values_mut() {
            if since.elapsed() < CONFIRM_WITHIN {
                continue;
            }
            *since = Instant::now();
            tracing::info!(pod = %pod, "looking at a bound pod that the watch does not show");
            let (client, intern, news, pod) =
                (self.client.clone(), self.intern.clone(), self.news.clone(), pod.clone());
            tokio::spawn(async move {
                let found = bind::look(&client, &intern, &pod).await;
                let _ = news.send(News::Looked { uid: pod.uid.clone(), found });
            });
        }
    }
}

/// Whether there is anybody who could take the role away.
fn has_lease(roles: &watch::Receiver<Role>) -> bool {
    roles.has_changed().is_ok()
}
