//! Prometheus metrics under kube-scheduler's names.

use http::HeaderName;
use http::header::CONTENT_TYPE;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::histogram::exponential_buckets;
use prometheus_client::registry::Registry;

use super::queue::Counts;

/// The content type of the OpenMetrics text format.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A response to Prometheus: headers and text.
pub(crate) type Page = ([(HeaderName, &'static str); 1], String);

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    attempts: Family<Attempt, Counter>,
    attempt_seconds: Histogram,
    /// Seconds of one decision.
    pub(crate) algorithm_seconds: Histogram,
    /// Seconds from the decision until the pod was bound, volumes included.
    pub(crate) binding_seconds: Histogram,
    /// Seconds from the first queueing until the pod was bound.
    pub(crate) sli_seconds: Histogram,
    /// Attempts until a pod was bound.
    pub(crate) attempts_per_pod: Histogram,
    pending: Family<InQueue, Gauge>,
    /// Searches for victims.
    pub(crate) preemption_attempts: Counter,
    /// Victims per preemption.
    pub(crate) preemption_victims: Histogram,
    cache: Family<InCache, Gauge>,
    /// 1 while this replica is the leader.
    pub(crate) leader: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempt {
    result: &'static str,
    profile: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InQueue {
    queue: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InCache {
    r#type: &'static str,
}

/// The result of an attempt to schedule a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Result {
    /// The pod was bound.
    Scheduled,
    /// No node fits.
    Unschedulable,
    /// Anything else failed.
    Error,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let quick = || Histogram::new(exponential_buckets(0.0001, 2.0, 16));
        let slow = || Histogram::new(exponential_buckets(0.01, 2.0, 18));
        let mut metrics = Metrics {
            registry: Registry::default(),
            attempts: Family::default(),
            attempt_seconds: slow(),
            algorithm_seconds: quick(),
            binding_seconds: quick(),
            sli_seconds: slow(),
            attempts_per_pod: Histogram::new(exponential_buckets(1.0, 2.0, 5)),
            pending: Family::default(),
            preemption_attempts: Counter::default(),
            preemption_victims: Histogram::new(exponential_buckets(1.0, 2.0, 7)),
            cache: Family::default(),
            leader: Gauge::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let scheduler = self.registry.sub_registry_with_prefix("scheduler");
        let attempts = "Number of attempts to schedule pods, by result";
        // The encoder adds `_total` to counters.
        scheduler.register("schedule_attempts", attempts, self.attempts.clone());
        let attempt = "Seconds from popping a pod until it was bound or rejected";
        scheduler.register("scheduling_attempt_duration_seconds", attempt, self.attempt_seconds.clone());
        let algorithm = "Seconds of one scheduling decision";
        scheduler.register("scheduling_algorithm_duration_seconds", algorithm, self.algorithm_seconds.clone());
        let binding = "Seconds to bind a pod, volumes included";
        scheduler.register("binding_duration_seconds", binding, self.binding_seconds.clone());
        let sli = "Seconds from queueing a pod first until it was bound, all attempts included";
        scheduler.register("pod_scheduling_sli_duration_seconds", sli, self.sli_seconds.clone());
        let tries = "Number of attempts until a pod was bound";
        scheduler.register("pod_scheduling_attempts", tries, self.attempts_per_pod.clone());
        scheduler.register("pending_pods", "Number of pending pods, by part of the queue", self.pending.clone());
        let preemptions = "Number of searches for preemption victims";
        scheduler.register("preemption_attempts", preemptions, self.preemption_attempts.clone());
        let victims = "Number of victims per preemption";
        scheduler.register("preemption_victims", victims, self.preemption_victims.clone());
        scheduler.register("cache_size", "Number of nodes, pods and assumed pods in the cache", self.cache.clone());
        let leader = "Whether this replica holds the lease";
        self.registry.register("leader_election_master_status", leader, self.leader.clone());
    }

    /// Counts an attempt of a scheduler name that took this many seconds.
    pub(crate) fn attempt(&self, result: Result, profile: &str, seconds: f64) {
        let result = match result {
            Result::Scheduled => "scheduled",
            Result::Unschedulable => "unschedulable",
            Result::Error => "error",
        };
        self.attempts.get_or_create(&Attempt { result, profile: profile.to_owned() }).inc();
        self.attempt_seconds.observe(seconds);
    }

    /// Sets the sizes of the queue and the cache.
    pub(crate) fn sizes(&self, waiting: Counts, nodes: usize, pods: usize, assumed: usize) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (queue, count) in [
            ("active", waiting.active),
            ("backoff", waiting.backoff),
            ("unschedulable", waiting.unschedulable),
            ("gated", waiting.gated),
        ] {
            self.pending.get_or_create(&InQueue { queue }).set(number(count));
        }
        for (kind, count) in [("nodes", nodes), ("pods", pods), ("assumed_pods", assumed)] {
            self.cache.get_or_create(&InCache { r#type: kind }).set(number(count));
        }
    }

    /// All metrics in the OpenMetrics text format.
    pub(crate) fn page(&self) -> Page {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        ([(CONTENT_TYPE, OPENMETRICS)], text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_kube_schedulers_names() {
        let metrics = Metrics::default();
        metrics.attempt(Result::Unschedulable, "human-scheduler", 0.1);
        metrics.preemption_attempts.inc();
        metrics.sizes(Counts { backoff: 2, ..Counts::default() }, 5, 7, 1);
        let (_, text) = metrics.page();
        for line in [
            "scheduler_schedule_attempts_total{result=\"unschedulable\",profile=\"human-scheduler\"} 1",
            "scheduler_pending_pods{queue=\"backoff\"} 2",
            "scheduler_cache_size{type=\"assumed_pods\"} 1",
            "scheduler_preemption_attempts_total 1",
            "scheduler_scheduling_attempt_duration_seconds_count 1",
            "leader_election_master_status 0",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
    }
}
