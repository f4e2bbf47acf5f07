//! Replicas and the API server are killed while many pods are being bound.

use crate::workload::Workload;
use harness::in_cluster::*;
use harness::replica::Replica;

/// The metrics address of a test's replica; each needs its own.
const ADDRESSES: [&str; 2] = ["127.0.0.1:10271", "127.0.0.1:10272"];

/// With `slowly` it sends one binding at a time, so that it can be killed in the middle.
fn replica(workload: &Workload, number: usize, slowly: bool, leader_elect: bool) -> Replica {
    Replica::start(&[
        "--scheduler-name",
        workload.name,
        "--lease-name",
        workload.name,
        &format!("--listen={}", ADDRESSES[number]),
        &format!("--max-bindings={}", if slowly { 1 } else { 100 }),
        &format!("--leader-elect={leader_elect}"),
    ])
}

/// How many pods a replica has bound, by its metrics.
fn bound_by(number: usize) -> usize {
    let page = http_get(ADDRESSES[number].parse().unwrap(), "/metrics").unwrap();
    let mut lines = page.lines().filter(|line| line.starts_with("scheduler_schedule_attempts_total"));
    let line = lines.find(|line| line.contains("result=\"scheduled\""));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as usize)
}

#[test]
fn a_killed_replica_is_replaced_and_every_pod_gets_its_node() {
    let workload = Workload::new("killed-replica", 15);
    let pods = workload.pods();
    let first = replica(&workload, 0, true, true);
    let holding = eventually("a holder of the lease", || lease_holder(workload.name));
    let second = replica(&workload, 1, false, true);
    let seen = workload.until_bound(1);
    drop(first);
    assert!(seen < pods, "all {pods} pods had a node before the replica could be killed");
    workload.is_in_place();
    assert_ne!(lease_holder(workload.name), Some(holding));
    assert!(bound_by(1) > 0);
    second.stop();
    assert_eq!(lease_holder(workload.name), None, "a replica that is stopped gives the lease back");
}

#[test]
fn two_active_replicas_bind_every_pod_once() {
    let workload = Workload::new("two-at-work", 15);
    let pods = workload.pods();
    let replicas = [0, 1].map(|number| replica(&workload, number, false, false));
    workload.until_bound(pods);
    // A replica may count its last binding a moment after the response.
    let count = || Some(bound_by(0) + bound_by(1)).filter(|bound| *bound >= pods);
    assert_eq!(eventually("all bindings are counted", count), pods);
    replicas.into_iter().for_each(Replica::stop);
    assert_eq!(events(&workload, "FailedScheduling"), 0);
}

/// The number of events about the pods with this reason.
fn events(workload: &Workload, reason: &str) -> usize {
    let about = format!("--field-selector=reason={reason}");
    kubectl(&["get", "events.events.k8s.io", "-n", workload.name, &about, "-o", "name"]).lines().count()
}

#[test]
fn every_pod_gets_its_node_when_the_api_server_is_killed() {
    let workload = Workload::new("killed-server", 15);
    let pods = workload.pods();
    let mut working = replica(&workload, 0, true, true);
    let seen = workload.until_bound(1);
    hack("cluster", &["kill", "kube-apiserver"]);
    assert!(seen < pods);
    hack("cluster", &["start", "kube-apiserver"]);
    // An outage longer than the lease makes the replica exit, as it must. Its supervisor, here the test, restarts it.
    eventually("every pod has a node", || {
        if let Some(status) = working.exit_status() {
            assert_eq!(status.code(), Some(1), "it exits with an error, not a crash");
            working = replica(&workload, 0, false, true);
        }
        (workload.bound().len() >= pods).then_some(())
    });
    workload.is_in_place();
    working.stop();
}

#[test]
fn pods_created_during_repeated_api_server_restarts_get_their_nodes() {
    let workload = Workload::new("restarts", 15);
    let working = replica(&workload, 0, false, false);
    std::thread::scope(|scope| {
        let creating = scope.spawn(|| {
            for number in 0..30 {
                let pod = workload.pod(&format!("p-{number}")).to_string();
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
    workload.until_bound(30);
    working.stop();
}
