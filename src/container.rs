//! Verbs on containers: Docker containers that join their sandbox's pause container.
//!
//! `cri` calls in, and `pod` when a sandbox goes with all it has. As with sandboxes, a record is written before
//! Docker is asked to create anything, and finished after.

pub mod cgroup;
mod create;
mod mounts;
mod remove;
mod resources;
pub mod security;
mod spec;
mod start;
mod status;
mod stop;
mod update;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::docker::Engine;
use crate::error::Error;
use crate::error::Kind;
use crate::image::Images;
use crate::proto::ContainerConfig;
use crate::state::Container;
use crate::state::ContainerRecord;
use crate::state::Resolved;
use crate::state::Store;

pub use self::mounts::has_recursive_read_only;

/// What the verbs on containers work with.
pub struct Containers {
    engine: Engine,
    store: Arc<Store>,
    images: Arc<Images>,
    /// Containers that were begun and neither finished nor undone, by key.
    half_made: Mutex<HashMap<String, ContainerRecord>>,
}

impl Containers {
    /// `half_made` is what an earlier process left.
    pub fn new(engine: Engine, store: Arc<Store>, images: Arc<Images>, half_made: Vec<ContainerRecord>) -> Containers {
        let half_made = half_made.into_iter().map(|record| (record.key.clone(), record)).collect();
        Containers { engine, store, images, half_made: Mutex::new(half_made) }
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
