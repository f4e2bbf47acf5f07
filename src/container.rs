//! Verbs on containers: Docker containers that join their sandbox's pause container.
//!
//! `cri` and `stream` call in, and `pod` when it stops or removes a sandbox. As with sandboxes, a record is saved before
//! Docker is asked to create anything, and finished after (see [`crate::lifecycle`]).

mod create;
mod effective;
mod exec;
mod log;
mod mounts;
mod path_probe;
mod remove;
mod resources;
pub(crate) mod security;
mod spec;
mod start;
mod status;
mod stop;
#[cfg(test)]
pub(crate) mod testing;
mod undo;
mod update;

use std::sync::Arc;

use crate::docker::Engine;
use crate::error::Error;
use crate::image::Images;
use crate::logs::Logs;
use crate::proto::ContainerConfig;
use crate::refresh::Refresher;
use crate::state::Container;
use crate::state::ContainerRecord;
use crate::state::Index;
use crate::state::Store;
use crate::state::Unfinished;

use self::path_probe::PathProbes;

pub(crate) use self::exec::ExecOutcome;
pub(crate) use self::exec::ExecProcess;
pub(crate) use self::exec::ProcessState;
pub(crate) use self::log::DockerLog;
pub(crate) use self::mounts::has_recursive_read_only;
pub(crate) use self::status::state;

/// The verbs on containers.
pub(crate) struct Containers {
    engine: Engine,
    store: Arc<Store>,
    index: Index,
    images: Arc<Images>,
    logs: Arc<Logs>,
    docker_log: DockerLog,
    refresher: Refresher,
    unfinished: Unfinished<ContainerRecord>,
    path_probes: PathProbes,
}

/// What [`Containers`] needs.
pub(crate) struct Dependencies {
    /// The connection to Docker.
    pub engine: Engine,
    /// Where containers are recorded.
    pub store: Arc<Store>,
    /// The images that containers are made from.
    pub images: Arc<Images>,
    /// The CRI logs.
    pub logs: Arc<Logs>,
    /// The limits of Docker's own log files.
    pub docker_log: DockerLog,
    /// What an earlier process left unfinished.
    pub unfinished: Vec<ContainerRecord>,
}

impl Containers {
    /// The verbs with what they need.
    pub(crate) fn new(dependencies: Dependencies) -> Containers {
        let Dependencies { engine, store, images, logs, docker_log, unfinished } = dependencies;
        Containers {
            refresher: Refresher::new(engine.clone(), Arc::clone(&store), Arc::clone(&logs)),
            engine,
            index: store.index().clone(),
            store,
            images,
            logs,
            docker_log,
            unfinished: Unfinished::new(unfinished),
            path_probes: PathProbes::new(),
        }
    }

    /// What brings a container or sandbox of the index up to date with Docker.
    pub(crate) fn refresher(&self) -> &Refresher {
        &self.refresher
    }

    /// The container with this id or id prefix.
    fn existing(&self, id: &str) -> Result<Arc<Container>, Error> {
        Ok(self.index.containers.require(id)?)
    }
}

/// How messages name a container: `container nginx`.
fn describe(config: &ContainerConfig) -> String {
    match &config.metadata {
        Some(meta) => format!("container {}", meta.name),
        None => "container without metadata".to_owned(),
    }
}
