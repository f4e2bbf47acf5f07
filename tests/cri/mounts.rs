//! Mounts and devices, checked from the host and from the container.

use std::path::Path;
use std::path::PathBuf;

use dockside::proto::*;
use tonic::Code;

use crate::assert_refused;
use crate::docker_knows;
use crate::inspect::*;
use crate::runtime;
use harness::*;

const NGINX: &str = "nginx:1.14";

/// An empty directory on the host for one test.
fn directory(name: &str) -> PathBuf {
    let path = PathBuf::from("/var/lib/kubelet/mounts-test").join(name);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn bind(host: &Path, inside: &str) -> Mount {
    Mount { host_path: host.display().to_string(), container_path: inside.to_owned(), ..Default::default() }
}

fn mounted(name: &str, mounts: Vec<Mount>) -> ContainerConfig {
    ContainerConfig { mounts, ..container(name, UNTIL_TERM) }
}

/// The options and the optional fields of the mount at `path` in a process's mountinfo (proc(5)).
fn mount_info(pid: u32, path: &str) -> (String, String) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let line = text
        .lines()
        .rfind(|line| line.split(' ').nth(4) == Some(path))
        .unwrap_or_else(|| panic!("no {path} in {text}"));
    let fields: Vec<&str> = line.split(' ').collect();
    let optional: Vec<&str> = fields[6..].iter().copied().take_while(|field| *field != "-").collect();
    (fields[5].to_owned(), optional.join(" "))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_shared_both_ways_and_a_read_only_one_cannot_be_written() {
    let mut runtime = runtime().await;
    let config = pod("binds");
    let sandbox = run_pod(&mut runtime, &config).await;
    let host = directory("binds");
    std::fs::write(host.join("from-host"), "hello").unwrap();
    let file = host.join("single-file");
    std::fs::write(&file, "just me").unwrap();
    let mounts = vec![
        bind(&host, "/rw"),
        Mount { readonly: true, ..bind(&host, "/ro") },
        bind(&file, "/etc/single"),
        bind(&host, "/a path/with: odd, näme"),
    ];
    let id = run_container(&mut runtime, &sandbox, &config, &mounted("main", mounts.clone())).await;
    assert_eq!(inside(&id, "cat /rw/from-host /etc/single"), "hellojust me");
    inside(&id, "echo back >/rw/from-container");
    assert_eq!(std::fs::read_to_string(host.join("from-container")).unwrap(), "back\n");
    assert_eq!(inside(&id, "touch /ro/x 2>&1; true"), "touch: /ro/x: Read-only file system");
    assert_eq!(inside(&id, "cat '/a path/with: odd, näme/from-host'"), "hello");
    // The status has the mounts as requested, and no others.
    assert_eq!(container_status(&mut runtime, &id).await.mounts, mounts);
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_of_a_kubelet_replace_dockers_own_files() {
    let mut runtime = runtime().await;
    let config = pod("kubelet-files");
    let sandbox = run_pod(&mut runtime, &config).await;
    let host = directory("kubelet-files");
    let mut mounts = Vec::new();
    for inside in ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/termination-log"] {
        let file = host.join(inside.rsplit('/').next().unwrap());
        std::fs::write(&file, format!("mine for {inside}\n")).unwrap();
        mounts.push(bind(&file, inside));
    }
    // An emptyDir in memory at /dev/shm, and a mount below another in any order.
    mounts.push(bind(&directory("kubelet-files/shm"), "/dev/shm"));
    mounts.push(bind(&directory("kubelet-files/below"), "/data/deep/below"));
    mounts.push(bind(&directory("kubelet-files/data"), "/data"));
    let id = run_container(&mut runtime, &sandbox, &config, &mounted("main", mounts.clone())).await;
    for inside_path in ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/termination-log"] {
        assert_eq!(inside(&id, &format!("cat {inside_path}")), format!("mine for {inside_path}"));
    }
    inside(&id, "echo bye >/dev/termination-log; touch /dev/shm/in-shm /data/deep/below/in-below /data/in-data");
    assert_eq!(std::fs::read_to_string(host.join("termination-log")).unwrap(), "bye\n");
    for file in ["shm/in-shm", "below/in-below", "data/in-data"] {
        assert!(host.join(file).exists(), "{file}");
    }
    assert_eq!(container_status(&mut runtime, &id).await.mounts, mounts);
    // Another container of the pod still has the pod's own.
    let other = run_container(&mut runtime, &sandbox, &config, &mounted("other", Vec::new())).await;
    assert!(inside(&other, "cat /etc/hosts").contains("localhost"));
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_symbolic_link_is_followed_and_a_missing_host_path_created() {
    let mut runtime = runtime().await;
    let config = pod("paths-on-host");
    let sandbox = run_pod(&mut runtime, &config).await;
    let host = directory("links");
    std::fs::create_dir_all(host.join("target")).unwrap();
    std::fs::write(host.join("target/file"), "through the link").unwrap();
    let _ = std::fs::remove_file(host.join("link"));
    std::os::unix::fs::symlink("target", host.join("link")).unwrap();
    let missing = host.join("made/by/the/mount");
    let mounts = vec![bind(&host.join("link"), "/linked"), bind(&missing, "/made")];
    let id = run_container(&mut runtime, &sandbox, &config, &mounted("main", mounts.clone())).await;
    assert_eq!(inside(&id, "cat /linked/file"), "through the link");
    assert!(missing.is_dir());
    assert_eq!(container_status(&mut runtime, &id).await.mounts, mounts);
    // The error for a path that cannot be created names its field.
    let under_a_file = Mount { host_path: host.join("target/file/below").display().to_string(), ..bind(&host, "/x") };
    let refused = try_create(&mut runtime, &sandbox, &config, &mounted("refused", vec![under_a_file])).await;
    assert_refused(refused, Code::InvalidArgument, &["container refused", "mounts.host_path", "target/file/below"]);
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_propagate_between_host_and_container_as_configured() {
    use MountPropagation::*;
    let mut runtime = runtime().await;
    let config = pod("propagation");
    let sandbox = run_pod(&mut runtime, &config).await;
    for (number, (propagation, optional, seen)) in [
        (PropagationPrivate, "", false),
        (PropagationHostToContainer, "master:", true),
        (PropagationBidirectional, "shared:", true),
    ]
    .into_iter()
    .enumerate()
    {
        let host = directory(&format!("propagation-{number}"));
        let path = host.to_str().unwrap();
        run("mount", &["--bind", path, path]);
        run("mount", &["--make-shared", path]);
        std::fs::create_dir_all(host.join("later")).unwrap();
        let mounts = vec![Mount { propagation: propagation.into(), ..bind(&host, "/mnt") }];
        let id =
            run_container(&mut runtime, &sandbox, &config, &mounted(&format!("main-{number}"), mounts.clone())).await;
        let (_, found) = mount_info(pid_of(&id), "/mnt");
        assert!(found.starts_with(optional) && found.is_empty() == optional.is_empty(), "{propagation:?}: {found:?}");
        run("mount", &["-t", "tmpfs", "none", host.join("later").to_str().unwrap()]);
        std::fs::write(host.join("later/file"), "").unwrap();
        assert_eq!(inside(&id, "ls /mnt/later") == "file", seen, "{propagation:?}");
        assert_eq!(container_status(&mut runtime, &id).await.mounts, mounts);
        stop_container(&mut runtime, &id, 0).await;
        run("umount", &[host.join("later").to_str().unwrap()]);
        run("umount", &[path]);
    }

    // Nothing can propagate from a private mount, so the request is refused.
    let host = directory("propagation-private");
    let path = host.to_str().unwrap();
    run("mount", &["--bind", path, path]);
    run("mount", &["--make-private", path]);
    for (number, propagation) in [PropagationHostToContainer, PropagationBidirectional].into_iter().enumerate() {
        let mounts = vec![Mount { propagation: propagation.into(), ..bind(&host, "/mnt") }];
        let wanted = mounted(&format!("private-{number}"), mounts);
        let error = match try_create(&mut runtime, &sandbox, &config, &wanted).await {
            Err(error) => error,
            Ok(id) => runtime.start_container(StartContainerRequest { container_id: id }).await.unwrap_err(),
        };
        assert!(error.message().contains("shared") && error.message().contains(path), "{error}");
    }
    run("umount", &[path]);
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dockers_root_directory_and_its_parents_can_be_mounted() {
    let mut runtime = runtime().await;
    let pod = pod("mounts-root");
    let sandbox = run_pod(&mut runtime, &pod).await;
    // Node debugging and log shippers mount these.
    let mounts = vec![bind(Path::new("/"), "/host"), bind(Path::new("/var/lib/docker/containers"), "/containers")];
    let id = run_container(&mut runtime, &sandbox, &pod, &mounted("main", mounts)).await;
    assert_eq!(inside(&id, "ls -d /host/var/lib/docker/image"), "/host/var/lib/docker/image");
    assert!(inside(&id, "ls /containers").contains(&id));
    // Other mounts do not propagate unless requested.
    let plain = directory("private");
    let other = run_container(&mut runtime, &sandbox, &pod, &mounted("other", vec![bind(&plain, "/data")])).await;
    let pid = docker(&["inspect", "-f", "{{.State.Pid}}", &other]).parse().unwrap();
    assert_eq!(mount_info(pid, "/data").1, "");
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_is_not_recursive_unless_requested() {
    let mut runtime = runtime().await;
    let config = pod("recursion");
    let sandbox = run_pod(&mut runtime, &config).await;
    let host = directory("recursion");
    let below = host.join("tmpfs");
    std::fs::create_dir_all(&below).unwrap();
    run("mount", &["-t", "tmpfs", "none", below.to_str().unwrap()]);
    let read_only = Mount { readonly: true, ..bind(&host, "/mnt") };
    let id = run_container(&mut runtime, &sandbox, &config, &mounted("plain", vec![read_only.clone()])).await;
    assert_eq!(inside(&id, "touch /mnt/x 2>&1; true"), "touch: /mnt/x: Read-only file system");
    inside(&id, "touch /mnt/tmpfs/file");
    let recursive = Mount { recursive_read_only: true, ..read_only };
    let handlers = runtime.status(StatusRequest::default()).await.unwrap().into_inner().runtime_handlers;
    let promised = handlers.iter().find(|handler| handler.name.is_empty()).unwrap().features.unwrap();
    assert_eq!(promised.recursive_read_only_mounts, docker_knows(44));
    if promised.recursive_read_only_mounts {
        let id = run_container(&mut runtime, &sandbox, &config, &mounted("recursive", vec![recursive.clone()])).await;
        assert_eq!(inside(&id, "touch /mnt/tmpfs/y 2>&1; true"), "touch: /mnt/tmpfs/y: Read-only file system");
        assert_eq!(container_status(&mut runtime, &id).await.mounts, std::slice::from_ref(&recursive));
    } else {
        let refused = try_create(&mut runtime, &sandbox, &config, &mounted("recursive", vec![recursive.clone()])).await;
        assert_refused(
            refused,
            Code::FailedPrecondition,
            &["container recursive", "mounts.recursive_read_only", "/mnt", "Docker 25"],
        );
    }
    for (wrong, word) in [
        (Mount { readonly: false, ..recursive.clone() }, "readonly"),
        (Mount { propagation: MountPropagation::PropagationHostToContainer.into(), ..recursive.clone() }, "private"),
        (Mount { propagation: MountPropagation::PropagationBidirectional.into(), ..recursive }, "private"),
    ] {
        let refused = try_create(&mut runtime, &sandbox, &config, &mounted("wrong", vec![wrong])).await;
        assert_refused(refused, Code::InvalidArgument, &["mounts.recursive_read_only", word]);
    }
    remove_pod(&mut runtime, &sandbox).await;
    run("umount", &[below.to_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_mounted_if_docker_supports_it() {
    let mut runtime = runtime().await;
    let config = pod("image-mount");
    let sandbox = run_pod(&mut runtime, &config).await;
    let image = |name: &str| Some(ImageSpec { image: name.to_owned(), ..Default::default() });
    let whole = Mount { image: image(NGINX), container_path: "/nginx".to_owned(), ..Default::default() };
    let part = Mount { container_path: "/part".to_owned(), image_sub_path: "etc/nginx".to_owned(), ..whole.clone() };
    if !docker_knows(48) {
        let refused = try_create(&mut runtime, &sandbox, &config, &mounted("main", vec![whole])).await;
        assert_refused(refused, Code::Unimplemented, &["container main", "mounts.image", "/nginx", "Docker 28"]);
        return remove_pod(&mut runtime, &sandbox).await;
    }
    let mounts = vec![whole.clone(), part.clone()];
    let id = run_container(&mut runtime, &sandbox, &config, &mounted("main", mounts.clone())).await;
    assert_eq!(inside(&id, "cmp /nginx/etc/nginx/nginx.conf /part/nginx.conf && echo same"), "same");
    for path in ["/nginx", "/part"] {
        let refused = inside(&id, &format!("touch {path}/new 2>&1; true"));
        assert_eq!(refused, format!("touch: {path}/new: Read-only file system"));
    }
    assert_eq!(container_status(&mut runtime, &id).await.mounts, mounts);
    let missing = Mount { image: image("dockside.test/never:1"), ..whole.clone() };
    let refused = try_create(&mut runtime, &sandbox, &config, &mounted("missing", vec![missing])).await;
    // The kubelet looks for the first word.
    let status = refused.as_ref().unwrap_err();
    assert!(status.message().starts_with("ImageVolumeMountFailed: "), "{status:?}");
    assert_refused(refused, Code::NotFound, &["container missing", "mounts.image", "/nginx", "dockside.test/never:1"]);
    let both = Mount { host_path: "/tmp".to_owned(), ..whole };
    let refused = try_create(&mut runtime, &sandbox, &config, &mounted("both", vec![both])).await;
    assert_refused(refused, Code::InvalidArgument, &["container both", "mounts.host_path"]);
    let nowhere = Mount { image_sub_path: "no/such/place".to_owned(), ..part };
    let request = CreateContainerRequest {
        pod_sandbox_id: sandbox.clone(),
        config: Some(mounted("nowhere", vec![nowhere])),
        sandbox_config: Some(config.clone()),
    };
    let id = runtime.create_container(request).await.unwrap().into_inner().container_id;
    let refused = runtime.start_container(StartContainerRequest { container_id: id }).await.unwrap_err();
    assert!(refused.message().contains("no/such/place"), "{refused:?}");
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unsupported_mount_options_are_refused_by_field() {
    let mut runtime = runtime().await;
    let config = pod("bad-mounts");
    let sandbox = run_pod(&mut runtime, &config).await;
    let host = directory("bad");
    let mapping = IdMapping { host_id: 100_000, container_id: 0, length: 1 };
    let mount = bind(&host, "/mnt");
    for (wrong, code, field) in [
        (
            Mount { mount_options: vec!["noexec".to_owned()], ..mount.clone() },
            Code::FailedPrecondition,
            "mounts.mount_options",
        ),
        (Mount { uid_mappings: vec![mapping], ..mount.clone() }, Code::FailedPrecondition, "mounts.uidMappings"),
        (Mount { gid_mappings: vec![mapping], ..mount.clone() }, Code::FailedPrecondition, "Mappings"),
        (Mount { host_path: "relative".to_owned(), ..mount.clone() }, Code::InvalidArgument, "mounts.host_path"),
        (Mount { host_path: String::new(), ..mount.clone() }, Code::InvalidArgument, "mounts.host_path"),
        (
            Mount { container_path: "relative".to_owned(), ..mount.clone() },
            Code::InvalidArgument,
            "mounts.container_path",
        ),
        (Mount { container_path: String::new(), ..mount.clone() }, Code::InvalidArgument, "mounts.container_path"),
    ] {
        let refused = try_create(&mut runtime, &sandbox, &config, &mounted("wrong", vec![wrong])).await;
        assert_refused(refused, code, &["container wrong", field]);
    }
    assert!(!docker_has("k8s_wrong_bad-mounts_default_uid-bad-mounts_0"));
    assert!(!containers(&mut runtime).await.iter().any(|container| container.pod_sandbox_id == sandbox));
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_available_with_its_permissions() {
    let mut runtime = runtime().await;
    let config = pod("devices");
    let sandbox = run_pod(&mut runtime, &config).await;
    let device = |host: &str, inside: &str, permissions: &str| Device {
        container_path: inside.to_owned(),
        host_path: host.to_owned(),
        permissions: permissions.to_owned(),
    };
    let with = |name: &str, devices| ContainerConfig { devices, ..container(name, UNTIL_TERM) };
    // A device that Docker adds to no container by default.
    let wanted = with("main", vec![device("/dev/kmsg", "/dev/mine", "r"), device("/dev/loop-control", "", "rwm")]);
    let id = run_container(&mut runtime, &sandbox, &config, &wanted).await;
    assert_eq!(inside(&id, "stat -c '%t:%T' /dev/mine"), run("stat", &["-c", "%t:%T", "/dev/kmsg"]));
    assert_eq!(inside(&id, "test -c /dev/loop-control && echo yes"), "yes");
    assert!(inside(&id, "echo x 2>&1 >/dev/mine; true").contains("Operation not permitted"));
    for (wrong, field) in [
        (device("/dev/no-such-device", "/dev/x", "r"), "devices.host_path"),
        (device("/dev/null", "/dev/x", "rx"), "devices.permissions"),
        (device("/dev/null", "/dev/x", ""), "devices.permissions"),
    ] {
        let refused = try_create(&mut runtime, &sandbox, &config, &with("wrong", vec![wrong])).await;
        assert_refused(refused, Code::InvalidArgument, &["container wrong", field]);
    }
    let cdi = ContainerConfig {
        cdi_devices: vec![CdiDevice { name: "vendor.example/device=none".to_owned() }],
        ..container("cdi", "true")
    };
    let error = match try_create(&mut runtime, &sandbox, &config, &cdi).await {
        Err(error) => error,
        Ok(id) => runtime.start_container(StartContainerRequest { container_id: id }).await.unwrap_err(),
    };
    assert!(error.message().contains("vendor.example/device=none"), "{error}");
    remove_pod(&mut runtime, &sandbox).await;
}
