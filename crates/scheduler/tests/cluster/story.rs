//! The story's pod, which asks for a person, by each of the tools that person has. (By curl: hack/first-job.)

use std::net::SocketAddr;

use crate::support::*;
use harness::replica::Replica;

/// Makes the pod, waits until nginx answers after `bound` has seen to its node, and takes the pod away again.
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
fn the_storys_pod_gets_its_node_by_each_tool() {
    first_job(|| drop(scheduler(&["bind", "first-job", &node()])));
    first_job(|| drop(run_with(PROGRAM, &["assist", "--plain"], "1\n1\n")));
    let replica = Replica::start(&["--leader-elect=false", "--listen=127.0.0.1:0"]);
    first_job(|| {});
    replica.stop();
}
