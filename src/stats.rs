//! What pods and containers use: the CRI's stats, and cAdvisor's metrics. Both are renderings of what [`crate::cgroup`]
//! reads from the kernel, and of the measured size of writable layers. Docker is asked only for the size of layers that
//! are not overlays.
//!
//! `cri` calls in. A list never fails for one container: of one that is not running, or exits during the call, the values
//! that could not be read are left out.

mod disk;
mod metrics;
mod network;
mod rate;
mod sample;

use std::path::Path;
use std::sync::Arc;

use crate::cgroup;
use crate::cgroup::Cgroup;
use crate::docker::Engine;
use crate::docker::EngineInfo;
use crate::error::Error;
use crate::proto::ContainerAttributes;
use crate::proto::ContainerStats;
use crate::proto::ContainerStatsFilter;
use crate::proto::CpuUsage;
use crate::proto::IoUsage;
use crate::proto::LinuxPodSandboxStats;
use crate::proto::MemoryUsage;
use crate::proto::PodSandboxAttributes;
use crate::proto::PodSandboxStats;
use crate::proto::PodSandboxStatsFilter;
use crate::proto::ProcessUsage;
use crate::proto::SwapUsage;
use crate::proto::UInt64Value;
use crate::state::Container;
use crate::state::Index;
use crate::state::Kind;
use crate::state::LookupError;
use crate::state::Sandbox;

use self::disk::Disk;
use self::rate::Rates;
use self::sample::Sample;

pub(crate) use self::metrics::descriptors as metric_descriptors;

/// Reads stats and metrics; keeps what rates and disk usage need between calls.
pub(crate) struct Stats {
    engine: Engine,
    index: Index,
    disk: Disk,
    rates: Rates,
    /// The image of all pause containers, for the label `image`.
    pause_image: String,
}

impl Stats {
    /// `pause_image` is the image of all pause containers. Nothing is measured before the first call.
    pub(crate) fn new(engine: Engine, index: Index, pause_image: &str) -> Stats {
        let disk = Disk::new(engine.clone());
        Stats { engine, index, disk, rates: Rates::new(), pause_image: pause_image.to_owned() }
    }

    /// The stats of one container.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::State`] before Docker was first reached.
    pub(crate) async fn container(self: &Arc<Self>, id: &str) -> Result<ContainerStats, Error> {
        self.index.require_synced()?;
        let container = self.index.containers.require(id)?;
        let mut measured = self.measure(vec![container], Vec::new()).await?;
        measured
            .containers
            .pop()
            .ok_or_else(|| LookupError::NotFound { kind: Kind::Container, id: id.to_owned() }.into())
    }

    /// The stats of the containers that match the filter, the oldest first.
    ///
    /// # Errors
    /// [`Error::Ambiguous`] when an id of the filter is a prefix of several; [`Error::State`] before Docker was first reached.
    pub(crate) async fn containers(
        self: &Arc<Self>,
        filter: Option<&ContainerStatsFilter>,
    ) -> Result<Vec<ContainerStats>, Error> {
        self.index.require_synced()?;
        let empty = ContainerStatsFilter::default();
        let filter = filter.unwrap_or(&empty);
        let mut containers = self.index.containers.select(&filter.id)?;
        containers.retain(|container| {
            let record = &container.record;
            record.sandbox_id.starts_with(&filter.pod_sandbox_id)
                && filter.label_selector.iter().all(|(key, value)| record.config.labels.get(key) == Some(value))
        });
        Ok(self.measure(containers, Vec::new()).await?.containers)
    }

    /// The stats of one sandbox, with its running containers.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::State`] before Docker was first reached.
    pub(crate) async fn sandbox(self: &Arc<Self>, id: &str) -> Result<PodSandboxStats, Error> {
        self.index.require_synced()?;
        let sandbox = self.index.sandboxes.require(id)?;
        let mut measured = self.measure(Vec::new(), vec![sandbox]).await?;
        measured.sandboxes.pop().ok_or_else(|| LookupError::NotFound { kind: Kind::Sandbox, id: id.to_owned() }.into())
    }

    /// The stats of the ready sandboxes that match the filter, the oldest first, each with its running containers.
    ///
    /// # Errors
    /// [`Error::Ambiguous`] when an id of the filter is a prefix of several; [`Error::State`] before Docker was first reached.
    pub(crate) async fn sandboxes(
        self: &Arc<Self>,
        filter: Option<&PodSandboxStatsFilter>,
    ) -> Result<Vec<PodSandboxStats>, Error> {
        self.index.require_synced()?;
        let empty = PodSandboxStatsFilter::default();
        let filter = filter.unwrap_or(&empty);
        let mut sandboxes = self.index.sandboxes.select(&filter.id)?;
        sandboxes.retain(|sandbox| {
            let labels = &sandbox.record.config.labels;
            sandbox.is_ready() && filter.label_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
        });
        Ok(self.measure(Vec::new(), sandboxes).await?.sandboxes)
    }

    async fn measure(
        self: &Arc<Self>,
        containers: Vec<Arc<Container>>,
        sandboxes: Vec<Arc<Sandbox>>,
    ) -> Result<Measured, Error> {
        // With live-restore, containers run while Docker restarts, and can be measured.
        let info = self.engine.connection().info();
        let stats = Arc::clone(self);
        self.disk.retain(|id| self.index.contains(id));
        self.rates.retain(|id| self.index.contains(id));
        on_file_thread(move || Measured {
            containers: containers.iter().map(|container| stats.of_container(container, info.as_deref())).collect(),
            sandboxes: sandboxes.iter().map(|sandbox| stats.of_sandbox(sandbox, info.as_deref())).collect(),
        })
        .await
    }

    fn of_container(&self, container: &Container, info: Option<&EngineInfo>) -> ContainerStats {
        let record = &container.record;
        let sandbox = self.index.sandboxes.get(&record.sandbox_id);
        let parent = sandbox.as_ref().map(|sandbox| sandbox.record.cgroup_parent()).unwrap_or_default();
        let running = info.filter(|_| container.process.is_running());
        let sample = running.and_then(|info| Sample::read(&Cgroup::of_container(info, parent, &record.id)));
        let usage = sample.map(|sample| self.usage(&record.id, &sample)).unwrap_or_default();
        let layer =
            self.disk.usage(&record.id, running, |info| Cgroup::of_container(info, parent, &record.id).init_pid());
        ContainerStats {
            attributes: Some(ContainerAttributes {
                id: record.id.clone(),
                metadata: record.config.metadata.clone(),
                labels: record.config.labels.clone(),
                annotations: record.config.annotations.clone(),
            }),
            cpu: usage.cpu,
            memory: usage.memory,
            writable_layer: Some(layer),
            swap: usage.swap,
            io: usage.io,
        }
    }

    fn of_sandbox(&self, sandbox: &Sandbox, info: Option<&EngineInfo>) -> PodSandboxStats {
        let record = &sandbox.record;
        let running =
            self.index.containers_of(&record.id).into_iter().filter(|container| container.process.is_running());
        let containers: Vec<ContainerStats> = running.map(|container| self.of_container(&container, info)).collect();
        let parent = record.cgroup_parent();
        let (sample, threads) = info.map(|info| self.sample_sandbox(sandbox, info)).unwrap_or_default();
        let usage = sample.as_ref().map(|sample| self.usage(&record.id, sample)).unwrap_or_default();
        let pause = info.and_then(|info| Cgroup::of_container(info, parent, &record.id).init_pid());
        let network = pause.filter(|_| !record.config.is_host_network()).and_then(network::usage);
        PodSandboxStats {
            attributes: Some(PodSandboxAttributes {
                id: record.id.clone(),
                metadata: record.config.metadata.clone(),
                labels: record.config.labels.clone(),
                annotations: record.config.annotations.clone(),
            }),
            linux: Some(LinuxPodSandboxStats {
                cpu: usage.cpu,
                memory: usage.memory,
                network,
                process: sample
                    .as_ref()
                    .map(|sample| ProcessUsage { timestamp: sample.at, process_count: threads.and_then(number) }),
                containers,
                io: usage.io,
            }),
            windows: None,
        }
    }

    /// What a pod has used, and its number of threads. Of a pod without a cgroup of its own it is the sum over its
    /// containers.
    fn sample_sandbox(&self, sandbox: &Sandbox, info: &EngineInfo) -> (Option<Sample>, Option<u64>) {
        let record = &sandbox.record;
        match record.cgroup_parent() {
            "" => {
                let containers = self.index.containers_of(&record.id);
                let ids = containers.iter().map(|container| container.record.id.as_str()).chain([record.id.as_str()]);
                let cgroups: Vec<Cgroup> = ids.map(|id| Cgroup::of_container(info, "", id)).collect();
                let samples = cgroups.iter().filter_map(Sample::read);
                let threads = cgroups.iter().filter_map(cgroup::thread_count);
                (samples.reduce(Sample::plus), threads.reduce(|one, two| one + two))
            }
            parent => {
                let cgroup = Cgroup::of_pod(info, parent);
                (Sample::read(&cgroup), cgroup::thread_count(&cgroup))
            }
        }
    }

    fn usage(&self, id: &str, sample: &Sample) -> Usage {
        let at = sample.at;
        let memory = &sample.memory;
        Usage {
            cpu: Some(CpuUsage {
                timestamp: at,
                usage_core_nano_seconds: number(sample.cpu_ns),
                usage_nano_cores: self.rates.record(id, at, sample.cpu_ns).and_then(number),
                psi: sample.cpu_pressure,
            }),
            memory: Some(MemoryUsage {
                timestamp: at,
                working_set_bytes: number(memory.working_set),
                available_bytes: memory.limit.and_then(|limit| number(limit.saturating_sub(memory.working_set))),
                usage_bytes: number(memory.usage),
                rss_bytes: number(memory.anonymous),
                page_faults: number(memory.page_faults),
                major_page_faults: number(memory.major_page_faults),
                psi: sample.memory_pressure,
            }),
            swap: sample.swap.map(|swap| SwapUsage {
                timestamp: at,
                swap_available_bytes: swap.limit.and_then(|limit| number(limit.saturating_sub(swap.usage))),
                swap_usage_bytes: number(swap.usage),
            }),
            io: sample.io_pressure.map(|psi| IoUsage { timestamp: at, psi: Some(psi) }),
        }
    }
}

#[derive(Default)]
struct Measured {
    containers: Vec<ContainerStats>,
    sandboxes: Vec<PodSandboxStats>,
}

#[derive(Default)]
struct Usage {
    cpu: Option<CpuUsage>,
    memory: Option<MemoryUsage>,
    swap: Option<SwapUsage>,
    io: Option<IoUsage>,
}

/// Runs `read` on a blocking thread: it reads kernel files, which block for some microseconds each.
async fn on_file_thread<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(read).await.map_err(|source| {
        let path = Path::new(cgroup::ROOT).to_owned();
        Error::Io { doing: "read", path, source: std::io::Error::other(source) }
    })
}

fn number(value: u64) -> Option<UInt64Value> {
    Some(UInt64Value { value })
}
