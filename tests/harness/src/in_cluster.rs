//! For test programs that `hack/cluster run` starts.

use std::fmt::Display;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

pub use crate::commands::*;

/// How long a test waits for anything: the kubelet's own delays are up to 20 s, and many tests share few CPUs.
pub const DEADLINE: Duration = Duration::from_secs(150);

/// A script of hack/, such as `hack("cluster", &["kill", "dockside"])`.
pub fn hack(script: &str, args: &[&str]) -> String {
    run(&format!("{}/hack/{script}", environment("REPO")), args)
}

/// Repeats `look` until it returns something, where nothing can be watched.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    eventually_or(what, || look().ok_or("not yet"))
}

/// Like [`eventually`]; `look` returns what is wrong until then.
pub fn eventually_or<T, E: Display>(what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
    let began = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(amiss) if began.elapsed() >= DEADLINE => panic!("waited {DEADLINE:?} in vain: {what}: {amiss}"),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Creates or updates an object with `kubectl apply`.
pub fn apply(object: &Value) {
    run_with("kubectl", &["apply", "-f", "-"], &object.to_string());
}

/// The holder of a lease in kube-system, if it has one.
pub fn lease_holder(name: &str) -> Option<String> {
    let lease = ["get", "lease", "-n", "kube-system", name, "--ignore-not-found"];
    Some(kubectl(&[&lease[..], &["-o", "jsonpath={.spec.holderIdentity}"]].concat())).filter(|name| !name.is_empty())
}
