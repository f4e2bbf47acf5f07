//! Containers: their configuration, their status, and what Docker has of them.

use std::collections::HashSet;
use std::path::Path;

use dockside::proto::*;
use tonic::Code;

use crate::assert_refused;
use crate::inspect::*;
use crate::pods::now;
use crate::pods::odd_texts;
use crate::pods::texts;
use crate::runtime;
use harness::*;

/// A container of this image, with the image's own command.
pub(crate) fn of_image(name: &str, image: &str) -> ContainerConfig {
    let image = ImageSpec { image: image.to_owned(), ..Default::default() };
    ContainerConfig { image: Some(image), command: Vec::new(), ..container(name, "") }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

async fn list(runtime: &mut Runtime, filter: ContainerFilter) -> Vec<Container> {
    let request = ListContainersRequest { filter: Some(filter) };
    runtime.list_containers(request).await.unwrap().into_inner().containers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_goes_from_created_to_running_to_exited_with_times_in_order() {
    let mut runtime = runtime().await;
    let config = pod("life");
    let sandbox = run_pod(&mut runtime, &config).await;
    let before = now();
    let id = create(&mut runtime, &sandbox, &config, &container("main", "sleep 0.2; exit 7")).await;
    let created = container_status(&mut runtime, &id).await;
    assert_eq!(created.state(), ContainerState::ContainerCreated);
    assert!((before..=now()).contains(&created.created_at));
    assert_eq!((created.started_at, created.finished_at, created.exit_code), (0, 0, 0));
    assert_eq!((created.reason.as_str(), created.message.as_str()), ("", ""));
    start(&mut runtime, &id).await;
    let running = container_status(&mut runtime, &id).await;
    if running.state() == ContainerState::ContainerRunning {
        assert_eq!((running.finished_at, running.exit_code, running.reason.as_str()), (0, 0, ""));
    }
    let exited = ended(&mut runtime, &id).await;
    assert_eq!((exited.exit_code, exited.reason.as_str()), (7, "Error"));
    let times = [before, exited.created_at, exited.started_at, exited.finished_at, now()];
    assert!(times.is_sorted(), "{times:?}");
    assert!(exited.finished_at - exited.started_at >= 200_000_000, "{times:?}");
    let listed = list(&mut runtime, ContainerFilter { id: id.clone(), ..Default::default() }).await.remove(0);
    assert_eq!((listed.state, listed.created_at), (exited.state, exited.created_at));
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn container_status_reports_what_was_requested() {
    let mut runtime = runtime().await;
    let config = pod("reported-container");
    let sandbox = run_pod(&mut runtime, &config).await;
    let wanted = ContainerConfig { labels: odd_texts(), annotations: odd_texts(), ..container("main", "true") };
    let id = create(&mut runtime, &sandbox, &config, &wanted).await;
    let status = container_status(&mut runtime, &id).await;
    assert_eq!(status.metadata, wanted.metadata);
    assert_eq!((&status.labels, &status.annotations), (&wanted.labels, &wanted.annotations));
    assert_eq!(status.image, wanted.image);
    assert_eq!(status.log_path, "/var/log/pods/default_reported-container_uid-reported-container/main/0.log");
    let listed = list(&mut runtime, ContainerFilter { id: id.clone(), ..Default::default() }).await.remove(0);
    assert_eq!((listed.metadata, listed.image), (status.metadata, status.image));
    assert_eq!((&listed.labels, &listed.annotations), (&wanted.labels, &wanted.annotations));
    assert_eq!(listed.pod_sandbox_id, sandbox);
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_shows_the_names_and_labels_that_cri_dockerd_gives() {
    let mut runtime = runtime().await;
    let config = PodSandboxConfig { labels: texts(&[("app", "web")]), ..pod("labelled") };
    let sandbox = run_pod(&mut runtime, &config).await;
    let labels = texts(&[("io.kubernetes.pod.name", "labelled"), ("io.kubernetes.sandbox.id", "forged")]);
    let annotations = texts(&[("io.kubernetes.container.hash", "abc")]);
    let id =
        create(&mut runtime, &sandbox, &config, &ContainerConfig { labels, annotations, ..container("main", "true") })
            .await;
    let found = inspect(&id);
    assert_eq!(found["Name"], "/k8s_main_labelled_default_uid-labelled_0");
    let labels = &found["Config"]["Labels"];
    assert_eq!(labels["io.kubernetes.docker.type"], "container");
    assert_eq!(labels["io.kubernetes.sandbox.id"], sandbox.as_str());
    assert_eq!(labels["io.kubernetes.container.logpath"], container_status(&mut runtime, &id).await.log_path);
    assert_eq!(labels["annotation.io.kubernetes.container.hash"], "abc");
    assert_eq!(labels["io.kubernetes.pod.name"], "labelled");
    assert_eq!(labels["app"], serde_json::Value::Null, "labels of the pod are the pod's");
    let of_pod = docker(&["ps", "-aq", "--no-trunc", "--filter", &format!("label=io.kubernetes.sandbox.id={sandbox}")]);
    assert_eq!(of_pod, id);
    assert_eq!(found["HostConfig"]["RestartPolicy"]["Name"], "no", "restarting is the kubelet's");
    assert_eq!(found["HostConfig"]["AutoRemove"], false);
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_of_an_image_cannot_impersonate_dockside() {
    let mut runtime = runtime().await;
    let config = pod("hostile");
    let sandbox = run_pod(&mut runtime, &config).await;
    let wanted = ContainerConfig {
        command: strings(&["sleep", "86407"]),
        labels: texts(&[("mine", "yes")]),
        ..of_image("main", "dockside.test/hostile:1")
    };
    let id = run_container(&mut runtime, &sandbox, &config, &wanted).await;
    let status = container_status(&mut runtime, &id).await;
    assert_eq!((status.labels, status.annotations.len()), (wanted.labels, 0));
    assert!(status.log_path.ends_with("/main/0.log"));
    assert!(!sandboxes(&mut runtime).await.iter().any(|pod| pod.id == id), "taken for a sandbox");
    let listed = list(&mut runtime, ContainerFilter { pod_sandbox_id: sandbox.clone(), ..Default::default() }).await;
    assert_eq!(listed.iter().map(|container| &container.id).collect::<Vec<_>>(), [&id]);
    let forged = ContainerFilter { label_selector: texts(&[("app", "forged")]), ..Default::default() };
    assert_eq!(list(&mut runtime, forged).await, Vec::new());
    // Dockside's own labels win in Docker.
    let labels = &inspect(&id)["Config"]["Labels"];
    assert_eq!(labels["io.kubernetes.docker.type"], "container");
    assert_eq!(labels["io.kubernetes.sandbox.id"], sandbox.as_str());
    remove_pod(&mut runtime, &sandbox).await;
    assert!(!docker_has(&id));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_has_one_id_everywhere_and_a_container_can_be_made_from_it() {
    let mut runtime = runtime().await;
    let mut images = crate::images().await;
    let spec = |image: &str| Some(ImageSpec { image: image.to_owned(), ..Default::default() });
    let request = ImageStatusRequest { image: spec(BUSYBOX), verbose: false };
    let image_id = images.image_status(request).await.unwrap().into_inner().image.unwrap().id;
    let config = pod("image-ids");
    let sandbox = run_pod(&mut runtime, &config).await;
    for (number, reference) in [BUSYBOX, &image_id, &image_id["sha256:".len()..]].into_iter().enumerate() {
        let wanted = ContainerConfig {
            image: Some(ImageSpec { user_specified_image: BUSYBOX.to_owned(), ..spec(reference).unwrap() }),
            ..container(&format!("main-{number}"), "true")
        };
        let id = create(&mut runtime, &sandbox, &config, &wanted).await;
        let status = container_status(&mut runtime, &id).await;
        assert_eq!((&status.image_id, &status.image_ref), (&image_id, &image_id));
        let listed = list(&mut runtime, ContainerFilter { id: id.clone(), ..Default::default() }).await.remove(0);
        assert_eq!((&listed.image_id, &listed.image_ref), (&image_id, &image_id));
        // A program refers to it by id, a person by name.
        for image in [status.image, listed.image].map(Option::unwrap) {
            assert_eq!((image.image.as_str(), image.user_specified_image.as_str()), (BUSYBOX, BUSYBOX));
        }
        assert_eq!(inspect(&id)["Image"], image_id.as_str());
    }
    let missing = of_image("missing", "dockside.test/no-such-image:1");
    let refused = try_create(&mut runtime, &sandbox, &config, &missing).await;
    assert_refused(refused, Code::NotFound, &["dockside.test/no-such-image:1"]);
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn command_and_args_override_the_image_as_kubernetes_defines() {
    let mut runtime = runtime().await;
    let config = pod("commands");
    let sandbox = run_pod(&mut runtime, &config).await;
    for (number, (command, args, expected)) in [
        (&[][..], &[][..], "from the entrypoint: from the command"),
        (&[], &["my", "args"], "from the entrypoint: my args"),
        (&["echo", "my command"], &[], "my command"),
        (&["echo", "my"], &["own", "words"], "my own words"),
        (&["echo", ""], &["", "x"], "  x"),
    ]
    .into_iter()
    .enumerate()
    {
        let wanted = ContainerConfig {
            command: strings(command),
            args: strings(args),
            ..of_image(&format!("main-{number}"), "dockside.test/entrypoint:1")
        };
        let id = run_container(&mut runtime, &sandbox, &config, &wanted).await;
        assert_eq!(ended(&mut runtime, &id).await.reason, "Completed");
        let output = docker(&["logs", &id]);
        assert_eq!(output.trim(), expected.trim(), "command {command:?}, args {args:?}");
    }
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn environment_variables_arrive_complete_and_in_order() {
    let mut runtime = runtime().await;
    let config = pod("environment");
    let sandbox = run_pod(&mut runtime, &config).await;
    let pairs = [
        ("Z_FIRST", "1"),
        ("EMPTY", ""),
        ("EQUALS", "a=b=c"),
        ("LINES", "one\ntwo"),
        ("UNICODE", "grün 🌿"),
        ("SPACES", "  around  "),
        ("dotted.name-1", "yes"),
        ("A_LAST", "$EMPTY ${Z_FIRST} `true`"),
    ];
    let envs = pairs.map(|(key, value)| KeyValue { key: key.to_owned(), value: value.as_bytes().to_vec() }).into();
    let wanted =
        ContainerConfig { command: strings(&["cat", "/proc/self/environ"]), envs, ..of_image("main", BUSYBOX) };
    let id = run_container(&mut runtime, &sandbox, &config, &wanted).await;
    ended(&mut runtime, &id).await;
    let output = docker(&["logs", &id]);
    let seen: Vec<&str> = output.split('\0').collect();
    let ours: Vec<&str> =
        seen.iter().copied().filter(|pair| pairs.iter().any(|(key, _)| pair.starts_with(&format!("{key}=")))).collect();
    let expected: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(ours, expected);
    // The image's own are kept.
    assert!(seen.iter().any(|pair| pair.starts_with("PATH=/usr/local/sbin:")), "{seen:?}");

    for (key, value, field) in
        [("", &b"x"[..], "envs.key"), ("A=B", b"x", "envs.key"), ("BINARY", &[0xff, 0xfe], "envs.value")]
    {
        let envs = vec![KeyValue { key: key.to_owned(), value: value.to_vec() }];
        let refused =
            try_create(&mut runtime, &sandbox, &config, &ContainerConfig { envs, ..container("bad", "true") }).await;
        let code = if field == "envs.key" { Code::InvalidArgument } else { Code::FailedPrecondition };
        assert_refused(refused, code, &["container bad", field]);
    }
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_starts_in_its_working_directory() {
    let mut runtime = runtime().await;
    let config = pod("directories");
    let sandbox = run_pod(&mut runtime, &config).await;
    for (name, working_dir, expected) in
        [("own", "/var/log", "/var/log"), ("image", "", "/home"), ("new", "/made/up", "/made/up")]
    {
        let wanted = ContainerConfig {
            working_dir: working_dir.to_owned(),
            command: strings(&["pwd"]),
            ..of_image(name, "dockside.test/entrypoint:1")
        };
        let id = run_container(&mut runtime, &sandbox, &config, &wanted).await;
        ended(&mut runtime, &id).await;
        assert_eq!(logs(&id), expected);
    }
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stdin_and_tty_are_as_requested() {
    let mut runtime = runtime().await;
    let config = pod("terminals");
    let sandbox = run_pod(&mut runtime, &config).await;
    for (number, (stdin, stdin_once, tty)) in
        [(false, false, false), (true, false, false), (true, true, false), (true, false, true), (false, false, true)]
            .into_iter()
            .enumerate()
    {
        let script = "if [ -t 1 ]; then echo terminal; else echo no terminal; fi; cat; echo end; sleep 86408";
        let wanted = ContainerConfig { stdin, stdin_once, tty, ..container(&format!("main-{number}"), script) };
        let id = run_container(&mut runtime, &sandbox, &config, &wanted).await;
        let found = inspect(&id);
        let reported = ["OpenStdin", "StdinOnce", "Tty"].map(|field| found["Config"][field].as_bool().unwrap());
        assert_eq!(reported, [stdin, stdin_once, tty]);
        // Without an open stdin a reader gets EOF at once.
        let expected = match (tty, stdin) {
            (true, _) => "terminal",
            (false, true) => "no terminal",
            (false, false) => "no terminal\nend",
        };
        eventually("the container has printed it", async || (logs(&id) == expected).then_some(())).await;
    }
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_create_returns_the_same_container_and_a_different_one_is_refused() {
    let mut runtime = runtime().await;
    let config = pod("create-again");
    let sandbox = run_pod(&mut runtime, &config).await;
    let wanted = container("main", "true");
    let id = create(&mut runtime, &sandbox, &config, &wanted).await;
    assert_eq!(create(&mut runtime, &sandbox, &config, &wanted).await, id);
    let other = container("main", "false");
    let refused = try_create(&mut runtime, &sandbox, &config, &other).await;
    assert_refused(refused, Code::AlreadyExists, &["container main", &id]);
    start(&mut runtime, &id).await;
    ended(&mut runtime, &id).await;
    let refused = try_create(&mut runtime, &sandbox, &config, &wanted).await;
    assert_refused(refused, Code::AlreadyExists, &["container main", &id, "metadata.attempt"]);
    let next =
        ContainerConfig { metadata: Some(ContainerMetadata { name: "main".to_owned(), attempt: 1 }), ..wanted.clone() };
    assert_ne!(create(&mut runtime, &sandbox, &config, &next).await, id);
    runtime.remove_container(RemoveContainerRequest { container_id: id.clone() }).await.unwrap();
    assert_ne!(create(&mut runtime, &sandbox, &config, &wanted).await, id);
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn creating_a_container_needs_a_ready_sandbox() {
    let mut runtime = runtime().await;
    let config = pod("not-ready");
    let sandbox = run_pod(&mut runtime, &config).await;
    runtime.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: sandbox.clone() }).await.unwrap();
    let refused = try_create(&mut runtime, &sandbox, &config, &container("main", "true")).await;
    assert_refused(refused, Code::FailedPrecondition, &[&sandbox, "not ready"]);
    remove_pod(&mut runtime, &sandbox).await;
    let refused = try_create(&mut runtime, &sandbox, &config, &container("main", "true")).await;
    assert_refused(refused, Code::NotFound, &[&sandbox]);
    assert!(!docker_has("k8s_main_not-ready_default_uid-not-ready_0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_are_listed_by_id_state_pod_and_labels_combined() {
    let mut runtime = runtime().await;
    let (one_config, two_config) = (pod("list-one"), pod("list-two"));
    let one = run_pod(&mut runtime, &one_config).await;
    let two = run_pod(&mut runtime, &two_config).await;
    let labelled =
        |name: &str, labels: &[(&str, &str)]| ContainerConfig { labels: texts(labels), ..container(name, UNTIL_TERM) };
    let shared = [("test", "container-lists")];
    let web = run_container(&mut runtime, &one, &one_config, &labelled("web", &[shared[0], ("app", "web")])).await;
    let db = create(&mut runtime, &one, &one_config, &labelled("db", &[shared[0], ("app", "db")])).await;
    let far = run_container(&mut runtime, &two, &two_config, &labelled("far", &[shared[0], ("app", "web")])).await;
    stop_container(&mut runtime, &far, 0).await;
    use ContainerState::*;
    let filter = |id: &str, state: Option<ContainerState>, pod: &str, labels: &[(&str, &str)]| ContainerFilter {
        id: id.to_owned(),
        state: state.map(|state| ContainerStateValue { state: state.into() }),
        pod_sandbox_id: pod.to_owned(),
        label_selector: texts(labels),
    };
    let cases: [(ContainerFilter, &[&String]); 10] = [
        (filter("", None, "", &shared), &[&web, &db, &far]),
        (filter("", None, &one, &[]), &[&web, &db]),
        (filter("", Some(ContainerRunning), "", &shared), &[&web]),
        (filter("", Some(ContainerCreated), "", &shared), &[&db]),
        (filter("", Some(ContainerExited), "", &shared), &[&far]),
        (filter("", None, "", &[("test", "container-lists"), ("app", "web")]), &[&web, &far]),
        (filter("", None, &two, &[("app", "web")]), &[&far]),
        (filter(&web, Some(ContainerRunning), &one, &[("app", "web")]), &[&web]),
        (filter(&web, None, &two, &[]), &[]),
        (filter("no-such-id", None, "", &[]), &[]),
    ];
    for (filter, expected) in cases {
        let found: HashSet<String> =
            list(&mut runtime, filter.clone()).await.into_iter().map(|container| container.id).collect();
        assert_eq!(found, expected.iter().map(|id| (*id).clone()).collect(), "{filter:?}");
    }
    remove_pod(&mut runtime, &one).await;
    remove_pod(&mut runtime, &two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_path_outside_the_pods_directory_is_refused() {
    let mut runtime = runtime().await;
    let config = pod("log-paths");
    let sandbox = run_pod(&mut runtime, &config).await;
    for path in ["../../../etc/cron.d/x", "/etc/passwd", "a/../../b"] {
        let wanted = ContainerConfig { log_path: path.to_owned(), ..container("main", "true") };
        let refused = try_create(&mut runtime, &sandbox, &config, &wanted).await;
        assert_refused(refused, Code::InvalidArgument, &["container main", "log_path", path]);
    }
    let wanted = ContainerConfig { log_path: String::new(), ..container("silent", "true") };
    let id = create(&mut runtime, &sandbox, &config, &wanted).await;
    assert_eq!(container_status(&mut runtime, &id).await.log_path, "");
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_of_the_image_is_removed_with_its_container() {
    const IMAGE: &str = "dockside.test/with-volume:1";
    let mut runtime = runtime().await;
    let source = docker(&["create", BUSYBOX]);
    docker(&["commit", "--change", "VOLUME /data", &source, IMAGE]);
    docker(&["rm", &source]);
    let config = pod("volumes");
    let sandbox = run_pod(&mut runtime, &config).await;
    let wanted = ContainerConfig { image: of_image("", IMAGE).image, ..container("main", UNTIL_TERM) };
    let id = run_container(&mut runtime, &sandbox, &config, &wanted).await;
    let mount = &inspect(&id)["Mounts"][0];
    let (source, name) = (mount["Source"].as_str().unwrap(), mount["Name"].as_str().unwrap());
    assert_eq!(mount["Destination"], "/data");
    assert!(Path::new(source).exists());
    assert_eq!(container_status(&mut runtime, &id).await.mounts, Vec::new(), "only requested mounts are reported");
    runtime.remove_container(RemoveContainerRequest { container_id: id.clone() }).await.unwrap();
    assert!(!Path::new(source).exists());
    assert!(!docker(&["volume", "ls", "-q"]).contains(name));
    // A mount of the pod at the same path replaces the volume.
    let host_path = "/var/lib/kubelet/instead-of-volume".to_owned();
    let mount = Mount { host_path: host_path.clone(), container_path: "/data".to_owned(), ..Default::default() };
    let wanted = ContainerConfig { image: wanted.image, mounts: vec![mount], ..container("mounted", UNTIL_TERM) };
    let id = run_container(&mut runtime, &sandbox, &config, &wanted).await;
    let mounts = inspect(&id)["Mounts"].as_array().unwrap().clone();
    assert_eq!((mounts.len(), mounts[0]["Source"].as_str()), (1, Some(host_path.as_str())));
    remove_pod(&mut runtime, &sandbox).await;
    docker(&["rmi", IMAGE]);
}
