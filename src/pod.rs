//! Verbs on pod sandboxes: one pause container each, whose network namespace is pinned and wired by CNI plugins.
//!
//! `cri` calls in, and `stream` for port-forward. Every mutating verb takes the sandbox's lock, saves its record before it
//! calls Docker, and either finishes or undoes what it did (see [`crate::lifecycle`]). A sandbox that could not be undone
//! is listed as NOTREADY, so that its client removes it.

mod etc;
mod forward;
mod network;
mod pause;
mod remove;
mod run;
mod spec;
mod stale;
mod status;
mod stop;
mod undo;

use std::sync::Arc;

use crate::container::Containers;
use crate::docker::Engine;
use crate::image::Images;
use crate::proto::PodSandboxConfig;
use crate::state::Index;
use crate::state::SandboxRecord;
use crate::state::Store;
use crate::state::Unfinished;
use cni_runtime::Cni;

/// The verbs on sandboxes.
pub(crate) struct Pods {
    engine: Engine,
    store: Arc<Store>,
    index: Index,
    cni: Arc<Cni>,
    images: Arc<Images>,
    containers: Arc<Containers>,
    unfinished: Unfinished<SandboxRecord>,
}

/// What [`Pods`] needs.
pub(crate) struct Dependencies {
    /// The connection to Docker.
    pub engine: Engine,
    /// Where sandboxes are recorded.
    pub store: Arc<Store>,
    /// The pod network.
    pub cni: Arc<Cni>,
    /// For the pause image.
    pub images: Arc<Images>,
    /// The verbs on containers: a sandbox is stopped and removed with its containers.
    pub containers: Arc<Containers>,
    /// What an earlier process left unfinished.
    pub unfinished: Vec<SandboxRecord>,
}

impl Pods {
    /// The verbs with what they need.
    pub(crate) fn new(dependencies: Dependencies) -> Pods {
        let Dependencies { engine, store, cni, images, containers, unfinished } = dependencies;
        let index = store.index().clone();
        Pods { engine, store, index, cni, images, containers, unfinished: Unfinished::new(unfinished) }
    }
}

/// How messages name a pod: `pod namespace/name`.
pub(crate) fn describe(config: &PodSandboxConfig) -> String {
    match &config.metadata {
        Some(meta) => format!("pod {}/{}", meta.namespace, meta.name),
        None => "pod without metadata".to_owned(),
    }
}
