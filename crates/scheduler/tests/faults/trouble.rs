//! In the middle of a flood somebody dies.

use crate::flood::Flood;
use harness::in_cluster::*;
use harness::replica::Replica;

/// Where the replicas of a test serve their metrics: not the same for two.
const ADDRESSES: [&str; 2] = ["127.0.0.1:10271", "127.0.0.1:10272"];

/// `slowly`: one binding at a time, so that there is a middle.
fn replica(flood: &Flood, number: usize, slowly: bool, leader_elect: bool) -> Replica {
    Replica::start(&[
        "--scheduler-name",
        flood.name,
        "--lease-name",
        flood.name,
        &format!("--listen={}", ADDRESSES[number]),
        &format!("--max-bindings={}", if slowly { 1 } else { 100 }),
        &format!("--leader-elect={leader_elect}"),
    ])
}

/// How many pods a replica says it has bound.
fn bound_by(number: usize) -> usize {
    let page = http_get(ADDRESSES[number].parse().unwrap(), "/metrics").unwrap();
    let mut lines = page.lines().filter(|line| line.starts_with("scheduler_schedule_attempts_total"));
    let line = lines.find(|line| line.contains("result=\"scheduled\""));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as usize)
}

#[test]
fn a_replica_that_is_killed_is_replaced_and_every_pod_gets_its_node() {
    let flood = Flood::new("killed-replica", 15);
    let pods = flood.pods();
    let first = replica(&flood, 0, true, true);
    let holding = eventually("somebody who holds the lease", || lease_holder(flood.name));
    let second = replica(&flood, 1, false, true);
    let seen = flood.until_bound(1);
    drop(first);
    assert!(seen < pods, "all {pods} pods had a node before the replica could be killed");
    flood.is_in_place();
    assert_ne!(lease_holder(flood.name), Some(holding));
    assert!(bound_by(1) > 0);
    second.stop();
    assert_eq!(lease_holder(flood.name), None, "a replica that is stopped gives the lease back");
}

#[test]
fn two_replicas_at_work_bind_every_pod_once() {
    let flood = Flood::new("two-at-work", 15);
    let pods = flood.pods();
    let replicas = [0, 1].map(|number| replica(&flood, number, false, false));
    flood.until_bound(pods);
    // What a replica was told of its last binding, it may count a moment later.
    let count = || Some(bound_by(0) + bound_by(1)).filter(|bound| *bound >= pods);
    assert_eq!(eventually("all bindings are counted", count), pods);
    replicas.into_iter().for_each(Replica::stop);
    assert_eq!(events(&flood, "FailedScheduling"), 0);
}

/// How many events of a kind there are about the pods.
fn events(flood: &Flood, reason: &str) -> usize {
    let about = format!("--field-selector=reason={reason}");
    kubectl(&["get", "events.events.k8s.io", "-n", flood.name, &about, "-o", "name"]).lines().count()
}

#[test]
fn an_api_server_that_is_killed_costs_no_pod_its_node() {
    let flood = Flood::new("killed-server", 15);
    let pods = flood.pods();
    let mut working = replica(&flood, 0, true, true);
    let seen = flood.until_bound(1);
    hack("cluster", &["kill", "kube-apiserver"]);
    assert!(seen < pods);
    hack("cluster", &["start", "kube-apiserver"]);
    // An outage that outlasts the lease ends the replica, as it must. Who looks after it starts it again.
    eventually("every pod has a node", || {
        if let Some(end) = working.end() {
            assert_eq!(end.code(), Some(1), "it tells why, and does not crash");
            working = replica(&flood, 0, false, true);
        }
        (flood.bound().len() >= pods).then_some(())
    });
    flood.is_in_place();
    working.stop();
}

#[test]
fn pods_that_come_while_the_api_server_is_restarted_again_and_again_get_their_nodes() {
    let flood = Flood::new("restarts", 15);
    let working = replica(&flood, 0, false, false);
    std::thread::scope(|scope| {
        let creating = scope.spawn(|| {
            for number in 0..30 {
                let pod = flood.pod(&format!("p-{number}")).to_string();
                let created = || try_run("kubectl", &["apply", "-f", "-"], &pod).status.success().then_some(());
                eventually("a pod is created", created);
            }
        });
        for _ in 0..3 {
            hack("cluster", &["kill", "kube-apiserver"]);
            hack("cluster", &["start", "kube-apiserver"]);
        }
        creating.join().unwrap();
    });
    flood.until_bound(30);
    working.stop();
}
