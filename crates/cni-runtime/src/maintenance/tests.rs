use std::fs;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use super::*;
use crate::testing::Node;
use crate::testing::pod;

fn key(container_id: &str) -> AttachmentKey {
    AttachmentKey { container_id: container_id.to_owned(), ifname: "eth0".to_owned() }
}

#[tokio::test]
async fn old_versions_are_not_asked_what_they_do_not_know() {
    let node = Node::new();
    node.configure_abc("0.3.1");
    let cni = node.cni();
    cni.add(&pod("c1")).await.unwrap();
    node.calls();
    assert!(!cni.check(&pod("c1")).await.unwrap());
    cni.plugin_status().await.unwrap();
    cni.gc(|| vec![key("c1")]).await.unwrap();
    assert!(node.calls().is_empty());
    cni.del(&pod("c1")).await.unwrap();
    assert_eq!(node.stdin("a.DEL").get("prevResult"), None);
}

#[tokio::test]
async fn check_asks_in_order_with_the_result_of_the_add() {
    let node = Node::new();
    node.configure_abc("1.0.0");
    let cni = node.cni();
    assert!(matches!(cni.check(&pod("c1")).await, Err(Error::NotAttached { .. })));
    cni.add(&pod("c1")).await.unwrap();
    node.calls();
    assert!(cni.check(&pod("c1")).await.unwrap());
    assert_eq!(node.calls(), ["CHECK a", "CHECK b", "CHECK c"]);
    assert_eq!(node.stdin("a.CHECK")["prevResult"]["by"], "c");
    node.fail("b", "CHECK");
    let error = cni.check(&pod("c1")).await.unwrap_err();
    assert!(error.to_string().contains("plugin b failed on CHECK"), "{error}");
    assert_eq!(node.calls(), ["CHECK a", "CHECK b"]);
}

#[tokio::test]
async fn check_and_gc_respect_a_network_that_forbids_them() {
    let node = Node::new();
    let text = r#"{"cniVersion":"1.1.0","name":"n","disableCheck":true,"disableGC":"true","plugins":[{"type":"a"}]}"#;
    node.configure("10.conflist", text);
    node.install_plugin("a");
    let cni = node.cni();
    cni.add(&pod("c1")).await.unwrap();
    node.calls();
    assert!(!cni.check(&pod("c1")).await.unwrap());
    cni.gc(Vec::new).await.unwrap();
    assert!(node.calls().is_empty());
    assert_eq!(node.cached(), ["n-c1-eth0"]);
}

#[tokio::test]
async fn status_names_the_plugin_that_could_not_serve() {
    let node = Node::new();
    node.configure_abc("1.1.0");
    let cni = node.cni();
    cni.plugin_status().await.unwrap();
    assert_eq!(node.calls(), ["STATUS a", "STATUS b", "STATUS c"]);
    assert_eq!(node.env("a.STATUS", "CNI_CONTAINERID"), None);
    fs::write(node.path("calls/b.STATUS.fail"), r#"{"code":50,"msg":"out of addresses"}"#).unwrap();
    let Error::Plugin(error) = cni.plugin_status().await.unwrap_err() else { panic!() };
    assert_eq!((error.plugin.as_str(), error.code()), ("b", Some(50)));
    assert_eq!(node.calls(), ["STATUS a", "STATUS b"]);
}

#[tokio::test]
async fn gc_detaches_what_is_stale_and_names_what_is_valid() {
    let node = Node::new();
    node.configure_abc("1.1.0");
    let cni = node.cni();
    for id in ["c1", "c2", "c3"] {
        cni.add(&pod(id)).await.unwrap();
    }
    node.calls();
    node.fail("b", "GC");
    let error = cni.gc(|| vec![key("c1"), key("c3")]).await.unwrap_err();
    assert!(error.to_string().contains("plugin b failed on GC"), "{error}");
    assert_eq!(node.calls(), ["DEL c", "DEL b", "DEL a", "GC a", "GC b", "GC c"]);
    assert_eq!(node.env("a.DEL", "CNI_CONTAINERID").as_deref(), Some("c2"));
    assert_eq!(node.env("a.DEL", "CNI_NETNS").as_deref(), Some(""), "a path with a process number is not trusted");
    let valid: Value = json!([{"containerID": "c1", "ifname": "eth0"}, {"containerID": "c3", "ifname": "eth0"}]);
    let gc = node.stdin("c.GC");
    assert_eq!((&gc["cni.dev/valid-attachments"], &gc["cni.dev/attachments"]), (&valid, &valid));
    assert_eq!(node.cached(), ["abc-c1-eth0", "abc-c3-eth0"]);
}

#[tokio::test]
async fn gc_and_attaching_exclude_each_other() {
    let node = Node::new();
    node.configure_abc("1.1.0");
    node.hang("a", "ADD");
    let cni = node.cni();
    let attachment = pod("c1");
    tokio::select! {
        _ = cni.add(&attachment) => panic!("it should hang"),
        outcome = async {
            while !node.path("calls/a.ADD.env").exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            cni.gc(|| panic!("asked while an ADD is under way")).await
        } => assert!(matches!(outcome, Err(Error::Busy)), "{outcome:?}"),
    }
    cni.gc(Vec::new).await.unwrap();
    assert!(node.cached().is_empty());
}
