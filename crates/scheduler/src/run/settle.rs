//! What came of bindings and other work that ran beside.

use std::sync::Arc;

use tokio::time::Instant;

use super::Binding;
use super::News;
use super::Scheduler;
use crate::bind::Outcome;
use crate::filter::Events;
use crate::metrics;
use crate::model::Pod;
use crate::report::Reason;

impl Scheduler {
    pub(super) fn settle(&mut self, news: News) {
        match news {
            News::Bound { uid, outcome, permit } => {
                drop(permit);
                self.reporter.set_bindings(self.under_way());
                let Some(binding) = self.bindings.remove(&uid) else { return };
                self.settle_binding(binding, outcome);
            }
            News::Looked { uid, found } => self.settle_look(&uid, found),
            News::NotEvicted => {
                let now = self.now();
                self.world.queue.wake(Events::POD_GONE, now);
            }
        }
    }

    fn settle_binding(&mut self, binding: Binding, outcome: Outcome) {
        match outcome {
            Outcome::Bound => self.bound(&binding),
            Outcome::Unclear(Some(pod)) if pod.node.as_ref() == Some(&binding.node) => {
                self.take(pod);
                self.bound(&binding);
            }
            Outcome::Unclear(found) | Outcome::Refused(found) => {
                let pod = binding.pod.clone();
                self.take_back(binding);
                match found {
                    Some(found) => {
                        tracing::info!(pod = %pod, "a pod has changed while it was being bound");
                        self.take(found);
                        self.world.queue.failed(&pod.uid, self.now());
                    }
                    None => {
                        self.world.queue.remove(&pod.uid);
                        self.reporter.forget(&pod.uid);
                    }
                }
            }
            Outcome::Failed(error) => {
                tracing::warn!(pod = %binding.pod, node = %binding.node, error, "could not bind a pod");
                let pod = binding.pod.clone();
                let seconds = binding.begun.elapsed().as_secs_f64();
                self.take_back(binding);
                self.health.metrics.attempt(metrics::Result::Error, &pod.shape.scheduler, seconds);
                self.reporter.failed(&pod, Reason::SchedulerError, &error, None);
                self.world.queue.failed(&pod.uid, self.now());
            }
        }
    }

    /// The pod has its node.
    fn bound(&mut self, binding: &Binding) {
        let Binding { pod, node, begun, attempt, since, .. } = binding;
        tracing::info!(pod = %pod, %node, "bound");
        self.world.queue.remove(&pod.uid);
        if self.world.cluster.is_assumed(&pod.uid) {
            self.unconfirmed.insert(pod.uid.clone(), (pod.clone(), Instant::now()));
        }
        let metrics = &self.health.metrics;
        let seconds = begun.elapsed().as_secs_f64();
        metrics.binding_seconds.observe(seconds);
        metrics.attempt(metrics::Result::Scheduled, &pod.shape.scheduler, seconds);
        metrics.attempts_per_pod.observe(f64::from(*attempt));
        metrics.sli_seconds.observe(self.now().saturating_sub(*since).as_secs_f64());
        self.reporter.scheduled(pod, node);
    }

    /// The pod is not on its node after all.
    fn take_back(&mut self, binding: Binding) {
        let cluster = &mut self.world.cluster;
        cluster.storage.forget(binding.volumes);
        if cluster.forget(&binding.pod.uid) {
            let now = self.now();
            self.world.queue.wake(Events::POD_GONE, now);
        }
    }

    /// Takes note of a pod as the API server has it.
    fn take(&mut self, pod: Arc<Pod>) {
        let now = self.now();
        let events = self.world.put_pod(pod, now);
        self.world.queue.wake(events, now);
    }

    fn settle_look(&mut self, uid: &Arc<str>, found: Option<Arc<Pod>>) {
        if !self.world.cluster.is_assumed(uid) {
            return;
        }
        let lost = found.as_ref().is_none_or(|pod| pod.node.is_none());
        if lost {
            self.world.cluster.forget(uid);
            self.unconfirmed.remove(uid);
        }
        if let Some(pod) = found {
            self.take(pod);
        }
        if lost {
            let now = self.now();
            self.world.queue.wake(Events::POD_GONE, now);
        }
    }
}
