//! The metrics that a kubelet serves, measured by itself (the default) and by Dockside (feature gate
//! `PodAndContainerStatsFromCRI`): the same pod must have the same names, labels and values.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::process::Command;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use serde_json::Value;
use serde_json::json;

use crate::cluster::*;

const GATE: &str = "--feature-gates=PodAndContainerStatsFromCRI=true";
/// Only a kubelet of 1.34 has it, and always as 0: it does not measure the load.
const NEVER_MEASURED: [&str; 3] =
    ["container_cpu_load_average_10s", "container_cpu_load_d_average_10s", "container_tasks_state"];
/// A kubelet of 1.37 always reports -1; the CRI has no negative numbers.
const NOT_IN_CRI: &str = "container_health_state";
/// Not available in cgroup version 1, where a kubelet of 1.37 reports 0.
const VERSION_2: [&str; 6] = [
    "container_memory_events_high_total",
    "container_memory_events_max_total",
    "container_memory_file_dirty_bytes",
    "container_memory_file_writeback_bytes",
    "container_memory_pgscan_total",
    "container_memory_pgsteal_total",
];
/// A kubelet without cAdvisor's handler for Docker's containers has these for a pod as a whole only.
const WHOSE: [&str; 5] = ["name", "image", "pod", "namespace", "container"];

/// The memory that the pod uses, in bytes.
const MEMORY: u32 = 6 << 20;
const DISK: u64 = 256 << 10;
/// How much two samples of memory may differ, in bytes.
const SLACK: u32 = 1 << 20;

/// The metric's name, and its labels except those in [`WHOSE`].
type Key = (String, BTreeMap<String, String>);

struct Series {
    /// The labels in [`WHOSE`].
    whose: BTreeMap<String, String>,
    value: f64,
    /// When it was measured, in ms since 1970.
    at: Option<u128>,
}

/// Restarts the kubelet with flags that choose who measures.
fn restart_kubelet(flags: &str) {
    hack("cluster", &["kill", "kubelet"]);
    let script = format!("{}/hack/cluster", environment("REPO"));
    let usual = std::env::var("KUBELET_FLAGS").unwrap_or_default();
    let mut start = Command::new(script);
    start.args(["start", "kubelet"]).env("KUBELET_FLAGS", format!("{usual} {flags}"));
    assert!(start.status().unwrap().success());
}

fn kubelet(path: &str) -> String {
    kubectl(&["get", "--raw", &format!("/api/v1/nodes/{}/proxy/{path}", node_name())])
}

/// The series of one pod.
fn series(uid: &str) -> BTreeMap<Key, Series> {
    let text = kubelet("metrics/cadvisor");
    let lines = text.lines().filter(|line| line.starts_with("container_") && line.contains(uid));
    lines.map(parse).collect()
}

/// A line such as `name{label="value",...} 1.5 1700000000000`. No value of these tests has a quote or a comma in it.
fn parse(line: &str) -> (Key, Series) {
    let (name, rest) = line.split_once('{').unwrap();
    let (labels, rest) = rest.rsplit_once('}').unwrap();
    let labels = labels.split(',').map(|label| {
        let (key, value) = label.split_once('=').unwrap();
        (key.to_owned(), value.trim_matches('"').to_owned())
    });
    let (whose, own) = labels.partition(|(key, _)| WHOSE.contains(&key.as_str()));
    let mut rest = rest.split_whitespace();
    let value = rest.next().unwrap().parse().unwrap();
    let at = rest.next().map(|at| at.parse().unwrap());
    ((name.to_owned(), own), Series { whose, value, at })
}

fn summary(pod: &str) -> Option<Value> {
    let summary: Value = serde_json::from_str(&kubelet("stats/summary")).unwrap();
    summary["pods"].as_array()?.iter().find(|one| one["podRef"]["name"] == pod).cloned()
}

/// The pod's series and summary, once the kubelet has sampled all its cgroups after `since`, in ms since 1970. It
/// samples the pod and its containers at different times, at first while the OCI runtime still runs in their cgroups.
fn look(pod: &Pod, uid: &str, since: u128) -> (BTreeMap<Key, Series>, Value) {
    eventually_or("the kubelet has metrics of the pod, its pause container and its container", || {
        let (series, summary) = (series(uid), summary(&pod.name).ok_or("the summary has no such pod")?);
        let values = |name: &str| {
            series.iter().filter(|((one, _), _)| one == name).map(|(_, found)| found.value).collect::<Vec<_>>()
        };
        let (caches, oldest) = (values("container_memory_cache"), series.values().filter_map(|series| series.at).min());
        let (memory, processor) = (values("container_memory_usage_bytes"), values("container_cpu_usage_seconds_total"));
        let whole = memory.len() == 3 && processor.len() == 3 && oldest >= Some(since);
        // The kernel accounts some pages late.
        let filled = caches.iter().filter(|cache| **cache >= f64::from(MEMORY - SLACK)).count() == 2;
        let used = &summary["containers"][0]["rootfs"]["usedBytes"];
        let summed = summary["cpu"]["usageCoreNanoSeconds"].is_u64() && used.as_u64() >= Some(DISK);
        if whole && filled && summed {
            return Ok((series, summary));
        }
        Err(format!(
            "caches {caches:?}, memory {memory:?}, processor {processor:?}, disk {used}, oldest {oldest:?} of {since}"
        ))
    })
}

/// Whether a later value of ours agrees with an earlier one of the kubelet's. Counters may have grown, and the CRI
/// rounds seconds down.
fn agrees(name: &str, theirs: f64, ours: f64) -> bool {
    let near = |slack: f64| (theirs - ours).abs() <= slack;
    match name {
        "container_last_seen" => near(120.0),
        // The kubelet uses the age of the cgroup's directory.
        "container_start_time_seconds" | "container_creation_time_seconds" => near(3.0),
        // The pod is idle, so values from before the kubelet's restart still hold after it.
        _ if name.starts_with("container_spec_") => theirs == ours,
        "container_threads_max" | "container_oom_events_total" => theirs == ours,
        "container_processes" | "container_threads" | "container_file_descriptors" | "container_sockets" => near(4.0),
        _ if name.ends_with("_seconds_total") => ours >= theirs.floor() && ours <= theirs + 5.0,
        _ if name.ends_with("_total") || name == "container_memory_failcnt" => ours >= theirs,
        _ if name.starts_with("container_memory_") => near(theirs * 0.01 + f64::from(SLACK)),
        _ => panic!("{name}: is it a number that the CRI can report?"),
    }
}

fn compare_series(theirs: &BTreeMap<Key, Series>, ours: &BTreeMap<Key, Series>) {
    let version_2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let mut differences = Vec::new();
    for ((name, labels), expected) in theirs {
        if name == NOT_IN_CRI {
            continue;
        }
        let only_in_2 = VERSION_2.contains(&name.as_str()) || name.starts_with("container_pressure_");
        if NEVER_MEASURED.contains(&name.as_str()) || only_in_2 && !version_2 {
            assert_eq!(expected.value, 0.0, "{name}");
            continue;
        }
        let Some(found) = ours.get(&(name.clone(), labels.clone())) else {
            differences.push(format!("{name} {labels:?} is missing"));
            continue;
        };
        if !agrees(name, expected.value, found.value) {
            differences.push(format!("{name} {labels:?}: {} and ours {}", expected.value, found.value));
        }
        for (key, value) in expected.whose.iter().filter(|(_, value)| !value.is_empty()) {
            if found.whose[key] != *value {
                differences.push(format!("{name} {labels:?}: {key} is {:?} and ours {:?}", value, found.whose[key]));
            }
        }
    }
    assert!(differences.is_empty(), "{} of {}:\n{}", differences.len(), theirs.len(), differences.join("\n"));
    let families =
        |series: &BTreeMap<Key, Series>| -> BTreeSet<String> { series.keys().map(|(name, _)| name.clone()).collect() };
    let (theirs, ours) = (families(theirs), families(ours));
    println!("{} families of the kubelet's own, {} of ours", theirs.len(), ours.len());
    println!("more than the kubelet's own: {:?}", ours.difference(&theirs).collect::<Vec<_>>());
}

fn compare_summaries(theirs: &Value, ours: &Value) {
    let number = |summary: &Value, path: &str| {
        summary.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path} in {summary:#}"))
    };
    for prefix in ["", "/containers/0"] {
        let path = format!("{prefix}/cpu/usageCoreNanoSeconds");
        let (before, after) = (number(theirs, &path), number(ours, &path));
        assert!(after >= before && after <= before + 5e9, "{path}: {before} and ours {after}");
        for name in ["usageBytes", "workingSetBytes", "rssBytes"] {
            let path = format!("{prefix}/memory/{name}");
            let (before, after) = (number(theirs, &path), number(ours, &path));
            assert!((before - after).abs() <= before * 0.01 + f64::from(SLACK), "{path}: {before} and ours {after}");
        }
    }
    for path in
        ["/containers/0/rootfs/usedBytes", "/containers/0/rootfs/inodesUsed", "/containers/0/rootfs/capacityBytes"]
    {
        assert_eq!(number(theirs, path), number(ours, path), "{path}");
    }
    assert!(number(ours, "/process_stats/process_count") >= 2.0);
    // A kubelet without cAdvisor's handler for Docker's containers has no network metrics of pods.
    assert!(number(ours, "/network/rxBytes") > 0.0 && ours["network"]["name"] == "eth0", "{ours:#}");
}

#[test]
fn metrics_from_dockside_equal_the_kubelets_own() {
    let _node = alone();
    // Uses some CPU, memory and disk, then is idle. The memory is in a tmpfs, since page cache may be reclaimed.
    let fill = |file: &str, bytes: u64| format!("head -c {bytes} /dev/urandom >{file}; md5sum {file} >/dev/null;");
    let fills = format!("{} {}", fill("/dev/shm/file", MEMORY.into()), fill("/file", DISK));
    let script = format!("{fills} echo filled; {UNTIL_TERM}");
    let limits = json!({"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "100m", "memory": "32Mi"}});
    let pod = Pod::of("metrics", json!([with(shell("main", &script), json!({"resources": limits}))]));
    let uid = text(&pod.ready()["metadata"]["uid"]).to_owned();

    pod.logged("main", "filled");
    // After a second the shell is waiting.
    let quiet = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() + 1000;
    let (their_series, their_summary) = look(&pod, &uid, quiet);
    restart_kubelet(GATE);
    let (our_series, our_summary) = look(&pod, &uid, quiet);
    restart_kubelet("");

    compare_series(&their_series, &our_series);
    compare_summaries(&their_summary, &our_summary);
    let traffic = our_series.iter().find(|((name, _), _)| name == "container_network_receive_bytes_total");
    let ((_, labels), traffic) = traffic.expect("the pod's traffic");
    assert_eq!((labels["interface"].as_str(), traffic.whose["container"].as_str()), ("eth0", "POD"));
    assert_eq!((traffic.whose["pod"].as_str(), traffic.whose["namespace"].as_str()), ("metrics", "default"));
    let used = our_series.iter().find(|((name, _), _)| name == "container_fs_usage_bytes").expect("the layer").1;
    assert_eq!((used.whose["container"].as_str(), used.whose["image"].as_str()), ("main", BUSYBOX));
    pod.delete();
}
