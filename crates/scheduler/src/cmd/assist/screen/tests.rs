//! What keys and news make of the screen.

use serde_json::json;

use super::*;
use crate::cmd::assist::testing::Fixture;

struct Person {
    screen: Screen,
    fixture: Fixture,
}

impl Person {
    fn before(fixture: Fixture) -> Person {
        let mut person = Person { screen: Screen::new("test".into()), fixture };
        person.look();
        person
    }

    fn look(&mut self) {
        self.screen.refresh(&mut self.fixture.world);
    }

    /// Presses keys; returns what the last of them is to do.
    fn press(&mut self, keys: &[Key]) -> Option<Command> {
        keys.iter().fold(None, |_, key| self.screen.key(*key, &mut self.fixture.world))
    }

    fn types(&mut self, text: &str) -> Option<Command> {
        self.press(&text.chars().map(Key::Char).collect::<Vec<_>>())
    }

    fn pod(&self) -> &str {
        self.screen.chosen_pod().map_or("", |pod| &*pod.name)
    }

    fn node(&self) -> &str {
        self.screen.chosen_node().map_or("", |node| &*node.name)
    }

    fn pods(&self) -> Vec<&str> {
        self.screen.pods.iter().map(|pod| &*pod.name).collect()
    }
}

fn asks(cpu: &str) -> serde_json::Value {
    json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
}

fn bound(command: Option<Command>) -> (String, String) {
    match command {
        Some(Command::Bind(pod, node)) => (pod.name.to_string(), node.to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn enter_chooses_a_pod_and_enter_again_binds_it_to_the_best_node() {
    let cordoned = json!({"spec": {"unschedulable": true}});
    let mut person = Person::before(Fixture::with_nodes(&["b"]).node("a", cordoned).waits("p", json!({})));
    assert_eq!(person.press(&[Key::Enter]), None);
    assert_eq!((person.screen.focus, person.node()), (Pane::Nodes, "b"));
    assert_eq!(bound(person.press(&[Key::Enter])), ("p".into(), "b".into()));
    assert_eq!(person.screen.log.last(1)[0].told, " -> b: binding...");
}

#[test]
fn a_node_that_does_not_fit_needs_a_yes() {
    let cordoned = json!({"spec": {"unschedulable": true}});
    let mut person = Person::before(Fixture::with_nodes(&[]).node("a", cordoned).waits("p", json!({})));
    assert_eq!(person.press(&[Key::Enter, Key::Enter]), None);
    let Over::Sure { why, .. } = &person.screen.over else { panic!("{:?}", person.screen.over) };
    assert_eq!(why, "NodeUnschedulable: node(s) were unschedulable");
    assert_eq!(person.press(&[Key::Enter, Key::Tab, Key::Down]), None);
    assert!(matches!(person.screen.over, Over::Sure { .. }));
    assert_eq!(person.types("n"), None);
    assert_eq!(person.screen.over, Over::Nothing);
    assert_eq!(bound(person.press(&[Key::Enter, Key::Char('y')])), ("p".into(), "a".into()));
}

#[test]
fn a_question_about_a_pod_that_is_gone_is_taken_back() {
    let cordoned = json!({"spec": {"unschedulable": true}});
    let mut person = Person::before(Fixture::with_nodes(&[]).node("a", cordoned).waits("p", json!({})));
    person.press(&[Key::Enter, Key::Enter]);
    person.fixture.gone("p");
    person.look();
    assert_eq!(person.screen.over, Over::Nothing);
    assert_eq!(person.types("y"), None);
}

#[test]
fn when_the_chosen_pod_goes_enter_does_not_bind_the_next_one() {
    let mut person = Person::before(Fixture::with_nodes(&["n"]).waits("a", json!({})).waits("b", json!({})));
    person.press(&[Key::Enter]);
    assert_eq!(person.pod(), "a");
    person.fixture.gone("a");
    person.look();
    assert_eq!((person.pod(), person.screen.focus), ("b", Pane::Pods));
    assert_eq!(person.press(&[Key::Enter]), None);
}

#[test]
fn what_is_chosen_stays_chosen_when_the_lists_move() {
    let mut person = Person::before(Fixture::with_nodes(&["m", "n"]).waits("b", json!({})).waits("c", json!({})));
    person.press(&[Key::Down, Key::Enter, Key::Down]);
    assert_eq!((person.pod(), person.node()), ("c", "n"));
    person.fixture.put("a", json!({"spec": {"priority": 9}}));
    person.fixture.put("other", json!({"spec": {"nodeName": "m", "containers": asks("3")["spec"]["containers"]}}));
    person.look();
    assert_eq!(person.pods(), ["a", "b", "c"]);
    assert_eq!((person.pod(), person.node(), person.screen.node_line()), ("c", "n", Some(0)));
}

#[test]
fn when_the_chosen_node_goes_enter_does_not_bind_to_another() {
    let mut person = Person::before(Fixture::with_nodes(&["m", "n"]).waits("p", json!({})));
    person.press(&[Key::Enter]);
    person.fixture.world.cluster.remove_node("m");
    person.look();
    assert_eq!((person.node(), person.screen.focus), ("n", Pane::Pods));
    assert!(person.screen.note.as_ref().unwrap().contains("not there any more"));
}

#[test]
fn a_pod_that_is_being_bound_waits_no_more_and_takes_room() {
    let mut person = Person::before(Fixture::with_nodes(&["n"]).waits("a", asks("3")).waits("b", asks("3")));
    let Some(Command::Bind(pod, _)) = person.press(&[Key::Enter, Key::Enter]) else { panic!() };
    let cluster = &mut person.fixture.world.cluster;
    cluster.assume(pod.clone(), cluster.node_named("n").unwrap());
    person.look();
    assert_eq!((person.pods(), person.pod()), (vec!["b"], "b"));
    assert_eq!(person.screen.nodes[0].verdict.refusal().unwrap(), "NodeResourcesFit: Insufficient cpu");
    // Nothing came of it.
    person.fixture.world.cluster.forget(&pod.uid);
    person.look();
    assert_eq!(person.pods(), ["a", "b"]);
}

#[test]
fn a_pod_that_is_put_off_goes_to_the_end_until_it_is_taken_back() {
    let fixture = Fixture::with_nodes(&["n"]);
    let mut person = Person::before(fixture.waits("a", json!({})).waits("b", json!({})).waits("c", json!({})));
    person.types("s");
    assert_eq!((person.pods(), person.pod()), (vec!["b", "c", "a"], "b"));
    assert_eq!(person.types("r"), Some(Command::Repaint));
    assert_eq!(person.pods(), ["a", "b", "c"]);
    person.types("gsGs");
    assert_eq!(person.pods(), ["a", "b", "c"]);
}

#[test]
fn a_filter_leaves_the_names_that_have_its_letters() {
    let fixture = Fixture::with_nodes(&["m", "n"]).waits("web-1", json!({})).waits("job-1", json!({}));
    let mut person = Person::before(fixture);
    person.types("/web");
    assert_eq!(person.pods(), ["web-1"]);
    person.press(&[Key::Backspace, Key::Backspace, Key::Backspace]);
    person.types("jq");
    assert_eq!(person.pods(), [""; 0]);
    person.press(&[Key::Backspace, Key::Enter, Key::Enter]);
    assert_eq!((person.pods(), person.screen.focus), (vec!["job-1"], Pane::Nodes));
    person.types("/n");
    assert_eq!((person.node(), person.screen.nodes.len()), ("n", 1));
    person.press(&[Key::Enter, Key::Escape]);
    assert_eq!((person.screen.nodes.len(), person.screen.focus), (2, Pane::Nodes));
    person.press(&[Key::Escape, Key::Escape]);
    assert_eq!(person.pods(), ["job-1", "web-1"]);
}

#[test]
fn an_explanation_has_every_filter_and_every_score() {
    let mut person = Person::before(Fixture::with_nodes(&["n"]).waits("p", asks("1")));
    person.types("e");
    let Over::Explain(explanation) = &person.screen.over else { panic!() };
    assert_eq!(explanation.opinions.len(), crate::filter::FILTERS.len());
    assert!(explanation.opinions.contains(&("NodeResourcesFit", Opinion::Fits)));
    let sum: i64 = explanation.scores.iter().map(|(_, points)| points).sum();
    assert_eq!(explanation.total, Some(sum));
    person.press(&[Key::Down]);
    let Over::Explain(explanation) = &person.screen.over else { panic!() };
    assert_eq!(explanation.top, 1);
    person.press(&[Key::Escape]);
    assert_eq!(person.screen.over, Over::Nothing);
}

#[test]
fn an_explanation_names_every_filter_that_refuses() {
    let fixture = Fixture::with_nodes(&[]).node("n", json!({"spec": {"unschedulable": true}}));
    let mut person = Person::before(fixture.waits("p", asks("9")));
    person.types("e");
    let Over::Explain(explanation) = &person.screen.over else { panic!() };
    let refusing = explanation.opinions.iter().filter(|(_, opinion)| matches!(opinion, Opinion::Refuses(_)));
    let names: Vec<_> = refusing.map(|(name, _)| *name).collect();
    assert_eq!(names, ["NodeUnschedulable", "NodeResourcesFit"]);
}

#[test]
fn a_gated_pod_cannot_be_bound() {
    let gated = json!({"spec": {"schedulingGates": [{"name": "g"}]}});
    let mut person = Person::before(Fixture::with_nodes(&["n"]).waits("p", gated));
    assert_eq!(person.press(&[Key::Enter, Key::Enter]), None);
    assert!(person.screen.note.as_ref().unwrap().contains("scheduling gates"));
}

#[test]
fn nothing_is_shown_before_everything_is_known() {
    let mut person = Person::before(Fixture::unknown().node("n", json!({})).waits("p", json!({})));
    assert_eq!((person.screen.complete, person.pods().len()), (false, 0));
    assert_eq!(person.press(&[Key::Enter, Key::Enter]), None);
    person.fixture.complete();
    person.look();
    // What was put before a list was complete without having begun counts as not listed.
    assert!(person.screen.complete);
}

#[test]
fn q_quits_but_not_while_a_filter_is_typed() {
    let mut person = Person::before(Fixture::with_nodes(&["n"]));
    assert_eq!(person.types("/q"), None);
    assert_eq!(person.press(&[Key::Escape, Key::Char('?'), Key::Char('q')]), None);
    assert_eq!(person.types("q"), Some(Command::Quit));
    assert_eq!(person.press(&[Key::Char('/'), Key::Interrupt]), Some(Command::Quit));
}
