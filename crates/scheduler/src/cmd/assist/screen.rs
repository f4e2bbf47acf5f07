//! The full screen as a state: keys and news go in, orders come out, and `draw` shows what it is. No terminal is needed
//! for any of this.
//!
//! What is chosen is remembered by the pod's uid and the node's name, never by a line's number: a list that moves under
//! the person's hands does not change what Enter means.

mod keys;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;

pub(super) use self::keys::Key;
use super::facts;
use super::facts::NodeFacts;
use super::facts::Opinion;
use super::log::Log;
use super::steps::Step;
use crate::model::Pod;
use crate::world::World;

/// Which list the keys are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    Pods,
    Nodes,
}

/// What lies over the lists.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Over {
    Nothing,
    Help,
    Explain(Explanation),
    /// The filter says no: is it meant all the same?
    Sure {
        pod: Arc<Pod>,
        node: Arc<str>,
        why: String,
    },
}

/// All that can be said of one node for one pod.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Explanation {
    pub(super) pod: String,
    pub(super) node: Arc<str>,
    pub(super) opinions: Vec<(&'static str, Opinion)>,
    pub(super) scores: Vec<(&'static str, i64)>,
    pub(super) total: Option<i64>,
    /// The first line that is shown.
    pub(super) top: usize,
}

/// What is to be done after a key.
#[derive(Debug, PartialEq)]
pub(super) enum Command {
    Bind(Arc<Pod>, Arc<str>),
    /// Paint everything anew.
    Repaint,
    Quit,
}

/// See the module's documentation.
pub(super) struct Screen {
    /// Whose pods these are, and where.
    pub(super) title: String,
    /// Whether everything was listed.
    pub(super) complete: bool,
    /// All that wait, those that are put off last.
    pub(super) pods: Vec<Arc<Pod>>,
    /// For the chosen pod.
    pub(super) nodes: Vec<NodeFacts>,
    pub(super) waiting: usize,
    pub(super) node_count: usize,
    pub(super) focus: Pane,
    pub(super) over: Over,
    pub(super) log: Log,
    /// A word about the last key, until the next one.
    pub(super) note: Option<String>,
    /// Whether a filter is being typed.
    pub(super) typing: bool,
    filters: [String; 2],
    /// Uids of pods that are put off.
    put_off: Vec<Arc<str>>,
    pod: Option<Arc<str>>,
    node: Option<Arc<str>>,
}

impl Screen {
    pub(super) fn new(title: String) -> Screen {
        Screen {
            title,
            complete: false,
            pods: Vec::new(),
            nodes: Vec::new(),
            waiting: 0,
            node_count: 0,
            focus: Pane::Pods,
            over: Over::Nothing,
            log: Log::default(),
            note: None,
            typing: false,
            filters: [String::new(), String::new()],
            put_off: Vec::new(),
            pod: None,
            node: None,
        }
    }

    /// Looks at the world anew.
    pub(super) fn refresh(&mut self, world: &mut World) {
        self.complete = world.is_complete();
        self.node_count = world.cluster.node_count();
        if !self.complete {
            return;
        }
        self.refresh_pods(world);
        self.refresh_nodes(world);
        self.refresh_over();
    }

    fn refresh_pods(&mut self, world: &World) {
        let all = facts::waiting(world);
        self.waiting = all.len();
        self.put_off.retain(|uid| all.iter().any(|pod| pod.uid == *uid));
        let (first, last): (Vec<_>, Vec<_>) = all
            .into_iter()
            .filter(|pod| pod.to_string().contains(self.filter(Pane::Pods)))
            .partition(|pod| !self.put_off.contains(&pod.uid));
        let before = self.pod_line();
        self.pods = [first, last].concat();
        if self.pod.is_some() && self.pod_line().is_none() {
            // It is bound, or gone: the one that has its line now is chosen, but not for Enter to bind it.
            self.focus = Pane::Pods;
            self.pod = None;
        }
        if self.pod.is_none() {
            let line = before.unwrap_or(0).min(self.pods.len().saturating_sub(1));
            self.choose_pod(line);
        }
    }

    fn refresh_nodes(&mut self, world: &mut World) {
        self.nodes = self.chosen_pod().cloned().map_or_else(Vec::new, |pod| facts::nodes(world, &pod));
        let filter = &self.filters[Pane::Nodes as usize];
        self.nodes.retain(|node| node.name.contains(filter.as_str()));
        if self.node_line().is_none() {
            if self.node.is_some() && self.focus == Pane::Nodes {
                self.note = Some("The node that was chosen is not there any more.".to_owned());
                self.focus = Pane::Pods;
            }
            self.node = self.nodes.first().map(|node| node.name.clone());
        }
    }

    /// A question about a pod that does not wait any more is taken back.
    fn refresh_over(&mut self) {
        if let Over::Sure { pod, .. } = &self.over
            && !self.pods.iter().any(|known| known.uid == pod.uid)
        {
            self.note = Some(format!("{pod} does not wait any more."));
            self.over = Over::Nothing;
        }
    }

    /// Takes note of what came of a binding.
    pub(super) fn step(&mut self, uid: &str, step: Step, now: Timestamp) {
        self.log.step(uid, step, now);
    }

    /// The filter of a list; empty, when there is none.
    pub(super) fn filter(&self, pane: Pane) -> &str {
        &self.filters[pane as usize]
    }

    pub(super) fn is_put_off(&self, pod: &Pod) -> bool {
        self.put_off.contains(&pod.uid)
    }

    pub(super) fn chosen_pod(&self) -> Option<&Arc<Pod>> {
        self.pods.get(self.pod_line()?)
    }

    pub(super) fn chosen_node(&self) -> Option<&NodeFacts> {
        self.nodes.get(self.node_line()?)
    }

    pub(super) fn pod_line(&self) -> Option<usize> {
        let uid = self.pod.as_ref()?;
        self.pods.iter().position(|pod| pod.uid == *uid)
    }

    pub(super) fn node_line(&self) -> Option<usize> {
        let name = self.node.as_ref()?;
        self.nodes.iter().position(|node| node.name == *name)
    }

    fn choose_pod(&mut self, line: usize) {
        let chosen = self.pods.get(line).map(|pod| pod.uid.clone());
        if chosen != self.pod {
            self.pod = chosen;
            // Of another pod's nodes the best is offered.
            self.node = None;
        }
    }
}
