//! Resource limits, checked in Docker and in the kernel.

use std::path::Path;

use dockside::proto::*;
use serde_json::Value;
use tonic::Code;

use crate::assert_refused;
use crate::inspect::*;
use crate::pods::texts;
use crate::runtime;
use harness::*;

const MIB: i64 = 1 << 20;

fn limited(name: &str, resources: LinuxContainerResources) -> ContainerConfig {
    let linux = LinuxContainerConfig { resources: Some(resources), ..Default::default() };
    ContainerConfig { linux: Some(linux), ..container(name, UNTIL_TERM) }
}

fn limits() -> LinuxContainerResources {
    LinuxContainerResources {
        cpu_period: 50_000,
        cpu_quota: 20_000,
        cpu_shares: 512,
        memory_limit_in_bytes: 64 * MIB,
        memory_swap_limit_in_bytes: 64 * MIB,
        cpuset_cpus: "0".to_owned(),
        cpuset_mems: "0".to_owned(),
        oom_score_adj: 900,
        hugepage_limits: vec![HugepageLimit { page_size: "2MB".to_owned(), limit: 0 }],
        ..Default::default()
    }
}

/// Whether the box has the controllers of cgroup version 1.
fn is_v1() -> bool {
    Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists()
        || Path::new("/sys/fs/cgroup/memory/tasks").exists()
}

/// A file of the container's cgroup; `None` if version 1 has no such controller.
fn v1_file(pid: u32, controller: &str, file: &str) -> Option<String> {
    let text = std::fs::read_to_string(cgroup_v1(pid, controller)?.join(file)).ok()?;
    Some(text.trim().to_owned())
}

/// A file of the container's cgroup version 2.
fn v2_file(pid: u32, file: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(std::fs::read_to_string(Path::new("/sys/fs/cgroup").join(path).join(file)).ok()?.trim().to_owned())
}

fn assert_limits(id: &str, limits: &LinuxContainerResources) {
    let host: Value = inspect(id)["HostConfig"].clone();
    for (field, expected) in [
        ("CpuPeriod", limits.cpu_period),
        ("CpuQuota", limits.cpu_quota),
        ("CpuShares", limits.cpu_shares),
        ("Memory", limits.memory_limit_in_bytes),
        ("MemorySwap", limits.memory_swap_limit_in_bytes),
    ] {
        assert_eq!(host[field], expected, "{field}");
    }
    assert_eq!(host["CpusetCpus"], limits.cpuset_cpus.as_str());
    assert_eq!(host["CpusetMems"], limits.cpuset_mems.as_str());
    let pid = pid_of(id);
    let seen: Vec<(&str, Option<String>, String)> = if is_v1() {
        let of =
            |controller, file, expected: &dyn ToString| (file, v1_file(pid, controller, file), expected.to_string());
        vec![
            of("cpu", "cpu.cfs_period_us", &limits.cpu_period),
            of("cpu", "cpu.cfs_quota_us", &limits.cpu_quota),
            of("cpu", "cpu.shares", &limits.cpu_shares),
            of("memory", "memory.limit_in_bytes", &limits.memory_limit_in_bytes),
            of("cpuset", "cpuset.cpus", &limits.cpuset_cpus),
            of("cpuset", "cpuset.mems", &limits.cpuset_mems),
        ]
    } else {
        let of = |file, expected: &dyn ToString| (file, v2_file(pid, file), expected.to_string());
        vec![
            of("cpu.max", &format!("{} {}", limits.cpu_quota, limits.cpu_period)),
            of("memory.max", &limits.memory_limit_in_bytes),
            of("cpuset.cpus", &limits.cpuset_cpus),
        ]
    };
    for (file, value, expected) in seen {
        assert_eq!(value, Some(expected), "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_applied_and_reported() {
    let mut runtime = runtime().await;
    let config = pod("limits");
    let sandbox = run_pod(&mut runtime, &config).await;
    let id = run_container(&mut runtime, &sandbox, &config, &limited("main", limits())).await;
    assert_limits(&id, &limits());
    let reported = container_status(&mut runtime, &id).await.resources.unwrap().linux.unwrap();
    assert_eq!(reported, limits());
    // Without a swap limit in the request there is no swap: Docker's own default is as much swap as memory.
    let silent = LinuxContainerResources { memory_limit_in_bytes: 32 * MIB, ..Default::default() };
    let id = create(&mut runtime, &sandbox, &config, &limited("no-swap", silent)).await;
    assert_eq!(inspect(&id)["HostConfig"]["MemorySwap"], 32 * MIB);
    let both = LinuxContainerResources {
        memory_limit_in_bytes: 32 * MIB,
        memory_swap_limit_in_bytes: 48 * MIB,
        ..Default::default()
    };
    let id = create(&mut runtime, &sandbox, &config, &limited("swap", both)).await;
    assert_eq!(inspect(&id)["HostConfig"]["MemorySwap"], 48 * MIB);
    // The pause process has the lowest CPU weight.
    assert_eq!(inspect(&sandbox)["HostConfig"]["CpuShares"], 2);
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_without_limits_has_none() {
    let mut runtime = runtime().await;
    let config = pod("no-limits");
    let sandbox = run_pod(&mut runtime, &config).await;
    let unlimited = LinuxContainerResources { cpu_quota: -1, cpu_period: 100_000, ..Default::default() };
    for (name, wanted) in [
        ("no-linux", ContainerConfig { linux: None, ..container("no-linux", UNTIL_TERM) }),
        ("nothing", limited("nothing", LinuxContainerResources::default())),
        ("unlimited", limited("unlimited", unlimited)),
    ] {
        let id = run_container(&mut runtime, &sandbox, &config, &wanted).await;
        let pid = pid_of(&id);
        if is_v1() {
            assert_eq!(v1_file(pid, "cpu", "cpu.cfs_quota_us").as_deref(), Some("-1"), "{name}");
            let memory: u64 = v1_file(pid, "memory", "memory.limit_in_bytes").unwrap().parse().unwrap();
            assert!(memory > 1 << 60, "{name}: {memory}");
        }
        assert_eq!(std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim(), "0", "{name}");
    }
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oom_score_adj_is_as_requested_or_as_low_as_the_host_allows() {
    let mut runtime = runtime().await;
    let config = pod("oom-scores");
    let sandbox = run_pod(&mut runtime, &config).await;
    let status = runtime.status(StatusRequest { verbose: true }).await.unwrap().into_inner();
    let facts: Value = serde_json::from_str(&status.info["docker"]).unwrap();
    let floor = facts["oomScoreFloor"].as_i64().unwrap_or(-1000);
    for (number, score) in [1000, 500, 2, -997].into_iter().enumerate() {
        let resources = LinuxContainerResources { oom_score_adj: score, ..Default::default() };
        let id = run_container(&mut runtime, &sandbox, &config, &limited(&format!("main-{number}"), resources)).await;
        let seen: i64 =
            std::fs::read_to_string(format!("/proc/{}/oom_score_adj", pid_of(&id))).unwrap().trim().parse().unwrap();
        assert_eq!(seen, score.max(floor));
        let reported = container_status(&mut runtime, &id).await.resources.unwrap().linux.unwrap();
        assert_eq!(reported.oom_score_adj, score, "reported as requested");
    }
    let pause: i64 =
        std::fs::read_to_string(format!("/proc/{}/oom_score_adj", pid_of(&sandbox))).unwrap().trim().parse().unwrap();
    assert_eq!(pause, (-998).max(floor));
    remove_pod(&mut runtime, &sandbox).await;
}

async fn update(runtime: &mut Runtime, id: &str, linux: LinuxContainerResources) -> Result<(), tonic::Status> {
    let request =
        UpdateContainerResourcesRequest { container_id: id.to_owned(), linux: Some(linux), ..Default::default() };
    runtime.update_container_resources(request).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_changes_only_the_fields_it_has() {
    let mut runtime = runtime().await;
    let config = pod("updates");
    let sandbox = run_pod(&mut runtime, &config).await;
    let id = run_container(&mut runtime, &sandbox, &config, &limited("main", limits())).await;
    let mut expected = limits();
    for (change, known) in [
        (
            LinuxContainerResources { cpu_shares: 256, ..Default::default() },
            LinuxContainerResources { cpu_shares: 256, ..expected.clone() },
        ),
        (
            // Up and down, like an in-place resize.
            LinuxContainerResources {
                memory_limit_in_bytes: 128 * MIB,
                memory_swap_limit_in_bytes: 128 * MIB,
                cpu_quota: 40_000,
                cpu_period: 100_000,
                ..Default::default()
            },
            LinuxContainerResources {
                memory_limit_in_bytes: 128 * MIB,
                memory_swap_limit_in_bytes: 128 * MIB,
                cpu_quota: 40_000,
                cpu_period: 100_000,
                cpu_shares: 256,
                ..expected.clone()
            },
        ),
        (
            LinuxContainerResources { memory_limit_in_bytes: 32 * MIB, ..Default::default() },
            LinuxContainerResources {
                memory_limit_in_bytes: 32 * MIB,
                memory_swap_limit_in_bytes: 32 * MIB,
                cpu_quota: 40_000,
                cpu_period: 100_000,
                cpu_shares: 256,
                ..expected.clone()
            },
        ),
    ] {
        update(&mut runtime, &id, change).await.unwrap();
        expected = known;
        assert_limits(&id, &expected);
        let reported = container_status(&mut runtime, &id).await.resources.unwrap().linux.unwrap();
        assert_eq!(reported, expected);
    }
    // The kubelet's CPU manager sets only the cpuset.
    let pinned = LinuxContainerResources { cpuset_cpus: "0".to_owned(), ..Default::default() };
    update(&mut runtime, &id, pinned).await.unwrap();
    assert_limits(&id, &expected);
    // An update before the start is applied after it.
    let waiting = create(&mut runtime, &sandbox, &config, &limited("waiting", limits())).await;
    let shares = LinuxContainerResources { cpu_shares: 128, ..Default::default() };
    update(&mut runtime, &waiting, shares).await.unwrap();
    start(&mut runtime, &waiting).await;
    assert_limits(&waiting, &LinuxContainerResources { cpu_shares: 128, ..limits() });
    stop_container(&mut runtime, &id, 0).await;
    let refused = update(&mut runtime, &id, LinuxContainerResources { cpu_shares: 2, ..Default::default() }).await;
    assert_refused(refused, Code::FailedPrecondition, &[&id, "exited"]);
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_can_be_removed() {
    let mut runtime = runtime().await;
    let config = pod("unlimit");
    let sandbox = run_pod(&mut runtime, &config).await;
    let start_with = LinuxContainerResources { cpu_quota: 20_000, cpu_period: 100_000, ..Default::default() };
    let id = run_container(&mut runtime, &sandbox, &config, &limited("main", start_with)).await;
    let change = LinuxContainerResources { cpu_quota: -1, cpu_period: 100_000, ..Default::default() };
    update(&mut runtime, &id, change).await.unwrap();
    if is_v1() {
        assert_eq!(v1_file(pid_of(&id), "cpu", "cpu.cfs_quota_us").as_deref(), Some("-1"));
    }
    assert_eq!(container_status(&mut runtime, &id).await.resources.unwrap().linux.unwrap().cpu_quota, -1);
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_limits_are_refused_by_field_and_change_nothing() {
    let mut runtime = runtime().await;
    let config = pod("bad-limits");
    let sandbox = run_pod(&mut runtime, &config).await;
    let id = run_container(&mut runtime, &sandbox, &config, &limited("main", limits())).await;
    type Resources = LinuxContainerResources;
    for (wrong, field) in [
        (Resources { oom_score_adj: 1001, ..limits() }, "linux.resources.oom_score_adj"),
        (Resources { oom_score_adj: -1001, ..limits() }, "linux.resources.oom_score_adj"),
        (Resources { memory_limit_in_bytes: -5, ..limits() }, "linux.resources.memory_limit_in_bytes"),
        (Resources { cpu_shares: -1, ..limits() }, "linux.resources.cpu_shares"),
        (Resources { cpu_period: -1, ..limits() }, "linux.resources.cpu_period"),
    ] {
        let refused = try_create(&mut runtime, &sandbox, &config, &limited("wrong", wrong.clone())).await;
        assert_refused(refused, Code::InvalidArgument, &["container wrong", field]);
        assert_refused(update(&mut runtime, &id, wrong).await, Code::InvalidArgument, &["container main", field]);
    }
    if is_v1() {
        let wrong = Resources { unified: texts(&[("memory.high", "1000000")]), ..limits() };
        let refused = try_create(&mut runtime, &sandbox, &config, &limited("wrong", wrong.clone())).await;
        assert_refused(refused, Code::FailedPrecondition, &["container wrong", "linux.resources.unified", "cgroup v1"]);
        assert_refused(update(&mut runtime, &id, wrong).await, Code::FailedPrecondition, &["linux.resources.unified"]);
    }
    // Errors that only Docker or the kernel detects are passed on in their words.
    for (wrong, word) in [
        (Resources { memory_limit_in_bytes: 1, memory_swap_limit_in_bytes: 1, ..limits() }, "memory"),
        (Resources { cpuset_cpus: "4096".to_owned(), ..limits() }, "cpu"),
        (Resources { cpu_period: 5, cpu_quota: 1, ..limits() }, "period"),
        (Resources { memory_swap_limit_in_bytes: MIB, ..limits() }, "swap"),
    ] {
        let error = try_create(&mut runtime, &sandbox, &config, &limited("wrong", wrong.clone())).await.unwrap_err();
        assert!(error.message().to_lowercase().contains(word), "{error}");
        let error = update(&mut runtime, &id, wrong).await.unwrap_err();
        assert!(error.message().to_lowercase().contains(word), "{error}");
    }
    assert_limits(&id, &limits());
    assert_eq!(container_status(&mut runtime, &id).await.resources.unwrap().linux.unwrap(), limits());
    assert!(!docker_has("k8s_wrong_bad-limits_default_uid-bad-limits_0"));
    let request = UpdateContainerResourcesRequest { container_id: id, ..Default::default() };
    assert_refused(runtime.update_container_resources(request).await, Code::InvalidArgument, &["linux"]);
    let unknown = update(&mut runtime, "no-such-container", limits()).await;
    assert_refused(unknown, Code::NotFound, &["no-such-container"]);
    remove_pod(&mut runtime, &sandbox).await;
}
