use super::*;
use crate::manifest::translate::tests::pod;

fn dirs(root: &Path) -> PodDirs {
    PodDirs { pods: root.join("pods"), logs: root.join("logs") }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn directories_and_volumes_are_created_and_stay() {
    let root = tempfile::tempdir().unwrap();
    let shared = root.path().join("shared/dir");
    let pod = pod(&format!(
        "volumes: [{{name: scratch}}, {{name: host, hostPath: {{path: {}, type: DirectoryOrCreate}}}}]\n\
         containers: [{{name: c, image: x}}]",
        shared.display()
    ));
    let files = Files::of(&pod, &dirs(root.path()));
    files.prepare().unwrap();
    assert_eq!(files.logs, root.path().join("logs/default_web_uid-1"));
    assert!(files.logs.join("c").is_dir());
    assert!(shared.is_dir());
    let scratch = root.path().join("pods/uid-1/volumes/kubernetes.io~empty-dir/scratch");
    assert_eq!(files.volume("scratch"), scratch);
    assert_eq!(mode(&scratch), 0o777);

    fs::write(scratch.join("kept"), "x").unwrap();
    fs::set_permissions(&scratch, Permissions::from_mode(0o700)).unwrap();
    files.prepare().unwrap();
    assert!(scratch.join("kept").exists());
    assert_eq!(mode(&scratch), 0o700);
}

#[test]
fn a_container_sees_its_volumes_its_hosts_file_and_its_message_file() {
    let root = tempfile::tempdir().unwrap();
    let pod = pod("volumes: [{name: v}]\n\
         containers: [{name: c, image: x, terminationMessagePath: /tmp/bye, volumeMounts: [\
         {name: v, mountPath: data, readOnly: true, subPath: s, mountPropagation: HostToContainer}]}]");
    let files = Files::of(&pod, &dirs(root.path()));
    files.prepare().unwrap();
    let hosts = files.write_hosts(&["10.0.0.5".into()], "").unwrap();
    let mounts = files.mounts(&pod.spec.containers[0], 2, &hosts).unwrap();
    let dir = files.dir.canonicalize().unwrap();
    let seen: Vec<_> = mounts
        .iter()
        .map(|mount| (mount.container_path.as_str(), PathBuf::from(&mount.host_path).canonicalize().unwrap()))
        .collect();
    assert_eq!(
        seen,
        [
            ("/data", dir.join(EMPTY_DIR).join("v/s")),
            ("/etc/hosts", dir.join("etc-hosts")),
            ("/tmp/bye", dir.join("containers/c/2")),
        ]
    );
    assert!(mounts[0].readonly && !mounts[1].readonly);
    assert_eq!(mounts[0].propagation(), MountPropagation::PropagationHostToContainer);
    assert_eq!(mode(&dir.join("containers/c/2")), 0o666);
}

#[test]
fn a_container_with_a_volume_at_etc_hosts_keeps_it() {
    let root = tempfile::tempdir().unwrap();
    let pod = pod(
        "volumes: [{name: v}]\ncontainers: [{name: c, image: x, volumeMounts: [{name: v, mountPath: /etc/hosts}]}]",
    );
    let files = Files::of(&pod, &dirs(root.path()));
    files.prepare().unwrap();
    let mounts = files.mounts(&pod.spec.containers[0], 0, Path::new("/x")).unwrap();
    assert_eq!(mounts.iter().filter(|mount| mount.container_path == "/etc/hosts").count(), 1);
    assert_ne!(mounts[0].host_path, "/x");
}

#[test]
fn the_hosts_file_names_the_pod() {
    let text = hosts(&["10.0.0.5".into(), "fd00::5".into()], "web");
    assert!(text.starts_with("# Kubernetes-managed hosts file"));
    assert!(text.contains("\n127.0.0.1\tlocalhost\n"));
    assert!(text.ends_with("\n10.0.0.5\tweb\nfd00::5\tweb\n"));
}

#[test]
fn with_host_network_the_hosts_file_is_a_copy_of_the_hosts() {
    let root = tempfile::tempdir().unwrap();
    let pod = pod("hostNetwork: true\ncontainers: [{name: c, image: x}]");
    let files = Files::of(&pod, &dirs(root.path()));
    files.prepare().unwrap();
    let path = files.write_hosts(&[], "192.0.2.1 node\n").unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), format!("{HOSTS_HEADER}192.0.2.1 node\n"));
}

#[test]
fn the_termination_message_is_the_file_or_the_last_lines_of_the_log() {
    let root = tempfile::tempdir().unwrap();
    let pod = pod("containers: [{name: c, image: x}]");
    let container = &pod.spec.containers[0];
    let files = Files::of(&pod, &dirs(root.path()));
    files.prepare().unwrap();
    assert_eq!(files.termination_message(container, 0), "");
    let log: String = (0..20).map(|n| format!("2026-01-01T00:00:00Z stdout F line {n}\n")).collect();
    fs::write(files.logs.join("c/0.log"), log).unwrap();
    let message = files.termination_message(container, 0);
    assert!(message.starts_with("line 10\n") && message.ends_with("\nline 19"), "{message}");
    let message = files.create_message(container, 0).unwrap();
    fs::write(message, "out of cheese\n").unwrap();
    assert_eq!(files.termination_message(container, 0), "out of cheese");
}

#[test]
fn removing_can_be_repeated() {
    let root = tempfile::tempdir().unwrap();
    let dirs = dirs(root.path());
    let pod = pod("volumes: [{name: v}]\ncontainers: [{name: c, image: x}]");
    Files::of(&pod, &dirs).prepare().unwrap();
    let remove = || remove(&dirs, "default", "web", "uid-1").unwrap();
    assert!(remove());
    assert!(!dirs.pod("uid-1").exists());
    assert!(!dirs.log("default", "web", "uid-1").exists());
    assert!(!remove());
}
