//! Exec, attach and port-forward by crictl.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::OnceLock;

use crate::*;

/// crictl on the shared Dockside, in a terminal of its own where `terminal` is set.
fn crictl(terminal: bool, args: &[&str]) -> Command {
    // Written once, because another test's crictl may be reading it.
    static CONFIG: OnceLock<PathBuf> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let config = node().dir.join("crictl.yaml");
        let endpoint = format!("unix://{}", node().socket().display());
        std::fs::write(&config, format!("runtime-endpoint: {endpoint}\nimage-endpoint: {endpoint}\ntimeout: 30\n"))
            .unwrap();
        config
    });
    let words = [&["crictl"], args].concat();
    let mut command;
    if terminal {
        // util-linux's script(1) makes a terminal and returns the exit code.
        let quoted: Vec<String> = words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
        command = Command::new("script");
        command.args(["-qec", &quoted.join(" "), "/dev/null"]);
    } else {
        command = Command::new(words[0]);
        command.args(&words[1..]);
    }
    command.env("CRI_CONFIG_FILE", config);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs crictl; returns stdout, stderr and the exit code.
fn run(command: &mut Command) -> (String, String, i32) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}

/// Reads the output until it contains `word`.
fn read_until(child: &mut Child, word: &str) -> String {
    let stdout = child.stdout.as_mut().unwrap();
    let (mut text, mut byte) = (String::new(), [0]);
    while !text.contains(word) {
        assert_eq!(stdout.read(&mut byte).unwrap(), 1, "{text:?} without {word:?}");
        text.push(byte[0].into());
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn crictl_exec_works_in_all_its_forms() {
    let test_pod = TestPod::new("crictl-exec").await;
    let id = test_pod.container.as_str();
    let (stdout, _, code) = run(&mut crictl(false, &["exec", "-s", id, "echo", "hello"]));
    // crictl adds a newline to each output.
    assert_eq!((stdout.trim_end(), code), ("hello", 0));
    for transport in ["spdy", "websocket"] {
        let (stdout, stderr, code) =
            run(&mut crictl(false, &["exec", "-r", transport, id, "sh", "-c", "echo out; echo err >&2"]));
        assert_eq!((stdout.as_str(), stderr.as_str(), code), ("out\n", "err\n", 0), "{transport}");
        let (stdout, _, code) =
            run(&mut crictl(true, &["exec", "-r", transport, "-it", id, "sh", "-c", "tty && echo hello"]));
        // The previous terminal may not be closed yet, so its number may differ.
        assert!(
            stdout.contains("/dev/pts/") && stdout.contains("hello\n") && code == 0,
            "{transport}: {code} {stdout:?}"
        );
    }
    let (_, stderr, code) = run(&mut crictl(false, &["exec", "-s", id, "false"]));
    assert_eq!(code, 1, "{stderr}");
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attach_by_crictl() {
    let script = "while read line; do echo you said $line; done";
    let config = dockside::proto::ContainerConfig { stdin: true, ..container("main", script) };
    let test_pod = TestPod::with("crictl-attach", &config).await;
    let mut child = crictl(false, &["attach", "-i", &test_pod.container]).spawn().unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"hello\n").unwrap();
    read_until(&mut child, "you said hello");
    child.kill().unwrap();
    child.wait().unwrap();
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn port_forward_by_crictl() {
    let test_pod = TestPod::new("crictl-forward").await;
    crate::port_forward::serve_in(&test_pod.sandbox);
    for transport in ["spdy", "websocket"] {
        let mut child = crictl(false, &["port-forward", "-r", transport, &test_pod.sandbox, "0:8081"]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        // Forwarding from 127.0.0.1:PORT -> 8081
        let port =
            line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_else(|| panic!("{line}"));
        let mut hello = String::new();
        TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap().read_to_string(&mut hello).unwrap();
        assert_eq!(hello, "hello\n", "{transport}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    test_pod.remove().await;
}
