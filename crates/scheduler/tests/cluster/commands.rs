//! The subcommands other than `assist`.

use crate::support::bound_by;
use crate::support::create;
use crate::support::node;
use crate::support::runs_on_the_node;
use crate::support::scheduler;
use crate::support::scheduler_path;
use crate::support::text;
use crate::support::try_run;
use harness::replica::Replica;

/// The cells of the first row that begins with `first`.
fn row(table: &str, first: &str) -> Vec<String> {
    let found = table.lines().find(|line| line.split_whitespace().next() == Some(first));
    let found = found.unwrap_or_else(|| panic!("no row {first:?} in:\n{table}"));
    found.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn bind_puts_a_pod_on_the_named_node() {
    create("by-name", "commands-bind", "50m");
    let args = ["bind", "by-name", &node(), "--scheduler-name", "commands-bind"];
    assert_eq!(scheduler(&args), format!("default/by-name is bound to {}\n", node()));
    runs_on_the_node("by-name");
    let again = try_run(&scheduler_path(), &args, "");
    assert!(!again.status.success());
    assert!(text(&again.stderr).contains("no pod \"by-name\" waits for a node"), "{}", text(&again.stderr));
}

#[test]
fn waiting_pods_and_their_feasible_nodes_are_listed() {
    let named = ["--scheduler-name", "commands-look"];
    create("looked-at", "commands-look", "1000");
    let pods = scheduler(&[&["pods"], &named[..]].concat());
    assert_eq!(row(&pods, "default"), ["default", "looked-at", "0", "1000", "16Mi", "new"]);
    let nodes = scheduler(&["nodes"]);
    assert_eq!(row(&nodes, &node())[1], "Ready");
    let explained = scheduler(&[&["explain", "looked-at"], &named[..]].concat());
    let verdict = row(&explained, &node());
    assert_eq!(verdict[1..], ["no", "NodeResourcesFit:", "Insufficient", "cpu"], "{explained}");
    let refused = try_run(&scheduler_path(), &[&["bind", "looked-at", &node()], &named[..]].concat(), "");
    assert!(text(&refused.stderr).contains("Insufficient cpu (use --force to bind it anyway)"));
    create("fits", "commands-look", "10m");
    let explained = scheduler(&[&["explain", "default/fits"], &named[..]].concat());
    assert!(row(&explained, &node())[1].parse::<i64>().is_ok(), "{explained}");
}

#[test]
fn run_binds_pods_automatically() {
    let replica = Replica::start(&["--scheduler-name", "commands-run", "--leader-elect=false", "--listen=127.0.0.1:0"]);
    create("by-itself", "commands-run", "50m");
    runs_on_the_node("by-itself");
    replica.stop();
    assert_eq!(bound_by("by-itself"), "commands-run");
}
