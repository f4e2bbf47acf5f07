//! Pod metrics, compared with the kernel's own numbers.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use dockside::proto::*;
use tokio_stream::StreamExt;

use crate::stats::cgroup_file;
use crate::stats::cpu_from_kernel;
use crate::stats::memory_from_kernel;
use crate::stats::near;
use crate::*;

const COMMON: [&str; 6] = ["id", "name", "image", "pod", "namespace", "container"];

async fn list(runtime: &mut Runtime) -> Vec<PodSandboxMetrics> {
    runtime.list_pod_sandbox_metrics(ListPodSandboxMetricsRequest {}).await.unwrap().into_inner().pod_metrics
}

async fn of_pod(runtime: &mut Runtime, id: &str) -> PodSandboxMetrics {
    list(runtime).await.into_iter().find(|pod| pod.pod_sandbox_id == id).expect("the pod has metrics")
}

async fn of_container(runtime: &mut Runtime, sandbox: &str, id: &str) -> Vec<Metric> {
    let all = of_pod(runtime, sandbox).await.container_metrics;
    all.into_iter().find(|container| container.container_id == id).expect("the container has metrics").metrics
}

/// The value of the only sample with this name and these labels.
#[track_caller]
fn value(metrics: &[Metric], name: &str, own: &[&str]) -> u64 {
    let mut found =
        metrics.iter().filter(|metric| metric.name == name && metric.label_values[COMMON.len()..].iter().eq(own));
    let first = found.next().unwrap_or_else(|| panic!("no {name} {own:?} in {metrics:#?}"));
    assert!(found.next().is_none(), "two of {name} {own:?}");
    first.value.unwrap().value
}

#[tokio::test(flavor = "multi_thread")]
async fn container_metrics_equal_the_kernels_counters_and_have_its_labels() {
    let mut runtime = runtime().await;
    let config = pod("metrics-usage");
    let sandbox = run_pod(&mut runtime, &config).await;
    // Thirty megabytes of files in memory that are never reclaimed, CPU time until /tmp/stop exists, and five open
    // files.
    let script = "f=/dev/shm/file; dd if=/dev/zero of=$f bs=1M count=30 2>/dev/null; \
                  while [ ! -e /tmp/stop ]; do :; done; trap 'exit 0' TERM; sleep infinity & \
                  exec 3<$f 4<$f 5<$f 6<$f 7<$f; touch /tmp/idle; wait";
    let mut busy = container("busy", script);
    let resources = LinuxContainerResources {
        memory_limit_in_bytes: 256 << 20,
        cpu_period: 100_000,
        cpu_quota: 150_000,
        cpu_shares: 512,
        ..Default::default()
    };
    busy.linux = Some(LinuxContainerConfig { resources: Some(resources), ..Default::default() });
    let id = run_container(&mut runtime, &sandbox, &config, &busy).await;
    eventually("it has used a second", async || (cpu_from_kernel(&id) > 1_000_000_000).then_some(())).await;
    docker(&["exec", &id, "touch", "/tmp/stop"]);
    eventually("it has done its work", async || {
        (run("docker", &["exec", &id, "sh", "-c", "ls /tmp"]).contains("idle")).then_some(())
    })
    .await;

    let metrics = eventually("a kernel reading before and after Dockside's, close together", async || {
        let (cpu_before, memory_before) = (cpu_from_kernel(&id), memory_from_kernel(&id));
        let metrics = of_container(&mut runtime, &sandbox, &id).await;
        let (cpu_after, memory_after) = (cpu_from_kernel(&id), memory_from_kernel(&id));
        let seconds = value(&metrics, "container_cpu_usage_seconds_total", &["total"]);
        assert!((cpu_before / 1_000_000_000..=cpu_after / 1_000_000_000).contains(&seconds), "{seconds} {cpu_after}");
        assert!(seconds >= 1, "it has used a second");
        let usage = value(&metrics, "container_memory_usage_bytes", &[]);
        let working_set = value(&metrics, "container_memory_working_set_bytes", &[]);
        let steady = near(memory_before.0, memory_after.0) && near(memory_before.1, memory_after.1);
        (steady && near(usage, memory_after.0) && near(working_set, memory_after.1)).then_some(metrics)
    })
    .await;
    assert!(value(&metrics, "container_memory_cache", &[]) >= 30 << 20);
    assert_eq!(value(&metrics, "container_spec_memory_limit_bytes", &[]), 256 << 20);
    assert_eq!(value(&metrics, "container_spec_cpu_quota", &[]), 150_000);
    assert_eq!(value(&metrics, "container_spec_cpu_period", &[]), 100_000);
    assert!(near(value(&metrics, "container_spec_cpu_shares", &[]), 512));
    assert!(value(&metrics, "container_cpu_cfs_periods_total", &[]) > 5);
    assert_eq!(value(&metrics, "container_processes", &[]), 2);
    assert_eq!(value(&metrics, "container_threads", &[]), 2);
    let processes = cgroup_file(&id, "cpu", "cgroup.procs", "cgroup.procs");
    let files = |pid: &str| std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64;
    let by_hand: u64 = processes.lines().map(files).sum();
    assert!(by_hand > 8, "five files and the standard ones of two processes: {by_hand}");
    assert_eq!(value(&metrics, "container_file_descriptors", &[]), by_hand);
    assert_eq!(value(&metrics, "container_oom_events_total", &[]), 0);
    let started = container_status(&mut runtime, &id).await.started_at / 1_000_000_000;
    assert_eq!(value(&metrics, "container_start_time_seconds", &[]), started as u64);

    let name = docker(&["inspect", "-f", "{{.Name}}", &id]);
    let expected = [
        &format!("/docker/{id}"),
        name.trim_start_matches('/'),
        &busy.image.as_ref().unwrap().image,
        "metrics-usage",
        "default",
        "busy",
    ];
    for metric in &metrics {
        assert_eq!(metric.label_values[..COMMON.len()], expected, "{metric:?}");
    }
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disk_and_network_usage_are_measured() {
    let mut runtime = runtime().await;
    let config = pod("metrics-io");
    let sandbox = run_pod(&mut runtime, &config).await;
    let script = format!("dd if=/dev/urandom of=/file bs=1M count=10 2>/dev/null; {UNTIL_TERM}");
    let id = run_container(&mut runtime, &sandbox, &config, &container("main", &script)).await;
    // The gateway of the built-in network.
    inside(&id, "ping -c 3 -s 5000 10.88.0.1");
    let by_hand = || inside(&id, "cat /sys/class/net/eth0/statistics/rx_bytes").trim().parse::<u64>().unwrap();
    let before = by_hand();
    let of_sandbox = of_pod(&mut runtime, &sandbox).await.metrics;
    // Other pods on the bridge send packets too.
    let possible = before..=by_hand();
    let received = value(&of_sandbox, "container_network_receive_bytes_total", &["eth0"]);
    assert!(received > 15_000 && possible.contains(&received), "{received} {possible:?}");
    assert!(value(&of_sandbox, "container_network_transmit_bytes_total", &["eth0"]) > 15_000);
    assert!(value(&of_sandbox, "container_network_transmit_packets_total", &["eth0"]) >= 3);
    assert!(!of_sandbox.iter().any(|metric| metric.label_values.contains(&"lo".to_owned())));
    let traffic = of_sandbox.iter().find(|metric| metric.name.starts_with("container_network")).unwrap();
    assert_eq!(traffic.label_values[3..COMMON.len()], ["metrics-io", "default", "POD"]);
    assert_eq!(traffic.label_values[2], docker(&["inspect", "-f", "{{.Config.Image}}", &sandbox]));

    let used = eventually("ten megabytes were found", async || {
        let metrics = of_container(&mut runtime, &sandbox, &id).await;
        let used = metrics.into_iter().find(|metric| metric.name == "container_fs_usage_bytes")?;
        (used.value.unwrap().value >= 10 << 20).then_some(used)
    })
    .await;
    assert!(used.timestamp > 0 && used.value.unwrap().value < 11 << 20, "{used:?}");
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exited_containers_and_stopped_pods_have_no_metrics() {
    let mut runtime = runtime().await;
    let config = pod("metrics-ended");
    let sandbox = run_pod(&mut runtime, &config).await;
    let running = run_container(&mut runtime, &sandbox, &config, &container("main", UNTIL_TERM)).await;
    let exited = run_container(&mut runtime, &sandbox, &config, &container("exited", "true")).await;
    ended(&mut runtime, &exited).await;
    let listed: Vec<String> =
        of_pod(&mut runtime, &sandbox).await.container_metrics.into_iter().map(|one| one.container_id).collect();
    assert_eq!(listed, [running]);
    // Containers are killed in Docker while lists run: no list fails.
    let kills = async {
        for number in 0..5 {
            let name = format!("short-{number}");
            let id = run_container(&mut runtime, &sandbox, &config, &container(&name, UNTIL_TERM)).await;
            tokio::task::spawn_blocking(move || docker(&["kill", &id])).await.unwrap();
        }
    };
    let mut reader = crate::runtime().await;
    let reads = async {
        loop {
            list(&mut reader).await;
        }
    };
    tokio::select! { () = kills => {}, () = reads => {} }
    runtime.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: sandbox.clone() }).await.unwrap();
    assert!(!list(&mut runtime).await.iter().any(|pod| pod.pod_sandbox_id == sandbox));
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn list_and_stream_agree_and_every_sample_has_a_descriptor() {
    let mut runtime = runtime().await;
    let config = pod("metrics-list");
    let sandbox = run_pod(&mut runtime, &config).await;
    run_container(&mut runtime, &sandbox, &config, &container("main", UNTIL_TERM)).await;
    let descriptors =
        runtime.list_metric_descriptors(ListMetricDescriptorsRequest {}).await.unwrap().into_inner().descriptors;
    let keys: BTreeMap<String, Vec<String>> =
        descriptors.into_iter().map(|descriptor| (descriptor.name, descriptor.label_keys)).collect();

    let request = StreamPodSandboxMetricsRequest {};
    let pieces = runtime.stream_pod_sandbox_metrics(request).await.unwrap().into_inner();
    let pieces: Vec<_> = pieces.map(|piece| piece.unwrap().pod_sandbox_metrics).collect().await;
    let streamed = pieces.concat().into_iter().find(|pod| pod.pod_sandbox_id == sandbox).unwrap();
    let listed = of_pod(&mut runtime, &sandbox).await;
    let series = |pod: &PodSandboxMetrics| -> BTreeSet<(String, Vec<String>)> {
        let of_containers = pod.container_metrics.iter().flat_map(|container| &container.metrics);
        let all: Vec<&Metric> = pod.metrics.iter().chain(of_containers).collect();
        for metric in &all {
            assert_eq!(keys[&metric.name].len(), metric.label_values.len(), "{metric:?}");
        }
        let unique: BTreeSet<_> = all.iter().map(|metric| (metric.name.clone(), metric.label_values.clone())).collect();
        assert_eq!(unique.len(), all.len(), "a series is there twice");
        unique
    };
    // The writable layer may have been measured in between.
    let steady = |pod| series(pod).into_iter().filter(|(name, _)| !name.starts_with("container_fs_"));
    assert!(steady(&streamed).eq(steady(&listed)));
    assert!(series(&listed).len() > 60, "{}", series(&listed).len());
    remove_pod(&mut runtime, &sandbox).await;
}
