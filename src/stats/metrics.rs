//! What `/metrics/cadvisor` of a kubelet tells about pods, under cAdvisor's names and labels.
//!
//! A pod has samples of its own cgroup, where the kubelet made one, of its pause container and of its network; a container
//! has those of its cgroup and its writable layer. Each room below this one reads one kind of files and has the table of
//! the metrics they give. What this kernel does not have is left out, and so is a cgroup that has just gone.
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
mod place;
mod process;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::clock::now_ns;
use crate::container::cgroup;
use crate::docker::EngineInfo;
use crate::error::Error;
use crate::naming;
use crate::proto::ContainerMetrics;
use crate::proto::Metric;
use crate::proto::MetricDescriptor;
use crate::proto::PodSandboxMetrics;
use crate::proto::PsiStats;
use crate::state::Container;
use crate::state::Sandbox;

use super::Stats;

use self::disk::Layer;
use self::disk::Mounts;
use self::family::Family;
use self::family::Owner;
use self::family::SECOND;
use self::family::Value;
use self::family::one;
use self::family::samples;
use self::network::Network;
use self::place::Place;

/// When something was made and started, and when it was seen: all in nanoseconds since 1970.
struct Life {
    made: i64,
    began: i64,
    seen: i64,
}

/// In seconds; nothing for what has not been.
fn moment(time: i64) -> Vec<Value> {
    one(u64::try_from(time).ok().filter(|time| *time > 0).map(|time| time / SECOND))
}

const LIFE: &[Family<Life>] = &[
    Family::gauge("container_creation_time_seconds", "When it was made, in seconds since 1970.", |life| {
        moment(life.made)
    }),
    Family::gauge("container_start_time_seconds", "When it was started, in seconds since 1970.", |life| {
        moment(life.began)
    }),
    Family::gauge("container_last_seen", "When it was last seen, in seconds since 1970.", |life| moment(life.seen)),
];

/// What not every kernel counts.
struct Kernel {
    reclaim: bool,
    schedulers: bool,
}

/// All metrics there may be on this machine; the same for the life of the server.
pub fn descriptors() -> Vec<MetricDescriptor> {
    let root = Place::root();
    descriptors_of(&Kernel { reclaim: root.is_version_2, schedulers: disk::Io::has_schedulers(&root) })
}

fn descriptors_of(kernel: &Kernel) -> Vec<MetricDescriptor> {
    fn of<Reading>(families: &'static [Family<Reading>]) -> impl Iterator<Item = MetricDescriptor> {
        families.iter().map(Family::descriptor)
    }
    of(LIFE)
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
    /// The samples of every sandbox that is ready, the oldest first, with its containers that run.
    ///
    /// # Errors
    /// [`Error::State`] before Docker was first reached.
    pub async fn metrics(self: &Arc<Self>) -> Result<Vec<PodSandboxMetrics>, Error> {
        self.index.require_synced()?;
        let Some(info) = self.engine.connection().info() else { return Ok(Vec::new()) };
        let mut sandboxes = self.index.sandboxes.list();
        sandboxes.retain(|sandbox| sandbox.is_ready());
        self.disk.keep(|id| self.index.contains(id));
        let stats = Arc::clone(self);
        super::on_file_thread(move || {
            let mounts = Mounts::read();
            sandboxes.iter().map(|sandbox| stats.metrics_of_sandbox(sandbox, &info, &mounts)).collect()
        })
        .await
    }

    fn metrics_of_sandbox(&self, sandbox: &Sandbox, info: &EngineInfo, mounts: &Mounts) -> PodSandboxMetrics {
        let record = &sandbox.record;
        let parent = record.cgroup_parent();
        let mut metrics = Vec::new();
        if !parent.is_empty() {
            let place = Place::of_pod(info, parent);
            let owner = Owner { id: place.id(), ..owner(sandbox) };
            metrics.extend(of_cgroup(&place, &owner, None, (record.created_at, record.created_at)).unwrap_or_default());
        }
        let place = Place::of_container(info, parent, &record.id);
        let pause = Owner {
            id: place.id(),
            name: record.name.clone(),
            image: self.pause_image.clone(),
            container: naming::PAUSE_CONTAINER.to_owned(),
            ..owner(sandbox)
        };
        let first = cgroup::first_process(info, parent, &record.id);
        metrics.extend(
            of_cgroup(&place, &pause, first, (record.created_at, sandbox.process.started_at())).unwrap_or_default(),
        );
        // What passes through the host's network is not this pod's.
        if let Some(network) = first.filter(|_| !record.config.is_host_network()).and_then(Network::read) {
            metrics.extend(samples(network::FAMILIES, &pause, &network));
        }
        let running = self.index.containers_of(&record.id).into_iter().filter(|one| one.process.is_running());
        let container_metrics =
            running.filter_map(|container| self.metrics_of_container(&container, sandbox, info, mounts)).collect();
        PodSandboxMetrics { pod_sandbox_id: record.id.clone(), metrics, container_metrics }
    }

    /// `None` when it has ended.
    fn metrics_of_container(
        &self,
        container: &Container,
        sandbox: &Sandbox,
        info: &EngineInfo,
        mounts: &Mounts,
    ) -> Option<ContainerMetrics> {
        let (record, parent) = (&container.record, sandbox.record.cgroup_parent());
        let place = Place::of_container(info, parent, &record.id);
        let config = &record.config;
        let image = config.image.as_ref().map(|image| match image.user_specified_image.as_str() {
            "" => image.image.clone(),
            name => name.to_owned(),
        });
        let owner = Owner {
            id: place.id(),
            name: record.name.clone(),
            image: image.unwrap_or_default(),
            container: config.metadata.as_ref().map(|metadata| metadata.name.clone()).unwrap_or_default(),
            ..owner(sandbox)
        };
        let first = cgroup::first_process(info, parent, &record.id);
        let mut metrics = of_cgroup(&place, &owner, first, (record.created_at, container.process.started_at()))?;
        let usage = self.disk.usage(&record.id, Some(info), |_| first);
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

/// The samples of a cgroup of something that was made and began at these times; `None` when it is gone. A controller that
/// the host does not have is left out.
fn of_cgroup(place: &Place, owner: &Owner, first: Option<i32>, (made, began): (i64, i64)) -> Option<Vec<Metric>> {
    let (cpu, memory) = (cpu::Cpu::read(place)?, memory::Memory::read(place)?);
    let mut metrics = samples(LIFE, owner, &Life { made, began, seen: now_ns() });
    metrics.extend(samples(cpu::FAMILIES, owner, &cpu));
    metrics.extend(samples(memory::FAMILIES, owner, &memory));
    metrics.extend(samples(memory::RECLAIM, owner, &memory));
    if let Some(processes) = process::Processes::read(place, first) {
        metrics.extend(samples(process::FAMILIES, owner, &processes));
    }
    if let Some(io) = disk::Io::read(place) {
        metrics.extend(samples(disk::FAMILIES, owner, &io));
        metrics.extend(samples(disk::SCHEDULERS, owner, &io));
    }
    Some(metrics)
}

/// For how many nanoseconds some process could not go on.
fn waiting(pressure: Option<&PsiStats>) -> Option<u64> {
    Some(pressure?.some.as_ref()?.total)
}

/// For how many nanoseconds no process could go on.
fn stalled(pressure: Option<&PsiStats>) -> Option<u64> {
    Some(pressure?.full.as_ref()?.total)
}
