//! What pods and containers use, read from the kernel: cgroup files, `/proc/PID/net/dev` and the writable layers. Docker
//! is asked for nothing but the size of layers that are no overlays.
//!
//! `cri` calls in. A list never fails for one container: one that ends in the middle is told without what could not be
//! read any more, as one that does not run is.

mod cgroup;
mod disk;
mod metrics;
mod network;
mod rate;

use std::path::Path;
use std::sync::Arc;

use crate::container::cgroup as place;
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

use self::cgroup::Sample;
use self::disk::Disk;
use self::rate::Rates;

pub use self::metrics::descriptors as metric_descriptors;

/// What is measured, and what was measured before.
pub struct Stats {
    engine: Engine,
    index: Index,
    disk: Disk,
    rates: Rates,
    /// The name of the image of all pause containers.
    pause_image: String,
}

impl Stats {
    pub fn new(engine: Engine, index: Index, pause_image: &str) -> Stats {
        let disk = Disk::new(engine.clone());
        Stats { engine, index, disk, rates: Rates::new(), pause_image: pause_image.to_owned() }
    }

    /// One container.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::State`] before Docker was first reached.
    pub async fn container(self: &Arc<Self>, id: &str) -> Result<ContainerStats, Error> {
        self.index.require_synced()?;
        let container = self.index.containers.require(id)?;
        let mut measured = self.measure(vec![container], Vec::new()).await?;
        measured
            .containers
            .pop()
            .ok_or_else(|| LookupError::NotFound { kind: Kind::Container, id: id.to_owned() }.into())
    }

    /// The containers that pass the filter, the oldest first.
    ///
    /// # Errors
    /// [`Error::Ambiguous`] when an id of the filter is the beginning of several.
    pub async fn containers(
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

    /// One sandbox with its containers.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::State`] before Docker was first reached.
    pub async fn sandbox(self: &Arc<Self>, id: &str) -> Result<PodSandboxStats, Error> {
        self.index.require_synced()?;
        let sandbox = self.index.sandboxes.require(id)?;
        let mut measured = self.measure(Vec::new(), vec![sandbox]).await?;
        measured.sandboxes.pop().ok_or_else(|| LookupError::NotFound { kind: Kind::Sandbox, id: id.to_owned() }.into())
    }

    /// The sandboxes that are ready and pass the filter, the oldest first, each with its containers that run.
    ///
    /// # Errors
    /// [`Error::Ambiguous`] when an id of the filter is the beginning of several.
    pub async fn sandboxes(
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
        // While Docker restarts, its containers can still be measured where they live on.
        let info = self.engine.connection().info();
        let stats = Arc::clone(self);
        self.disk.keep(|id| self.index.contains(id));
        self.rates.keep(|id| self.index.contains(id));
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
        let sample = running.and_then(|info| cgroup::of_container(info, parent, &record.id));
        let usage = sample.map(|sample| self.usage(&record.id, &sample)).unwrap_or_default();
        let layer = self.disk.usage(&record.id, running, |info| place::first_process(info, parent, &record.id));
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
        let (whole, processes) = info.map(|info| self.whole(sandbox, info)).unwrap_or_default();
        let usage = whole.as_ref().map(|sample| self.usage(&record.id, sample)).unwrap_or_default();
        let first = info.and_then(|info| place::first_process(info, parent, &record.id));
        let network = first.filter(|_| !record.config.is_host_network()).and_then(network::usage);
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
                process: whole
                    .as_ref()
                    .map(|sample| ProcessUsage { timestamp: sample.at, process_count: processes.and_then(number) }),
                containers,
                io: usage.io,
            }),
            windows: None,
        }
    }

    /// What all of a pod has used, and its number of processes. A pod without a cgroup of its own is what its containers
    /// are.
    fn whole(&self, sandbox: &Sandbox, info: &EngineInfo) -> (Option<Sample>, Option<u64>) {
        let record = &sandbox.record;
        match record.cgroup_parent() {
            "" => {
                let others = self.index.containers_of(&record.id);
                let ids = || others.iter().map(|container| container.record.id.as_str()).chain([record.id.as_str()]);
                let samples = ids().filter_map(|id| cgroup::of_container(info, "", id));
                let processes = ids().filter_map(|id| cgroup::processes_of_container(info, "", id));
                (samples.reduce(Sample::plus), processes.reduce(|one, two| one + two))
            }
            parent => (cgroup::of_pod(info, parent), cgroup::processes_of_pod(info, parent)),
        }
    }

    fn usage(&self, id: &str, sample: &Sample) -> Usage {
        let at = sample.at;
        let memory = &sample.memory;
        Usage {
            cpu: Some(CpuUsage {
                timestamp: at,
                usage_core_nano_seconds: number(sample.cpu_ns),
                usage_nano_cores: self.rates.note(id, at, sample.cpu_ns).and_then(number),
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

/// Reads files, which blocks for some microseconds each, on a thread for that.
async fn on_file_thread<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(read).await.map_err(|source| {
        let path = Path::new(cgroup::ROOT).to_owned();
        Error::Io { doing: "read", path, source: std::io::Error::other(source) }
    })
}

fn number(value: u64) -> Option<UInt64Value> {
    Some(UInt64Value { value })
}
