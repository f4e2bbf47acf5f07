//! Verbs on containers: Docker containers that join their sandbox's pause container.
//!
//! `cri` calls in, and `pod` when a sandbox goes with all it has. As with sandboxes, a record is written before
//! Docker is asked to create anything, and finished after.

pub mod cgroup;
mod create;
mod effective;
mod exec;
mod log;
mod looks;
mod mounts;
mod remove;
mod resources;
pub mod security;
mod spec;
mod start;
mod status;
mod stop;
#[cfg(test)]
pub(crate) mod testing;
mod tree;
mod undo;
mod update;

use std::sync::Arc;

use crate::docker::Engine;
use crate::error::Error;
use crate::error::Kind;
use crate::image::Images;
use crate::logs::Logs;
use crate::proto::ContainerConfig;
use crate::refresh::Refresher;
use crate::state::Container;
use crate::state::ContainerRecord;
use crate::state::HalfMade;
use crate::state::Resolved;
use crate::state::Store;

use self::looks::Looks;

pub use self::exec::ExecOutcome;
pub use self::exec::ExecProcess;
pub use self::exec::ProcessState;
pub use self::log::DockerLog;
pub use self::mounts::has_recursive_read_only;
pub use self::status::state;
pub use self::undo::Outcome;
pub use self::undo::runs_already;

/// What the verbs on containers work with.
pub struct Containers {
    engine: Engine,
    store: Arc<Store>,
    images: Arc<Images>,
    logs: Arc<Logs>,
    docker_log: DockerLog,
    refresher: Refresher,
    half_made: HalfMade<ContainerRecord>,
    looks: Looks,
}

impl Containers {
    /// `half_made` is what an earlier process left.
    pub fn new(
        engine: Engine,
        store: Arc<Store>,
        images: Arc<Images>,
        logs: Arc<Logs>,
        docker_log: DockerLog,
        half_made: Vec<ContainerRecord>,
    ) -> Containers {
        let half_made = HalfMade::new(half_made.into_iter().map(|record| (record.key.clone(), record)));
        let refresher = Refresher::new(engine.clone(), Arc::clone(&store), Arc::clone(&logs));
        Containers { engine, store, images, logs, docker_log, refresher, half_made, looks: Looks::new() }
    }

    /// What brings a container or sandbox of the index up to date with Docker.
    pub fn refresher(&self) -> &Refresher {
        &self.refresher
    }

    /// The container that `id`, or its beginning, stands for; `None` when there is none.
    fn find(&self, id: &str) -> Result<Option<Arc<Container>>, Error> {
        match self.store.resolve_container(id) {
            Resolved::One(container) => Ok(Some(container)),
            Resolved::None => Ok(None),
            Resolved::Ambiguous => Err(Error::Ambiguous { kind: Kind::Container, id: id.to_owned() }),
        }
    }

    fn existing(&self, id: &str) -> Result<Arc<Container>, Error> {
        self.find(id)?.ok_or_else(|| Error::NotFound { kind: Kind::Container, id: id.to_owned() })
    }
}

/// How messages name a container: `container nginx`.
fn describe(config: &ContainerConfig) -> String {
    match &config.metadata {
        Some(meta) => format!("container {}", meta.name),
        None => "container without metadata".to_owned(),
    }
}
