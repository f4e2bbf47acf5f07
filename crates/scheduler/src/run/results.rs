//! Handles the results of bindings and other spawned tasks.

use std::sync::Arc;

use tokio::time::Instant;

use super::Binding;
use super::Scheduler;
use super::TaskResult;
use crate::bind::Outcome;
use crate::filter::ClusterEvents;
use crate::metrics;
use crate::model::Pod;
use crate::report::Reason;

impl Scheduler {
    pub(super) fn handle_result(&mut self, results: TaskResult) {
        match results {
            TaskResult::Bound { uid, outcome, permit } => {
                drop(permit);
                self.reporter.set_bindings(self.in_flight());
                let Some(binding) = self.bindings.remove(&uid) else { return };
                self.handle_binding(binding, outcome);
            }
            TaskResult::Fetched { uid, found } => self.handle_fetched(&uid, found),
            TaskResult::EvictionFailed => {
                let now = self.now();
                self.store.queue.requeue(ClusterEvents::POD_REMOVED, now);
            }
        }
    }

    fn handle_binding(&mut self, binding: Binding, outcome: Outcome) {
        match outcome {
            Outcome::Bound => self.handle_bound(&binding),
            Outcome::Unclear(Some(pod)) if pod.node.as_ref() == Some(&binding.node) => {
                self.apply_pod(pod);
                self.handle_bound(&binding);
            }
            Outcome::Unclear(found) | Outcome::Refused(found) => {
                let pod = binding.pod.clone();
                self.revert(binding);
                match found {
                    Some(found) => {
                        tracing::info!(pod = %pod, "the pod changed while it was being bound");
                        self.apply_pod(found);
                        self.store.queue.back_off(&pod.uid, self.now());
                    }
                    None => {
                        self.store.queue.remove(&pod.uid);
                        self.reporter.forget(&pod.uid);
                    }
                }
            }
            Outcome::Failed(error) => {
                tracing::warn!(pod = %binding.pod, node = %binding.node, error, "could not bind a pod");
                let pod = binding.pod.clone();
                let seconds = binding.started.elapsed().as_secs_f64();
                self.revert(binding);
                self.health.metrics.attempt(metrics::Result::Error, &pod.shape.scheduler, seconds);
                self.reporter.failed(&pod, Reason::SchedulerError, &error, None);
                self.store.queue.back_off(&pod.uid, self.now());
            }
        }
    }

    /// The pod is bound.
    fn handle_bound(&mut self, binding: &Binding) {
        let Binding { pod, node, started, attempt, since, .. } = binding;
        tracing::info!(pod = %pod, %node, "bound");
        self.store.queue.remove(&pod.uid);
        if self.store.cluster.is_assumed(&pod.uid) {
            self.unconfirmed.insert(pod.uid.clone(), (pod.clone(), Instant::now()));
        }
        let metrics = &self.health.metrics;
        let seconds = started.elapsed().as_secs_f64();
        metrics.binding_seconds.observe(seconds);
        metrics.attempt(metrics::Result::Scheduled, &pod.shape.scheduler, seconds);
        metrics.attempts_per_pod.observe(f64::from(*attempt));
        metrics.sli_seconds.observe(self.now().saturating_sub(*since).as_secs_f64());
        self.reporter.scheduled(pod, node);
    }

    /// Reverts the assumptions about a pod that was not bound.
    fn revert(&mut self, binding: Binding) {
        let cluster = &mut self.store.cluster;
        cluster.storage.forget(binding.volumes);
        if cluster.forget(&binding.pod.uid) {
            let now = self.now();
            self.store.queue.requeue(ClusterEvents::POD_REMOVED, now);
        }
    }

    /// Applies a pod as the API server has it.
    fn apply_pod(&mut self, pod: Arc<Pod>) {
        let now = self.now();
        let events = self.store.put_pod(pod, now);
        self.store.queue.requeue(events, now);
    }

    fn handle_fetched(&mut self, uid: &Arc<str>, found: Option<Arc<Pod>>) {
        if !self.store.cluster.is_assumed(uid) {
            return;
        }
        let lost = found.as_ref().is_none_or(|pod| pod.node.is_none());
        if lost {
            self.store.cluster.forget(uid);
            self.unconfirmed.remove(uid);
        }
        if let Some(pod) = found {
            self.apply_pod(pod);
        }
        if lost {
            let now = self.now();
            self.store.queue.requeue(ClusterEvents::POD_REMOVED, now);
        }
    }
}
