use std::fs;
use std::time::Duration;
use std::time::Instant;

use serde_json::json;

use super::*;
use crate::Config;
use crate::PortMapping;
use crate::Protocol;
use crate::testing::Node;
use crate::testing::pod;

fn with_host_port(mut attachment: Attachment) -> Attachment {
    attachment.port_mappings.push(PortMapping {
        host_port: 8080,
        container_port: 80,
        protocol: Protocol::Tcp,
        host_ip: None,
    });
    attachment
}

#[tokio::test]
async fn add_runs_the_chain_in_order_and_del_in_reverse() {
    let node = Node::new();
    node.configure_abc("1.0.0");
    let cni = node.cni();
    let attached = cni.add(&pod("c1")).await.unwrap();
    assert_eq!(node.calls(), ["ADD a", "ADD b", "ADD c"]);
    assert_eq!((attached.network.as_str(), attached.ips), ("abc", vec!["10.9.0.5".parse().unwrap()]));
    assert_eq!(attached.raw["by"], "c");
    assert_eq!(node.cached(), ["abc-c1-eth0"]);

    // Each plugin gets the result of the one before.
    assert_eq!(node.stdin("a.ADD").get("prevResult"), None);
    assert_eq!(node.stdin("b.ADD")["prevResult"]["by"], "a");
    assert_eq!(node.stdin("c.ADD")["prevResult"]["by"], "b");

    cni.del(&pod("c1")).await.unwrap();
    assert_eq!(node.calls(), ["DEL c", "DEL b", "DEL a"]);
    for call in ["a.DEL", "b.DEL", "c.DEL"] {
        assert_eq!(node.stdin(call)["prevResult"]["by"], "c", "the final result, to all");
    }
    assert!(node.cached().is_empty());
}

#[tokio::test]
async fn plugins_get_their_configuration_and_the_pods_names() {
    let node = Node::new();
    node.configure_abc("0.4.0");
    let attachment = with_host_port(pod("c1"));
    node.cni().add(&attachment).await.unwrap();
    assert_eq!(node.stdin("a.ADD"), json!({"cniVersion": "0.4.0", "name": "abc", "type": "a", "own": {"key": [1]}}));
    let mut b = node.stdin("b.ADD");
    b.as_object_mut().unwrap().remove("prevResult");
    let mappings = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
    assert_eq!(
        b,
        json!({"cniVersion": "0.4.0", "name": "abc", "type": "b", "runtimeConfig": {"portMappings": mappings}})
    );
    let env = |name| node.env("b.ADD", name).unwrap();
    assert_eq!(env("CNI_COMMAND"), "ADD");
    assert_eq!(env("CNI_CONTAINERID"), "c1");
    assert_eq!(env("CNI_NETNS"), "/proc/self/ns/net");
    assert_eq!(env("CNI_IFNAME"), "eth0");
    assert_eq!(env("CNI_PATH"), node.path("bin").display().to_string());
    assert_eq!(
        env("CNI_ARGS"),
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=uid-1"
    );
}

#[tokio::test]
async fn an_add_that_fails_is_undone_in_reverse() {
    let node = Node::new();
    node.configure_abc("1.0.0");
    node.fail("b", "ADD");
    let cni = node.cni();
    let error = cni.add(&pod("c1")).await.unwrap_err();
    assert_eq!(node.calls(), ["ADD a", "ADD b", "DEL c", "DEL b", "DEL a"]);
    assert_eq!(node.stdin("c.DEL")["prevResult"]["by"], "a", "what was reached");
    assert_eq!(
        error.to_string(),
        "could not add container c1 to network abc: plugin b failed on ADD: b is broken (code 100)"
    );
    assert!(!error.may_have_leftovers());
    assert!(node.cached().is_empty());
    node.mend("b", "ADD");
    cni.add(&pod("c1")).await.unwrap();
}

#[tokio::test]
async fn an_undo_that_fails_goes_on_and_is_remembered() {
    let node = Node::new();
    node.configure_abc("1.0.0");
    node.fail("b", "ADD");
    node.fail("c", "DEL");
    let cni = node.cni();
    let error = cni.add(&pod("c1")).await.unwrap_err();
    assert_eq!(node.calls(), ["ADD a", "ADD b", "DEL c", "DEL b", "DEL a"]);
    assert!(error.may_have_leftovers());
    let text = error.to_string();
    assert!(text.contains("b is broken"), "{text}");
    assert!(text.contains("and could not undo it: plugin c failed on DEL: c is broken"), "{text}");
    assert_eq!(node.cached(), ["abc-c1-eth0"]);

    node.mend("c", "DEL");
    cni.del(&pod("c1")).await.unwrap();
    assert_eq!(node.calls(), ["DEL c", "DEL b", "DEL a"]);
    assert!(node.cached().is_empty());
}

#[tokio::test]
async fn a_result_that_cannot_be_used_is_undone() {
    for (answer, reason) in [
        ("you are welcome", "its result is not a JSON object"),
        ("[]", "its result is not a JSON object"),
        ("", "its result is not a JSON object"),
        (r#"{"ips":[]}"#, "it has no IP address"),
        ("{}", "it has no IP address"),
        (r#"{"ips":[{"address":"ten"}]}"#, "`ten` is not an address"),
    ] {
        let node = Node::new();
        node.configure_abc("1.0.0");
        node.answer("c", answer);
        let error = node.cni().add(&pod("c1")).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{answer}: {error}");
        assert_eq!(node.calls()[3..], ["DEL c", "DEL b", "DEL a"], "{answer}");
        assert!(node.cached().is_empty());
    }
}

#[tokio::test]
async fn a_plugin_that_hangs_is_killed_and_undone() {
    let node = Node::new();
    node.configure_abc("1.0.0");
    node.hang("b", "ADD");
    let cni = Cni::new(Config { plugin_timeout: Duration::from_millis(500), ..node.config() }, None);
    let start = Instant::now();
    let error = cni.add(&pod("c1")).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(8));
    assert!(error.to_string().contains("plugin b failed on ADD: killed"), "{error}");
    assert_eq!(node.calls()[2..], ["DEL c", "DEL b", "DEL a"]);
}

#[tokio::test]
async fn without_a_cache_nothing_is_started() {
    let node = Node::new();
    node.configure_abc("1.0.0");
    fs::write(node.path("cache"), "in the way").unwrap();
    let error = node.cni().add(&pod("c1")).await.unwrap_err();
    assert!(matches!(error, Error::Cache { .. }), "{error}");
    assert!(node.calls().is_empty());
}

#[tokio::test]
async fn a_cache_that_fails_after_the_plugins_is_undone() {
    let node = Node::new();
    node.configure_abc("1.0.0");
    // The last plugin puts a directory where the entry's draft goes.
    let results = node.path("cache/results").display().to_string();
    let sabotage = format!(
        r#"echo "$CNI_COMMAND c" >> {}; [ $CNI_COMMAND = DEL ] && exit; rm {results}/*; mkdir -p {results}/.abc-c1-eth0
        echo '{{"ips":[{{"address":"10.9.0.5/24"}}]}}'"#,
        node.path("calls/order").display()
    );
    crate::testing::install(&node.path("bin/c"), &sabotage);
    let error = node.cni().add(&pod("c1")).await.unwrap_err();
    assert!(error.to_string().contains("could not write"), "{error}");
    assert_eq!(node.calls(), ["ADD a", "ADD b", "ADD c", "DEL c", "DEL b", "DEL a"]);
    assert!(!error.may_have_leftovers());
}

#[tokio::test]
async fn host_ports_are_refused_when_no_plugin_can_open_them() {
    let node = Node::new();
    node.configure("10.conf", r#"{"cniVersion":"1.0.0","name":"plain","type":"a"}"#);
    node.install_plugin("a");
    let cni = node.cni();
    let error = cni.add(&with_host_port(pod("c1"))).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("could not open host port 8080: network plain has no plugin"), "{text}");
    assert!(node.calls().is_empty() && node.cached().is_empty());
    let mut without = with_host_port(pod("c1"));
    without.port_mappings[0].host_port = 0;
    cni.add(&without).await.unwrap();
    assert_eq!(node.stdin("a.ADD").get("runtimeConfig"), None);
}

#[tokio::test]
async fn add_needs_a_network_and_a_namespace() {
    let node = Node::new();
    let error = node.cni().add(&pod("c1")).await.unwrap_err();
    assert!(matches!(error, Error::NoNetwork { .. }), "{error}");
    node.configure_abc("1.0.0");
    fs::remove_file(node.path("bin/b")).unwrap();
    let error = node.cni().add(&pod("c1")).await.unwrap_err().to_string();
    assert!(error.contains("network abc needs the plugins b, which are not in"), "{error}");
    node.install_plugin("b");
    let homeless = Attachment { netns: None, ..pod("c1") };
    let error = node.cni().add(&homeless).await.unwrap_err();
    assert!(matches!(error, Error::Parameter { what: "network namespace", .. }), "{error}");
    assert!(node.calls().is_empty());
}

#[tokio::test]
async fn del_uses_the_configuration_of_the_add() {
    let node = Node::new();
    node.configure_abc("1.0.0");
    node.cni().add(&with_host_port(pod("c1"))).await.unwrap();
    node.calls();
    node.configure("00-new.conf", r#"{"cniVersion":"1.0.0","name":"new","type":"n"}"#);
    node.install_plugin("n");
    // As after a restart: the ports are not told again, and come from the cache.
    node.cni().del(&pod("c1")).await.unwrap();
    assert_eq!(node.calls(), ["DEL c", "DEL b", "DEL a"]);
    assert_eq!(node.stdin("b.DEL")["runtimeConfig"]["portMappings"][0]["hostPort"], 8080);
    assert!(node.cached().is_empty());
}

#[tokio::test]
async fn del_undoes_an_add_that_was_cut_off() {
    let node = Node::new();
    node.configure_abc("1.0.0");
    node.hang("b", "ADD");
    let cni = node.cni();
    let attachment = pod("c1");
    tokio::select! {
        _ = cni.add(&attachment) => panic!("it should hang"),
        () = async { while !node.path("calls/b.ADD.env").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        } } => {}
    }
    node.calls();
    fs::remove_file(node.path("net.d/10-abc.conflist")).unwrap();
    assert!(matches!(node.cni().check(&pod("c1")).await, Err(Error::NotAttached { .. })));
    node.cni().del(&pod("c1")).await.unwrap();
    assert_eq!(node.calls(), ["DEL c", "DEL b", "DEL a"]);
    assert_eq!(node.stdin("a.DEL").get("prevResult"), None);
    assert!(node.cached().is_empty());
}

#[tokio::test]
async fn del_after_a_rename_finds_both_attachments() {
    let node = Node::new();
    node.configure_abc("1.0.0");
    node.cni().add(&pod("c1")).await.unwrap();
    let file = fs::read_to_string(node.path("net.d/10-abc.conflist")).unwrap();
    node.configure("10-abc.conflist", &file.replace(r#""abc""#, r#""renamed""#));
    node.cni().add(&pod("c1")).await.unwrap();
    node.cni().add(&pod("c2")).await.unwrap();
    assert_eq!(node.cached(), ["abc-c1-eth0", "renamed-c1-eth0", "renamed-c2-eth0"]);
    node.calls();
    node.cni().del(&pod("c1")).await.unwrap();
    assert_eq!(node.calls(), ["DEL c", "DEL b", "DEL a", "DEL c", "DEL b", "DEL a"]);
    assert_eq!(node.cached(), ["renamed-c2-eth0"]);
}

#[tokio::test]
async fn del_stops_at_a_failure_and_can_be_repeated() {
    let node = Node::new();
    node.configure_abc("1.0.0");
    let cni = node.cni();
    cni.add(&pod("c1")).await.unwrap();
    node.fail("b", "DEL");
    node.calls();
    let error = cni.del(&pod("c1")).await.unwrap_err();
    assert_eq!(error.to_string(), "plugin b failed on DEL: b is broken (code 100)");
    assert_eq!(node.calls(), ["DEL c", "DEL b"]);
    assert_eq!(node.cached(), ["abc-c1-eth0"]);
    node.mend("b", "DEL");
    cni.del(&pod("c1")).await.unwrap();
    assert_eq!(node.calls(), ["DEL c", "DEL b", "DEL a"]);
    cni.del(&pod("c1")).await.unwrap();
}

#[tokio::test]
async fn del_of_an_unknown_container_asks_the_current_network() {
    let node = Node::new();
    node.cni().del(&pod("c1")).await.unwrap();
    node.configure_abc("1.0.0");
    fs::create_dir_all(node.path("cache/results")).unwrap();
    fs::write(node.path("cache/results/abc-c1-eth0"), "torn").unwrap();
    node.cni().del(&pod("c1")).await.unwrap();
    assert_eq!(node.calls(), ["DEL c", "DEL b", "DEL a"]);
    assert_eq!(node.stdin("a.DEL").get("prevResult"), None);
    assert!(node.cached().is_empty(), "the damaged entry has gone");
    fs::remove_file(node.path("bin/b")).unwrap();
    node.cni().del(&pod("c1")).await.unwrap();
}

#[tokio::test]
async fn del_without_its_namespace_gets_an_empty_one() {
    let node = Node::new();
    node.configure_abc("1.0.0");
    let cni = node.cni();
    fs::write(node.path("file"), "").unwrap();
    for netns in [None, Some(node.path("gone")), Some(node.path("file"))] {
        cni.add(&pod("c1")).await.unwrap();
        cni.del(&Attachment { netns: netns.clone(), ..pod("c1") }).await.unwrap();
        assert_eq!(node.env("a.DEL", "CNI_NETNS").as_deref(), Some(""), "{netns:?}");
    }
    cni.add(&pod("c1")).await.unwrap();
    cni.del(&pod("c1")).await.unwrap();
    assert_eq!(node.env("a.DEL", "CNI_NETNS").as_deref(), Some("/proc/self/ns/net"));
}

#[tokio::test]
async fn del_takes_container_unknown_for_done() {
    let node = Node::new();
    node.configure_abc("1.0.0");
    let cni = node.cni();
    cni.add(&pod("c1")).await.unwrap();
    fs::write(node.path("calls/b.DEL.fail"), r#"{"code":3,"msg":"never heard of it"}"#).unwrap();
    cni.del(&pod("c1")).await.unwrap();
    assert_eq!(node.calls()[3..], ["DEL c", "DEL b", "DEL a"]);
}

#[tokio::test]
async fn containers_are_attached_side_by_side() {
    let node = Node::new();
    node.configure_abc("1.0.0");
    // Each waits until the other has come.
    let calls = node.path("calls").display().to_string();
    let script = format!(
        r#"touch {calls}/here.$CNI_CONTAINERID
        while [ ! -e {calls}/here.c1 ] || [ ! -e {calls}/here.c2 ]; do sleep 0.01; done
        echo '{{"ips":[{{"address":"10.9.0.5/24"}}]}}'"#
    );
    crate::testing::install(&node.path("bin/a"), &script);
    let cni = node.cni();
    let (one, two) = (pod("c1"), pod("c2"));
    let (one, two) = tokio::join!(cni.add(&one), cni.add(&two));
    one.unwrap();
    two.unwrap();
    assert_eq!(node.cached(), ["abc-c1-eth0", "abc-c2-eth0"]);
}
