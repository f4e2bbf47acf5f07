//! What is readable on the screen, at 80 by 24 and at 60 by 20.

use std::sync::Arc;

use jiff::Timestamp;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::Value;
use serde_json::json;

use super::*;
use crate::cmd::assist::progress::Progress;
use crate::cmd::assist::screen::Key;
use crate::cmd::assist::testing::CREATED;
use crate::cmd::assist::testing::Fixture;

/// The lines of the screen, 75 seconds after the pods were created.
fn painted(screen: &Screen, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, screen, CREATED + 75)).unwrap();
    let shown = terminal.backend().buffer();
    let cells = shown.content.chunks(width.into());
    cells.map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>().trim_end().to_owned()).collect()
}

/// The first line that contains `what`, with runs of spaces as one.
fn line<'a>(lines: &'a [String], what: &str) -> String {
    let found: Option<&'a String> = lines.iter().find(|line| line.contains(what));
    let found = found.unwrap_or_else(|| panic!("{what:?} is not on the screen:\n{}", lines.join("\n")));
    found.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn screen(fixture: &mut Fixture) -> Screen {
    let mut screen = Screen::new("dockside-scheduler for human-scheduler at https://10.0.0.1:6443".into());
    screen.refresh(&mut fixture.store);
    screen
}

fn asks(cpu: &str, memory: &str) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]})
}

fn busy() -> Fixture {
    let tainted = json!({"spec": {"taints": [{"key": "team", "value": "a", "effect": "PreferNoSchedule"}]}});
    Fixture::with_nodes(&["inajob"])
        .node("cordoned", json!({"spec": {"unschedulable": true}}))
        .node("tainted", tainted)
        .pending("first-job", json!({"spec": asks("500m", "64Mi")}))
        .pending("urgent", json!({"spec": {"priority": 1000, "containers": asks("1", "1Gi")["containers"]}}))
}

#[test]
fn at_80_by_24_everything_is_visible() {
    let mut fixture = busy();
    let mut screen = screen(&mut fixture);
    screen.key(Key::Down, &mut fixture.store);
    let lines = painted(&screen, 80, 24);
    // The example in docs/scheduler.md.
    println!("{}", lines.join("\n"));
    assert_eq!(lines.len(), 24);
    assert!(lines.iter().all(|line| text::width(line) <= 80), "{}", lines.join("\n"));
    assert!(lines[0].starts_with("dockside-scheduler for human-scheduler at https"), "{}", lines[0]);
    assert!(lines[0].ends_with("2 pods waiting, 3 nodes"), "{}", lines[0]);
    assert_eq!(line(&lines, "PRIORITY"), "POD AGE PRIORITY CPU MEMORY STATE");
    assert_eq!(line(&lines, "default/urgent"), "default/urgent 75s 1000 1 1Gi new");
    assert_eq!(line(&lines, "> default/first-job"), "> default/first-job 75s 0 500m 64Mi new");
    assert_eq!(line(&lines, "── Nodes for").trim_end_matches('─'), "── Nodes for default/first-job ");
    assert!(line(&lines, "> inajob").ends_with("4 8Gi 110 fits"), "{}", line(&lines, "> inajob"));
    assert!(line(&lines, "  tainted").ends_with("fits, team=a:PreferNoSc…"), "{}", line(&lines, "  tainted"));
    assert!(line(&lines, "  cordoned").starts_with("cordoned no 4 8Gi 110 NodeUnschedulable: node"));
    assert!(line(&lines, "inajob: ").contains("NodeResourcesFit"), "{}", lines.join("\n"));
    assert!(line(&lines, "q quit").starts_with("Enter choose"));
}

#[test]
fn at_60_by_20_everything_is_still_visible() {
    let mut fixture = busy();
    let lines = painted(&screen(&mut fixture), 60, 20);
    assert!(lines.iter().all(|line| text::width(line) <= 60), "{}", lines.join("\n"));
    assert_eq!(line(&lines, "> default/urgent"), "> default/urgent 75s 1000 1 1Gi new");
    assert!(line(&lines, "> inajob").ends_with("fits"));
    line(&lines, "Bindings");
    line(&lines, "q quit");
}

#[test]
fn long_names_are_cut_in_the_middle_by_display_width() {
    let long = format!("{}-{}-7f9c", "a".repeat(50), "b".repeat(50));
    let mut fixture =
        Fixture::with_nodes(&["節点の名前がとても長い節点の名前がとても長い-01"]).pending(&long, json!({}));
    let lines = painted(&screen(&mut fixture), 80, 24);
    let pod = line(&lines, "> default/aaa");
    assert!(pod.contains('…') && pod.contains("-7f9c 75s 0 0 0 new"), "{pod}");
    let node = line(&lines, "> 節");
    assert!(node.contains('…') && node.ends_with("fits"), "{node}");
}

#[test]
fn the_selected_line_of_a_long_list_is_visible() {
    let fixture = Fixture::with_nodes(&["n"]);
    let mut fixture = (10..60).fold(fixture, |fixture, number| fixture.pending(&format!("p{number}"), json!({})));
    let mut screen = screen(&mut fixture);
    for (key, shown) in [(Key::End, "> default/p59"), (Key::Home, "> default/p10"), (Key::Down, "> default/p11")] {
        screen.key(key, &mut fixture.store);
        line(&painted(&screen, 80, 24), shown);
    }
}

#[test]
fn the_progress_of_a_binding_is_shown() {
    let mut fixture = busy();
    let mut screen = screen(&mut fixture);
    screen.key(Key::Enter, &mut fixture.store);
    screen.key(Key::Enter, &mut fixture.store);
    line(&painted(&screen, 80, 24), "default/urgent -> inajob: binding...");
    for progress in [Progress::Bound, Progress::ContainersReady, Progress::Running("10.244.0.7".into())] {
        screen.progress("urgent", progress, Timestamp::now());
    }
    line(&painted(&screen, 80, 24), "default/urgent -> inajob: Bound, ContainersReady, Running 10.244.0.7 (");
    screen.progress("urgent", Progress::Problem("c: CrashLoopBackOff".into()), Timestamp::now());
    line(&painted(&screen, 60, 20), "default/urgent -> inajob: c: CrashLoopBackOff");
}

#[test]
fn a_question_is_shown_in_full() {
    let mut fixture =
        Fixture::with_nodes(&[]).node("a", json!({"spec": {"unschedulable": true}})).pending("p", json!({}));
    let mut screen = screen(&mut fixture);
    screen.key(Key::Enter, &mut fixture.store);
    screen.key(Key::Enter, &mut fixture.store);
    for (width, height) in [(80, 24), (60, 20), (40, 14)] {
        let lines = painted(&screen, width, height);
        line(&lines, "default/p does not fit on a.");
        line(&lines, "NodeUnschedulable");
        line(&lines, "Bind it anyway? y or n");
    }
}

#[test]
fn help_and_explanation_are_popups() {
    let mut fixture = busy();
    let mut screen = screen(&mut fixture);
    screen.key(Key::Char('?'), &mut fixture.store);
    line(&painted(&screen, 80, 24), "every filter and score of the node");
    screen.key(Key::Escape, &mut fixture.store);
    screen.key(Key::Char('e'), &mut fixture.store);
    let lines = painted(&screen, 80, 24);
    line(&lines, "default/urgent on inajob");
    line(&lines, "NodeResourcesFit fits".split(' ').next().unwrap());
    line(&lines, "points:");
}

#[test]
fn empty_lists_say_why() {
    let mut unknown = Fixture::unsynced();
    line(&painted(&screen(&mut unknown), 80, 24), "Loading the cluster");
    let mut empty = Fixture::with_nodes(&[]);
    line(&painted(&screen(&mut empty), 80, 24), "No pod waits for a node.");
    let mut no_node = Fixture::with_nodes(&[]).pending("p", json!({}));
    line(&painted(&screen(&mut no_node), 80, 24), "The cluster has no node.");
}

#[test]
fn a_terminal_that_is_too_small_shows_a_message() {
    let mut fixture = busy();
    line(&painted(&screen(&mut fixture), 39, 14), "Too small");
    for (width, height) in [(1, 1), (40, 14), (41, 15), (300, 100)] {
        painted(&screen(&mut fixture), width, height);
    }
}

#[test]
fn no_cell_has_a_colour() {
    let mut fixture = busy();
    let screen = screen(&mut fixture);
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal.draw(|frame| draw(frame, &screen, CREATED)).unwrap();
    let plain = |cell: &ratatui::buffer::Cell| {
        cell.fg == ratatui::style::Color::Reset && cell.bg == ratatui::style::Color::Reset
    };
    assert!(terminal.backend().buffer().content.iter().all(plain));
}

#[test]
fn notes_replace_the_list_of_keys() {
    let mut fixture = Fixture::with_nodes(&["n"]);
    let mut screen = screen(&mut fixture);
    screen.key(Key::Enter, &mut fixture.store);
    line(&painted(&screen, 80, 24), "No pod is selected.");
    screen.log.started(&Arc::from("u"), "default/p".into(), &Arc::from("n"), Timestamp::now());
    screen.key(Key::Char('/'), &mut fixture.store);
    screen.key(Key::Char('x'), &mut fixture.store);
    line(&painted(&screen, 80, 24), "Filter: x_");
}
