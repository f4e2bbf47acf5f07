//! What each key does.

use std::sync::Arc;

use jiff::Timestamp;

use super::Explanation;
use super::Pane;
use super::Popup;
use super::Screen;
use super::ScreenAction;
use crate::cmd::assist::view;
use crate::model::Pod;
use crate::store::Store;

/// Lines per page: no more than the smallest screen shows.
const PAGE: usize = 3;

/// A key, independent of the terminal library.
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
    /// Handles a key. After [`ScreenAction::Bind`] the caller updates the store and calls [`Screen::refresh`].
    pub(in crate::cmd::assist) fn key(&mut self, key: Key, store: &mut Store) -> Option<ScreenAction> {
        self.note = None;
        if key == Key::Interrupt {
            return Some(ScreenAction::Quit);
        }
        if self.typing {
            self.type_filter(key, store);
            return None;
        }
        match self.popup {
            Popup::None => self.list_key(key, store),
            Popup::Confirm { .. } => self.confirm_key(key),
            Popup::Help | Popup::Explain(_) => {
                self.popup_key(key);
                None
            }
        }
    }

    fn list_key(&mut self, key: Key, store: &mut Store) -> Option<ScreenAction> {
        match key {
            Key::Char('q') => return Some(ScreenAction::Quit),
            Key::Char('r') => {
                self.put_off.clear();
                self.refresh(store);
                return Some(ScreenAction::Repaint);
            }
            Key::Char('?') => self.popup = Popup::Help,
            Key::Char('/') => self.typing = true,
            Key::Char('s') => self.put_off(store),
            Key::Char('e') => self.explain(store),
            Key::Tab if self.focus == Pane::Nodes => self.focus = Pane::Pods,
            Key::Tab => self.focus_nodes(),
            Key::Escape => self.go_back(store),
            Key::Enter if self.focus == Pane::Pods => self.focus_nodes(),
            Key::Enter => return self.choose_node(),
            _ => self.move_selection(key, store),
        }
        None
    }

    /// Moves the selection in the focused list.
    fn move_selection(&mut self, key: Key, store: &mut Store) {
        let (line, lines) = match self.focus {
            Pane::Pods => (self.pod_line(), self.pods.len()),
            Pane::Nodes => (self.node_line(), self.nodes.len()),
        };
        let (Some(to), true) = (moved_line(key, line.unwrap_or(0), lines), lines > 0) else { return };
        match self.focus {
            Pane::Pods => {
                self.choose_pod(to);
                self.refresh_nodes(store);
            }
            Pane::Nodes => self.node = Some(self.nodes[to].name.clone()),
        }
    }

    fn focus_nodes(&mut self) {
        match self.selected_pod() {
            None => self.note = Some("No pod is selected.".to_owned()),
            Some(_) if self.nodes.is_empty() => self.note = Some("There is no node to select.".to_owned()),
            Some(_) => self.focus = Pane::Nodes,
        }
    }

    /// One step back: clears the list's filter, else moves from the nodes to the pods.
    fn go_back(&mut self, store: &mut Store) {
        let filter = &mut self.filters[self.focus as usize];
        if filter.is_empty() {
            self.focus = Pane::Pods;
        } else {
            filter.clear();
            self.refresh(store);
        }
    }

    /// Binds the selected pod to the selected node, or asks for confirmation.
    fn choose_node(&mut self) -> Option<ScreenAction> {
        let (pod, node) = (self.selected_pod()?.clone(), self.selected_node()?);
        let (name, refusal) = (node.name.clone(), node.verdict.refusal());
        match refusal {
            _ if pod.gated => {
                self.note = Some(format!("{pod} has scheduling gates: it cannot be bound yet."));
                None
            }
            None => Some(self.bind(pod, name)),
            Some(why) => {
                self.popup = Popup::Confirm { pod, node: name, why };
                None
            }
        }
    }

    fn confirm_key(&mut self, key: Key) -> Option<ScreenAction> {
        let Popup::Confirm { pod, node, .. } = &self.popup else { return None };
        let (pod, node) = (pod.clone(), node.clone());
        match key {
            Key::Char('y' | 'Y') => {
                self.popup = Popup::None;
                Some(self.bind(pod, node))
            }
            Key::Char('n' | 'N' | 'q') | Key::Escape => {
                self.popup = Popup::None;
                None
            }
            // Enter does not confirm: it was pressed to get here.
            _ => None,
        }
    }

    fn bind(&mut self, pod: Arc<Pod>, node: Arc<str>) -> ScreenAction {
        self.log.started(&pod.uid, pod.to_string(), &node, Timestamp::now());
        self.focus = Pane::Pods;
        ScreenAction::Bind(pod, node)
    }

    /// Moves the selected pod to the end of the list, or back.
    fn put_off(&mut self, store: &mut Store) {
        let (Some(pod), Some(line)) = (self.selected_pod().cloned(), self.pod_line()) else { return };
        self.focus = Pane::Pods;
        if self.is_put_off(&pod) {
            self.put_off.retain(|uid| *uid != pod.uid);
            self.refresh(store);
            return;
        }
        self.put_off.push(pod.uid.clone());
        self.refresh_pods(store);
        self.choose_pod(line.min(self.pods.len().saturating_sub(1)));
        self.refresh_nodes(store);
    }

    fn explain(&mut self, store: &Store) {
        let (Some(pod), Some(node)) = (self.selected_pod(), self.selected_node()) else {
            self.note = Some("There is no node to explain.".to_owned());
            return;
        };
        self.popup = Popup::Explain(Explanation {
            pod: pod.to_string(),
            node: node.name.clone(),
            filter_results: view::filter_results(store, pod, &node.name),
            scores: node.verdict.scores().to_vec(),
            total: node.verdict.points(),
            top: 0,
        });
    }

    /// Scrolls an explanation, or closes the popup.
    fn popup_key(&mut self, key: Key) {
        if let Popup::Explain(explanation) = &mut self.popup {
            let lines = explanation.filter_results.len() + explanation.scores.len();
            if let Some(to) = moved_line(key, explanation.top, lines) {
                explanation.top = to;
                return;
            }
        }
        if matches!(key, Key::Char('q' | 'e' | '?') | Key::Escape | Key::Enter) {
            self.popup = Popup::None;
        }
    }

    fn type_filter(&mut self, key: Key, store: &mut Store) {
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
        self.refresh(store);
        // The selection may be filtered out, but typing continues in the same list.
        (self.focus, self.note) = (focus, None);
    }
}

/// The line a key moves to; `None` for other keys.
fn moved_line(key: Key, line: usize, lines: usize) -> Option<usize> {
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
