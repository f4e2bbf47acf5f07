//! The conversation in lines as a state: answers and news go in, sentences and orders come out.
//!
//! Nothing is ever painted over and every line is a sentence of its own, for pipes and for screen readers. Numbers refer
//! to the list that was read out last, whatever has changed since.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::facts;
use super::facts::NodeFacts;
use super::facts::Opinion;
use super::steps::Step;
use super::text;
use super::text::counted;
use crate::model::Pod;
use crate::model::Standing;
use crate::world::World;

/// What the conversation has come to.
enum State {
    /// The cluster is not known yet.
    Reading,
    /// There is no pod to choose.
    Idle,
    /// Which pod?
    Pods(Vec<Arc<Pod>>),
    /// Which node?
    Nodes(Arc<Pod>, Vec<NodeFacts>),
    /// Although it does not fit?
    Sure(Arc<Pod>, Arc<str>),
    /// A pod is on its way.
    Underway(Arc<Pod>),
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Act {
    Say(String),
    /// To be said where errors are told.
    Complain(String),
    Bind(Arc<Pod>, Arc<str>),
    /// The conversation is over.
    End,
}

/// See the module's documentation.
pub(super) struct Plain {
    title: String,
    state: State,
}

impl Plain {
    pub(super) fn new(title: String) -> Plain {
        Plain { title, state: State::Reading }
    }

    /// Whether an answer is waited for.
    pub(super) fn asks(&self) -> bool {
        matches!(self.state, State::Pods(_) | State::Nodes(..) | State::Sure(..))
    }

    /// Whether the conversation is over when there are no more answers. A pod on its way is waited for.
    pub(super) fn may_end(&self) -> bool {
        self.asks() || matches!(self.state, State::Idle)
    }

    /// Whether a pod is on its way.
    pub(super) fn is_underway(&self) -> bool {
        matches!(self.state, State::Underway(_))
    }

    /// Takes note of a change of the cluster. `now` in seconds since 1970, here and below.
    pub(super) fn changed(&mut self, world: &World, now: i64) -> Vec<Act> {
        match self.state {
            State::Reading if world.is_complete() => {
                let mut acts = vec![Act::Say(format!("{}.", self.title))];
                acts.extend(self.ask_pod(world, now));
                acts
            }
            State::Idle if !facts::waiting(world).is_empty() => self.ask_pod(world, now),
            _ => Vec::new(),
        }
    }

    /// Takes an answer.
    pub(super) fn answer(&mut self, line: &str, world: &mut World, now: i64) -> Vec<Act> {
        let line = line.trim();
        if matches!(line, "q" | "quit") {
            return vec![Act::End];
        }
        match std::mem::replace(&mut self.state, State::Reading) {
            State::Pods(pods) => self.choose_pod(line, pods, world, now),
            State::Nodes(pod, nodes) => self.choose_node(line, pod, nodes, world, now),
            State::Sure(pod, node) => self.be_sure(line, pod, node, world, now),
            // Not asked: the caller keeps answers until they are.
            state => {
                self.state = state;
                Vec::new()
            }
        }
    }

    /// Takes note of what came of a binding.
    pub(super) fn step(&mut self, uid: &str, step: &Step, world: &World, now: i64) -> Vec<Act> {
        let State::Underway(pod) = &self.state else { return Vec::new() };
        if *pod.uid != *uid {
            return Vec::new();
        }
        let mut acts = vec![Act::Say(told(pod, step))];
        if !matches!(step, Step::Bound | Step::ContainersReady) {
            acts.extend(self.ask_pod(world, now));
        }
        acts
    }

    /// Nothing has been heard of the pod on its way for long.
    pub(super) fn give_up(&mut self, world: &World, now: i64) -> Vec<Act> {
        let State::Underway(pod) = &self.state else { return Vec::new() };
        let said = format!("Nothing has been heard of {pod} for long. Perhaps no kubelet is at work on its node.");
        let mut acts = vec![Act::Say(said)];
        acts.extend(self.ask_pod(world, now));
        acts
    }

    // --- which pod ---

    fn ask_pod(&mut self, world: &World, now: i64) -> Vec<Act> {
        let pods = facts::waiting(world);
        if pods.is_empty() {
            self.state = State::Idle;
            return vec![Act::Say("No pod waits for a node. I tell you when one comes.".to_owned())];
        }
        let one = |(at, pod): (usize, &Arc<Pod>)| Act::Say(format!("{}. {}", at + 1, pod_in_words(pod, now)));
        let mut acts = vec![Act::Say(match pods.len() {
            1 => "1 pod waits for a node:".to_owned(),
            number => format!("{number} pods wait for a node:"),
        })];
        acts.extend(pods.iter().enumerate().map(one));
        acts.push(Act::Say("Which pod? Its number, or Enter to look again, or q to quit.".to_owned()));
        self.state = State::Pods(pods);
        acts
    }

    fn choose_pod(&mut self, line: &str, pods: Vec<Arc<Pod>>, world: &mut World, now: i64) -> Vec<Act> {
        if line.is_empty() {
            return self.ask_pod(world, now);
        }
        let Some(chosen) = numbered(line, &pods).or_else(|| pods.iter().find(|pod| pod.to_string() == line)) else {
            let told = complaint(line, pods.len());
            self.state = State::Pods(pods);
            return vec![told];
        };
        let pod = chosen.clone();
        self.ask_node(&pod, world, now)
    }

    // --- which node ---

    fn ask_node(&mut self, pod: &Arc<Pod>, world: &mut World, now: i64) -> Vec<Act> {
        let refused = match world.queue.get(&pod.uid) {
            None => format!("{pod} does not wait any more."),
            Some(pod) if pod.gated => format!("{pod} has scheduling gates: nobody can bind it yet."),
            Some(_) if world.cluster.node_count() == 0 => "The cluster has no node.".to_owned(),
            Some(_) => String::new(),
        };
        if !refused.is_empty() {
            let mut acts = vec![Act::Complain(refused)];
            acts.extend(self.ask_pod(world, now));
            return acts;
        }
        let nodes = facts::nodes(world, pod);
        let one = |(at, node): (usize, &NodeFacts)| Act::Say(format!("{}. {}", at + 1, node_in_words(node)));
        let mut acts = vec![Act::Say(format!("{} for {pod}:", counted(nodes.len().try_into().unwrap_or(0), "node")))];
        acts.extend(nodes.iter().enumerate().map(one));
        let question = "Which node? Its number, or e and its number to have it explained, or Enter to go back.";
        acts.push(Act::Say(question.to_owned()));
        self.state = State::Nodes(pod.clone(), nodes);
        acts
    }

    fn choose_node(
        &mut self,
        line: &str,
        pod: Arc<Pod>,
        nodes: Vec<NodeFacts>,
        world: &mut World,
        now: i64,
    ) -> Vec<Act> {
        if line.is_empty() {
            return self.ask_pod(world, now);
        }
        let (explain, number) = line.strip_prefix("e ").map_or((false, line), |number| (true, number.trim()));
        let chosen = numbered(number, &nodes).or_else(|| nodes.iter().find(|node| *node.name == *number));
        let acts = match chosen {
            None => vec![complaint(line, nodes.len())],
            Some(node) if explain => explained(world, &pod, node),
            Some(node) => match node.verdict.refusal() {
                None => return self.bind(pod, node.name.clone()),
                Some(why) => {
                    let said = format!("{} does not fit: {why}. Bind it all the same? y or n.", node.name);
                    self.state = State::Sure(pod, node.name.clone());
                    return vec![Act::Say(said)];
                }
            },
        };
        self.state = State::Nodes(pod, nodes);
        acts
    }

    fn be_sure(&mut self, line: &str, pod: Arc<Pod>, node: Arc<str>, world: &mut World, now: i64) -> Vec<Act> {
        match line {
            "y" | "yes" => self.bind(pod, node),
            "n" | "no" | "" => self.ask_node(&pod, world, now),
            other => {
                self.state = State::Sure(pod, node);
                vec![Act::Complain(format!("{other:?} is neither y nor n."))]
            }
        }
    }

    fn bind(&mut self, pod: Arc<Pod>, node: Arc<str>) -> Vec<Act> {
        let said = format!("Binding {pod} to {node}.");
        self.state = State::Underway(pod.clone());
        vec![Act::Say(said), Act::Bind(pod, node)]
    }
}

/// The one with this number, counted from one.
fn numbered<'a, T>(line: &str, from: &'a [T]) -> Option<&'a T> {
    from.get(line.parse::<usize>().ok()?.checked_sub(1)?)
}

fn complaint(line: &str, most: usize) -> Act {
    Act::Complain(format!("{line:?} is not in the list, which goes from 1 to {most}."))
}

fn pod_in_words(pod: &Pod, now: i64) -> String {
    let more = match pod.standing() {
        Standing::Gated => " It has scheduling gates.".to_owned(),
        Standing::Nominated(node) => format!(" It waits for others to leave {node}."),
        Standing::Refused(message) => format!(" It was refused before: {}", text::one_line(message)),
        Standing::New => String::new(),
    };
    let (age, asks) = (text::age_in_words(now - pod.created), text::requests(&pod.shape.requests));
    format!("{pod}, {age} old, priority {}, asks for {asks}.{more}", pod.shape.priority)
}

fn node_in_words(node: &NodeFacts) -> String {
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

/// Every filter that has something to say, and every score.
fn explained(world: &World, pod: &Pod, node: &NodeFacts) -> Vec<Act> {
    let opinions = facts::opinions(world, pod, &node.name);
    let opinion = |(name, opinion): (&str, Opinion)| match opinion {
        Opinion::Silent => None,
        Opinion::Fits => Some(format!("Filter {name} says that it fits.")),
        Opinion::Refuses(why) => Some(format!("Filter {name} says no: {why}.")),
    };
    let score = |(name, points): &(&str, i64)| format!("Score {name} gives {points} points.");
    let lines = opinions.into_iter().filter_map(opinion).chain(node.verdict.scores().iter().map(score));
    lines.map(Act::Say).chain([Act::Say("Which node?".to_owned())]).collect()
}

/// A step as a sentence.
fn told(pod: &Pod, step: &Step) -> String {
    match step {
        Step::Bound => format!("{pod} is bound."),
        Step::NotBound(why) => format!("{pod} is not bound: {why}."),
        Step::ContainersReady => format!("All containers of {pod} are ready."),
        Step::Running(address) => format!("{pod} is Running, with the address {address}."),
        Step::Trouble(why) => format!("{pod} does not come up: {why}. The kubelet goes on trying."),
        Step::Succeeded => format!("{pod} has Succeeded: all its containers have ended."),
        Step::Failed(why) => format!("{pod} has Failed: {why}."),
        Step::Gone => format!("{pod} was deleted."),
    }
}
