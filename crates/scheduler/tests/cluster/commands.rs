//! The other subcommands: each does one thing and ends, but for `run`.

use crate::support::PROGRAM;
use crate::support::create;
use crate::support::node;
use crate::support::runs_on_the_node;
use crate::support::scheduler;
use crate::support::text;
use crate::support::told_by;
use crate::support::try_run;
use harness::replica::Replica;

/// The cells of the first row that begins with this.
fn row(table: &str, first: &str) -> Vec<String> {
    let found = table.lines().find(|line| line.split_whitespace().next() == Some(first));
    let found = found.unwrap_or_else(|| panic!("no row {first:?} in:\n{table}"));
    found.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn bind_puts_a_pod_on_the_node_that_is_named() {
    create("by-name", "commands-bind", "50m");
    let args = ["bind", "by-name", &node(), "--scheduler-name", "commands-bind"];
    assert_eq!(scheduler(&args), format!("default/by-name is bound to {}\n", node()));
    runs_on_the_node("by-name");
    let again = try_run(PROGRAM, &args, "");
    assert!(!again.status.success());
    assert!(text(&again.stderr).contains("no pod \"by-name\" waits for a node"), "{}", text(&again.stderr));
}

#[test]
fn what_waits_and_where_it_fits_can_be_looked_at() {
    let named = ["--scheduler-name", "commands-look"];
    create("looked-at", "commands-look", "1000");
    let pods = scheduler(&[&["pods"], &named[..]].concat());
    assert_eq!(row(&pods, "default"), ["default", "looked-at", "0", "1000", "16Mi", "new"]);
    let nodes = scheduler(&["nodes"]);
    assert_eq!(row(&nodes, &node())[1], "Ready");
    let explained = scheduler(&[&["explain", "looked-at"], &named[..]].concat());
    let verdict = row(&explained, &node());
    assert_eq!(verdict[1..], ["no", "NodeResourcesFit:", "Insufficient", "cpu"], "{explained}");
    let refused = try_run(PROGRAM, &[&["bind", "looked-at", &node()], &named[..]].concat(), "");
    assert!(text(&refused.stderr).contains("Insufficient cpu (use --force to bind it anyway)"));
    create("fits", "commands-look", "10m");
    let explained = scheduler(&[&["explain", "default/fits"], &named[..]].concat());
    assert!(row(&explained, &node())[1].parse::<i64>().is_ok(), "{explained}");
}

#[test]
fn run_binds_by_itself() {
    let replica = Replica::start(&["--scheduler-name", "commands-run", "--leader-elect=false", "--listen=127.0.0.1:0"]);
    create("by-itself", "commands-run", "50m");
    runs_on_the_node("by-itself");
    replica.stop();
    assert_eq!(told_by("by-itself"), "commands-run");
}
