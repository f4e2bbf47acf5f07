use std::os::unix::fs::symlink;

use super::*;
use crate::cmd::pod::translate::tests::pod;

fn places(root: &Path) -> Places {
    Places { pods: root.join("pods"), logs: root.join("logs") }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn directories_and_volumes_are_made_and_stay() {
    let root = tempfile::tempdir().unwrap();
    let shared = root.path().join("shared/dir");
    let pod = pod(&format!(
        "volumes: [{{name: scratch}}, {{name: host, hostPath: {{path: {}, type: DirectoryOrCreate}}}}]\n\
         containers: [{{name: c, image: x}}]",
        shared.display()
    ));
    let files = Files::of(&pod, &places(root.path()));
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
fn a_host_path_has_to_be_what_the_manifest_says() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    let of = |kind, path: &Path| HostPath { path: path.to_owned(), kind };
    assert!(prepare_host_path(&of(HostPathKind::File, &file)).is_err());
    prepare_host_path(&of(HostPathKind::Unchecked, &file)).unwrap();
    prepare_host_path(&of(HostPathKind::FileOrCreate, &file)).unwrap();
    prepare_host_path(&of(HostPathKind::File, &file)).unwrap();
    prepare_host_path(&of(HostPathKind::CharDevice, Path::new("/dev/null"))).unwrap();
    let error = prepare_host_path(&of(HostPathKind::Directory, &file)).unwrap_err();
    assert!(error.to_string().ends_with("the manifest says that it is a directory"), "{error}");
    assert!(prepare_host_path(&of(HostPathKind::Socket, &file)).is_err());
    assert!(prepare_host_path(&of(HostPathKind::DirectoryOrCreate, &file)).is_err());
}

#[test]
fn a_sub_path_is_made_inside_the_volume() {
    let root = tempfile::tempdir().unwrap();
    let volume = root.path().canonicalize().unwrap();
    fs::set_permissions(&volume, Permissions::from_mode(0o770)).unwrap();
    assert_eq!(sub_path(&volume, Path::new("a/b")).unwrap(), volume.join("a/b"));
    assert_eq!(mode(&volume.join("a/b")), 0o770);
    fs::write(volume.join("file"), "").unwrap();
    assert_eq!(sub_path(&volume, Path::new("./file")).unwrap(), volume.join("file"));
    symlink("a", volume.join("inside")).unwrap();
    assert_eq!(sub_path(&volume, Path::new("inside/b")).unwrap(), volume.join("a/b"));
}

#[test]
fn a_sub_path_cannot_leave_the_volume() {
    let root = tempfile::tempdir().unwrap();
    let volume = root.path().join("volume");
    fs::create_dir(&volume).unwrap();
    symlink("/etc", volume.join("out")).unwrap();
    symlink("..", volume.join("up")).unwrap();
    symlink("nothing", volume.join("dangling")).unwrap();
    for (path, reason) in
        [("out", "leads out"), ("out/passwd", "leads out"), ("up/x", "leads out"), ("dangling", "leads nowhere")]
    {
        let error = sub_path(&volume, Path::new(path)).unwrap_err().to_string();
        assert!(error.contains(reason), "{path}: {error}");
    }
}

#[test]
fn a_container_sees_its_volumes_its_hosts_file_and_its_message_file() {
    let root = tempfile::tempdir().unwrap();
    let pod = pod("volumes: [{name: v}]\n\
         containers: [{name: c, image: x, terminationMessagePath: /tmp/bye, volumeMounts: [\
         {name: v, mountPath: data, readOnly: true, subPath: s, mountPropagation: HostToContainer}]}]");
    let files = Files::of(&pod, &places(root.path()));
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
fn a_container_that_brings_its_own_hosts_file_keeps_it() {
    let root = tempfile::tempdir().unwrap();
    let pod = pod(
        "volumes: [{name: v}]\ncontainers: [{name: c, image: x, volumeMounts: [{name: v, mountPath: /etc/hosts}]}]",
    );
    let files = Files::of(&pod, &places(root.path()));
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
fn on_the_hosts_network_the_hosts_file_is_the_hosts() {
    let root = tempfile::tempdir().unwrap();
    let pod = pod("hostNetwork: true\ncontainers: [{name: c, image: x}]");
    let files = Files::of(&pod, &places(root.path()));
    files.prepare().unwrap();
    let path = files.write_hosts(&[], "192.0.2.1 node\n").unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), format!("{HOSTS_HEADER}192.0.2.1 node\n"));
}

#[test]
fn last_words_are_the_message_or_the_end_of_the_log() {
    let root = tempfile::tempdir().unwrap();
    let pod = pod("containers: [{name: c, image: x}]");
    let container = &pod.spec.containers[0];
    let files = Files::of(&pod, &places(root.path()));
    files.prepare().unwrap();
    assert_eq!(files.last_words(container, 0), "");
    let log: String = (0..20).map(|n| format!("2026-01-01T00:00:00Z stdout F line {n}\n")).collect();
    fs::write(files.logs.join("c/0.log"), log).unwrap();
    let words = files.last_words(container, 0);
    assert!(words.starts_with("line 10\n") && words.ends_with("\nline 19"), "{words}");
    let message = files.make_message(container, 0).unwrap();
    fs::write(message, "out of cheese\n").unwrap();
    assert_eq!(files.last_words(container, 0), "out of cheese");
}

#[test]
fn removing_is_good_to_repeat() {
    let root = tempfile::tempdir().unwrap();
    let places = places(root.path());
    let pod = pod("volumes: [{name: v}]\ncontainers: [{name: c, image: x}]");
    Files::of(&pod, &places).prepare().unwrap();
    let remove = || remove(&places, "default", "web", "uid-1").unwrap();
    assert!(remove());
    assert!(!places.pod("uid-1").exists());
    assert!(!places.log("default", "web", "uid-1").exists());
    assert!(!remove());
}
