//! Keys and events change the screen.

use serde_json::json;

use super::*;
use crate::cmd::assist::testing::Fixture;

struct User {
    screen: Screen,
    fixture: Fixture,
}

impl User {
    fn new(fixture: Fixture) -> User {
        let mut user = User { screen: Screen::new("test".into()), fixture };
        user.refresh();
        user
    }

    fn refresh(&mut self) {
        self.screen.refresh(&mut self.fixture.store);
    }

    /// Presses keys; returns the action of the last one.
    fn press(&mut self, keys: &[Key]) -> Option<ScreenAction> {
        keys.iter().fold(None, |_, key| self.screen.key(*key, &mut self.fixture.store))
    }

    fn type_text(&mut self, text: &str) -> Option<ScreenAction> {
        self.press(&text.chars().map(Key::Char).collect::<Vec<_>>())
    }

    fn pod(&self) -> &str {
        self.screen.selected_pod().map_or("", |pod| &*pod.name)
    }

    fn node(&self) -> &str {
        self.screen.selected_node().map_or("", |node| &*node.name)
    }

    fn pods(&self) -> Vec<&str> {
        self.screen.pods.iter().map(|pod| &*pod.name).collect()
    }
}

fn asks(cpu: &str) -> serde_json::Value {
    json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
}

fn bound(command: Option<ScreenAction>) -> (String, String) {
    match command {
        Some(ScreenAction::Bind(pod, node)) => (pod.name.to_string(), node.to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn enter_selects_a_pod_and_enter_again_binds_it_to_the_best_node() {
    let cordoned = json!({"spec": {"unschedulable": true}});
    let mut user = User::new(Fixture::with_nodes(&["b"]).node("a", cordoned).pending("p", json!({})));
    assert_eq!(user.press(&[Key::Enter]), None);
    assert_eq!((user.screen.focus, user.node()), (Pane::Nodes, "b"));
    assert_eq!(bound(user.press(&[Key::Enter])), ("p".into(), "b".into()));
    assert_eq!(user.screen.log.last(1)[0].text, " -> b: binding...");
}

#[test]
fn a_node_that_does_not_fit_needs_confirmation() {
    let cordoned = json!({"spec": {"unschedulable": true}});
    let mut user = User::new(Fixture::with_nodes(&[]).node("a", cordoned).pending("p", json!({})));
    assert_eq!(user.press(&[Key::Enter, Key::Enter]), None);
    let Popup::Confirm { why, .. } = &user.screen.popup else { panic!("{:?}", user.screen.popup) };
    assert_eq!(why, "NodeUnschedulable: node(s) were unschedulable");
    assert_eq!(user.press(&[Key::Enter, Key::Tab, Key::Down]), None);
    assert!(matches!(user.screen.popup, Popup::Confirm { .. }));
    assert_eq!(user.type_text("n"), None);
    assert_eq!(user.screen.popup, Popup::None);
    assert_eq!(bound(user.press(&[Key::Enter, Key::Char('y')])), ("p".into(), "a".into()));
}

#[test]
fn a_question_about_a_deleted_pod_is_closed() {
    let cordoned = json!({"spec": {"unschedulable": true}});
    let mut user = User::new(Fixture::with_nodes(&[]).node("a", cordoned).pending("p", json!({})));
    user.press(&[Key::Enter, Key::Enter]);
    user.fixture.delete("p");
    user.refresh();
    assert_eq!(user.screen.popup, Popup::None);
    assert_eq!(user.type_text("y"), None);
}

#[test]
fn when_the_selected_pod_is_deleted_enter_does_not_bind_the_next_one() {
    let mut user = User::new(Fixture::with_nodes(&["n"]).pending("a", json!({})).pending("b", json!({})));
    user.press(&[Key::Enter]);
    assert_eq!(user.pod(), "a");
    user.fixture.delete("a");
    user.refresh();
    assert_eq!((user.pod(), user.screen.focus), ("b", Pane::Pods));
    assert_eq!(user.press(&[Key::Enter]), None);
}

#[test]
fn the_selection_stays_when_the_lists_change() {
    let mut user = User::new(Fixture::with_nodes(&["m", "n"]).pending("b", json!({})).pending("c", json!({})));
    user.press(&[Key::Down, Key::Enter, Key::Down]);
    assert_eq!((user.pod(), user.node()), ("c", "n"));
    user.fixture.put("a", json!({"spec": {"priority": 9}}));
    user.fixture.put("other", json!({"spec": {"nodeName": "m", "containers": asks("3")["spec"]["containers"]}}));
    user.refresh();
    assert_eq!(user.pods(), ["a", "b", "c"]);
    assert_eq!((user.pod(), user.node(), user.screen.node_line()), ("c", "n", Some(0)));
}

#[test]
fn when_the_selected_node_is_deleted_enter_does_not_bind_to_another() {
    let mut user = User::new(Fixture::with_nodes(&["m", "n"]).pending("p", json!({})));
    user.press(&[Key::Enter]);
    user.fixture.store.cluster.remove_node("m");
    user.refresh();
    assert_eq!((user.node(), user.screen.focus), ("n", Pane::Pods));
    assert!(user.screen.note.as_ref().unwrap().contains("does not exist any more"));
}

#[test]
fn a_pod_being_bound_is_not_pending_and_takes_room() {
    let mut user = User::new(Fixture::with_nodes(&["n"]).pending("a", asks("3")).pending("b", asks("3")));
    let Some(ScreenAction::Bind(pod, _)) = user.press(&[Key::Enter, Key::Enter]) else { panic!() };
    let cluster = &mut user.fixture.store.cluster;
    cluster.assume(pod.clone(), cluster.node_named("n").unwrap());
    user.refresh();
    assert_eq!((user.pods(), user.pod()), (vec!["b"], "b"));
    assert_eq!(user.screen.nodes[0].verdict.refusal().unwrap(), "NodeResourcesFit: Insufficient cpu");
    // The binding failed.
    user.fixture.store.cluster.forget(&pod.uid);
    user.refresh();
    assert_eq!(user.pods(), ["a", "b"]);
}

#[test]
fn a_pod_that_is_put_off_moves_to_the_end_until_restored() {
    let fixture = Fixture::with_nodes(&["n"]);
    let mut user = User::new(fixture.pending("a", json!({})).pending("b", json!({})).pending("c", json!({})));
    user.type_text("s");
    assert_eq!((user.pods(), user.pod()), (vec!["b", "c", "a"], "b"));
    assert_eq!(user.type_text("r"), Some(ScreenAction::Repaint));
    assert_eq!(user.pods(), ["a", "b", "c"]);
    user.type_text("gsGs");
    assert_eq!(user.pods(), ["a", "b", "c"]);
}

#[test]
fn a_filter_shows_only_names_that_contain_it() {
    let fixture = Fixture::with_nodes(&["m", "n"]).pending("web-1", json!({})).pending("job-1", json!({}));
    let mut user = User::new(fixture);
    user.type_text("/web");
    assert_eq!(user.pods(), ["web-1"]);
    user.press(&[Key::Backspace, Key::Backspace, Key::Backspace]);
    user.type_text("jq");
    assert_eq!(user.pods(), [""; 0]);
    user.press(&[Key::Backspace, Key::Enter, Key::Enter]);
    assert_eq!((user.pods(), user.screen.focus), (vec!["job-1"], Pane::Nodes));
    user.type_text("/n");
    assert_eq!((user.node(), user.screen.nodes.len()), ("n", 1));
    user.press(&[Key::Enter, Key::Escape]);
    assert_eq!((user.screen.nodes.len(), user.screen.focus), (2, Pane::Nodes));
    user.press(&[Key::Escape, Key::Escape]);
    assert_eq!(user.pods(), ["job-1", "web-1"]);
}

#[test]
fn an_explanation_has_every_filter_and_every_score() {
    let mut user = User::new(Fixture::with_nodes(&["n"]).pending("p", asks("1")));
    user.type_text("e");
    let Popup::Explain(explanation) = &user.screen.popup else { panic!() };
    assert_eq!(explanation.filter_results.len(), crate::filter::FILTERS.len());
    assert!(explanation.filter_results.contains(&("NodeResourcesFit", FilterResult::Accepted)));
    let sum: i64 = explanation.scores.iter().map(|(_, points)| points).sum();
    assert_eq!(explanation.total, Some(sum));
    user.press(&[Key::Down]);
    let Popup::Explain(explanation) = &user.screen.popup else { panic!() };
    assert_eq!(explanation.top, 1);
    user.press(&[Key::Escape]);
    assert_eq!(user.screen.popup, Popup::None);
}

#[test]
fn an_explanation_names_every_filter_that_rejects() {
    let fixture = Fixture::with_nodes(&[]).node("n", json!({"spec": {"unschedulable": true}}));
    let mut user = User::new(fixture.pending("p", asks("9")));
    user.type_text("e");
    let Popup::Explain(explanation) = &user.screen.popup else { panic!() };
    let refusing = explanation
        .filter_results
        .iter()
        .filter(|(_, filter_result)| matches!(filter_result, FilterResult::Rejected(_)));
    let names: Vec<_> = refusing.map(|(name, _)| *name).collect();
    assert_eq!(names, ["NodeUnschedulable", "NodeResourcesFit"]);
}

#[test]
fn a_gated_pod_cannot_be_bound() {
    let gated = json!({"spec": {"schedulingGates": [{"name": "g"}]}});
    let mut user = User::new(Fixture::with_nodes(&["n"]).pending("p", gated));
    assert_eq!(user.press(&[Key::Enter, Key::Enter]), None);
    assert!(user.screen.note.as_ref().unwrap().contains("scheduling gates"));
}

#[test]
fn nothing_is_shown_before_the_store_is_synced() {
    let mut user = User::new(Fixture::unsynced().node("n", json!({})).pending("p", json!({})));
    assert_eq!((user.screen.complete, user.pods().len()), (false, 0));
    assert_eq!(user.press(&[Key::Enter, Key::Enter]), None);
    user.fixture.complete();
    user.refresh();
    // Objects applied before their list started count as not listed once it is complete.
    assert!(user.screen.complete);
}

#[test]
fn q_quits_but_not_while_a_filter_is_typed() {
    let mut user = User::new(Fixture::with_nodes(&["n"]));
    assert_eq!(user.type_text("/q"), None);
    assert_eq!(user.press(&[Key::Escape, Key::Char('?'), Key::Char('q')]), None);
    assert_eq!(user.type_text("q"), Some(ScreenAction::Quit));
    assert_eq!(user.press(&[Key::Char('/'), Key::Interrupt]), Some(ScreenAction::Quit));
}
