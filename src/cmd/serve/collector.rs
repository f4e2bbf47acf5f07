//! Metrics of the current state, counted whenever the page is read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::container;
use crate::docker::ConnectionState;
use crate::docker::Engine;
use crate::logs::Logs;
use crate::proto::ContainerState;
use crate::state::Index;

/// Counts sandboxes, containers, logs and events.
pub(super) struct StateCollector {
    pub(super) engine: Engine,
    pub(super) index: Index,
    pub(super) logs: Arc<Logs>,
}

impl fmt::Debug for StateCollector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("StateCollector")
    }
}

impl Collector for StateCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        self.docker(&mut encoder)?;
        self.objects(&mut encoder)?;
        self.logs(&mut encoder)?;
        let events = self.index.feed_counts();
        gauge(&mut encoder, "event_subscribers", "Clients of GetContainerEvents", events.subscribers)?;
        gauge(&mut encoder, "event_queue", "Events that the slowest subscriber has not read yet", events.waiting)?;
        counter(
            &mut encoder,
            "events_missed",
            "Events that a slow subscriber lost, and made up for by listing",
            events.missed,
        )
    }
}

impl StateCollector {
    fn docker(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let up = matches!(self.engine.connection().state(), ConnectionState::Up(_));
        gauge(encoder, "docker_up", "1 while Docker answers and its events are followed", u64::from(up))?;
        let help = "Requests sent to Docker, by method and path";
        let mut family = encoder.encode_descriptor("docker_requests", help, None, MetricType::Counter)?;
        for (kind, count) in self.engine.request_counts() {
            ConstCounter::new(count).encode(family.encode_family(&[("kind", kind.as_str())])?)?;
        }
        Ok(())
    }

    fn objects(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let mut sandboxes = BTreeMap::from([("ready", 0), ("not_ready", 0)]);
        for sandbox in self.index.sandboxes.list() {
            *sandboxes.entry(if sandbox.is_ready() { "ready" } else { "not_ready" }).or_default() += 1;
        }
        by_state(encoder, "sandboxes", "Pod sandboxes, by state", &sandboxes)?;
        let mut containers = BTreeMap::from([("created", 0), ("running", 0), ("exited", 0), ("unknown", 0)]);
        for container in self.index.containers.list() {
            let state = match container::state(&container) {
                ContainerState::ContainerCreated => "created",
                ContainerState::ContainerRunning => "running",
                ContainerState::ContainerExited => "exited",
                ContainerState::ContainerUnknown => "unknown",
            };
            *containers.entry(state).or_default() += 1;
        }
        by_state(encoder, "containers", "Containers, by state", &containers)
    }

    fn logs(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let counts = self.logs.counts();
        gauge(encoder, "logs_followed", "Containers whose log is followed", counts.followed)?;
        gauge(encoder, "logs_stalled", "Containers whose CRI log cannot be written at present", counts.stalled)?;
        let lag = ConstGauge::new(counts.longest_stall.as_secs_f64());
        let help = "For how long the longest of these has been stalled";
        lag.encode(encoder.encode_descriptor("log_stall_seconds", help, None, lag.metric_type())?)?;
        counter(encoder, "log_read_bytes", "Bytes of Docker's log files that were converted", counts.read_bytes)
    }
}

fn by_state(encoder: &mut DescriptorEncoder, name: &str, help: &str, counts: &BTreeMap<&str, i64>) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (state, count) in counts {
        ConstGauge::new(*count).encode(family.encode_family(&[("state", *state)])?)?;
    }
    Ok(())
}

fn gauge(encoder: &mut DescriptorEncoder, name: &str, help: &str, value: u64) -> fmt::Result {
    let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
}

fn counter(encoder: &mut DescriptorEncoder, name: &str, help: &str, value: u64) -> fmt::Result {
    let counter = ConstCounter::new(value);
    counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
}
