//! Pods on the built-in network: addresses, host ports, and named network namespaces.

use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use dockside::proto::*;
use tonic::Code;

use crate::assert_refused;
use crate::inspect::*;
use crate::pods::netns;
use crate::pods::texts;
use crate::runtime;
use harness::*;

/// The box's own address, which is on no pod network.
const NODE_IP: &str = "198.51.100.10";

async fn ip_of(runtime: &mut Runtime, id: &str) -> IpAddr {
    pod_status(runtime, id).await.network.unwrap().ip.parse().unwrap()
}

fn nginx() -> ContainerConfig {
    let image = ImageSpec { image: "nginx:1.14".to_owned(), ..Default::default() };
    ContainerConfig { image: Some(image), command: Vec::new(), ..container("nginx", "") }
}

fn port(protocol: Protocol, container_port: i32, host_port: i32) -> PortMapping {
    PortMapping { protocol: protocol.into(), container_port, host_port, host_ip: String::new() }
}

fn with_ports(name: &str, port_mappings: Vec<PortMapping>) -> PodSandboxConfig {
    PodSandboxConfig { port_mappings, ..pod(name) }
}

async fn try_run(runtime: &mut Runtime, config: &PodSandboxConfig) -> Result<String, tonic::Status> {
    let request = RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: String::new() };
    Ok(runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id)
}

fn at(host: &str, port: u16) -> SocketAddr {
    SocketAddr::new(host.parse().unwrap(), port)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_serves_at_its_address_and_its_namespace_can_be_entered_by_name() {
    let mut runtime = runtime().await;
    let config = pod("web");
    let id = run_pod(&mut runtime, &config).await;
    let ip = ip_of(&mut runtime, &id).await;
    run_container(&mut runtime, &id, &config, &nginx()).await;
    nginx_answers(SocketAddr::new(ip, 80)).await;
    let netns = netns(&mut runtime, &id).await.unwrap();
    assert_eq!(netns.parent(), Some(Path::new("/run/netns")));
    let name = netns.file_name().unwrap().to_str().unwrap();
    let addresses = run("ip", &["netns", "exec", name, "ip", "-o", "address"]);
    let on = |interface: &str, text: &str| {
        addresses.lines().any(|line| line.contains(&format!(" {interface} ")) && line.contains(text))
    };
    assert!(on("eth0", &format!("inet {ip}/16")), "{addresses}");
    assert!(on("lo", "inet 127.0.0.1/8"), "{addresses}");
    let links = run("ip", &["netns", "exec", name, "ip", "-o", "link"]);
    assert!(links.lines().any(|line| line.contains("lo:") && line.contains("UP")), "{links}");
    let route = run("ip", &["netns", "exec", name, "ip", "route"]);
    assert!(route.contains("default via 10.88.0.1 dev eth0"), "{route}");
    remove_pod(&mut runtime, &id).await;
    assert!(!run("ip", &["netns", "list"]).contains(name));
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_reach_each_other_and_themselves() {
    let mut runtime = runtime().await;
    let (server_config, client_config) = (pod("server"), pod("client"));
    let server = run_pod(&mut runtime, &server_config).await;
    let client = run_pod(&mut runtime, &client_config).await;
    let ip = ip_of(&mut runtime, &server).await;
    run_container(&mut runtime, &server, &server_config, &nginx()).await;
    nginx_answers(SocketAddr::new(ip, 80)).await;
    let caller = run_container(&mut runtime, &client, &client_config, &container("main", UNTIL_TERM)).await;
    assert!(inside(&caller, &format!("timeout 10 wget -qO- http://{ip}/")).contains("Welcome to nginx!"));
    // Containers of one pod reach each other on localhost.
    let neighbour = run_container(&mut runtime, &server, &server_config, &container("near", UNTIL_TERM)).await;
    for name in ["localhost", "127.0.0.1", &ip.to_string()] {
        assert!(
            inside(&neighbour, &format!("timeout 10 wget -qO- http://{name}/")).contains("Welcome to nginx!"),
            "{name}"
        );
    }
    remove_pod(&mut runtime, &server).await;
    remove_pod(&mut runtime, &client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tcp_host_port_reaches_the_pod_until_it_is_stopped() {
    let mut runtime = runtime().await;
    let config = with_ports("tcp-port", vec![port(Protocol::Tcp, 80, 12080), port(Protocol::Tcp, 443, 0)]);
    let id = run_pod(&mut runtime, &config).await;
    run_container(&mut runtime, &id, &config, &nginx()).await;
    for host in ["127.0.0.1", NODE_IP] {
        nginx_answers(at(host, 12080)).await;
    }
    // It is reachable from another pod too.
    let other_config = pod("tcp-port-client");
    let other = run_pod(&mut runtime, &other_config).await;
    let caller = run_container(&mut runtime, &other, &other_config, &container("main", UNTIL_TERM)).await;
    assert!(inside(&caller, &format!("timeout 10 wget -qO- http://{NODE_IP}:12080/")).contains("Welcome to nginx!"));
    runtime.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: id.clone() }).await.unwrap();
    let error = http_get(at("127.0.0.1", 12080), "/").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
    // The port is available to the next pod.
    let next = with_ports("tcp-port-next", vec![port(Protocol::Tcp, 80, 12080)]);
    let next_id = run_pod(&mut runtime, &next).await;
    run_container(&mut runtime, &next_id, &next, &nginx()).await;
    nginx_answers(at("127.0.0.1", 12080)).await;
    for id in [id, other, next_id] {
        remove_pod(&mut runtime, &id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_udp_host_port_reaches_the_pod() {
    let mut runtime = runtime().await;
    // The same number in TCP and UDP is not a conflict.
    let ports = vec![port(Protocol::Udp, 53, 12053), port(Protocol::Tcp, 80, 12053)];
    let config = with_ports("udp-port", ports);
    let id = run_pod(&mut runtime, &config).await;
    let netns = netns(&mut runtime, &id).await.unwrap();
    let echo = std::thread::spawn(move || {
        let pod = std::fs::File::open(netns).unwrap();
        nix::sched::setns(pod, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let socket = UdpSocket::bind("0.0.0.0:53").unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut buffer = [0; 64];
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        socket.send_to(&[b"echo ", &buffer[..length]].concat(), from).unwrap();
    });
    let client = UdpSocket::bind("0.0.0.0:0").unwrap();
    client.connect((NODE_IP, 12053)).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut buffer = [0; 64];
    let answer = eventually("an answer by UDP", async || {
        client.send(b"hello").ok()?;
        client.recv(&mut buffer).ok().map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned())
    })
    .await;
    assert_eq!(answer, "echo hello");
    echo.join().unwrap();
    run_container(&mut runtime, &id, &config, &nginx()).await;
    nginx_answers(at(NODE_IP, 12053)).await;
    remove_pod(&mut runtime, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_port_with_a_host_ip_is_on_that_address_only() {
    let mut runtime = runtime().await;
    let only_there = PortMapping { host_ip: NODE_IP.to_owned(), ..port(Protocol::Tcp, 80, 12081) };
    let config = with_ports("one-address", vec![only_there]);
    let id = run_pod(&mut runtime, &config).await;
    run_container(&mut runtime, &id, &config, &nginx()).await;
    nginx_answers(at(NODE_IP, 12081)).await;
    let error = TcpStream::connect(at("127.0.0.1", 12081)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
    remove_pod(&mut runtime, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_port_is_refused_and_host_port_zero_is_ignored() {
    let mut runtime = runtime().await;
    for (wrong, field) in [
        (port(Protocol::Tcp, 80, 65536), "port_mappings.host_port"),
        (port(Protocol::Tcp, 80, -1), "port_mappings.host_port"),
        (port(Protocol::Tcp, 0, 12082), "port_mappings.container_port"),
        (PortMapping { host_ip: "nowhere".to_owned(), ..port(Protocol::Tcp, 80, 12082) }, "port_mappings.host_ip"),
    ] {
        let refused = try_run(&mut runtime, &with_ports("bad-port", vec![wrong])).await;
        assert_refused(refused, Code::InvalidArgument, &["default/bad-port", field]);
    }
    // A kubelet also sends container ports without a host port.
    let config = with_ports("no-host-port", vec![port(Protocol::Tcp, 80, 0), port(Protocol::Sctp, 0, 0)]);
    let rules_before = run("iptables-save", &["-t", "nat"]);
    let id = run_pod(&mut runtime, &config).await;
    let rules = run("iptables-save", &["-t", "nat"]);
    let of_this_pod: Vec<&str> = rules.lines().filter(|rule| rule.contains(&id) && rule.contains("DNAT")).collect();
    assert_eq!(of_this_pod, Vec::<&str>::new(), "before: {rules_before}");
    remove_pod(&mut runtime, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_bandwidth_is_refused_with_its_annotation() {
    let mut runtime = runtime().await;
    let annotations = texts(&[("kubernetes.io/ingress-bandwidth", "fast")]);
    let config = PodSandboxConfig { annotations, ..pod("bad-bandwidth") };
    let refused = try_run(&mut runtime, &config).await;
    assert_refused(
        refused,
        Code::InvalidArgument,
        &["default/bad-bandwidth", "kubernetes.io/ingress-bandwidth", "fast"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_whose_pause_process_was_killed_is_not_ready_and_releases_its_address() {
    let mut runtime = runtime().await;
    let config = pod("pause-killed");
    let id = run_pod(&mut runtime, &config).await;
    let ip = ip_of(&mut runtime, &id).await;
    let lease = Path::new("/var/lib/cni/networks/dockside").join(ip.to_string());
    assert!(std::fs::read_to_string(&lease).unwrap().contains(&id));
    docker(&["kill", &id]);
    eventually("the sandbox is not ready", async || {
        (pod_status(&mut runtime, &id).await.state() == PodSandboxState::SandboxNotready).then_some(())
    })
    .await;
    // The pinned namespace outlives the process, so DEL can release the address.
    assert!(netns(&mut runtime, &id).await.unwrap().exists());
    remove_pod(&mut runtime, &id).await;
    assert!(!std::fs::read_to_string(&lease).is_ok_and(|owner| owner.contains(&id)), "{ip} is still taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_can_be_removed_without_its_network_namespace() {
    let mut runtime = runtime().await;
    for (name, replace) in [("netns-gone", false), ("netns-replaced", true)] {
        let config = pod(name);
        let id = run_pod(&mut runtime, &config).await;
        let ip = ip_of(&mut runtime, &id).await;
        let netns = netns(&mut runtime, &id).await.unwrap();
        docker(&["kill", &id]);
        run("umount", &[netns.to_str().unwrap()]);
        std::fs::remove_file(&netns).unwrap();
        if replace {
            std::fs::write(&netns, "a plain file").unwrap();
        }
        remove_pod(&mut runtime, &id).await;
        assert!(!netns.exists(), "{}", netns.display());
        let lease = Path::new("/var/lib/cni/networks/dockside").join(ip.to_string());
        assert!(!std::fs::read_to_string(&lease).is_ok_and(|owner| owner.contains(&id)), "{ip} is still taken");
        let again = run_pod(&mut runtime, &config).await;
        remove_pod(&mut runtime, &again).await;
    }
}
