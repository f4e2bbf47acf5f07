//! Stats, compared with the kernel's own numbers.

use dockside::proto::*;
use serde_json::Value;
use serde_json::json;
use tonic::Code;

use crate::*;

async fn stats(runtime: &mut Runtime, id: &str) -> ContainerStats {
    let request = ContainerStatsRequest { container_id: id.to_owned() };
    runtime.container_stats(request).await.unwrap().into_inner().stats.unwrap()
}

async fn list(runtime: &mut Runtime, filter: Option<ContainerStatsFilter>) -> Vec<ContainerStats> {
    runtime.list_container_stats(ListContainerStatsRequest { filter }).await.unwrap().into_inner().stats
}

async fn pod_stats(runtime: &mut Runtime, id: &str) -> PodSandboxStats {
    let request = PodSandboxStatsRequest { pod_sandbox_id: id.to_owned() };
    runtime.pod_sandbox_stats(request).await.unwrap().into_inner().stats.unwrap()
}

fn value(number: Option<UInt64Value>) -> u64 {
    number.expect("there is a number").value
}

/// A file of a container's cgroup, in version 1's tree or in version 2's.
pub(crate) fn cgroup_file(id: &str, tree: &str, version_1: &str, version_2: &str) -> String {
    let paths =
        [format!("/sys/fs/cgroup/{tree}/docker/{id}/{version_1}"), format!("/sys/fs/cgroup/docker/{id}/{version_2}")];
    let found = paths.iter().find_map(|path| std::fs::read_to_string(path).ok());
    found.unwrap_or_else(|| panic!("none of {paths:?}"))
}

fn row(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().parse().unwrap()
}

/// CPU time in nanoseconds.
pub(crate) fn cpu_from_kernel(id: &str) -> u64 {
    let text = cgroup_file(id, "cpuacct", "cpuacct.usage", "cpu.stat");
    text.trim().parse().unwrap_or_else(|_| row(&text, "usage_usec") * 1000)
}

pub(crate) fn memory_from_kernel(id: &str) -> (u64, u64) {
    let usage = cgroup_file(id, "memory", "memory.usage_in_bytes", "memory.current").trim().parse().unwrap();
    let stat = cgroup_file(id, "memory", "memory.stat", "memory.stat");
    let inactive = if stat.contains("total_inactive_file") { "total_inactive_file" } else { "inactive_file" };
    (usage, usage - row(&stat, inactive))
}

/// The upper directory of the overlay at a container's root.
fn layer_from_kernel(id: &str) -> String {
    let pid = docker(&["inspect", "-f", "{{.State.Pid}}", id]);
    let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap();
    root.split_once("upperdir=").unwrap().1.split(',').next().unwrap().to_owned()
}

/// Builds an image of so many layers that Docker's graph driver mounts it by relative paths.
fn make_deep_image(name: &str) {
    let directory = "/var/lib/dockside/many-layers";
    let at = |file: &str| format!("{directory}/{file}");
    std::fs::create_dir_all(directory).unwrap();
    docker(&["save", "--output", &at("base.tar"), BUSYBOX]);
    run("tar", &["-xf", &at("base.tar"), "-C", directory]);
    let read = |file: &str| -> Value { serde_json::from_slice(&std::fs::read(at(file)).unwrap()).unwrap() };
    let mut manifest = read("manifest.json");
    let mut config = read(manifest[0]["Config"].as_str().unwrap());
    std::fs::write(at("file"), "one of many").unwrap();
    run("tar", &["-cf", &at("one.tar"), "-C", directory, "file"]);
    let digest = run("sha256sum", &[&at("one.tar")]).split(' ').next().unwrap().to_owned();
    for _ in 0..80 {
        manifest[0]["Layers"].as_array_mut().unwrap().push(json!("one.tar"));
        config["rootfs"]["diff_ids"].as_array_mut().unwrap().push(json!(format!("sha256:{digest}")));
    }
    manifest[0]["RepoTags"] = json!([name]);
    manifest[0]["Config"] = json!("config.json");
    std::fs::write(at("manifest.json"), manifest.to_string()).unwrap();
    std::fs::write(at("config.json"), config.to_string()).unwrap();
    std::fs::remove_file(at("base.tar")).unwrap();
    run("tar", &["-cf", &format!("{directory}.tar"), "-C", directory, "."]);
    docker(&["load", "--quiet", "--input", &format!("{directory}.tar")]);
}

/// The directory that holds the images.
async fn images_on() -> String {
    let info = images().await.image_fs_info(ImageFsInfoRequest {}).await.unwrap().into_inner();
    info.image_filesystems[0].fs_id.clone().unwrap().mountpoint
}

pub(crate) fn near(one: u64, other: u64) -> bool {
    one.abs_diff(other) <= one.max(other) / 100
}

#[tokio::test(flavor = "multi_thread")]
async fn cpu_and_memory_equal_the_kernels_counters() {
    let mut runtime = runtime().await;
    let config = pod("stats-usage");
    let sandbox = run_pod(&mut runtime, &config).await;
    // Thirty megabytes in a file that is read repeatedly, hence active, and about half a CPU.
    let script = "dd if=/dev/zero of=/tmp/file bs=1M count=30 2>/dev/null; cat /tmp/file /tmp/file >/dev/null; \
                  trap 'exit 0' TERM; while true; do i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 0.02; done";
    let mut busy = container("busy", script);
    let resources = LinuxContainerResources { memory_limit_in_bytes: 256 << 20, ..Default::default() };
    busy.linux = Some(LinuxContainerConfig { resources: Some(resources), ..Default::default() });
    let id = run_container(&mut runtime, &sandbox, &config, &busy).await;
    eventually("thirty megabytes are in use", async || (memory_from_kernel(&id).0 > 30 << 20).then_some(())).await;

    eventually("a kernel reading before and after Dockside's, close together", async || {
        let (cpu_before, memory_before) = (cpu_from_kernel(&id), memory_from_kernel(&id));
        let stats = stats(&mut runtime, &id).await;
        let (cpu_after, memory_after) = (cpu_from_kernel(&id), memory_from_kernel(&id));
        let (cpu, memory) = (stats.cpu.unwrap(), stats.memory.unwrap());
        let used = value(cpu.usage_core_nano_seconds);
        assert!((cpu_before..=cpu_after).contains(&used), "{cpu_before} {used} {cpu_after}");
        let (usage, working_set) = (value(memory.usage_bytes), value(memory.working_set_bytes));
        let available = value(memory.available_bytes);
        assert!(available <= (256 << 20) && available + working_set == 256 << 20, "{available} {working_set}");
        let steady = near(memory_before.0, memory_after.0) && near(memory_before.1, memory_after.1);
        (steady && near(usage, memory_after.0) && near(working_set, memory_after.1)).then_some(())
    })
    .await;
    let rate =
        eventually("the rate is known", async || stats(&mut runtime, &id).await.cpu.unwrap().usage_nano_cores).await;
    assert!((10_000_000..1_100_000_000).contains(&rate.value), "{rate:?}");
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_writable_layer_is_measured() {
    let mut runtime = runtime().await;
    let config = pod("stats-disk");
    let sandbox = run_pod(&mut runtime, &config).await;
    let script = "mkdir /d; for i in 1 2 3 4 5; do dd if=/dev/urandom of=/d/$i bs=1M count=2 2>/dev/null; done; echo; trap 'exit 0' TERM; while true; do sleep 0.1; done";
    let id = run_container(&mut runtime, &sandbox, &config, &container("writer", script)).await;
    let layer = eventually("ten megabytes were found", async || {
        let layer = stats(&mut runtime, &id).await.writable_layer.unwrap();
        layer.used_bytes.as_ref().is_some_and(|used| used.value >= 10 << 20).then_some(layer)
    })
    .await;
    let directory = layer_from_kernel(&id);
    let by_hand: u64 = run("du", &["-s", "-B1", &directory]).split('\t').next().unwrap().parse().unwrap();
    let used = layer.used_bytes.unwrap().value;
    assert!(near(used, by_hand), "{used} {by_hand}");
    let inodes: u64 = run("du", &["-s", "--inodes", &directory]).split('\t').next().unwrap().parse().unwrap();
    assert_eq!(layer.inodes_used.unwrap().value, inodes);
    assert!(layer.timestamp > 0);
    // A kubelet measures this directory later, when the container may be gone.
    assert_eq!(layer.fs_id.unwrap().mountpoint, images_on().await);
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_writable_layer_over_a_very_deep_image_is_measured() {
    if containerd_has_images() {
        return; // containerd mounts by whole paths
    }
    let mut runtime = runtime().await;
    let name = "dockside.test/many-layers:1";
    make_deep_image(name);
    let config = pod("stats-layers");
    let sandbox = run_pod(&mut runtime, &config).await;
    let script = format!("head -c 3000000 /dev/urandom >/file; {UNTIL_TERM}");
    let wanted = ContainerConfig { image: crate::images::spec(name), ..container("main", &script) };
    let id = run_container(&mut runtime, &sandbox, &config, &wanted).await;
    let layer = eventually("three megabytes were found", async || {
        let layer = stats(&mut runtime, &id).await.writable_layer.unwrap();
        layer.used_bytes.as_ref().is_some_and(|used| used.value >= 3_000_000).then_some(layer)
    })
    .await;
    assert!(!layer_from_kernel(&id).starts_with('/'), "the paths are relative");
    assert_eq!(layer.fs_id.unwrap().mountpoint, images_on().await);
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_stats_have_network_processes_and_containers() {
    let mut runtime = runtime().await;
    let mut config = pod("stats-pod");
    config.labels.insert("stats".to_owned(), "pod".to_owned());
    let sandbox = run_pod(&mut runtime, &config).await;
    let id = run_container(&mut runtime, &sandbox, &config, &container("main", UNTIL_TERM)).await;
    let exited = run_container(&mut runtime, &sandbox, &config, &container("exited", "true")).await;
    ended(&mut runtime, &exited).await;
    // The gateway of the built-in network.
    inside(&id, "ping -c 3 -s 5000 10.88.0.1");
    let stats = pod_stats(&mut runtime, &sandbox).await;
    let attributes = stats.attributes.unwrap();
    assert_eq!((attributes.id, attributes.labels), (sandbox.clone(), config.labels.clone()));
    let linux = stats.linux.unwrap();
    let eth0 = linux.network.unwrap().default_interface.unwrap();
    assert_eq!(eth0.name, "eth0");
    assert!(value(eth0.rx_bytes) > 15_000 && value(eth0.tx_bytes) > 15_000);
    let ids: Vec<String> = linux.containers.into_iter().map(|stats| stats.attributes.unwrap().id).collect();
    assert_eq!(ids, [id]);
    let processes = value(linux.process.unwrap().process_count);
    assert!((2..10).contains(&processes), "{processes}");
    assert!(value(linux.cpu.unwrap().usage_core_nano_seconds) > 0);
    assert!(value(linux.memory.unwrap().working_set_bytes) > 0);

    let selector = [("stats".to_owned(), "pod".to_owned())].into_iter().collect();
    let filter = Some(PodSandboxStatsFilter { id: String::new(), label_selector: selector });
    let listed =
        runtime.list_pod_sandbox_stats(ListPodSandboxStatsRequest { filter }).await.unwrap().into_inner().stats;
    assert_eq!(listed.len(), 1);
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_lists_have_every_container_and_apply_filters() {
    let mut runtime = runtime().await;
    let config = pod("stats-list");
    let sandbox = run_pod(&mut runtime, &config).await;
    let mut labelled = container("labelled", UNTIL_TERM);
    labelled.labels.insert("stats".to_owned(), "list".to_owned());
    let running = run_container(&mut runtime, &sandbox, &config, &labelled).await;
    let created = create(&mut runtime, &sandbox, &config, &container("created", "true")).await;
    let of_pod = ContainerStatsFilter { pod_sandbox_id: sandbox.clone(), ..Default::default() };
    let mut ids: Vec<String> =
        list(&mut runtime, Some(of_pod)).await.into_iter().map(|stats| stats.attributes.unwrap().id).collect();
    ids.sort();
    let mut both = [running.clone(), created.clone()];
    both.sort();
    assert_eq!(ids, both);
    let by_label = ContainerStatsFilter { label_selector: labelled.labels.clone(), ..Default::default() };
    let found = list(&mut runtime, Some(by_label)).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].attributes.as_ref().unwrap().metadata, labelled.metadata);
    let by_id = ContainerStatsFilter { id: created[..12].to_owned(), ..Default::default() };
    let found = list(&mut runtime, Some(by_id)).await;
    // A container that is not running has no usage; that is not an error.
    assert!(found.len() == 1 && found[0].cpu.is_none() && found[0].memory.is_none(), "{found:?}");
    assert!(list(&mut runtime, None).await.len() >= 2);
    let unknown = runtime.container_stats(ContainerStatsRequest { container_id: "nonesuch".to_owned() }).await;
    assert_refused(unknown, Code::NotFound, &["container", "nonesuch"]);
    let unknown = runtime.pod_sandbox_stats(PodSandboxStatsRequest { pod_sandbox_id: "nonesuch".to_owned() }).await;
    assert_refused(unknown, Code::NotFound, &["pod sandbox", "nonesuch"]);
    remove_pod(&mut runtime, &sandbox).await;
}
