//! The line-by-line dialogue as a state machine: answers and events go in, sentences and bindings come out.
//!
//! Nothing is overwritten and every line is a full sentence, for pipes and screen readers. Numbers refer to the last
//! list that was printed, whatever has changed since.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::progress::Progress;
use super::text;
use super::text::counted;
use super::view;
use super::view::FilterResult;
use super::view::NodeView;
use crate::model::PendingState;
use crate::model::Pod;
use crate::store::Store;

/// The state of the dialogue.
enum State {
    /// The cluster is still being listed.
    Loading,
    /// No pod is pending.
    Idle,
    /// Asking for a pod.
    Pods(Vec<Arc<Pod>>),
    /// Asking for a node.
    Nodes(Arc<Pod>, Vec<NodeView>),
    /// Asking whether to bind although the node does not fit.
    Confirm(Arc<Pod>, Arc<str>),
    /// A binding is in flight, or its pod is starting.
    Starting(Arc<Pod>),
}

/// What the caller has to do.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    /// Print a sentence.
    Print(String),
    /// Print a sentence to standard error.
    PrintError(String),
    /// Bind the pod to the node.
    Bind(Arc<Pod>, Arc<str>),
    /// Quit.
    Quit,
}

/// See the module documentation.
pub(super) struct Plain {
    title: String,
    state: State,
}

impl Plain {
    pub(super) fn new(title: String) -> Plain {
        Plain { title, state: State::Loading }
    }

    /// Whether a question is open.
    pub(super) fn has_question(&self) -> bool {
        matches!(self.state, State::Pods(_) | State::Nodes(..) | State::Confirm(..))
    }

    /// Whether to quit when the input ends. A pod that is starting is waited for.
    pub(super) fn may_quit(&self) -> bool {
        self.has_question() || matches!(self.state, State::Idle)
    }

    /// Whether a pod is starting.
    pub(super) fn is_starting(&self) -> bool {
        matches!(self.state, State::Starting(_))
    }

    /// Handles a change of the cluster. `now` is in seconds since 1970, here and below.
    pub(super) fn changed(&mut self, store: &Store, now: i64) -> Vec<Action> {
        match self.state {
            State::Loading if store.is_synced() => {
                let mut actions = vec![Action::Print(format!("{}.", self.title))];
                actions.extend(self.ask_pod(store, now));
                actions
            }
            State::Idle if !view::pending_pods(store).is_empty() => self.ask_pod(store, now),
            _ => Vec::new(),
        }
    }

    /// Handles a line of input.
    pub(super) fn answer(&mut self, line: &str, store: &mut Store, now: i64) -> Vec<Action> {
        let line = line.trim();
        if matches!(line, "q" | "quit") {
            return vec![Action::Quit];
        }
        match std::mem::replace(&mut self.state, State::Loading) {
            State::Pods(pods) => self.choose_pod(line, pods, store, now),
            State::Nodes(pod, nodes) => self.choose_node(line, pod, nodes, store, now),
            State::Confirm(pod, node) => self.confirm(line, pod, node, store, now),
            // No question is open: the caller keeps the input until then.
            state => {
                self.state = state;
                Vec::new()
            }
        }
    }

    /// Handles progress of a binding.
    pub(super) fn progress(&mut self, uid: &str, progress: &Progress, store: &Store, now: i64) -> Vec<Action> {
        let State::Starting(pod) = &self.state else { return Vec::new() };
        if *pod.uid != *uid {
            return Vec::new();
        }
        let mut actions = vec![Action::Print(progress_in_words(pod, progress))];
        if !matches!(progress, Progress::Bound | Progress::ContainersReady) {
            actions.extend(self.ask_pod(store, now));
        }
        actions
    }

    /// Stops waiting for a pod without progress.
    pub(super) fn give_up(&mut self, store: &Store, now: i64) -> Vec<Action> {
        let State::Starting(pod) = &self.state else { return Vec::new() };
        let said = format!("No progress of {pod} for 5 minutes. Its node may have no running kubelet.");
        let mut actions = vec![Action::Print(said)];
        actions.extend(self.ask_pod(store, now));
        actions
    }

    fn ask_pod(&mut self, store: &Store, now: i64) -> Vec<Action> {
        let pods = view::pending_pods(store);
        if pods.is_empty() {
            self.state = State::Idle;
            return vec![Action::Print("No pod waits for a node. Waiting for the next one.".to_owned())];
        }
        let one = |(at, pod): (usize, &Arc<Pod>)| Action::Print(format!("{}. {}", at + 1, pod_in_words(pod, now)));
        let mut actions = vec![Action::Print(match pods.len() {
            1 => "1 pod waits for a node:".to_owned(),
            number => format!("{number} pods wait for a node:"),
        })];
        actions.extend(pods.iter().enumerate().map(one));
        actions.push(Action::Print("Which pod? Its number, or Enter to look again, or q to quit.".to_owned()));
        self.state = State::Pods(pods);
        actions
    }

    fn choose_pod(&mut self, line: &str, pods: Vec<Arc<Pod>>, store: &mut Store, now: i64) -> Vec<Action> {
        if line.is_empty() {
            return self.ask_pod(store, now);
        }
        let Some(chosen) = numbered(line, &pods).or_else(|| pods.iter().find(|pod| pod.to_string() == line)) else {
            let message = not_in_list(line, pods.len());
            self.state = State::Pods(pods);
            return vec![message];
        };
        let pod = chosen.clone();
        self.ask_node(&pod, store, now)
    }

    fn ask_node(&mut self, pod: &Arc<Pod>, store: &mut Store, now: i64) -> Vec<Action> {
        let refused = match store.queue.get(&pod.uid) {
            None => format!("{pod} does not wait any more."),
            Some(pod) if pod.gated => format!("{pod} has scheduling gates: it cannot be bound yet."),
            Some(_) if store.cluster.node_count() == 0 => "The cluster has no node.".to_owned(),
            Some(_) => String::new(),
        };
        if !refused.is_empty() {
            let mut actions = vec![Action::PrintError(refused)];
            actions.extend(self.ask_pod(store, now));
            return actions;
        }
        let nodes = view::nodes(store, pod);
        let one = |(at, node): (usize, &NodeView)| Action::Print(format!("{}. {}", at + 1, node_in_words(node)));
        let mut actions =
            vec![Action::Print(format!("{} for {pod}:", counted(nodes.len().try_into().unwrap_or(0), "node")))];
        actions.extend(nodes.iter().enumerate().map(one));
        let question = "Which node? Its number, or e and its number to explain it, or Enter to go back.";
        actions.push(Action::Print(question.to_owned()));
        self.state = State::Nodes(pod.clone(), nodes);
        actions
    }

    fn choose_node(
        &mut self,
        line: &str,
        pod: Arc<Pod>,
        nodes: Vec<NodeView>,
        store: &mut Store,
        now: i64,
    ) -> Vec<Action> {
        if line.is_empty() {
            return self.ask_pod(store, now);
        }
        let (explain, number) = line.strip_prefix("e ").map_or((false, line), |number| (true, number.trim()));
        let chosen = numbered(number, &nodes).or_else(|| nodes.iter().find(|node| *node.name == *number));
        let actions = match chosen {
            None => vec![not_in_list(line, nodes.len())],
            Some(node) if explain => explained(store, &pod, node),
            Some(node) => match node.verdict.refusal() {
                None => return self.bind(pod, node.name.clone()),
                Some(why) => {
                    let said = format!("{} does not fit: {why}. Bind it anyway? y or n.", node.name);
                    self.state = State::Confirm(pod, node.name.clone());
                    return vec![Action::Print(said)];
                }
            },
        };
        self.state = State::Nodes(pod, nodes);
        actions
    }

    fn confirm(&mut self, line: &str, pod: Arc<Pod>, node: Arc<str>, store: &mut Store, now: i64) -> Vec<Action> {
        match line {
            "y" | "yes" => self.bind(pod, node),
            "n" | "no" | "" => self.ask_node(&pod, store, now),
            other => {
                self.state = State::Confirm(pod, node);
                vec![Action::PrintError(format!("{other:?} is neither y nor n."))]
            }
        }
    }

    fn bind(&mut self, pod: Arc<Pod>, node: Arc<str>) -> Vec<Action> {
        let said = format!("Binding {pod} to {node}.");
        self.state = State::Starting(pod.clone());
        vec![Action::Print(said), Action::Bind(pod, node)]
    }
}

/// The item with this number, counted from one.
fn numbered<'a, T>(line: &str, from: &'a [T]) -> Option<&'a T> {
    from.get(line.parse::<usize>().ok()?.checked_sub(1)?)
}

fn not_in_list(line: &str, most: usize) -> Action {
    Action::PrintError(format!("{line:?} is not in the list (1 to {most})."))
}

fn pod_in_words(pod: &Pod, now: i64) -> String {
    let more = match pod.pending_state() {
        PendingState::Gated => " It has scheduling gates.".to_owned(),
        PendingState::Nominated(node) => format!(" It is nominated for {node}, where other pods are terminating."),
        PendingState::Unschedulable(message) => format!(" No node fitted it before: {}", text::one_line(message)),
        PendingState::New => String::new(),
    };
    let (age, asks) = (text::age_in_words(now - pod.created), text::requests(&pod.shape.requests));
    format!("{pod}, {age} old, priority {}, asks for {asks}.{more}", pod.shape.priority)
}

fn node_in_words(node: &NodeView) -> String {
    let verdict = match (node.verdict.points(), node.verdict.refusal()) {
        (_, Some(why)) => format!("does not fit: {why}"),
        (total, None) => format!("fits, score {}", total.unwrap_or(0)),
    };
    let ready = if node.ready { "" } else { " It is not ready." };
    let taints = if node.taints.is_empty() { String::new() } else { format!(" Taints: {}.", node.taints) };
    format!(
        "{} {verdict}. Free: {} of {} cpu, {} of {} memory, {} of {} pods.{ready}{taints}",
        node.name, node.cpu.0, node.cpu.1, node.memory.0, node.memory.1, node.pods.0, node.pods.1
    )
}

/// The results of every filter that applies, and of every score.
fn explained(store: &Store, pod: &Pod, node: &NodeView) -> Vec<Action> {
    let filter_results = view::filter_results(store, pod, &node.name);
    let filter_result = |(name, filter_result): (&str, FilterResult)| match filter_result {
        FilterResult::Skipped => None,
        FilterResult::Accepted => Some(format!("Filter {name} accepts the node.")),
        FilterResult::Rejected(why) => Some(format!("Filter {name} rejects the node: {why}.")),
    };
    let score = |(name, points): &(&str, i64)| format!("Score {name} gives {points} points.");
    let lines = filter_results.into_iter().filter_map(filter_result).chain(node.verdict.scores().iter().map(score));
    lines.map(Action::Print).chain([Action::Print("Which node?".to_owned())]).collect()
}

/// Progress as a sentence.
fn progress_in_words(pod: &Pod, progress: &Progress) -> String {
    match progress {
        Progress::Bound => format!("{pod} is bound."),
        Progress::NotBound(why) => format!("{pod} is not bound: {why}."),
        Progress::ContainersReady => format!("All containers of {pod} are ready."),
        Progress::Running(address) => format!("{pod} is Running, with the address {address}."),
        Progress::Problem(why) => format!("{pod} does not start: {why}. The kubelet keeps trying."),
        Progress::Succeeded => format!("{pod} has Succeeded: all its containers have finished."),
        Progress::Failed(why) => format!("{pod} has Failed: {why}."),
        Progress::Deleted => format!("{pod} was deleted."),
    }
}
