//! Inspects pods from outside: with Docker, in /proc, and over the network.

use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;

use serde_json::Value;

use harness::*;

/// `docker inspect` of one container.
pub(crate) fn inspect(id: &str) -> Value {
    let text = docker(&["inspect", "--type", "container", id]);
    serde_json::from_str::<Vec<Value>>(&text).unwrap().remove(0)
}

/// Whether Docker has a container of this id or name.
pub(crate) fn docker_has(id: &str) -> bool {
    !docker(&["ps", "-aq", "--no-trunc", "--filter", &format!("id={id}")]).is_empty()
        || docker(&["ps", "-a", "--format", "{{.Names}}"]).lines().any(|name| name == id)
}

/// The process of a running container, as the box sees it.
pub(crate) fn pid_of(id: &str) -> u32 {
    let pid = docker(&["inspect", "-f", "{{.State.Pid}}", id]).parse().unwrap();
    assert_ne!(pid, 0, "container {id} does not run");
    pid
}

/// A namespace of a process, such as `net`, as the link in /proc names it.
pub(crate) fn namespace(pid: impl ToString, kind: &str) -> PathBuf {
    std::fs::read_link(format!("/proc/{}/ns/{kind}", pid.to_string())).unwrap()
}

/// A line of /proc/PID/status.
pub(crate) fn proc_status(pid: u32, field: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field} in {text}")).trim().to_owned()
}

/// A container's output so far, stdout and stderr together.
pub(crate) fn logs(id: &str) -> String {
    let output = std::process::Command::new("docker").args(["logs", id]).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)).trim().to_owned()
}

/// Waits until nginx answers there.
pub(crate) async fn nginx_answers(address: SocketAddr) {
    eventually(&format!("nginx answers at {address}"), async || {
        http_get(address, "/").ok().filter(|answer| answer.contains("Welcome to nginx!"))
    })
    .await;
}

/// The cgroup of a process in one version 1 hierarchy, as a directory.
pub(crate) fn cgroup_v1(pid: u32, controller: &str) -> Option<PathBuf> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = text.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|name| name == controller).then_some(path)
    })?;
    Some(Path::new("/sys/fs/cgroup").join(controller).join(path.trim_start_matches('/')))
}

/// The command lines of all processes of the box that contain `text`.
pub(crate) fn processes_with(text: &str) -> Vec<String> {
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let line = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    all.filter(|line| line.contains(text)).collect()
}
