//! Which namespaces a pod has, shares among its containers, or shares with the node.

use std::io::Read;
use std::io::Write;
use std::net::TcpStream;

use serde_json::json;

use crate::cluster::*;

/// The namespace of this process, which runs on the node.
fn of_the_node(kind: &str) -> String {
    std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string()
}

fn of_a_pod(pod: &Pod, container: &str, kind: &str) -> String {
    pod.exec(container, &format!("readlink /proc/self/ns/{kind}"))
}

fn page(host: &str, port: u16) -> Option<String> {
    let mut stream = TcpStream::connect((host, port)).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.contains("nginx").then_some(answer)
}

#[test]
fn containers_share_network_ipc_and_host_name_but_not_processes() {
    let _node = shared();
    let pod = Pod::of("own", json!([shell("one", UNTIL_TERM), shell("two", UNTIL_TERM)]));
    pod.ready();
    for kind in ["net", "ipc"] {
        assert_eq!(of_a_pod(&pod, "one", kind), of_a_pod(&pod, "two", kind), "{kind}");
        assert_ne!(of_a_pod(&pod, "one", kind), of_the_node(kind), "{kind}");
    }
    assert_eq!(pod.exec("one", "hostname"), pod.exec("two", "hostname"));
    for kind in ["pid", "mnt"] {
        assert_ne!(of_a_pod(&pod, "one", kind), of_a_pod(&pod, "two", kind), "{kind}");
        assert_ne!(of_a_pod(&pod, "one", kind), of_the_node(kind), "{kind}");
    }
    pod.delete();
}

#[test]
fn a_pod_with_host_network_ipc_and_pid_has_the_nodes_namespaces() {
    let _node = shared();
    let spec =
        json!({"hostNetwork": true, "hostPID": true, "hostIPC": true, "containers": [shell("main", UNTIL_TERM)]});
    let pod = Pod::create("host", spec);
    let status = pod.ready();
    assert_eq!(status["status"]["podIP"], status["status"]["hostIP"]);
    for kind in ["net", "pid", "ipc"] {
        assert_eq!(of_a_pod(&pod, "main", kind), of_the_node(kind), "{kind}");
    }
    assert!(pod.exec("main", "ps").contains("kubelet --config="), "the node's processes are seen");
    pod.delete();
}

#[test]
fn a_host_port_reaches_the_pod_until_the_pod_is_gone() {
    let _node = shared();
    let web = json!({"name": "web", "image": NGINX, "ports": [{"containerPort": 80, "hostPort": 18080}]});
    let pod = Pod::of("host-port", json!([web]));
    let status = pod.ready();
    let node = text(&status["status"]["hostIP"]).to_owned();
    eventually("nginx's page at the node's port", || page(&node, 18080));
    eventually("nginx's page at the node's port on loopback", || page("127.0.0.1", 18080));
    pod.delete();
    eventually("the port leads nowhere", || page(&node, 18080).is_none().then_some(()));
}

#[test]
fn containers_that_share_processes_see_and_signal_each_other() {
    let _node = shared();
    let spec = json!({"shareProcessNamespace": true, "containers": [
        shell("one", "trap 'echo got it' USR1; while true; do sleep 0.1; done"),
        shell("two", UNTIL_TERM),
    ]});
    let pod = Pod::create("share-processes", spec);
    pod.ready();
    assert_eq!(pod.exec("two", "cat /proc/1/comm"), "pause");
    pod.exec("two", "kill -USR1 $(grep -al 'got i[t]' /proc/[0-9]*/cmdline | cut -d/ -f3)");
    pod.logged("one", "got it");
    pod.delete();
}

#[test]
fn host_name_dns_and_host_aliases_are_as_specified() {
    let _node = shared();
    let spec = json!({
        "hostname": "alpha", "subdomain": "ocean",
        "hostAliases": [{"ip": "192.0.2.7", "hostnames": ["seven", "sieben"]}],
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["192.0.2.53"], "searches": ["sea.example"], "options": [{"name": "ndots", "value": "2"}]},
        "containers": [shell("main", UNTIL_TERM)],
    });
    let pod = Pod::create("names", spec);
    let status = pod.ready();
    assert_eq!(pod.exec("main", "hostname"), "alpha");
    let hosts = pod.exec("main", "cat /etc/hosts");
    let own = format!("{}\talpha.ocean.default.svc.cluster.local\talpha", text(&status["status"]["podIP"]));
    assert!(hosts.contains("192.0.2.7\tseven\tsieben") && hosts.contains(&own), "{hosts}");
    let resolver = pod.exec("main", "cat /etc/resolv.conf");
    assert_eq!(resolver, "search sea.example\nnameserver 192.0.2.53\noptions ndots:2");
    pod.delete();
}

#[test]
fn pods_reach_each_other_by_their_addresses() {
    let _node = shared();
    let web = Pod::of("reached", json!([{"name": "web", "image": NGINX}]));
    let client = Pod::of("reaches", json!([shell("main", UNTIL_TERM)]));
    let ip = text(&web.ready()["status"]["podIP"]).to_owned();
    client.ready();
    eventually("nginx's page in another pod", || {
        client.exec("main", &format!("wget -qO- http://{ip}/ || true")).contains("nginx").then_some(())
    });
    web.delete();
    client.delete();
}
