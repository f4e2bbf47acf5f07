//! Verbs on pod sandboxes: one pause container each, whose network namespace is pinned and wired by CNI plugins.
//!
//! `cri` calls in; every mutating verb takes the sandbox's lock, writes its record before it asks Docker for
//! anything, and either finishes or undoes what it did. What could not be undone stays listed as NOTREADY, so
//! that its client removes it.

mod etc;
mod forward;
mod network;
mod remove;
mod run;
mod spec;
mod stale;
mod status;
mod stop;

use std::sync::Arc;

use crate::container::Containers;
use crate::docker::Engine;
use crate::docker::EngineInfo;
use crate::error::Error;
use crate::error::Kind;
use crate::image::Images;
use crate::proto::PodSandboxConfig;
use crate::state::HalfMade;
use crate::state::Resolved;
use crate::state::Sandbox;
use crate::state::SandboxRecord;
use crate::state::Store;
use cni_runtime::Cni;

/// What the verbs on sandboxes work with.
pub struct Pods {
    engine: Engine,
    store: Arc<Store>,
    cni: Arc<Cni>,
    images: Arc<Images>,
    containers: Arc<Containers>,
    half_made: HalfMade<SandboxRecord>,
}

impl Pods {
    /// `half_made` is what an earlier process left.
    pub fn new(
        engine: Engine,
        store: Arc<Store>,
        cni: Arc<Cni>,
        images: Arc<Images>,
        containers: Arc<Containers>,
        half_made: Vec<SandboxRecord>,
    ) -> Pods {
        let half_made = HalfMade::new(half_made.into_iter().map(|record| (record.key.clone(), record)));
        Pods { engine, store, cni, images, containers, half_made }
    }

    /// What Docker can do; refused while it is away, so that a client knows at once.
    fn engine_info(&self) -> Result<Arc<EngineInfo>, Error> {
        Ok(self.engine.info()?)
    }

    /// The sandbox that `id`, or its beginning, stands for; `None` when there is none.
    fn find(&self, id: &str) -> Result<Option<Arc<Sandbox>>, Error> {
        match self.store.resolve_sandbox(id) {
            Resolved::One(sandbox) => Ok(Some(sandbox)),
            Resolved::None => Ok(None),
            Resolved::Ambiguous => Err(Error::Ambiguous { kind: Kind::Sandbox, id: id.to_owned() }),
        }
    }
}

/// How messages name a pod: `pod namespace/name`.
pub fn describe(config: &PodSandboxConfig) -> String {
    match &config.metadata {
        Some(meta) => format!("pod {}/{}", meta.namespace, meta.name),
        None => "pod without metadata".to_owned(),
    }
}
