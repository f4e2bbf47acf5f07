//! The room with the reference plugins, on another machine.

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::testing::Pause;
use crate::testing::inside;
use crate::testing::install;
use crate::testing::on_another_machine;
use crate::testing::run;

const PLUGINS: [&str; 5] = ["bridge", "host-local", "portmap", "firewall", "bandwidth"];

fn config() -> Config {
    Config {
        conf_dir: "/run/net.d".into(),
        plugin_timeout: Duration::from_secs(60),
        builtin_network: Some(crate::testing::builtin()),
        ..Config::default()
    }
}

fn with_plugins(name: &str, story: impl FnOnce(&tokio::runtime::Runtime)) {
    let runner = Runner::new(Config::default().bin_dirs, Duration::ZERO);
    if let Some(missing) = PLUGINS.iter().find(|plugin| runner.find(plugin).is_none()) {
        eprintln!("skipped {name}: the plugin {missing} is not installed");
        return;
    }
    on_another_machine(module_path!(), name, || {
        story(&tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap());
    });
}

/// A pod with a pinned namespace.
struct Pod {
    pause: Option<Pause>,
    attachment: Attachment,
}

impl Pod {
    fn start(cni: &Cni, name: &str) -> Pod {
        let pause = Pause::start();
        let netns = cni.pin_netns(name, pause.pid()).unwrap();
        // Docker does this for containers without a network.
        run("ip", &["netns", "exec", name, "ip", "link", "set", "lo", "up"]);
        let attachment = Attachment {
            container_id: name.to_owned(),
            netns: Some(netns),
            pod_name: name.to_owned(),
            pod_namespace: "default".to_owned(),
            ..Attachment::default()
        };
        Pod { pause: Some(pause), attachment }
    }

    fn netns(&self) -> PathBuf {
        self.attachment.netns.clone().unwrap()
    }

    /// Greets everybody who connects to a port of the pod.
    fn greet(&self, port: u16) {
        let any: IpAddr = "::".parse().unwrap();
        let listener = inside(&self.netns(), move || TcpListener::bind((any, port)).unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                stream.unwrap().write_all(b"hello").unwrap();
            }
        });
    }
}

fn hear(address: IpAddr, port: u16) -> String {
    let address = SocketAddr::new(address, port);
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn reserved() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/var/lib/cni/networks/dockside") else {
        return Vec::new();
    };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.parse::<IpAddr>().is_ok()).collect()
}

fn assert_nothing_left() {
    assert_eq!(reserved(), Vec::<String>::new());
    assert_eq!(fs::read_dir("/var/lib/cni/results").unwrap().count(), 0);
    assert!(!run("ip", &["link"]).contains("veth"));
    for program in ["iptables-save", "ip6tables-save"] {
        let rules = run(program, &[]);
        for trace in ["10.88.", "fd00:88", "CNI-DN", "8080"] {
            assert!(!rules.contains(trace), "{rules}");
        }
    }
}

/// As Docker sets it.
fn drop_forwarding() {
    run("iptables", &["-P", "FORWARD", "DROP"]);
    run("ip6tables", &["-P", "FORWARD", "DROP"]);
}

#[test]
fn pods_on_the_built_in_network_reach_each_other_and_leave_nothing() {
    let name = "pods_on_the_built_in_network_reach_each_other_and_leave_nothing";
    with_plugins(name, |runtime| {
        drop_forwarding();
        let cni = Cni::new(config(), None);
        assert!(!cni.status().ready);
        cni.set_pod_cidr("10.88.1.0/24").unwrap();
        let status = cni.status();
        assert!(status.ready && status.warnings.is_empty(), "{status:?}");
        assert_eq!(status.network.unwrap().source, Source::BuiltIn);

        let (mut one, mut two) = (Pod::start(&cni, "one"), Pod::start(&cni, "two"));
        one.attachment.port_mappings =
            vec![PortMapping { host_port: 8080, container_port: 80, protocol: Protocol::Tcp, host_ip: None }];
        one.attachment.bandwidth = Some(Bandwidth {
            ingress_rate: 80_000_000,
            ingress_burst: 8_000_000,
            egress_rate: 80_000_000,
            egress_burst: 8_000_000,
        });
        let first = runtime.block_on(cni.add(&one.attachment)).unwrap();
        let second = runtime.block_on(cni.add(&two.attachment)).unwrap();
        assert_eq!(first.ips, ["10.88.1.2".parse::<IpAddr>().unwrap()]);
        assert_eq!(second.ips, ["10.88.1.3".parse::<IpAddr>().unwrap()]);
        assert!(run("ip", &["-o", "addr", "show", "cni0"]).contains("10.88.1.1/24"));
        assert!(run("ip", &["netns", "exec", "one", "ip", "-o", "addr"]).contains("eth0 "));

        let address = first.ips[0];
        one.greet(80);
        assert_eq!(inside(&two.netns(), move || hear(address, 80)), "hello", "from pod to pod");
        assert_eq!(hear("10.88.1.1".parse().unwrap(), 8080), "hello", "from the node by the host port");
        assert!(!runtime.block_on(cni.check(&one.attachment)).unwrap(), "it is not asked");

        runtime.block_on(cni.del(&one.attachment)).unwrap();
        assert_eq!(reserved(), ["10.88.1.3"]);
        runtime.block_on(cni.del(&one.attachment)).unwrap();
        // The other one's pause container is killed: its pinned namespace is still there.
        two.pause = None;
        runtime.block_on(cni.del(&two.attachment)).unwrap();
        cni.unpin_netns(&two.netns()).unwrap();
        cni.unpin_netns(&one.netns()).unwrap();
        one.pause = None;
        assert_nothing_left();
        assert_eq!(fs::read_dir("/run/netns").unwrap().count(), 0);
    });
}

#[test]
fn a_pod_whose_namespace_was_taken_away_gives_its_address_back() {
    let name = "a_pod_whose_namespace_was_taken_away_gives_its_address_back";
    with_plugins(name, |runtime| {
        let cni = Cni::new(config(), Some("10.88.1.0/24".parse().unwrap()));
        for replaced in [false, true] {
            let mut pod = Pod::start(&cni, "one");
            runtime.block_on(cni.add(&pod.attachment)).unwrap();
            pod.pause = None;
            cni.unpin_netns(&pod.netns()).unwrap();
            if replaced {
                fs::write(pod.netns(), "").unwrap();
            }
            runtime.block_on(cni.del(&pod.attachment)).unwrap();
            assert_eq!(reserved(), Vec::<String>::new());
            assert_eq!(fs::read_dir("/var/lib/cni/results").unwrap().count(), 0);
            cni.unpin_netns(&pod.netns()).unwrap();
            assert!(!pod.netns().exists());
        }
    });
}

#[test]
fn pods_get_an_address_of_each_family() {
    with_plugins("pods_get_an_address_of_each_family", |runtime| {
        drop_forwarding();
        let cni = Cni::new(config(), Some("fd00:88::/64,10.88.1.0/24".parse().unwrap()));
        let (one, two) = (Pod::start(&cni, "one"), Pod::start(&cni, "two"));
        let ips = runtime.block_on(cni.add(&one.attachment)).unwrap().ips;
        runtime.block_on(cni.add(&two.attachment)).unwrap();
        assert!(ips[0].is_ipv6() && ips[1].is_ipv4() && ips.len() == 2, "{ips:?}");
        one.greet(80);
        for address in ips {
            assert_eq!(inside(&two.netns(), move || hear(address, 80)), "hello");
        }
        for pod in [&one, &two] {
            runtime.block_on(cni.del(&pod.attachment)).unwrap();
        }
        assert_nothing_left();
    });
}

#[test]
fn a_node_that_gets_another_pod_cidr_goes_on() {
    with_plugins("a_node_that_gets_another_pod_cidr_goes_on", |runtime| {
        let cni = Cni::new(config(), Some("10.88.1.0/24".parse().unwrap()));
        let (one, two) = (Pod::start(&cni, "one"), Pod::start(&cni, "two"));
        runtime.block_on(cni.add(&one.attachment)).unwrap();
        cni.set_pod_cidr("10.88.7.0/24").unwrap();
        let ips = runtime.block_on(cni.add(&two.attachment)).unwrap().ips;
        assert_eq!(ips, ["10.88.7.2".parse::<IpAddr>().unwrap()]);
        assert!(run("ip", &["-o", "addr", "show", "cni0"]).contains("10.88.7.1/24"));
        for pod in [&one, &two] {
            runtime.block_on(cni.del(&pod.attachment)).unwrap();
        }
        assert_nothing_left();
    });
}

#[test]
fn an_add_that_fails_late_gives_the_address_and_the_port_back() {
    with_plugins("an_add_that_fails_late_gives_the_address_and_the_port_back", |runtime| {
        let broken = r#"[ $CNI_COMMAND = ADD ] || exit 0; echo '{"code":100,"msg":"no luck"}'; exit 1"#;
        fs::create_dir("/run/bin").unwrap();
        install(Path::new("/run/bin/broken"), broken);
        fs::create_dir("/run/net.d").unwrap();
        let list = r#"{"cniVersion":"1.0.0","name":"dockside","plugins":[
            {"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":true,
             "ipam":{"type":"host-local","subnet":"10.88.1.0/24"}},
            {"type":"portmap","capabilities":{"portMappings":true}},{"type":"firewall"},{"type":"broken"}]}"#;
        fs::write("/run/net.d/10.conflist", list).unwrap();
        let mut config = config();
        config.bin_dirs.push("/run/bin".into());
        let cni = Cni::new(config, None);
        let mut pod = Pod::start(&cni, "one");
        pod.attachment.port_mappings =
            vec![PortMapping { host_port: 8080, container_port: 80, protocol: Protocol::Tcp, host_ip: None }];
        let error = runtime.block_on(cni.add(&pod.attachment)).unwrap_err();
        assert!(error.to_string().contains("no luck") && !error.may_have_leftovers(), "{error}");
        assert_nothing_left();
        // The same pod gets through once the trouble is over.
        install(
            Path::new("/run/bin/broken"),
            "[ $CNI_COMMAND = DEL ] && exit; sed 's/.*\"prevResult\"://; s/,\"type\":.*//'",
        );
        runtime.block_on(cni.add(&pod.attachment)).unwrap();
        runtime.block_on(cni.gc(Vec::new)).unwrap();
        assert_nothing_left();
    });
}

#[test]
fn check_notices_an_address_that_has_gone() {
    with_plugins("check_notices_an_address_that_has_gone", |runtime| {
        fs::create_dir("/run/net.d").unwrap();
        let list = r#"{"cniVersion":"1.0.0","name":"dockside","plugins":[
            {"type":"bridge","bridge":"cni0","isGateway":true,
             "ipam":{"type":"host-local","subnet":"10.88.1.0/24"}},{"type":"firewall"}]}"#;
        fs::write("/run/net.d/10.conflist", list).unwrap();
        let cni = Cni::new(config(), None);
        let pod = Pod::start(&cni, "one");
        runtime.block_on(cni.add(&pod.attachment)).unwrap();
        assert!(runtime.block_on(cni.check(&pod.attachment)).unwrap());
        run("ip", &["netns", "exec", "one", "ip", "addr", "flush", "dev", "eth0"]);
        let error = runtime.block_on(cni.check(&pod.attachment)).unwrap_err();
        assert!(error.to_string().starts_with("plugin bridge failed on CHECK"), "{error}");
    });
}
