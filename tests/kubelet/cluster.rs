//! Test support: pods that are created and deleted with kubectl, and watched by one `kubectl get --watch` for all
//! tests.

use std::collections::BTreeMap;
use std::process::Command;
use std::process::Stdio;
use std::sync::LazyLock;
use std::time::Instant;

use parking_lot::Condvar;
use parking_lot::Mutex;
use parking_lot::RwLock;
use parking_lot::RwLockReadGuard;
use parking_lot::RwLockWriteGuard;
use serde_json::Value;
use serde_json::json;

pub(crate) use harness::in_cluster::*;

pub(crate) const NGINX: &str = "nginx:1.14";
/// A script that runs until SIGTERM, then exits at once.
pub(crate) const UNTIL_TERM: &str = "trap 'exit 0' TERM; sleep infinity & wait";

/// Tests that restart a service of the node run alone, all others concurrently.
static NODE: RwLock<()> = RwLock::new(());

pub(crate) fn shared() -> RwLockReadGuard<'static, ()> {
    NODE.read()
}

pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    NODE.write()
}

pub(crate) fn node_name() -> String {
    environment("NODE")
}

/// All objects of one kind, kept up to date.
struct Feed {
    objects: Mutex<Objects>,
    changed: Condvar,
}

#[derive(Default)]
struct Objects {
    present: BTreeMap<String, Value>,
    /// The last state of deleted ones.
    gone: BTreeMap<String, Value>,
}

static PODS: LazyLock<&'static Feed> = LazyLock::new(|| Feed::start("pods"));
static EVENTS: LazyLock<&'static Feed> = LazyLock::new(|| Feed::start("events"));

impl Feed {
    fn start(kind: &str) -> &'static Feed {
        environment("KUBECONFIG");
        let feed: &'static Feed =
            Box::leak(Box::new(Feed { objects: Mutex::new(Objects::default()), changed: Condvar::new() }));
        let mut watch = Command::new("kubectl")
            .args(["get", kind, "--watch", "--output-watch-events", "-o", "json"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl");
        let stdout = std::io::BufReader::new(watch.stdout.take().unwrap());
        std::thread::spawn(move || {
            for change in serde_json::Deserializer::from_reader(stdout).into_iter::<Value>() {
                feed.apply(change.expect("what kubectl get --watch prints"));
            }
            let _ = watch.wait();
        });
        feed
    }

    fn apply(&self, mut change: Value) {
        let object = change["object"].take();
        let name = text(&object["metadata"]["name"]).to_owned();
        let mut objects = self.objects.lock();
        if change["type"] == "DELETED" {
            objects.present.remove(&name);
            objects.gone.insert(name, object);
        } else {
            objects.present.insert(name, object);
        }
        self.changed.notify_all();
    }

    /// Waits until `look` returns something.
    fn wait<T>(&self, mut look: impl FnMut(&Objects) -> Option<T>) -> Option<T> {
        let end = Instant::now() + DEADLINE;
        let mut objects = self.objects.lock();
        loop {
            if let Some(found) = look(&objects) {
                return Some(found);
            }
            if self.changed.wait_until(&mut objects, end).timed_out() {
                return None;
            }
        }
    }
}

/// The string, or an empty one if the value is no string.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The status of a container of any kind.
pub(crate) fn container<'a>(pod: &'a Value, name: &str) -> Option<&'a Value> {
    ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"]
        .iter()
        .filter_map(|list| pod["status"][list].as_array())
        .flatten()
        .find(|status| status["name"] == name)
}

pub(crate) fn condition<'a>(pod: &'a Value, kind: &str) -> &'a str {
    let conditions = pod["status"]["conditions"].as_array();
    let found = conditions.and_then(|all| all.iter().find(|condition| condition["type"] == kind));
    found.map_or("", |condition| text(&condition["status"]))
}

/// A container that runs a shell script.
pub(crate) fn shell(name: &str, script: &str) -> Value {
    json!({"name": name, "image": BUSYBOX, "command": ["sh", "-c", script]})
}

/// `base` with the members of `more`, at all depths.
pub(crate) fn with(mut base: Value, more: Value) -> Value {
    merge(&mut base, more);
    base
}

fn merge(base: &mut Value, more: Value) {
    match (base, more) {
        (Value::Object(base), Value::Object(more)) => {
            for (key, value) in more {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, more) => *base = more,
    }
}

/// A directory of the node in which a pod leaves evidence of what it did, and the volume for it.
pub(crate) fn evidence(name: &str) -> (String, Value) {
    let path = format!("/run/box/evidence/{name}");
    std::fs::create_dir_all(&path).unwrap();
    let volume = json!({"name": "evidence", "hostPath": {"path": path}});
    (path, volume)
}

pub(crate) fn evidence_mount() -> Value {
    json!({"volumeMounts": [{"name": "evidence", "mountPath": "/evidence"}]})
}

pub(crate) struct Pod {
    pub name: String,
}

impl Pod {
    /// A pod on the node with these containers.
    pub(crate) fn of(name: &str, containers: Value) -> Pod {
        Pod::create(name, json!({"containers": containers}))
    }

    pub(crate) fn create(name: &str, spec: Value) -> Pod {
        let spec = with(json!({"nodeName": node_name(), "terminationGracePeriodSeconds": 2}), spec);
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        run_with("kubectl", &["create", "-f", "-"], &pod.to_string());
        let pod = Pod { name: name.to_owned() };
        pod.wait("the API server reports it", |_| Some(()));
        pod
    }

    /// Waits until `look` returns something for the pod.
    pub(crate) fn wait<T>(&self, what: &str, mut look: impl FnMut(&Value) -> Option<T>) -> T {
        let found = PODS.wait(|objects| objects.present.get(&self.name).and_then(&mut look));
        found.unwrap_or_else(|| panic!("pod {}: waited {DEADLINE:?} in vain: {what}", self.name))
    }

    pub(crate) fn now(&self) -> Value {
        self.wait("it is there", |pod| Some(pod.clone()))
    }

    pub(crate) fn ready(&self) -> Value {
        self.wait("it is Ready", |pod| (condition(pod, "Ready") == "True").then(|| pod.clone()))
    }

    pub(crate) fn phase(&self, phase: &str) -> Value {
        self.wait(phase, |pod| (pod["status"]["phase"] == phase).then(|| pod.clone()))
    }

    /// Waits until a container's status passes, and returns it.
    pub(crate) fn container(&self, name: &str, what: &str, pass: impl Fn(&Value) -> bool) -> Value {
        self.wait(what, |pod| container(pod, name).filter(|status| pass(status)).cloned())
    }

    /// Waits until a container has exited, and returns its `terminated` state.
    pub(crate) fn ended(&self, name: &str) -> Value {
        let status = self.container(name, "it has ended", |status| !status["state"]["terminated"].is_null());
        status["state"]["terminated"].clone()
    }

    /// Waits for an event about the pod, and returns its message.
    pub(crate) fn event(&self, reason: &str) -> String {
        let found = EVENTS.wait(|objects| {
            let about = |event: &&Value| event["involvedObject"]["name"] == *self.name && event["reason"] == reason;
            objects.present.values().find(about).map(|event| text(&event["message"]).to_owned())
        });
        found.unwrap_or_else(|| panic!("pod {}: no event {reason}", self.name))
    }

    pub(crate) fn exec(&self, container: &str, script: &str) -> String {
        kubectl(&["exec", &self.name, "-c", container, "--", "sh", "-c", script])
    }

    /// Waits until a container's log contains `words`.
    pub(crate) fn logged(&self, container: &str, words: &str) -> String {
        eventually(&format!("{words:?} in the log of {}", self.name), || {
            let output = try_run("kubectl", &["logs", &self.name, "-c", container], "");
            let log = String::from_utf8_lossy(&output.stdout).into_owned();
            log.contains(words).then_some(log)
        })
    }

    /// The pod's sandboxes and containers in Docker, including exited ones: "NAME ID", sorted.
    pub(crate) fn in_docker(&self) -> Vec<String> {
        let filter = format!("label=io.kubernetes.pod.name={}", self.name);
        let list = docker(&["ps", "-a", "--no-trunc", "--filter", &filter, "--format", "{{.Names}} {{.ID}}"]);
        let mut list: Vec<String> = list.lines().map(str::to_owned).collect();
        list.sort();
        list
    }

    pub(crate) fn sandboxes(&self) -> Vec<String> {
        self.in_docker().into_iter().filter(|row| row.starts_with("k8s_POD_")).collect()
    }

    /// Deletes the pod as a user does, and returns its last state.
    pub(crate) fn delete(self) -> Value {
        kubectl(&["delete", "pod", &self.name, "--wait=false"]);
        self.gone()
    }

    /// Waits until the API server has deleted it, and returns its last state.
    pub(crate) fn gone(self) -> Value {
        let gone = PODS.wait(|objects| objects.gone.get(&self.name).cloned());
        gone.unwrap_or_else(|| panic!("pod {}: waited {DEADLINE:?} in vain for its end", self.name))
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let output = try_run("kubectl", &["describe", "pod", &self.name], "");
            eprintln!("--- pod {} ---\n{}", self.name, String::from_utf8_lossy(&output.stdout));
        }
    }
}
