//! Dockside's own metrics, as Prometheus scrapes them.

use dockside::proto::*;
use tonic::Code;

use harness::*;

const ADDRESS: &str = "127.0.0.1:19187";

/// The samples, one per line.
fn scrape(address: &str) -> String {
    let answer = http_get(address.parse().unwrap(), "/metrics").unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 OK"), "{answer}");
    assert!(answer.contains("application/openmetrics-text") && answer.ends_with("# EOF\n"), "{answer}");
    answer
}

/// The value of the sample with this name and these labels.
fn sample(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rpcs_docker_requests_plugins_objects_and_logs_are_counted() {
    let node = Node::start(&["--metrics-address", ADDRESS]).await;
    let mut runtime = node.runtime().await;
    let config = pod("measured");
    let sandbox = run_pod(&mut runtime, &config).await;
    let id = run_container(&mut runtime, &sandbox, &config, &container("main", "echo one line")).await;
    ended(&mut runtime, &id).await;
    create(&mut runtime, &sandbox, &config, &container("waits", "true")).await;
    let unknown = PodSandboxStatusRequest { pod_sandbox_id: "no-such".into(), verbose: false };
    assert_eq!(runtime.pod_sandbox_status(unknown).await.unwrap_err().code(), Code::NotFound);

    let text = scrape(ADDRESS);
    let is = |name: &str, expected: f64| assert_eq!(sample(&text, name), expected, "{name}");
    is("dockside_rpc_duration_seconds_count{method=\"RunPodSandbox\",code=\"Ok\"}", 1.0);
    is("dockside_rpc_duration_seconds_count{method=\"CreateContainer\",code=\"Ok\"}", 2.0);
    is("dockside_rpc_duration_seconds_count{method=\"PodSandboxStatus\",code=\"NotFound\"}", 1.0);
    is("dockside_cni_plugin_duration_seconds_count{plugin=\"bridge\",command=\"ADD\",ok=\"true\"}", 1.0);
    is("dockside_docker_up", 1.0);
    is("dockside_docker_sessions_total", 1.0);
    is("dockside_reconciliation_duration_seconds_count", 1.0);
    is("dockside_docker_requests_total{kind=\"POST /containers/create\"}", 3.0);
    is("dockside_sandboxes{state=\"ready\"}", 1.0);
    is("dockside_containers{state=\"created\"}", 1.0);
    is("dockside_containers{state=\"running\"}", 0.0);
    is("dockside_containers{state=\"exited\"}", 1.0);
    is("dockside_logs_stalled", 0.0);
    assert!(sample(&text, "dockside_log_read_bytes_total") >= "one line".len() as f64);
    assert!(sample(&text, "process_resident_memory_bytes") > 1e6);
    assert!(sample(&text, "dockside_rpc_duration_seconds_sum{method=\"RunPodSandbox\",code=\"Ok\"}") > 0.01);
    remove_pod(&mut runtime, &sandbox).await;
    assert_eq!(sample(&scrape(ADDRESS), "dockside_sandboxes{state=\"ready\"}"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_to_events_is_counted() {
    const ADDRESS: &str = "127.0.0.1:19188";
    let node = Node::start(&["--metrics-address", ADDRESS]).await;
    let mut runtime = node.runtime().await;
    let _events = runtime.get_container_events(GetEventsRequest::default()).await.unwrap();
    eventually("a subscriber", async || (sample(&scrape(ADDRESS), "dockside_event_subscribers") == 1.0).then_some(()))
        .await;
}
