//! Changes to a pod's network while Dockside was down.

use std::fs;
use std::os::unix::fs::symlink;

use dockside::proto::*;

use super::ALONE;
use harness::*;

/// Unpins a pod's network namespace, as `ip netns delete` does.
fn unpin(path: &str) {
    run("umount", &[path]);
    fs::remove_file(path).unwrap();
}

/// The only pinned network namespace.
fn only_pin() -> String {
    let mut names = fs::read_dir("/run/netns").unwrap();
    let path = names.next().unwrap().unwrap().path().display().to_string();
    assert!(names.next().is_none());
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_whose_pause_container_was_restarted_by_hand_is_not_ready() {
    let _alone = ALONE.lock().await;
    for pinned in [true, false] {
        let mut node = Node::start(&[]).await;
        let mut runtime = node.runtime().await;
        let sandbox = run_pod(&mut runtime, &pod("again")).await;
        if pinned {
            docker(&["restart", "-t", "1", &sandbox]);
        } else {
            // Like after a restart of the machine.
            node.kill();
            unpin(&only_pin());
            docker(&["restart", "-t", "1", &sandbox]);
            node.spawn();
            node.wait_ready().await;
            runtime = node.runtime().await;
        }
        eventually("the sandbox without a network is not ready", async || {
            (pod_status(&mut runtime, &sandbox).await.state() == PodSandboxState::SandboxNotready).then_some(())
        })
        .await;
        remove_pod(&mut runtime, &sandbox).await;
        nothing_left(&node).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_pin_of_a_pods_network_namespace_is_restored() {
    let _alone = ALONE.lock().await;
    let mut node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let sandbox = run_pod(&mut runtime, &pod("let-go")).await;
    let before = pod_status(&mut runtime, &sandbox).await;
    node.kill();
    let pin = only_pin();
    unpin(&pin);
    node.spawn();
    node.wait_ready().await;
    runtime = node.runtime().await;
    assert_eq!(pod_status(&mut runtime, &sandbox).await, before);
    let name = pin.rsplit('/').next().unwrap();
    let addresses = run("ip", &["netns", "exec", name, "ip", "address"]);
    assert!(addresses.contains(&before.network.unwrap().ip), "{addresses}");
    remove_pod(&mut runtime, &sandbox).await;
    nothing_left(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_attachments_are_detached_except_those_of_another_dockside() {
    let _alone = ALONE.lock().await;
    let mut node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let lost = run_pod(&mut runtime, &pod("lost")).await;
    let pin = only_pin();
    let kept = run_pod(&mut runtime, &pod("kept")).await;
    let before = pod_status(&mut runtime, &kept).await;
    // Another Dockside with the same network, attachment cache and namespace names, but other records.
    let mut other = Node::prepare(&[]);
    symlink(node.dir.join("cni"), other.dir.join("cni")).unwrap();
    other.spawn();
    other.wait_ready().await;
    eventually("the other one has reconciled its network", async || {
        other.log().contains("looked for stale attachments").then_some(())
    })
    .await;
    assert!(fs::exists(&pin).unwrap());
    for id in [&lost, &kept] {
        assert_eq!(pod_status(&mut runtime, id).await.state(), PodSandboxState::SandboxReady);
    }
    // The pod and its record are lost, so only the attachment cache knows its address.
    node.kill();
    docker(&["rm", "-f", &lost]);
    for entry in fs::read_dir(node.dir.join("state/sandboxes")).unwrap() {
        let path = entry.unwrap().path();
        if fs::read_to_string(&path).unwrap().contains(&lost) {
            fs::remove_file(path).unwrap();
        }
    }
    node.spawn();
    node.wait_ready().await;
    eventually("the namespace is gone", async || (!fs::exists(&pin).unwrap()).then_some(())).await;
    runtime = node.runtime().await;
    assert_eq!(pod_status(&mut runtime, &kept).await, before);
    let names = fs::read_dir(node.dir.join("cni/results")).unwrap().count();
    assert_eq!(names, 1, "only what is in use is in the cache");
    remove_pod(&mut runtime, &kept).await;
    nothing_left(&node).await;
}
