//! deploy/scheduler.yaml, applied as a user does.

use crate::support::*;
use harness::replica::Replica;

const NAME: &str = "deployed";
/// The service address of the API server, and the address it listens on.
const SERVICE: &str = "10.96.0.1";

/// Replaces kube-proxy, which this cluster does not run.
fn lead_service_to_api_server() {
    let node = kubectl(&["get", "node", &node(), "-o", "jsonpath={.status.addresses[0].address}"]);
    let to = format!("{node}:6443");
    let rule = ["-d", SERVICE, "-p", "tcp", "--dport", "443", "-j", "DNAT", "--to-destination", &to];
    run("iptables", &[&["-t", "nat", "-A", "PREROUTING"], &rule[..]].concat());
}

fn holder() -> Option<String> {
    lease_holder("dockside-scheduler")
}

#[test]
fn two_replicas_in_the_cluster_place_pods_with_the_rights_of_the_manifest() {
    hack("scheduler-image", &[&scheduler_path()]);
    lead_service_to_api_server();
    let manifest = std::fs::read_to_string(format!("{}/deploy/scheduler.yaml", environment("REPO"))).unwrap();
    // Not the scheduler name that other tests use by hand.
    let command = "command: [dockside-scheduler, run]";
    assert!(manifest.contains(command));
    let manifest = manifest.replace(command, &format!("command: [dockside-scheduler, run, --scheduler-name={NAME}]"));
    run_with("kubectl", &["apply", "-f", "-"], &manifest);
    // The pods of the schedulers need a node first.
    let first = ["--scheduler-name=default-scheduler", "--leader-elect=false", "--listen=127.0.0.1:0"];
    let first = Replica::start(&first);
    let deployment = "deployment/dockside-scheduler";
    let limit = format!("--timeout={}s", DEADLINE.as_secs());
    kubectl(&["rollout", "status", "-n", "kube-system", deployment, &limit]);
    first.stop();

    create("by-the-cluster", NAME, "50m");
    runs_on_the_node("by-the-cluster");
    // An unschedulable pod needs the other rights: events, conditions, and preemption.
    create("fits-nowhere", NAME, "1000");
    let condition = || {
        let condition = &pod("fits-nowhere")["status"]["conditions"][0];
        condition["message"].as_str().filter(|message| message.contains("Insufficient cpu")).map(drop)
    };
    eventually("a condition", condition);
    let about = "--field-selector=regarding.name=fits-nowhere,reason=FailedScheduling";
    let event =
        || Some(kubectl(&["get", "events.events.k8s.io", about, "-o", "name"])).filter(|event| !event.is_empty());
    eventually("an event", event);
    kubectl(&["delete", "pod", "fits-nowhere", "--wait=false"]);

    // The lease holder's identity begins with the pod's name.
    let before = eventually("a holder of the lease", holder);
    let leader = before.split('_').next().unwrap();
    kubectl(&["delete", "pod", "-n", "kube-system", leader, "--wait=false"]);
    create("by-the-other", NAME, "50m");
    runs_on_the_node("by-the-other");
    assert_ne!(holder(), Some(before));

    let all = ["logs", "-n", "kube-system", "-l", "app.kubernetes.io/name=dockside-scheduler", "--tail=-1"];
    let said = kubectl(&all);
    assert!(!said.contains("forbidden"), "a right is missing:\n{said}");
    run_with("kubectl", &["delete", "-f", "-", "--wait=false"], &manifest);
}
