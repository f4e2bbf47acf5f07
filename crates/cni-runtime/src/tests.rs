use std::fs;

use super::testing::Node;
use super::*;

const PLUGINS: [&str; 4] = ["bridge", "host-local", "portmap", "firewall"];

fn name(status: &NetworkStatus) -> Option<&str> {
    status.network.as_ref().map(|network| network.name.as_str())
}

#[test]
fn without_a_configuration_the_status_says_what_is_missing() {
    let node = Node::new();
    let status = node.cni().status();
    assert!(!status.ready && status.network.is_none());
    assert_eq!(status.reason, "NetworkPluginNotReady");
    let dir = node.path("net.d");
    let expected =
        format!("no network configuration in {}, and no pod CIDR yet for the built-in network", dir.display());
    assert_eq!(status.message, expected);
    let off = Cni::new(Config { builtin_network: None, ..node.config() }, None);
    off.set_pod_cidr("10.1.0.0/24").unwrap();
    assert_eq!(off.status().message, format!("no network configuration in {}", dir.display()));
}

#[test]
fn the_network_is_ready_once_its_plugins_are_installed() {
    let node = Node::new();
    node.configure_abc("1.0.0");
    for plugin in ["a", "c"] {
        fs::remove_file(node.path("bin").join(plugin)).unwrap();
    }
    let cni = node.cni();
    let status = cni.status();
    assert!(!status.ready);
    let bin = node.path("bin").display().to_string();
    assert_eq!(status.message, format!("network abc needs the plugins a, c, which are not in {bin}"));
    for plugin in ["a", "c"] {
        node.install_plugin(plugin);
    }
    let status = cni.status();
    assert!(status.ready && status.message.is_empty() && status.reason.is_empty(), "{status:?}");
    let network = status.network.unwrap();
    assert_eq!(network.plugins, ["a", "b", "c"]);
    assert_eq!(network.cni_version, "1.0.0");
    assert_eq!(network.source, Source::File(node.path("net.d/10-abc.conflist")));
    assert!(node.calls().is_empty(), "nothing was run");
}

#[test]
fn the_built_in_network_serves_where_nothing_is_configured() {
    let node = Node::new();
    for plugin in ["bridge", "portmap", "firewall"] {
        node.install_plugin(plugin);
    }
    let cni = node.cni();
    cni.set_pod_cidr("10.1.0.0/24").unwrap();
    assert_eq!(cni.pod_cidr().as_deref(), Some("10.1.0.0/24"));
    assert!(cni.status().message.contains("needs the plugins host-local"), "{:?}", cni.status());
    node.install_plugin("host-local");
    let status = cni.status();
    assert!(status.ready && status.warnings.is_empty(), "{status:?}");
    assert_eq!(name(&status), Some("dockside"));

    node.configure("10.conf", r#"{"cniVersion":"1.0.0","name":"theirs","type":"bridge"}"#);
    cni.reload();
    assert_eq!(name(&cni.status()), Some("theirs"));
    assert_eq!(cni.status().warnings.len(), 1, "no firewall: {:?}", cni.status());
    // An invalid configuration is not replaced by the built-in network.
    node.configure("10.conf", r#"{"cniVersion":"1.0.0","name":"theirs"}"#);
    cni.reload();
    assert!(!cni.status().ready && cni.status().message.contains("10.conf"), "{:?}", cni.status());
    fs::remove_file(node.path("net.d/10.conf")).unwrap();
    cni.reload();
    assert_eq!(name(&cni.status()), Some("dockside"));
}

#[test]
fn a_pod_cidr_that_cannot_be_used_leaves_the_former_one() {
    let node = Node::new();
    for plugin in PLUGINS {
        node.install_plugin(plugin);
    }
    let cni = Cni::new(node.config(), Some("10.1.0.0/24".parse().unwrap()));
    let error = cni.set_pod_cidr("10.2.0.0").unwrap_err();
    assert!(error.to_string().starts_with("could not use pod CIDR `10.2.0.0`"), "{error}");
    assert_eq!(cni.pod_cidr().as_deref(), Some("10.1.0.0/24"));
    assert!(cni.status().ready);
}

#[test]
fn files_passed_over_and_missing_address_plugins_are_warned_about() {
    let node = Node::new();
    node.configure("00-broken.conflist", "{");
    node.configure("10.conf", r#"{"cniVersion":"1.0.0","name":"n","type":"a","ipam":{"type":"elsewhere"}}"#);
    node.install_plugin("a");
    let status = node.cni().status();
    assert!(status.ready);
    assert_eq!(status.warnings.len(), 2, "{status:?}");
    assert!(status.warnings[0].contains("00-broken.conflist: it is not JSON"), "{status:?}");
    assert!(status.warnings[1].contains("assigns addresses with elsewhere"), "{status:?}");
}
