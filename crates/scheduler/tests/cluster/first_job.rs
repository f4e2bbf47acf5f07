//! The pod of docs/first-job.md, which waits for a human scheduler, bound with each tool. (With curl: hack/first-job.)

use std::net::SocketAddr;

use crate::support::*;
use harness::replica::Replica;

/// Creates the pod, calls `bound` to bind it, waits until nginx answers, and deletes the pod.
fn first_job(bound: impl FnOnce()) {
    let manifest = format!("{}/examples/first-job.yaml", environment("REPO"));
    kubectl(&["apply", "-f", &manifest]);
    bound();
    let patience = format!("--timeout={}s", DEADLINE.as_secs());
    kubectl(&["wait", "--for=condition=Ready", "pod/first-job", &patience]);
    let pod = pod("first-job");
    assert_eq!(pod["spec"]["nodeName"], node());
    let address = SocketAddr::new(pod["status"]["podIP"].as_str().unwrap().parse().unwrap(), 80);
    let page = http_get(address, "/").unwrap();
    assert!(page.contains("Welcome to nginx"), "{page}");
    kubectl(&["delete", "pod", "first-job", &patience]);
}

#[test]
fn the_first_job_gets_its_node_from_each_tool() {
    first_job(|| drop(scheduler(&["bind", "first-job", &node()])));
    first_job(|| drop(run_with(&scheduler_path(), &["assist", "--plain"], "1\n1\n")));
    let replica = Replica::start(&["--leader-elect=false", "--listen=127.0.0.1:0"]);
    first_job(|| {});
    replica.stop();
}
