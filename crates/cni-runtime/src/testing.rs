//! Helpers for this crate's tests: plugins that are shell scripts and record how they were run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

use super::Attachment;
use super::Cni;
use super::Config;

/// Writes an executable shell script.
pub(crate) fn install(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Waits until `what` holds, for up to ten seconds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end, "not in ten seconds: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The built-in network of the tests.
pub(crate) fn builtin() -> crate::BuiltinNetwork {
    crate::BuiltinNetwork { name: "dockside".to_owned(), bridge: "cni0".to_owned() }
}

/// A node in a temporary directory: configuration, plugins, cache.
pub(crate) struct Node {
    dir: tempfile::TempDir,
}

impl Node {
    pub(crate) fn new() -> Node {
        let node = Node { dir: tempfile::tempdir().unwrap() };
        for dir in ["bin", "calls"] {
            fs::create_dir(node.path(dir)).unwrap();
        }
        node
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            conf_dir: self.path("net.d"),
            bin_dirs: vec![self.path("bin")],
            cache_dir: self.path("cache"),
            netns_dir: self.path("netns"),
            plugin_timeout: Duration::from_secs(20),
            builtin_network: Some(builtin()),
        }
    }

    pub(crate) fn cni(&self) -> Cni {
        Cni::new(self.config(), None)
    }

    /// Writes a file of the configuration directory.
    pub(crate) fn configure(&self, file: &str, text: &str) {
        fs::create_dir_all(self.path("net.d")).unwrap();
        fs::write(self.path("net.d").join(file), text).unwrap();
    }

    /// A list of plugins `a`, `b` and `c`, of which `b` has the capability `portMappings`; all installed.
    pub(crate) fn configure_abc(&self, version: &str) {
        self.configure(
            "10-abc.conflist",
            &format!(
                r#"{{"cniVersion":"{version}","name":"abc","plugins":[
                    {{"type":"a","own":{{"key":[1]}}}},
                    {{"type":"b","capabilities":{{"portMappings":true,"dns":false}}}},
                    {{"type":"c"}}]}}"#
            ),
        );
        for plugin in ["a", "b", "c"] {
            self.install_plugin(plugin);
        }
    }

    /// A plugin that writes down its input and environment, and then does what was put down for it with
    /// [`answer`](Node::answer) or [`fail`](Node::fail).
    pub(crate) fn install_plugin(&self, plugin: &str) {
        let script = r#"
            calls="@CALLS@"; me="$(basename "$0")"; call="$me.$CNI_COMMAND"
            cat > "$calls/$call.stdin"
            env | grep '^CNI_\|^NOTIFY' > "$calls/$call.env"
            echo "$CNI_COMMAND $me" >> "$calls/order"
            [ -e "$calls/$call.hang" ] && sleep 1000
            if [ -e "$calls/$call.fail" ]; then cat "$calls/$call.fail"; exit 1; fi
            [ "$CNI_COMMAND" = ADD ] || exit 0
            cat "$calls/$me.answer" 2>/dev/null ||
                echo '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/ns"}],"ips":[{"address":"10.9.0.5/24","interface":0}],"by":"'"$me"'"}'
        "#;
        let calls = self.path("calls").display().to_string();
        install(&self.path("bin").join(plugin), &script.replace("@CALLS@", &calls));
    }

    /// What the plugin answers to `ADD`.
    pub(crate) fn answer(&self, plugin: &str, text: &str) {
        fs::write(self.path("calls").join(format!("{plugin}.answer")), text).unwrap();
    }

    /// Lets the plugin fail on `verb`.
    pub(crate) fn fail(&self, plugin: &str, verb: &str) {
        let error = format!(r#"{{"code":100,"msg":"{plugin} is broken"}}"#);
        fs::write(self.path("calls").join(format!("{plugin}.{verb}.fail")), error).unwrap();
    }

    pub(crate) fn mend(&self, plugin: &str, verb: &str) {
        fs::remove_file(self.path("calls").join(format!("{plugin}.{verb}.fail"))).unwrap();
    }

    /// Lets the plugin sleep on `verb`.
    pub(crate) fn hang(&self, plugin: &str, verb: &str) {
        fs::write(self.path("calls").join(format!("{plugin}.{verb}.hang")), "").unwrap();
    }

    /// The calls since the last time, such as `ADD a`.
    pub(crate) fn calls(&self) -> Vec<String> {
        let order = self.path("calls/order");
        let text = fs::read_to_string(&order).unwrap_or_default();
        let _ = fs::remove_file(order);
        text.lines().map(str::to_owned).collect()
    }

    /// The last input of a plugin, `call` being such as `a.ADD`.
    pub(crate) fn stdin(&self, call: &str) -> Value {
        let text = fs::read_to_string(self.path("calls").join(format!("{call}.stdin"))).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// A variable of a plugin's last environment.
    pub(crate) fn env(&self, call: &str, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.path("calls").join(format!("{call}.env"))).unwrap();
        let of = |line: &str| line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        text.lines().filter_map(of).find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The names of the cached attachments.
    pub(crate) fn cached(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("cache/results")) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// A pod's attachment. Its namespace is a real one, this process's own: the scripts do not enter it.
pub(crate) fn pod(container_id: &str) -> Attachment {
    Attachment {
        container_id: container_id.to_owned(),
        netns: Some(PathBuf::from("/proc/self/ns/net")),
        pod_name: "web".to_owned(),
        pod_namespace: "shop".to_owned(),
        pod_uid: "uid-1".to_owned(),
        ..Attachment::default()
    }
}

/// Runs `body` as if on a machine of its own: in new network and mount namespaces, with an empty `/run` and
/// `/var/lib`, so that the real one's network, names and addresses are not touched.
///
/// The test `name` of `module` runs itself again there; without the right to do so it is skipped, and
/// says so.
pub(crate) fn on_another_machine(module: &str, name: &str, body: impl FnOnce()) {
    const MARK: &str = "DOCKSIDE_TEST_ON_ANOTHER_MACHINE";
    if std::env::var_os(MARK).is_some() {
        // Names that the real machine has, where it runs pods: a mount below another one would still be listed. It may
        // have none.
        let _ = Command::new("umount").args(["--lazy", "--recursive", "/run/netns"]).stderr(Stdio::null()).status();
        run("mount", &["-t", "tmpfs", "tmpfs", "/run"]);
        run("mount", &["-t", "tmpfs", "tmpfs", "/var/lib"]);
        run("ip", &["link", "set", "lo", "up"]);
        return body();
    }
    let unshare = ["--mount", "--net", "--propagation", "private"];
    let allowed = Command::new("unshare").args(unshare).args(["ip", "link"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped {name}: cannot make namespaces here, or there is no ip");
        return;
    }
    let (_, path) = module.split_once("::").unwrap();
    let output = Command::new("unshare")
        .args(unshare)
        .arg(std::env::current_exe().unwrap())
        .args([&format!("{path}::{name}"), "--exact", "--nocapture"])
        .env(MARK, "1")
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}{stderr}");
    eprint!("{stderr}");
}

/// Runs a program that must succeed, and returns what it wrote.
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// A process in a network namespace of its own, as a pod's pause container is. Dropped, it is killed.
pub(crate) struct Pause(Child);

impl Pause {
    pub(crate) fn start() -> Pause {
        let mut child = Command::new("unshare").args(["--net", "sleep", "1000"]).stdin(Stdio::null()).spawn().unwrap();
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        let its = format!("/proc/{}/ns/net", child.id());
        eventually("the process has its namespace", || {
            assert!(child.try_wait().unwrap().is_none());
            fs::read_link(&its).is_ok_and(|its| its != own)
        });
        Pause(child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Does something inside a network namespace, on a thread that ends with it.
pub(crate) fn inside<T: Send + 'static>(netns: &Path, work: impl FnOnce() -> T + Send + 'static) -> T {
    let namespace = fs::File::open(netns).unwrap();
    let thread = std::thread::spawn(move || {
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        work()
    });
    thread.join().unwrap()
}
