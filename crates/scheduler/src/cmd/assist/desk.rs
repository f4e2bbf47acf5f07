//! What lies before the person: the cluster as it is now, and what became of the last bindings.
//!
//! Who calls in: the loops of `terminal` and `prompt`, each as the one owner of a `Desk`. News is waited for with
//! [`Desk::next`]; a binding is ordered with [`Desk::bind`], made by the `clerk`, and takes its room at once.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use super::clerk::Order;
use super::steps::Step;
use crate::cluster::AssumedVolumes;
use crate::filter::plan_volumes;
use crate::model::Pod;
use crate::update::Update;
use crate::world::World;

/// News, after which there may be something else to be seen.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The cluster has changed.
    Changed,
    /// Something came of a binding of the pod with this uid.
    Step(Arc<str>, Step),
    /// A line of the log.
    Note(String),
}

/// Where news comes from.
pub(super) struct Sources {
    pub(super) updates: UnboundedReceiver<Update>,
    pub(super) steps: UnboundedReceiver<(Arc<str>, Step)>,
    pub(super) notes: UnboundedReceiver<String>,
}

/// See the module's documentation.
pub(super) struct Desk {
    pub(super) world: World,
    begun: Instant,
    sources: Sources,
    orders: UnboundedSender<Order>,
    /// What was assumed of volumes, by the uid of the pod that is being bound.
    volumes: HashMap<Arc<str>, AssumedVolumes>,
}

impl Desk {
    pub(super) fn new(world: World, sources: Sources, orders: UnboundedSender<Order>) -> Desk {
        Desk { world, begun: Instant::now(), sources, orders, volumes: HashMap::new() }
    }

    /// Waits for news. Whatever has come meanwhile is taken note of at once, so that a busy cluster is not shown change
    /// by change.
    pub(super) async fn next(&mut self) -> Heard {
        tokio::select! {
            Some(update) = self.sources.updates.recv() => {
                self.world.apply(update, self.begun.elapsed());
                while let Ok(update) = self.sources.updates.try_recv() {
                    self.world.apply(update, self.begun.elapsed());
                }
                Heard::Changed
            }
            Some((uid, step)) = self.sources.steps.recv() => {
                self.settle(&uid, &step);
                Heard::Step(uid, step)
            }
            Some(note) = self.sources.notes.recv() => Heard::Note(self.with_others(note)),
            else => std::future::pending().await,
        }
    }

    /// Has a pod bound. It takes its room from now on, until it is known that nothing came of it.
    pub(super) fn bind(&mut self, pod: &Arc<Pod>, node: &Arc<str>) {
        let cluster = &mut self.world.cluster;
        let mut plan = Default::default();
        if let Some(id) = cluster.node_named(node) {
            // Where a person binds against a filter there may be no plan: then the volumes are left as they are.
            plan = plan_volumes(pod, cluster, cluster.node(id)).unwrap_or_default();
            cluster.assume(pod.clone(), id);
            self.volumes.insert(pod.uid.clone(), cluster.storage.assume(&plan, node));
        }
        // The clerk listens as long as there is a desk.
        let _ = self.orders.send(Order { pod: pod.clone(), node: node.clone(), plan });
    }

    /// When the API server goes away, all that follow something say so at once: the first is enough.
    fn with_others(&mut self, note: String) -> String {
        let others = std::iter::from_fn(|| self.sources.notes.try_recv().ok()).count();
        if others == 0 { note } else { format!("{note} (and {others} more)") }
    }

    fn settle(&mut self, uid: &Arc<str>, step: &Step) {
        let volumes = self.volumes.remove(uid);
        if let Step::NotBound(_) | Step::Gone = step {
            self.world.cluster.forget(uid);
            if let Some(volumes) = volumes {
                self.world.cluster.storage.forget(volumes);
            }
        }
    }
}
