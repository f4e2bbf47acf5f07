//! What each key does.

use std::sync::Arc;

use jiff::Timestamp;

use super::Command;
use super::Explanation;
use super::Over;
use super::Pane;
use super::Screen;
use crate::cmd::assist::facts;
use crate::model::Pod;
use crate::world::World;

/// How many lines a page has: no more than the smallest screen shows.
const PAGE: usize = 3;

/// A key as a terminal tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cmd::assist) enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Tab,
    Escape,
    Backspace,
    /// Ctrl-C.
    Interrupt,
    Char(char),
}

impl Screen {
    /// Does what a key says. After a [`Command::Bind`] the world is changed by the caller, and then looked at anew.
    pub(in crate::cmd::assist) fn key(&mut self, key: Key, world: &mut World) -> Option<Command> {
        self.note = None;
        if key == Key::Interrupt {
            return Some(Command::Quit);
        }
        if self.typing {
            self.type_filter(key, world);
            return None;
        }
        match self.over {
            Over::Nothing => self.list_key(key, world),
            Over::Sure { .. } => self.sure_key(key),
            Over::Help | Over::Explain(_) => {
                self.reading_key(key);
                None
            }
        }
    }

    fn list_key(&mut self, key: Key, world: &mut World) -> Option<Command> {
        match key {
            Key::Char('q') => return Some(Command::Quit),
            Key::Char('r') => {
                self.put_off.clear();
                self.refresh(world);
                return Some(Command::Repaint);
            }
            Key::Char('?') => self.over = Over::Help,
            Key::Char('/') => self.typing = true,
            Key::Char('s') => self.put_off(world),
            Key::Char('e') => self.explain(world),
            Key::Tab if self.focus == Pane::Nodes => self.focus = Pane::Pods,
            Key::Tab => self.enter_nodes(),
            Key::Escape => self.leave(world),
            Key::Enter if self.focus == Pane::Pods => self.enter_nodes(),
            Key::Enter => return self.choose_node(),
            _ => self.walk(key, world),
        }
        None
    }

    /// Moves in a list.
    fn walk(&mut self, key: Key, world: &mut World) {
        let (line, lines) = match self.focus {
            Pane::Pods => (self.pod_line(), self.pods.len()),
            Pane::Nodes => (self.node_line(), self.nodes.len()),
        };
        let (Some(to), true) = (moved(key, line.unwrap_or(0), lines), lines > 0) else { return };
        match self.focus {
            Pane::Pods => {
                self.choose_pod(to);
                self.refresh_nodes(world);
            }
            Pane::Nodes => self.node = Some(self.nodes[to].name.clone()),
        }
    }

    fn enter_nodes(&mut self) {
        match self.chosen_pod() {
            None => self.note = Some("There is no pod to choose a node for.".to_owned()),
            Some(_) if self.nodes.is_empty() => self.note = Some("There is no node to choose.".to_owned()),
            Some(_) => self.focus = Pane::Nodes,
        }
    }

    /// Back by one step: the list's filter first, then from the nodes to the pods.
    fn leave(&mut self, world: &mut World) {
        let filter = &mut self.filters[self.focus as usize];
        if filter.is_empty() {
            self.focus = Pane::Pods;
        } else {
            filter.clear();
            self.refresh(world);
        }
    }

    /// Binds the chosen pod to the chosen node, or asks whether that is meant.
    fn choose_node(&mut self) -> Option<Command> {
        let (pod, node) = (self.chosen_pod()?.clone(), self.chosen_node()?);
        let (name, refusal) = (node.name.clone(), node.verdict.refusal());
        match refusal {
            _ if pod.gated => {
                self.note = Some(format!("{pod} has scheduling gates: nobody can bind it yet."));
                None
            }
            None => Some(self.bind(pod, name)),
            Some(why) => {
                self.over = Over::Sure { pod, node: name, why };
                None
            }
        }
    }

    fn sure_key(&mut self, key: Key) -> Option<Command> {
        let Over::Sure { pod, node, .. } = &self.over else { return None };
        let (pod, node) = (pod.clone(), node.clone());
        match key {
            Key::Char('y' | 'Y') => {
                self.over = Over::Nothing;
                Some(self.bind(pod, node))
            }
            Key::Char('n' | 'N' | 'q') | Key::Escape => {
                self.over = Over::Nothing;
                None
            }
            // Nothing else is an answer: not Enter, which was pressed to get here.
            _ => None,
        }
    }

    fn bind(&mut self, pod: Arc<Pod>, node: Arc<str>) -> Command {
        self.log.ordered(&pod.uid, pod.to_string(), &node, Timestamp::now());
        self.focus = Pane::Pods;
        Command::Bind(pod, node)
    }

    /// Puts the chosen pod at the end of the list, or takes it back from there.
    fn put_off(&mut self, world: &mut World) {
        let (Some(pod), Some(line)) = (self.chosen_pod().cloned(), self.pod_line()) else { return };
        self.focus = Pane::Pods;
        if self.is_put_off(&pod) {
            self.put_off.retain(|uid| *uid != pod.uid);
            self.refresh(world);
            return;
        }
        self.put_off.push(pod.uid.clone());
        self.refresh_pods(world);
        self.choose_pod(line.min(self.pods.len().saturating_sub(1)));
        self.refresh_nodes(world);
    }

    fn explain(&mut self, world: &World) {
        let (Some(pod), Some(node)) = (self.chosen_pod(), self.chosen_node()) else {
            self.note = Some("There is no node to explain.".to_owned());
            return;
        };
        self.over = Over::Explain(Explanation {
            pod: pod.to_string(),
            node: node.name.clone(),
            opinions: facts::opinions(world, pod, &node.name),
            scores: node.verdict.scores().to_vec(),
            total: node.verdict.points(),
            top: 0,
        });
    }

    /// Scrolls a text, or puts it away.
    fn reading_key(&mut self, key: Key) {
        if let Over::Explain(explanation) = &mut self.over {
            let lines = explanation.opinions.len() + explanation.scores.len();
            if let Some(to) = moved(key, explanation.top, lines) {
                explanation.top = to;
                return;
            }
        }
        if matches!(key, Key::Char('q' | 'e' | '?') | Key::Escape | Key::Enter) {
            self.over = Over::Nothing;
        }
    }

    fn type_filter(&mut self, key: Key, world: &mut World) {
        let focus = self.focus;
        let filter = &mut self.filters[focus as usize];
        match key {
            Key::Enter | Key::Tab => self.typing = false,
            Key::Escape => {
                filter.clear();
                self.typing = false;
            }
            Key::Backspace => {
                filter.pop();
            }
            Key::Char(char) => filter.push(char),
            _ => {}
        }
        self.refresh(world);
        // What is chosen may not be listed any more, but the typing goes on in the same list.
        (self.focus, self.note) = (focus, None);
    }
}

/// Where a key leads in a list; nothing, if it leads nowhere.
fn moved(key: Key, line: usize, lines: usize) -> Option<usize> {
    let last = lines.saturating_sub(1);
    Some(match key {
        Key::Up | Key::Char('k') => line.saturating_sub(1),
        Key::Down | Key::Char('j') => (line + 1).min(last),
        Key::PageUp => line.saturating_sub(PAGE),
        Key::PageDown => (line + PAGE).min(last),
        Key::Home | Key::Char('g') => 0,
        Key::End | Key::Char('G') => last,
        _ => return None,
    })
}
