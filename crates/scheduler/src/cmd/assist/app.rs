//! What the user interface shows: the current state of the cluster, and the progress of bindings.
//!
//! Callers: the loops of `terminal` and `prompt`; each owns one `App`. [`App::next`] waits for something new;
//! [`App::bind`] requests a binding from the `binder` and assumes the pod on its node.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use super::binder::BindRequest;
use super::progress::Progress;
use crate::cluster::AssumedVolumes;
use crate::filter::plan_volumes;
use crate::model::Pod;
use crate::store::Store;
use crate::update::Update;

/// Something new, after which the display may change.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AppEvent {
    /// The cluster changed.
    Changed,
    /// A binding of the pod with this uid made progress.
    Progress(Arc<str>, Progress),
    /// A log message.
    Note(String),
}

/// Where events come from.
pub(super) struct Receivers {
    pub(super) updates: UnboundedReceiver<Update>,
    pub(super) progress: UnboundedReceiver<(Arc<str>, Progress)>,
    pub(super) notes: UnboundedReceiver<String>,
}

/// See the module documentation.
pub(super) struct App {
    pub(super) store: Store,
    started: Instant,
    receivers: Receivers,
    requests: UnboundedSender<BindRequest>,
    /// Assumptions about volumes, by the uid of the pod whose binding is in flight.
    volumes: HashMap<Arc<str>, AssumedVolumes>,
}

impl App {
    pub(super) fn new(store: Store, receivers: Receivers, requests: UnboundedSender<BindRequest>) -> App {
        App { store, started: Instant::now(), receivers, requests, volumes: HashMap::new() }
    }

    /// Waits for the next event. Queued updates are applied together, so that a busy cluster does not redraw for each
    /// one.
    pub(super) async fn next(&mut self) -> AppEvent {
        tokio::select! {
            Some(update) = self.receivers.updates.recv() => {
                self.store.apply(update, self.started.elapsed());
                while let Ok(update) = self.receivers.updates.try_recv() {
                    self.store.apply(update, self.started.elapsed());
                }
                AppEvent::Changed
            }
            Some((uid, progress)) = self.receivers.progress.recv() => {
                self.handle_progress(&uid, &progress);
                AppEvent::Progress(uid, progress)
            }
            Some(note) = self.receivers.notes.recv() => AppEvent::Note(self.with_others(note)),
            else => std::future::pending().await,
        }
    }

    /// Requests a binding. The pod counts on its node until the binding is known to have failed.
    pub(super) fn bind(&mut self, pod: &Arc<Pod>, node: &Arc<str>) {
        let cluster = &mut self.store.cluster;
        let mut plan = Default::default();
        if let Some(id) = cluster.node_named(node) {
            // A forced binding may have no plan: its volumes are left as they are.
            plan = plan_volumes(pod, cluster, cluster.node(id)).unwrap_or_default();
            cluster.assume(pod.clone(), id);
            self.volumes.insert(pod.uid.clone(), cluster.storage.assume(&plan, node));
        }
        // The binder runs as long as the `App` exists.
        let _ = self.requests.send(BindRequest { pod: pod.clone(), node: node.clone(), plan });
    }

    /// When the API server becomes unavailable, every reflector logs it: the first message is enough.
    fn with_others(&mut self, note: String) -> String {
        let others = std::iter::from_fn(|| self.receivers.notes.try_recv().ok()).count();
        if others == 0 { note } else { format!("{note} (and {others} more)") }
    }

    fn handle_progress(&mut self, uid: &Arc<str>, progress: &Progress) {
        let volumes = self.volumes.remove(uid);
        if let Progress::NotBound(_) | Progress::Deleted = progress {
            self.store.cluster.forget(uid);
            if let Some(volumes) = volumes {
                self.store.cluster.storage.forget(volumes);
            }
        }
    }
}
