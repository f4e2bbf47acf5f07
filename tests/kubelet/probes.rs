//! Probes of all four kinds, and how the kubelet reacts to them.

use serde_json::Value;
use serde_json::json;

use crate::cluster::*;

/// A probe that runs every second and takes effect at the first result.
fn probe(handler: Value) -> Value {
    with(json!({"periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 5}), handler)
}

fn exec(script: &str) -> Value {
    json!({"exec": {"command": ["sh", "-c", script]}})
}

fn restarted(pod: &Pod, container: &str) {
    pod.container(container, "it was restarted", |status| status["restartCount"].as_u64() >= Some(1));
}

#[test]
fn exec_readiness_follows_the_exit_code() {
    let _node = shared();
    let main = with(shell("main", UNTIL_TERM), json!({"readinessProbe": probe(exec("cat /tmp/ready"))}));
    let pod = Pod::of("ready-exec", json!([main]));
    let message = pod.event("Unhealthy");
    assert!(message.contains("/tmp/ready"), "the event has the command's words: {message}");
    pod.exec("main", "touch /tmp/ready");
    pod.ready();
    pod.exec("main", "rm /tmp/ready");
    let status = pod.wait("it is not Ready", |pod| (condition(pod, "Ready") == "False").then(|| pod.clone()));
    assert_eq!(container(&status, "main").unwrap()["restartCount"], 0);
    pod.delete();
}

#[test]
fn a_container_that_fails_its_liveness_command_is_restarted() {
    let _node = shared();
    let liveness = json!({"livenessProbe": with(probe(exec("[ ! -e /tmp/sick ]")), json!({"initialDelaySeconds": 1}))});
    let pod = Pod::of("live-exec", json!([with(shell("main", UNTIL_TERM), liveness)]));
    let first = text(&container(&pod.ready(), "main").unwrap()["containerID"]).to_owned();
    pod.exec("main", "touch /tmp/sick");
    restarted(&pod, "main");
    let status = pod.ready();
    assert_ne!(container(&status, "main").unwrap()["containerID"], *first, "a new container, with a new file system");
    assert!(pod.event("Killing").contains("failed liveness probe"));
    pod.delete();
}

#[test]
fn a_probe_command_that_hangs_fails_by_its_timeout() {
    let _node = shared();
    let liveness = with(probe(exec("echo hanging; sleep 1000")), json!({"timeoutSeconds": 1}));
    let pod = Pod::of("hangs", json!([with(shell("main", UNTIL_TERM), json!({"livenessProbe": liveness}))]));
    let message = pod.event("Unhealthy");
    assert!(message.contains("timed out") || message.contains("deadline"), "{message}");
    restarted(&pod, "main");
    pod.delete();
}

#[test]
fn http_probes_report_startup_readiness_and_liveness() {
    let _node = shared();
    let get = |path: &str| probe(json!({"httpGet": {"path": path, "port": 80}}));
    let web = json!({"name": "web", "image": NGINX, "startupProbe": get("/"), "readinessProbe": get("/")});
    let pod = Pod::of("web", json!([with(web, json!({"livenessProbe": get("/index.html")}))]));
    assert_eq!(container(&pod.ready(), "web").unwrap()["started"], true);
    pod.exec("web", "rm /www/index.html");
    let message = pod.event("Unhealthy");
    assert!(message.contains("403") || message.contains("404"), "{message}");
    restarted(&pod, "web");
    pod.ready();
    pod.delete();
}

#[test]
fn tcp_readiness_follows_the_open_port() {
    let _node = shared();
    let tcp = json!({"readinessProbe": probe(json!({"tcpSocket": {"port": 8000}}))});
    let script = "until [ -e /tmp/listen ]; do sleep 0.1; done; exec httpd -f -p 8000";
    let pod = Pod::of("ready-tcp", json!([with(shell("main", script), tcp)]));
    assert!(pod.event("Unhealthy").contains("refused"));
    pod.exec("main", "touch /tmp/listen");
    pod.ready();
    pod.delete();
}

/// The pod runs this test program, mounted from the node, with the test below, which serves gRPC's health service.
#[test]
fn grpc_probes_report_readiness_and_liveness() {
    let _node = shared();
    let program = std::env::current_exe().unwrap();
    let script = format!("exec chroot /node {} --ignored --exact probes::health_server", program.display());
    let grpc = |service: &str| probe(json!({"grpc": {"port": 9000, "service": service}}));
    let main = with(
        shell("main", &script),
        json!({
            "readinessProbe": grpc(""),
            "livenessProbe": with(grpc("life"), json!({"initialDelaySeconds": 1, "failureThreshold": 3})),
            "volumeMounts": [{"name": "node", "mountPath": "/node", "mountPropagation": "HostToContainer"}],
        }),
    );
    let spec = json!({"containers": [main], "volumes": [{"name": "node", "hostPath": {"path": "/"}}]});
    let pod = Pod::create("health-grpc", spec);
    pod.ready();
    kubectl(&["exec", "health-grpc", "--", "sh", "-c", "kill -USR1 1"]);
    let message = pod.event("Unhealthy");
    assert!(message.contains("NOT_SERVING"), "{message}");
    restarted(&pod, "main");
    pod.delete();
}

/// Not a test: the server of [`grpc_probes_report_readiness_and_liveness`]. After SIGUSR1 it reports that it is not
/// alive.
#[tokio::test]
#[ignore = "a server for another test"]
async fn health_server() {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("life", tonic_health::ServingStatus::Serving).await;
    tokio::spawn(async move {
        let kind = tokio::signal::unix::SignalKind::user_defined1();
        tokio::signal::unix::signal(kind).unwrap().recv().await;
        reporter.set_service_status("life", tonic_health::ServingStatus::NotServing).await;
    });
    tonic::transport::Server::builder().add_service(service).serve(([0, 0, 0, 0], 9000).into()).await.unwrap();
}
