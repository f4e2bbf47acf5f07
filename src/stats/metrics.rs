//! The pod and container metrics of a kubelet's `/metrics/cadvisor`, under cAdvisor's names and labels.
//!
//! A pod has samples of its own cgroup, where the kubelet made one, of its pause container and of its network; a container
//! has samples of its cgroup and its writable layer. Each submodule has the table of the metrics that come from one
//! reading. Values that this kernel does not have are left out, and so is a cgroup that is gone.
//!
//! Of cAdvisor's names these are missing: `container_cpu_load_average_10s`, `container_cpu_load_d_average_10s` and
//! `container_tasks_state`, which a kubelet does not measure (its are always 0) and 1.37 does not have;
//! `container_health_state`, which is -1 for all containers of a kubelet, and the CRI has no negative numbers; and
//! `container_fs_sector_*` and `container_fs_io_time_weighted_seconds_total`, which cAdvisor has for whole disks.

mod cpu;
mod disk;
mod family;
mod memory;
mod network;
mod process;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::cgroup::Cgroup;
use crate::cgroup::CpuDetails;
use crate::cgroup::Io;
use crate::cgroup::MemoryDetails;
use crate::cgroup::MountInfo;
use crate::cgroup::Processes;
use crate::clock::now_ns;
use crate::docker::EngineInfo;
use crate::error::Error;
use crate::naming;
use crate::proto::ContainerMetrics;
use crate::proto::Metric;
use crate::proto::MetricDescriptor;
use crate::proto::PodSandboxMetrics;
use crate::state::Container;
use crate::state::Sandbox;

use super::Stats;

use self::disk::Layer;
use self::family::Family;
use self::family::Owner;
use self::family::SECOND;
use self::family::Value;
use self::family::one;
use self::family::samples;
use self::network::Network;

/// When a pod or container was created and started, and when it was seen running: in nanoseconds since 1970.
struct Timestamps {
    created: i64,
    started: i64,
    seen: i64,
}

/// A time in seconds since 1970; no value for 0.
fn timestamp(time: i64) -> Vec<Value> {
    one(u64::try_from(time).ok().filter(|time| *time > 0).map(|time| time / SECOND))
}

const TIMESTAMPS: &[Family<Timestamps>] = &[
    Family::gauge("container_creation_time_seconds", "When it was created, in seconds since 1970.", |times| {
        timestamp(times.created)
    }),
    Family::gauge("container_start_time_seconds", "When it was started, in seconds since 1970.", |times| {
        timestamp(times.started)
    }),
    Family::gauge("container_last_seen", "When it was last seen, in seconds since 1970.", |times| {
        timestamp(times.seen)
    }),
];

/// Metrics that not every kernel has: [`memory::RECLAIM`] and [`disk::SCHEDULERS`].
struct Kernel {
    reclaim: bool,
    schedulers: bool,
}

/// The descriptors of all metrics of this host. They do not change while the server runs.
pub(crate) fn descriptors() -> Vec<MetricDescriptor> {
    let root = Cgroup::root();
    descriptors_of(&Kernel { reclaim: root.is_v2(), schedulers: Io::has_scheduler_counts(&root) })
}

fn descriptors_of(kernel: &Kernel) -> Vec<MetricDescriptor> {
    fn of<Reading>(families: &'static [Family<Reading>]) -> impl Iterator<Item = MetricDescriptor> {
        families.iter().map(Family::descriptor)
    }
    of(TIMESTAMPS)
        .chain(of(cpu::FAMILIES))
        .chain(of(memory::FAMILIES))
        .chain(of(memory::RECLAIM).filter(|_| kernel.reclaim))
        .chain(of(process::FAMILIES))
        .chain(of(disk::FAMILIES))
        .chain(of(disk::SCHEDULERS).filter(|_| kernel.schedulers))
        .chain(of(disk::LAYER))
        .chain(of(network::FAMILIES))
        .collect()
}

impl Stats {
    /// The samples of the ready sandboxes, the oldest first, each with its running containers.
    ///
    /// # Errors
    /// [`Error::State`] before Docker was first reached.
    pub(crate) async fn metrics(self: &Arc<Self>) -> Result<Vec<PodSandboxMetrics>, Error> {
        self.index.require_synced()?;
        let Some(info) = self.engine.connection().info() else { return Ok(Vec::new()) };
        let mut sandboxes = self.index.sandboxes.list();
        sandboxes.retain(|sandbox| sandbox.is_ready());
        self.disk.retain(|id| self.index.contains(id));
        let stats = Arc::clone(self);
        super::on_file_thread(move || {
            let mounts = MountInfo::read_own().unwrap_or_default();
            sandboxes.iter().map(|sandbox| stats.metrics_of_sandbox(sandbox, &info, &mounts)).collect()
        })
        .await
    }

    fn metrics_of_sandbox(&self, sandbox: &Sandbox, info: &EngineInfo, mounts: &MountInfo) -> PodSandboxMetrics {
        let record = &sandbox.record;
        let parent = record.cgroup_parent();
        let mut metrics = Vec::new();
        if !parent.is_empty() {
            let cgroup = Cgroup::of_pod(info, parent);
            let owner = Owner { id: cgroup.id(), ..owner(sandbox) };
            metrics
                .extend(of_cgroup(&cgroup, &owner, None, (record.created_at, record.created_at)).unwrap_or_default());
        }
        let cgroup = Cgroup::of_container(info, parent, &record.id);
        let pause = Owner {
            id: cgroup.id(),
            name: record.name.clone(),
            image: self.pause_image.clone(),
            container: naming::PAUSE_CONTAINER.to_owned(),
            ..owner(sandbox)
        };
        let init_pid = cgroup.init_pid();
        metrics.extend(
            of_cgroup(&cgroup, &pause, init_pid, (record.created_at, sandbox.process.started_at())).unwrap_or_default(),
        );
        // The traffic of the host's network is not this pod's.
        if let Some(network) = init_pid.filter(|_| !record.config.is_host_network()).and_then(Network::read) {
            metrics.extend(samples(network::FAMILIES, &pause, &network));
        }
        let running = self.index.containers_of(&record.id).into_iter().filter(|one| one.process.is_running());
        let container_metrics =
            running.filter_map(|container| self.metrics_of_container(&container, sandbox, info, mounts)).collect();
        PodSandboxMetrics { pod_sandbox_id: record.id.clone(), metrics, container_metrics }
    }

    /// `None` when the container has exited.
    fn metrics_of_container(
        &self,
        container: &Container,
        sandbox: &Sandbox,
        info: &EngineInfo,
        mounts: &MountInfo,
    ) -> Option<ContainerMetrics> {
        let (record, parent) = (&container.record, sandbox.record.cgroup_parent());
        let cgroup = Cgroup::of_container(info, parent, &record.id);
        let config = &record.config;
        let image = config.image.as_ref().map(|image| match image.user_specified_image.as_str() {
            "" => image.image.clone(),
            name => name.to_owned(),
        });
        let owner = Owner {
            id: cgroup.id(),
            name: record.name.clone(),
            image: image.unwrap_or_default(),
            container: config.metadata.as_ref().map(|metadata| metadata.name.clone()).unwrap_or_default(),
            ..owner(sandbox)
        };
        let init_pid = cgroup.init_pid();
        let mut metrics = of_cgroup(&cgroup, &owner, init_pid, (record.created_at, container.process.started_at()))?;
        let usage = self.disk.usage(&record.id, Some(info), |_| init_pid);
        if let Some(layer) = Layer::read(&usage, mounts) {
            metrics.extend(samples(disk::LAYER, &owner, &layer));
        }
        Some(ContainerMetrics { container_id: record.id.clone(), metrics })
    }
}

/// The pod's part of the labels.
fn owner(sandbox: &Sandbox) -> Owner {
    let metadata = sandbox.record.config.metadata.clone().unwrap_or_default();
    Owner { pod: metadata.name, namespace: metadata.namespace, ..Owner::default() }
}

/// The samples of a cgroup whose pod or container was created and started at these times; `None` when it is gone. A
/// controller that the host does not have is left out.
fn of_cgroup(
    cgroup: &Cgroup,
    owner: &Owner,
    init_pid: Option<i32>,
    (created, started): (i64, i64),
) -> Option<Vec<Metric>> {
    let (cpu, memory) = (CpuDetails::read(cgroup)?, MemoryDetails::read(cgroup)?);
    let mut metrics = samples(TIMESTAMPS, owner, &Timestamps { created, started, seen: now_ns() });
    metrics.extend(samples(cpu::FAMILIES, owner, &cpu));
    metrics.extend(samples(memory::FAMILIES, owner, &memory));
    metrics.extend(samples(memory::RECLAIM, owner, &memory));
    if let Some(processes) = Processes::read(cgroup, init_pid) {
        metrics.extend(samples(process::FAMILIES, owner, &processes));
    }
    if let Some(io) = Io::read(cgroup) {
        metrics.extend(samples(disk::FAMILIES, owner, &io));
        metrics.extend(samples(disk::SCHEDULERS, owner, &io));
    }
    Some(metrics)
}
