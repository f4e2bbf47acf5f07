//! The first steps of a user: nginx in a pod, with crictl and with `dockside pod`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::IpAddr;
use std::process::Command;

use harness::*;

/// These tests check what is left in the box, so they run one after the other.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The answer of a web server at `ip`.
fn fetch(ip: &str) -> Option<String> {
    http_get((ip.parse::<IpAddr>().ok()?, 80).into(), "/").ok()
}

async fn nginx_answers(ip: &str) {
    eventually("nginx's page from the pod's address", async || {
        fetch(ip).filter(|answer| answer.starts_with("HTTP/1.1 200") && answer.contains("nginx"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_server_runs_in_a_pod_with_crictl() {
    let _alone = ALONE.lock().await;
    let node = Node::start(&[]).await;
    let endpoint = format!("unix://{}", node.socket().display());
    let crictl = |args: &[&str]| {
        let common = ["--timeout", "30s", "--runtime-endpoint", &endpoint, "--image-endpoint", &endpoint];
        let output = Command::new("crictl").args(common).args(args).output().expect("crictl on PATH");
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "crictl {args:?}: {text} {words}");
        text
    };
    // The image comes from the box's registry, as it would on a node.
    docker(&["tag", "nginx:1.14", "127.0.0.1:80/story/nginx:1.14"]);
    docker(&["push", "-q", "127.0.0.1:80/story/nginx:1.14"]);
    docker(&["rmi", "127.0.0.1:80/story/nginx:1.14"]);

    let pod_file = node.dir.join("pod.json").display().to_string();
    let container_file = node.dir.join("container.json").display().to_string();
    let pod = serde_json::json!({
        "metadata": { "name": "first-job", "namespace": "default", "uid": "by-hand", "attempt": 1 },
        "hostname": "first-job",
        "labels": { "app": "first-job" },
        "linux": {},
    });
    let container = serde_json::json!({
        "metadata": { "name": "nginx" },
        "image": { "image": "registry.k8s.io/story/nginx:1.14" },
        "linux": {},
    });
    std::fs::write(&pod_file, pod.to_string()).unwrap();
    std::fs::write(&container_file, container.to_string()).unwrap();

    assert!(crictl(&["info"]).contains("NetworkReady"));
    let sandbox = crictl(&["runp", &pod_file]);
    assert!(crictl(&["pull", "registry.k8s.io/story/nginx:1.14"]).contains("up to date"));
    let id = crictl(&["create", &sandbox, &container_file, &pod_file]);
    assert_eq!(crictl(&["start", &id]), id);
    assert!(crictl(&["ps", "-q"]).contains(&id));
    assert!(crictl(&["pods", "--label", "app=first-job", "-q"]).contains(&sandbox));
    let seen: serde_json::Value = serde_json::from_str(&crictl(&["inspectp", "-o", "json", &sandbox])).unwrap();
    nginx_answers(seen["status"]["network"]["ip"].as_str().unwrap()).await;
    let seen: serde_json::Value = serde_json::from_str(&crictl(&["inspect", "-o", "json", &id])).unwrap();
    assert_eq!(seen["status"]["state"], "CONTAINER_RUNNING");
    assert!(docker(&["ps"]).contains("k8s_nginx_first-job_default_by-hand_0"));
    crictl(&["stop", &id]);
    assert!(crictl(&["ps", "-a", "--state", "Exited", "-q"]).contains(&id));
    crictl(&["rm", &id]);
    crictl(&["stopp", &sandbox]);
    crictl(&["rmp", &sandbox]);
    nothing_left(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_goes_up_and_down_with_every_step_printed() {
    let _alone = ALONE.lock().await;
    let node = Node::start(&[]).await;
    let endpoint = format!("unix://{}", node.socket().display());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/first-job.yaml");
    let dockside = |verb: &str, args: &[&str]| {
        run(program("dockside").to_str().unwrap(), &[&["pod", verb, "--endpoint", &endpoint], args].concat())
    };
    let output = dockside("up", &[manifest]);
    for call in ["RunPodSandbox", "PodSandboxStatus", "ImageStatus", "CreateContainer", "StartContainer"] {
        assert!(output.contains(call), "{call} is missing in:\n{output}");
    }
    let ip = output.rsplit_once("IP ").expect("the pod's address").1.trim().to_owned();
    nginx_answers(&ip).await;
    // Repeated: nothing is created, and the address is printed again.
    let again = dockside("up", &[manifest]);
    assert!(again.contains(&ip) && !again.contains("CreateContainer"), "{again}");
    assert!(dockside("ls", &[]).contains("first-job"));
    dockside("down", &[manifest]);
    dockside("down", &[manifest]);
    nothing_left(&node).await;
}
