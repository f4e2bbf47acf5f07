//! The full screen as a state machine: keys and events go in, actions come out, and `draw` renders it. Works without a
//! terminal.
//!
//! The selection is the pod's uid and the node's name, never a line number: when a list changes, Enter still means the
//! same pod and node.

mod keys;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;

pub(super) use self::keys::Key;
use super::log::Log;
use super::progress::Progress;
use super::view;
use super::view::FilterResult;
use super::view::NodeView;
use crate::model::Pod;
use crate::store::Store;

/// The list that has the focus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    Pods,
    Nodes,
}

/// The popup over the lists.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Popup {
    None,
    Help,
    Explain(Explanation),
    /// Asks whether to bind although a filter rejects the node.
    Confirm {
        pod: Arc<Pod>,
        node: Arc<str>,
        why: String,
    },
}

/// Every filter and score of one node for one pod.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Explanation {
    pub(super) pod: String,
    pub(super) node: Arc<str>,
    pub(super) filter_results: Vec<(&'static str, FilterResult)>,
    pub(super) scores: Vec<(&'static str, i64)>,
    pub(super) total: Option<i64>,
    /// The first visible line.
    pub(super) top: usize,
}

/// What the caller has to do after a key.
#[derive(Debug, PartialEq)]
/// Bind the pod to the node.
pub(super) enum ScreenAction {
    Bind(Arc<Pod>, Arc<str>),
    /// Redraw the whole screen.
    Repaint,
    /// Exit.
    Quit,
}

/// See the module documentation.
pub(super) struct Screen {
    /// Scheduler names and server.
    pub(super) title: String,
    /// Whether every kind has been listed.
    pub(super) complete: bool,
    /// Pending pods, those put off last.
    pub(super) pods: Vec<Arc<Pod>>,
    /// The nodes for the selected pod.
    pub(super) nodes: Vec<NodeView>,
    /// Pending pods, without the filter.
    pub(super) waiting: usize,
    pub(super) node_count: usize,
    pub(super) focus: Pane,
    pub(super) popup: Popup,
    pub(super) log: Log,
    /// A message about the last key, until the next key.
    pub(super) note: Option<String>,
    /// Whether a filter is being typed.
    pub(super) typing: bool,
    filters: [String; 2],
    /// Uids of pods that were put off.
    put_off: Vec<Arc<str>>,
    /// The uid of the selected pod.
    pod: Option<Arc<str>>,
    /// The name of the selected node.
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
            popup: Popup::None,
            log: Log::default(),
            note: None,
            typing: false,
            filters: [String::new(), String::new()],
            put_off: Vec::new(),
            pod: None,
            node: None,
        }
    }

    /// Takes over changes of the store.
    pub(super) fn refresh(&mut self, store: &mut Store) {
        self.complete = store.is_synced();
        self.node_count = store.cluster.node_count();
        if !self.complete {
            return;
        }
        self.refresh_pods(store);
        self.refresh_nodes(store);
        self.refresh_over();
    }

    fn refresh_pods(&mut self, store: &Store) {
        let all = view::pending_pods(store);
        self.waiting = all.len();
        self.put_off.retain(|uid| all.iter().any(|pod| pod.uid == *uid));
        let (first, last): (Vec<_>, Vec<_>) = all
            .into_iter()
            .filter(|pod| pod.to_string().contains(self.filter(Pane::Pods)))
            .partition(|pod| !self.put_off.contains(&pod.uid));
        let before = self.pod_line();
        self.pods = [first, last].concat();
        if self.pod.is_some() && self.pod_line().is_none() {
            // It was bound or deleted: the pod now on its line is selected, but Enter must not bind it.
            self.focus = Pane::Pods;
            self.pod = None;
        }
        if self.pod.is_none() {
            let line = before.unwrap_or(0).min(self.pods.len().saturating_sub(1));
            self.choose_pod(line);
        }
    }

    fn refresh_nodes(&mut self, store: &mut Store) {
        self.nodes = self.selected_pod().cloned().map_or_else(Vec::new, |pod| view::nodes(store, &pod));
        let filter = &self.filters[Pane::Nodes as usize];
        self.nodes.retain(|node| node.name.contains(filter.as_str()));
        if self.node_line().is_none() {
            if self.node.is_some() && self.focus == Pane::Nodes {
                self.note = Some("The selected node does not exist any more.".to_owned());
                self.focus = Pane::Pods;
            }
            self.node = self.nodes.first().map(|node| node.name.clone());
        }
    }

    /// Closes a question about a pod that is not pending any more.
    fn refresh_over(&mut self) {
        if let Popup::Confirm { pod, .. } = &self.popup
            && !self.pods.iter().any(|known| known.uid == pod.uid)
        {
            self.note = Some(format!("{pod} is not pending any more."));
            self.popup = Popup::None;
        }
    }

    /// Handles progress of a binding.
    pub(super) fn progress(&mut self, uid: &str, progress: Progress, now: Timestamp) {
        self.log.progress(uid, progress, now);
    }

    /// The filter of a list; empty if there is none.
    pub(super) fn filter(&self, pane: Pane) -> &str {
        &self.filters[pane as usize]
    }

    pub(super) fn is_put_off(&self, pod: &Pod) -> bool {
        self.put_off.contains(&pod.uid)
    }

    pub(super) fn selected_pod(&self) -> Option<&Arc<Pod>> {
        self.pods.get(self.pod_line()?)
    }

    pub(super) fn selected_node(&self) -> Option<&NodeView> {
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
            // Another pod: its best node is selected.
            self.node = None;
        }
    }
}
