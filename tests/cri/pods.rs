//! Sandboxes: their status, and how they are created, stopped and removed.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::path::Path;
use std::path::PathBuf;

use dockside::proto::*;
use tonic::Code;

use crate::assert_refused;
use crate::inspect::*;
use crate::runtime;
use harness::*;

/// Keys and values that need care with escaping.
pub(crate) fn odd_texts() -> BTreeMap<String, String> {
    let large = "x".repeat(200_000);
    let pairs = [
        ("plain", "value"),
        ("empty", ""),
        ("", "an empty key"),
        ("example.com/with.dots_and-dashes", "1"),
        ("newlines", "a\nb\r\nc\n"),
        ("quotes", r#"{"json": "\"\\"}"#),
        ("schlüssel 鍵 🔑", "wert 値 💎"),
        ("equals=and,commas", "=,=,"),
        ("spaces ", " around "),
        ("control", "\u{1}\u{7f}\t"),
        ("annotation.like", "prefixed"),
        ("io.kubernetes.docker.type", "forged"),
        ("io.kubernetes.container.name", "forged"),
        ("large", &large),
    ];
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

async fn try_run(runtime: &mut Runtime, config: &PodSandboxConfig, handler: &str) -> Result<String, tonic::Status> {
    let request = RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: handler.to_owned() };
    Ok(runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id)
}

async fn stop(runtime: &mut Runtime, id: &str) {
    runtime.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: id.to_owned() }).await.unwrap();
}

async fn remove(runtime: &mut Runtime, id: &str) {
    runtime.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() }).await.unwrap();
}

async fn list(runtime: &mut Runtime, filter: PodSandboxFilter) -> Vec<PodSandbox> {
    let request = ListPodSandboxRequest { filter: Some(filter) };
    runtime.list_pod_sandbox(request).await.unwrap().into_inner().items
}

async fn ids(runtime: &mut Runtime, filter: PodSandboxFilter) -> HashSet<String> {
    list(runtime, filter).await.into_iter().map(|pod| pod.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_status_reports_what_was_requested() {
    let mut runtime = runtime().await;
    let config = PodSandboxConfig { labels: odd_texts(), annotations: odd_texts(), ..pod("reported") };
    let before = now();
    let id = run_pod(&mut runtime, &config).await;
    let status = pod_status(&mut runtime, &id).await;
    assert_eq!(status.metadata, config.metadata);
    assert_eq!((&status.labels, &status.annotations), (&config.labels, &config.annotations));
    assert_eq!(status.state(), PodSandboxState::SandboxReady);
    assert!((before..=now()).contains(&status.created_at), "{}", status.created_at);
    let options = status.linux.unwrap().namespaces.unwrap().options.unwrap();
    assert_eq!(options, NamespaceOption::default());
    let listed = list(&mut runtime, PodSandboxFilter { id: id.clone(), ..Default::default() }).await.remove(0);
    assert_eq!((listed.metadata, listed.created_at), (status.metadata, status.created_at));
    assert_eq!((listed.labels, listed.annotations), (config.labels.clone(), config.annotations.clone()));
    assert_eq!(listed.state, status.state);
    // Docker's labels are for people and tools: Dockside's own labels win there.
    let labels = &inspect(&id)["Config"]["Labels"];
    assert_eq!(labels["io.kubernetes.docker.type"], "podsandbox");
    assert_eq!(labels["io.kubernetes.container.name"], "POD");
    assert_eq!(labels["newlines"], "a\nb\r\nc\n");
    assert_eq!(labels["annotation.schlüssel 鍵 🔑"], "wert 値 💎");
    assert_eq!(inspect(&id)["Name"], "/k8s_POD_reported_default_uid-reported_0");
    remove_pod(&mut runtime, &id).await;
}

/// In nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_nanos()).unwrap()
}

async fn details(runtime: &mut Runtime, sandbox: &str, container: &str) -> [serde_json::Value; 2] {
    let request = PodSandboxStatusRequest { pod_sandbox_id: sandbox.to_owned(), verbose: true };
    let pod = runtime.pod_sandbox_status(request).await.unwrap().into_inner().info;
    let request = ContainerStatusRequest { container_id: container.to_owned(), verbose: true };
    let container = runtime.container_status(request).await.unwrap().into_inner().info;
    [pod, container].map(|info| serde_json::from_str(&info["info"]).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn verbose_status_is_json() {
    let mut runtime = runtime().await;
    let linux = LinuxPodSandboxConfig { cgroup_parent: "/verbose/pod1".to_owned(), ..Default::default() };
    for config in [pod("verbose"), PodSandboxConfig { linux: Some(linux), ..pod("verbose-in-cgroup") }] {
        let id = run_pod(&mut runtime, &config).await;
        let main = create(&mut runtime, &id, &config, &container("main", UNTIL_TERM)).await;
        let [of_pod, of_container] = details(&mut runtime, &id, &main).await;
        assert!(Path::new(of_pod["netns"].as_str().unwrap()).exists(), "{of_pod}");
        assert!(of_pod["dockerName"].as_str().unwrap().starts_with("k8s_POD_verbose"), "{of_pod}");
        assert_eq!(of_container["sandboxID"], id.as_str());
        assert_eq!(of_container["pid"], serde_json::Value::Null);
        for info in [&of_pod, &of_container] {
            assert_eq!(info["privileged"], false);
        }
        start(&mut runtime, &main).await;
        inside(&main, "sleep 1000 >/dev/null 2>&1 &");
        let [of_pod, of_container] = details(&mut runtime, &id, &main).await;
        assert_eq!((&of_pod["pid"], &of_container["pid"]), (&pid_of(&id).into(), &pid_of(&main).into()));
        remove_pod(&mut runtime, &id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_returns_the_same_pod_and_a_different_one_is_refused() {
    let mut runtime = runtime().await;
    let config = pod("again");
    let id = run_pod(&mut runtime, &config).await;
    assert_eq!(run_pod(&mut runtime, &config).await, id);
    let differs = PodSandboxConfig { hostname: "other".to_owned(), ..config.clone() };
    assert_refused(try_run(&mut runtime, &differs, "").await, Code::AlreadyExists, &["default/again", &id]);
    assert_refused(try_run(&mut runtime, &config, "runc").await, Code::AlreadyExists, &["default/again"]);
    assert_eq!(pod_status(&mut runtime, &id).await.state(), PodSandboxState::SandboxReady);
    // A stopped sandbox does not satisfy the request: a kubelet raises the attempt.
    stop(&mut runtime, &id).await;
    assert_refused(try_run(&mut runtime, &config, "").await, Code::AlreadyExists, &["metadata.attempt"]);
    let mut next = config.clone();
    next.metadata.as_mut().unwrap().attempt = 1;
    let second = run_pod(&mut runtime, &next).await;
    assert_ne!(second, id);
    remove_pod(&mut runtime, &id).await;
    remove_pod(&mut runtime, &second).await;
    // Once the first one is removed, its name is available again.
    let third = run_pod(&mut runtime, &config).await;
    remove_pod(&mut runtime, &third).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_repeats_of_one_request_make_one_pod() {
    let runtime = runtime().await;
    let config = pod("five-at-once");
    let calls: Vec<_> = (0..5)
        .map(|_| {
            let (mut runtime, config) = (runtime.clone(), config.clone());
            tokio::spawn(async move { run_pod(&mut runtime, &config).await })
        })
        .collect();
    let mut made = HashSet::new();
    for call in calls {
        made.insert(call.await.unwrap());
    }
    assert_eq!(made.len(), 1);
    let names = docker(&["ps", "-a", "--filter", "name=k8s_POD_five-at-once", "--format", "{{.ID}}"]);
    assert_eq!(names.lines().count(), 1);
    let mut runtime = runtime;
    remove_pod(&mut runtime, made.iter().next().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_ends_everything_in_the_pod_and_removing_leaves_nothing() {
    let mut runtime = runtime().await;
    let config = pod("stopped");
    let id = run_pod(&mut runtime, &config).await;
    let ip = pod_status(&mut runtime, &id).await.network.unwrap().ip;
    let netns = netns(&mut runtime, &id).await.unwrap();
    let running = run_container(&mut runtime, &id, &config, &container("running", "sleep 86401")).await;
    let created = create(&mut runtime, &id, &config, &container("created", "true")).await;
    stop(&mut runtime, &id).await;
    let status = pod_status(&mut runtime, &id).await;
    assert_eq!(status.state(), PodSandboxState::SandboxNotready);
    assert_eq!(status.network.unwrap().ip, "", "another pod may have the address by now");
    let status = container_status(&mut runtime, &running).await;
    assert_eq!((status.state(), status.exit_code), (ContainerState::ContainerExited, 137));
    assert_eq!(inspect(&id)["State"]["Running"], false);
    assert_eq!(processes_with("sleep 86401"), Vec::<String>::new());
    assert!(!netns.exists(), "{} is still pinned", netns.display());
    let address = Path::new("/var/lib/cni/networks/dockside").join(&ip);
    assert!(!std::fs::read_to_string(&address).is_ok_and(|owner| owner.contains(&id)), "the address is not free");
    stop(&mut runtime, &id).await;
    assert_eq!(pod_status(&mut runtime, &id).await.state(), PodSandboxState::SandboxNotready);

    remove(&mut runtime, &id).await;
    for gone in [&id, &running, &created] {
        assert!(!docker_has(gone), "Docker still has {gone}");
    }
    let request = PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: false };
    assert_refused(runtime.pod_sandbox_status(request).await, Code::NotFound, &[&id]);
    let request = ContainerStatusRequest { container_id: running.clone(), verbose: false };
    assert_refused(runtime.container_status(request).await, Code::NotFound, &[&running]);
    assert!(!sandboxes(&mut runtime).await.iter().any(|pod| pod.id == id));
    assert!(!containers(&mut runtime).await.iter().any(|container| container.pod_sandbox_id == id));
    stop(&mut runtime, &id).await;
    remove(&mut runtime, &id).await;
}

/// Where a pod's network namespace is pinned; `None` for a pod on the node's network.
pub(crate) async fn netns(runtime: &mut Runtime, id: &str) -> Option<PathBuf> {
    let request = PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: true };
    let info = runtime.pod_sandbox_status(request).await.unwrap().into_inner().info;
    let info: serde_json::Value = serde_json::from_str(&info["info"]).unwrap();
    info["netns"].as_str().map(PathBuf::from)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_pod_can_be_removed_at_once() {
    let mut runtime = runtime().await;
    let config = pod("removed-running");
    let id = run_pod(&mut runtime, &config).await;
    let running = run_container(&mut runtime, &id, &config, &container("main", "sleep 86402")).await;
    remove(&mut runtime, &id).await;
    assert!(!docker_has(&id) && !docker_has(&running));
    assert_eq!(processes_with("sleep 86402"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_and_removing_unknown_ids_succeeds_and_their_status_is_not_found() {
    let mut runtime = runtime().await;
    for unknown in ["4e9b4a9a-1c53-4f3e-8f63-5a3f5b7f1d5c", &"f0".repeat(32), ""] {
        stop(&mut runtime, unknown).await;
        remove(&mut runtime, unknown).await;
        stop_container(&mut runtime, unknown, 0).await;
        let request = RemoveContainerRequest { container_id: unknown.to_owned() };
        runtime.remove_container(request).await.unwrap();
        let request = PodSandboxStatusRequest { pod_sandbox_id: unknown.to_owned(), verbose: false };
        assert_refused(runtime.pod_sandbox_status(request).await, Code::NotFound, &[]);
        let request = ContainerStatusRequest { container_id: unknown.to_owned(), verbose: false };
        assert_refused(runtime.container_status(request).await, Code::NotFound, &[]);
        let request = StartContainerRequest { container_id: unknown.to_owned() };
        assert_refused(runtime.start_container(request).await, Code::NotFound, &[]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_prefix_of_an_id_is_accepted() {
    let mut runtime = runtime().await;
    let config = pod("short-ids");
    let id = run_pod(&mut runtime, &config).await;
    let short = &id[..12];
    assert_eq!(pod_status(&mut runtime, short).await.id, id);
    let filter = PodSandboxFilter { id: short.to_owned(), ..Default::default() };
    assert_eq!(ids(&mut runtime, filter).await, HashSet::from([id.clone()]));
    let made = create(&mut runtime, short, &config, &container("main", "sleep 86403")).await;
    start(&mut runtime, &made[..12]).await;
    let status = container_status(&mut runtime, &made[..12]).await;
    assert_eq!((status.id.as_str(), status.state()), (made.as_str(), ContainerState::ContainerRunning));
    let filter = ContainerFilter { id: made[..12].to_owned(), pod_sandbox_id: short.to_owned(), ..Default::default() };
    let request = ListContainersRequest { filter: Some(filter) };
    let listed = runtime.list_containers(request).await.unwrap().into_inner().containers;
    assert_eq!((listed.len(), listed[0].pod_sandbox_id.as_str()), (1, id.as_str()));
    stop_container(&mut runtime, &made[..12], 0).await;
    runtime.remove_container(RemoveContainerRequest { container_id: made[..12].to_owned() }).await.unwrap();
    assert!(!docker_has(&made));
    stop(&mut runtime, short).await;
    assert_eq!(pod_status(&mut runtime, &id).await.state(), PodSandboxState::SandboxNotready);
    remove(&mut runtime, short).await;
    assert!(!docker_has(&id));
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_listed_by_id_state_and_labels_combined() {
    let mut runtime = runtime().await;
    let labelled = |name: &str, labels: &[(&str, &str)]| PodSandboxConfig { labels: texts(labels), ..pod(name) };
    let web = run_pod(&mut runtime, &labelled("filter-web", &[("test", "filter"), ("app", "web"), ("tier", "")])).await;
    let db = run_pod(&mut runtime, &labelled("filter-db", &[("test", "filter"), ("app", "db")])).await;
    let old = run_pod(&mut runtime, &labelled("filter-old", &[("test", "filter"), ("app", "web")])).await;
    stop(&mut runtime, &old).await;
    let filter = |id: &str, state: Option<PodSandboxState>, labels: &[(&str, &str)]| PodSandboxFilter {
        id: id.to_owned(),
        state: state.map(|state| PodSandboxStateValue { state: state.into() }),
        label_selector: texts(labels),
    };
    let (ready, not_ready) = (Some(PodSandboxState::SandboxReady), Some(PodSandboxState::SandboxNotready));
    let all = ["test", "filter"];
    let cases: [(PodSandboxFilter, &[&String]); 10] = [
        (filter("", None, &[(all[0], all[1])]), &[&web, &db, &old]),
        (filter("", ready, &[(all[0], all[1])]), &[&web, &db]),
        (filter("", not_ready, &[(all[0], all[1])]), &[&old]),
        (filter("", None, &[("test", "filter"), ("app", "web")]), &[&web, &old]),
        (filter("", ready, &[("test", "filter"), ("app", "web")]), &[&web]),
        (filter("", None, &[("test", "filter"), ("tier", "")]), &[&web]),
        (filter(&db, ready, &[("app", "db")]), &[&db]),
        (filter(&db, not_ready, &[]), &[]),
        (filter(&db, None, &[("app", "web")]), &[]),
        (filter("no-such-id", None, &[]), &[]),
    ];
    for (filter, expected) in cases {
        let found = ids(&mut runtime, filter.clone()).await;
        assert_eq!(found, expected.iter().map(|id| (*id).clone()).collect(), "{filter:?}");
    }
    for id in [web, db, old] {
        remove_pod(&mut runtime, &id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_handler_is_used_and_reported_and_an_unknown_one_refused() {
    let mut runtime = runtime().await;
    let status = runtime.status(StatusRequest::default()).await.unwrap().into_inner();
    let handlers: Vec<&str> = status.runtime_handlers.iter().map(|handler| handler.name.as_str()).collect();
    assert!(handlers.contains(&"") && handlers.contains(&"runc"), "{handlers:?}");
    let config = pod("handled");
    let refused = try_run(&mut runtime, &config, "gvisor").await;
    assert_refused(refused, Code::InvalidArgument, &["default/handled", "runtime_handler", "gvisor", "runc"]);
    // Uses a runtime other than Docker's default if there is one, since Docker reports the default everywhere.
    let handler = if handlers.contains(&"wrapped") { "wrapped" } else { "runc" };
    let id = try_run(&mut runtime, &config, handler).await.unwrap();
    let main = create(&mut runtime, &id, &config, &container("main", "true")).await;
    for made in [&id, &main] {
        assert_eq!(inspect(made)["HostConfig"]["Runtime"], handler);
    }
    assert_eq!(pod_status(&mut runtime, &id).await.runtime_handler, handler);
    let filter = PodSandboxFilter { id: id.clone(), ..Default::default() };
    assert_eq!(list(&mut runtime, filter).await[0].runtime_handler, handler);
    remove_pod(&mut runtime, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_processes_of_a_pod_are_in_the_kubelets_cgroup() {
    let mut runtime = runtime().await;
    let parent = KubeletCgroup::make("kubepods/burstable/podcri-test-cgroup");
    let linux = LinuxPodSandboxConfig {
        cgroup_parent: "/kubepods/burstable/podcri-test-cgroup".to_owned(),
        ..Default::default()
    };
    let config = PodSandboxConfig { linux: Some(linux), ..pod("in-cgroup") };
    let id = run_pod(&mut runtime, &config).await;
    let main = run_container(&mut runtime, &id, &config, &container("main", UNTIL_TERM)).await;
    for made in [&id, &main] {
        let cgroups = std::fs::read_to_string(format!("/proc/{}/cgroup", pid_of(made))).unwrap();
        let expected = format!("/kubepods/burstable/podcri-test-cgroup/{made}");
        for line in cgroups.lines().filter(|line| line.contains("memory") || line.contains(":cpu:")) {
            assert!(line.ends_with(&expected), "{line} is not in {expected}");
        }
        assert!(cgroups.contains(&expected), "{cgroups}");
    }
    remove_pod(&mut runtime, &id).await;
    parent.remove().await;
    let traversal = LinuxPodSandboxConfig { cgroup_parent: "/kubepods/../../x".to_owned(), ..Default::default() };
    let config = PodSandboxConfig { linux: Some(traversal), ..pod("out-of-cgroup") };
    assert_refused(try_run(&mut runtime, &config, "").await, Code::InvalidArgument, &["linux.cgroup_parent"]);
    assert!(!docker_has("k8s_POD_out-of-cgroup_default_uid-out-of-cgroup_0"));
}

/// A pod's cgroup in every hierarchy, as a kubelet creates it.
struct KubeletCgroup(Vec<PathBuf>);

impl KubeletCgroup {
    fn make(path: &str) -> KubeletCgroup {
        let mut made = Vec::new();
        for root in hierarchies() {
            let mut directory = root.clone();
            for part in path.split('/') {
                let above = directory.clone();
                directory.push(part);
                if !directory.exists() {
                    std::fs::create_dir(&directory).unwrap();
                    made.push(directory.clone());
                }
                // A new cpuset of version 1 is empty and accepts no process.
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    if root.ends_with("cpuset") {
                        std::fs::write(directory.join(file), std::fs::read(above.join(file)).unwrap()).unwrap();
                    }
                }
            }
        }
        KubeletCgroup(made)
    }

    /// Cgroups are busy for a moment after their last process.
    async fn remove(mut self) {
        self.0.reverse();
        for directory in &self.0 {
            eventually("the pod's cgroup can be removed", async || std::fs::remove_dir(directory).ok()).await;
        }
    }
}

fn hierarchies() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let of_cgroups = mounts.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        fields[2].starts_with("cgroup").then(|| fields[1].into())
    });
    of_cgroups.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_concurrent_pods_all_start_with_distinct_addresses() {
    let runtime = runtime().await;
    let calls: Vec<_> = (0..20)
        .map(|number| {
            let mut runtime = runtime.clone();
            tokio::spawn(async move {
                let id = run_pod(&mut runtime, &pod(&format!("crowd-{number}"))).await;
                (id.clone(), pod_status(&mut runtime, &id).await.network.unwrap().ip)
            })
        })
        .collect();
    let mut made = Vec::new();
    for call in calls {
        made.push(call.await.unwrap());
    }
    let addresses: HashSet<&String> = made.iter().map(|(_, ip)| ip).collect();
    assert_eq!(addresses.len(), 20, "{made:?}");
    let removals: Vec<_> = made
        .iter()
        .map(|(id, _)| {
            let (mut runtime, id) = (runtime.clone(), id.clone());
            tokio::spawn(async move { remove_pod(&mut runtime, &id).await })
        })
        .collect();
    for removal in removals {
        removal.await.unwrap();
    }
    assert!(!docker(&["ps", "-a", "--format", "{{.Names}}"]).contains("_crowd-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_container_with_the_same_name_is_replaced_only_if_it_is_not_running() {
    let mut runtime = runtime().await;
    let config = pod("stray");
    let name = "k8s_POD_stray_default_uid-stray_0";
    docker(&["create", "--name", name, BUSYBOX]);
    let id = run_pod(&mut runtime, &config).await;
    assert_eq!(inspect(name)["Id"], id.as_str());
    let stray = docker(&["create", "--name", "k8s_main_stray_default_uid-stray_0", BUSYBOX]);
    let main = create(&mut runtime, &id, &config, &container("main", "true")).await;
    assert!(!docker_has(&stray) && docker_has(&main));
    remove_pod(&mut runtime, &id).await;

    let stray = docker(&["run", "-d", "--name", name, BUSYBOX, "sleep", "86412"]);
    assert_refused(try_run(&mut runtime, &config, "").await, Code::AlreadyExists, &[name, &stray]);
    assert_eq!(inspect(&stray)["State"]["Running"], true, "a running container of somebody else must not be removed");
    assert!(!sandboxes(&mut runtime).await.iter().any(|pod| pod.metadata == config.metadata));
    docker(&["rm", "-f", &stray]);
    let id = run_pod(&mut runtime, &config).await;
    remove_pod(&mut runtime, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_may_have_the_longest_names_kubernetes_allows() {
    let mut runtime = runtime().await;
    let name = format!("{}.x", "n".repeat(251));
    let mut config = PodSandboxConfig { hostname: "n".repeat(63), ..pod(&name) };
    config.metadata = Some(PodSandboxMetadata {
        name,
        namespace: "s".repeat(63),
        uid: "0f5bdbd1-7b5d-4d7e-a8e4-2b1ff3a2b0c6".to_owned(),
        attempt: u32::MAX,
    });
    config.log_directory = "/var/log/pods/longest".to_owned();
    let id = run_pod(&mut runtime, &config).await;
    assert_eq!(pod_status(&mut runtime, &id).await.metadata, config.metadata);
    let metadata = ContainerMetadata { name: "c".repeat(63), attempt: u32::MAX };
    let wanted = ContainerConfig { metadata: Some(metadata), ..container("main", UNTIL_TERM) };
    let main = run_container(&mut runtime, &id, &config, &wanted).await;
    assert_eq!(container_status(&mut runtime, &main).await.metadata, wanted.metadata);
    remove_pod(&mut runtime, &id).await;
}
