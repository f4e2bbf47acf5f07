//! The keys and the screen of `assist`.

use nix::sys::signal::Signal;

use crate::support::bound_by;
use crate::support::create;
use crate::support::kubectl;
use crate::support::node;
use crate::support::phase;
use crate::support::pod;
use crate::support::run_with;
use crate::support::runs_on_the_node;
use crate::support::scheduler_path;
use crate::terminal::Terminal;

const ENTER: &str = "\r";
const ESCAPE: &str = "\u{1b}";

#[test]
fn a_pod_bound_in_assist_is_shown_until_it_runs() {
    create("by-hand", "assist-hand", "50m");
    let mut terminal = Terminal::assist("xterm-256color", &["--scheduler-name", "assist-hand"]);
    terminal.shows(&["> default/by-hand", "1 node", &format!("> {}", node())]);
    assert_eq!(pod("by-hand")["spec"].get("nodeName"), None);
    terminal.press(ENTER);
    terminal.shows(&["Enter bind"]);
    terminal.press(ENTER);
    terminal.shows(&[&format!("default/by-hand -> {}: Bound, ContainersReady, Running 10.244.", node())]);
    println!("{}", terminal.shows(&["No pod waits for a node."]));
    terminal.press("q");
    assert!(terminal.left_behind().success());
    assert_eq!(bound_by("by-hand"), "assist-hand");
    runs_on_the_node("by-hand");
}

#[test]
fn a_node_that_does_not_fit_is_explained_and_bound_only_after_confirmation() {
    create("too-large", "assist-too-large", "1000");
    let mut terminal = Terminal::assist("xterm", &["--scheduler-name", "assist-too-large"]);
    terminal.shows(&["> default/too-large", "NodeResourcesFit: Insufficient cpu"]);
    terminal.press("e");
    // Everything must be painted before the next key: an Esc followed at once by another key means Alt.
    terminal.shows(&["NodeUnschedulable", "NO: Insufficient cpu", "Esc back"]);
    terminal.press(ESCAPE);
    terminal.shows(&["Enter choose"]);
    terminal.press(ENTER);
    terminal.shows(&["Enter bind"]);
    terminal.press(ENTER);
    terminal.shows(&["Bind it anyway? y or n"]);
    terminal.press("n");
    terminal.shows(&["Enter bind"]);
    assert_eq!(pod("too-large")["spec"].get("nodeName"), None);
    terminal.press(ENTER);
    terminal.shows(&["Bind it anyway? y or n"]);
    terminal.press("y");
    terminal.shows(&["Failed: OutOfcpu"]);
    terminal.press("\u{3}");
    assert!(terminal.left_behind().success());
    assert_eq!(phase("too-large", "Failed")["spec"]["nodeName"], node());
    kubectl(&["delete", "pod", "too-large", "--wait=false"]);
}

#[test]
fn a_pod_is_shown_when_created_and_hidden_when_deleted() {
    let mut terminal = Terminal::assist("vt100", &["--scheduler-name", "assist-live"]);
    terminal.shows(&["No pod waits for a node.", "1 node"]);
    create("comes-and-goes", "assist-live", "10m");
    terminal.shows(&["> default/comes-and-goes", "1 pod waiting"]);
    kubectl(&["delete", "pod", "comes-and-goes", "--wait=false"]);
    terminal.shows(&["No pod waits for a node."]);
}

#[test]
fn a_signal_restores_the_terminal() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut terminal = Terminal::assist("xterm", &["--scheduler-name", "assist-unused"]);
        terminal.shows(&["No pod waits for a node."]);
        terminal.signal(signal);
        assert!(terminal.left_behind().success());
    }
}

#[test]
fn a_dumb_terminal_gets_plain_lines() {
    let mut terminal = Terminal::assist("dumb", &["--scheduler-name", "assist-unused"]);
    terminal.shows(&["No pod waits for a node. Waiting for the next one."]);
    // Ctrl-D: the end of the input.
    terminal.press("\u{4}");
    assert!(terminal.left_behind().success());
}

#[test]
fn two_numbers_on_stdin_bind_a_pod_and_wait_until_it_runs() {
    create("by-pipe", "assist-pipe", "50m");
    let said = run_with(&scheduler_path(), &["assist", "--plain", "--scheduler-name", "assist-pipe"], "1\n1\n");
    for sentence in ["Binding default/by-pipe to ", "default/by-pipe is bound.", "default/by-pipe is Running, with the"]
    {
        assert!(said.contains(sentence), "{sentence:?} in:\n{said}");
    }
    runs_on_the_node("by-pipe");
}
