//! The CRI servers: how each is started and stopped in the box.

use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use nix::sys::signal::Signal;
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// Sockets and settings, in a directory per server.
const RUN: &str = "/run/bench";
/// State, in a directory per server, on a disk as on a real node.
const STATE: &str = "/var/lib/dockside/bench";
const DOCKER: &str = "unix:///run/docker.sock";
pub(crate) const PAUSE: &str = "dockside.io/pause:1";
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running server.
pub(crate) struct Server {
    child: Child,
    pub socket: PathBuf,
}

impl Server {
    /// Starts the server of that name.
    ///
    /// # Errors
    /// When it does not start, with the last lines of its log.
    pub(crate) fn start(name: &str, program: &Path) -> Result<Server, String> {
        let run = Path::new(RUN).join(name);
        let state = Path::new(STATE).join(name);
        for directory in [&run, &state] {
            std::fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        }
        let socket = run.join("cri.sock");
        let mut command = match name {
            "dockside" => dockside(program, &run, &state, &socket),
            "cri-dockerd" => cri_dockerd(program, &run, &state, &socket),
            "containerd" => containerd(program, &run, &state, &socket),
            other => return Err(format!("{other}: no such server")),
        };
        let log = std::fs::File::create(run.join("log")).map_err(|error| format!("the log of {name}: {error}"))?;
        let errors = log.try_clone().map_err(|error| format!("the log of {name}: {error}"))?;
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        let mut server = Server { child, socket };
        server.wait_for_socket().map_err(|error| {
            let log = std::fs::read_to_string(run.join("log")).unwrap_or_default();
            let end: Vec<&str> = log.lines().rev().take(5).collect();
            format!("{error}: {}", end.join(" / "))
        })?;
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_for_socket(&mut self) -> Result<(), String> {
        let began = Instant::now();
        while !self.socket.exists() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("it ended at once, {status}"));
            }
            if began.elapsed() > START_LIMIT {
                return Err(format!("no socket within {START_LIMIT:?}"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.pid() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn dockside(program: &Path, run: &Path, state: &Path, socket: &Path) -> Command {
    let mut command = Command::new(program);
    // Without a CNI configuration, the built-in network is used.
    command
        .args(["serve", "--log-level", "warn", "--pod-cidr", "10.88.0.0/16", "--docker-endpoint", DOCKER])
        .arg(format!("--listen=unix://{}", socket.display()))
        .arg(format!("--state-dir={}", state.display()))
        .arg(format!("--cni-conf-dir={}", run.join("net.d").display()))
        .arg(format!("--cni-cache-dir={}", state.join("cni").display()));
    command
}

fn cri_dockerd(program: &Path, run: &Path, state: &Path, socket: &Path) -> Command {
    let net = write_network(run, "bench2", "10.90.0.0/16");
    let mut command = Command::new(program);
    command
        .args(["--network-plugin", "cni", "--docker-endpoint", DOCKER, "--pod-infra-container-image", PAUSE])
        .args(["--hairpin-mode", "hairpin-veth", "--log-level", "error", "--streaming-bind-addr", "127.0.0.1:0"])
        .arg(format!("--container-runtime-endpoint=unix://{}", socket.display()))
        .arg(format!("--cri-dockerd-root-directory={}", state.display()))
        .arg(format!("--cni-conf-dir={}", net.display()))
        .arg(format!("--cni-bin-dir={}", super::cni::BIN_DIRS.join(",")))
        .arg(format!("--cni-cache-dir={}", state.join("cni").display()));
    command
}

fn containerd(program: &Path, run: &Path, state: &Path, socket: &Path) -> Command {
    let net = write_network(run, "bench1", "10.89.0.0/16");
    let wrapper = Path::new("/run/box/oci-wrapper");
    let wrapped = std::env::var("BOX_RUNTIME").is_ok_and(|runtime| runtime == "wrapped");
    let config = format!(
        r#"version = 3
root = "{state}"
state = "{run}/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
address = "{socket}"
[ttrpc]
address = "{run}/ttrpc.sock"
[debug]
level = "warn"
[plugins."io.containerd.nri.v1.nri"]
disable = true
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE}"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = {restricted}
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = {bin_dirs:?}
conf_dir = "{net}"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "{runtime}"
"#,
        state = state.display(),
        run = run.display(),
        socket = socket.display(),
        net = net.display(),
        bin_dirs = super::cni::BIN_DIRS,
        restricted = !wrapped,
        runtime = if wrapped { wrapper.display().to_string() } else { "runc".to_owned() },
    );
    let file = run.join("config.toml");
    std::fs::write(&file, config).expect("write into the box's /run");
    let mut command = Command::new(program);
    command.arg("--config").arg(file);
    // The shim of the same version.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", program.parent().unwrap_or(Path::new("/")).display()));
    command
}

/// Dockside's built-in network under another name, without the plugins that Dockside leaves out for these pods.
fn write_network(run: &Path, bridge: &str, subnet: &str) -> PathBuf {
    let directory = run.join("net.d");
    let list = serde_json::json!({
        "cniVersion": "1.0.0", "name": bridge,
        "plugins": super::cni::plugins(bridge, subnet),
    });
    std::fs::create_dir_all(&directory).expect("a directory in the box's /run");
    std::fs::write(directory.join("10-bench.conflist"), list.to_string()).expect("write into the box's /run");
    directory
}

/// Imports all of Docker's images into containerd, with the `ctr` next to its executable.
///
/// # Errors
/// The programs' error output.
pub(crate) fn import_images(containerd: &Path, server: &Server) -> Result<(), String> {
    let ctr = containerd.with_file_name("ctr");
    let script = r#"docker save $(docker images --format '{{.Repository}}:{{.Tag}}') |
        "$0" --address "$1" --namespace k8s.io images import --digests=false -"#;
    let output = Command::new("bash")
        .args(["-o", "pipefail", "-c", script])
        .arg(ctr)
        .arg(&server.socket)
        .output()
        .map_err(|error| format!("bash: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("images for containerd: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
