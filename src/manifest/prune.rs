//! Removes from a manifest the fields that a Pod from `kubectl get -o yaml` has and that mean nothing without a cluster.
//!
//! Each removed field is noted with the reason, so that the user does not expect an effect. Every other field that is not
//! implemented stays, and is refused when the Pod is read.

use serde_json::Value;
use serde_json::json;

/// Reasons, and the fields ignored for them. `[]` stands for every item of a list.
const IGNORED: &[(&str, &[&str])] = &[
    (
        "the API server's own records",
        &[
            "status",
            "metadata.creationTimestamp",
            "metadata.deletionGracePeriodSeconds",
            "metadata.deletionTimestamp",
            "metadata.finalizers",
            "metadata.generateName",
            "metadata.generation",
            "metadata.managedFields",
            "metadata.ownerReferences",
            "metadata.resourceVersion",
            "metadata.selfLink",
        ],
    ),
    (
        "you are the scheduler, and this is the node you chose",
        &[
            "spec.affinity",
            "spec.nodeName",
            "spec.nodeSelector",
            "spec.preemptionPolicy",
            "spec.priority",
            "spec.priorityClassName",
            "spec.schedulerName",
            "spec.schedulingGates",
            "spec.tolerations",
            "spec.topologySpreadConstraints",
        ],
    ),
    (
        "without an API server there are no accounts, tokens, Services or conditions",
        &[
            "spec.automountServiceAccountToken",
            "spec.enableServiceLinks",
            "spec.readinessGates",
            "spec.serviceAccount",
            "spec.serviceAccountName",
        ],
    ),
    ("images are pulled without credentials", &["spec.imagePullSecrets"]),
    (
        "a running pod is neither watched nor resized",
        &[
            "spec.containers[].resizePolicy",
            "spec.initContainers[].resizePolicy",
            "spec.containers[].resources.limits.ephemeral-storage",
            "spec.containers[].resources.requests.ephemeral-storage",
            "spec.initContainers[].resources.limits.ephemeral-storage",
            "spec.initContainers[].resources.requests.ephemeral-storage",
        ],
    ),
    ("the RuntimeClass is not looked up", &["spec.overhead"]),
];

/// The volume that the API server adds to every pod, up to the random part of its name.
const TOKEN_VOLUME: &str = "kube-api-access-";

/// Removes the ignored fields; returns a note for each reason.
pub(super) fn prune(pod: &mut Value) -> Vec<String> {
    drop_nulls(pod);
    drop_defaults(pod);
    let mut notes: Vec<String> = Vec::new();
    for (reason, paths) in IGNORED {
        let mut found = Vec::new();
        for path in *paths {
            let path: Vec<&str> = path.split('.').collect();
            take(pod, &path, String::new(), &mut found);
        }
        if !found.is_empty() {
            notes.push(format!("ignored, because {reason}: {}", found.join(", ")));
        }
    }
    if let Some(volume) = drop_token_volume(pod) {
        notes.push(format!("ignored, because there is no API server to present a token to: volume {volume}"));
    }
    notes
}

/// A null field is the same as an absent one, as for the API server.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Removes fields that are implemented with their default value only.
fn drop_defaults(pod: &mut Value) {
    let defaults = [
        (&["spec"][..], "hostUsers", json!(true)),
        (&["spec"], "os", json!({"name": "linux"})),
        (&["spec"], "setHostnameAsFQDN", json!(false)),
    ];
    for (parents, name, default) in defaults {
        let parent = parents.iter().try_fold(&mut *pod, |value, key| value.get_mut(key));
        if let Some(fields) = parent.and_then(Value::as_object_mut)
            && fields.get(name) == Some(&default)
        {
            fields.remove(name);
        }
    }
}

/// Removes the field at `path` below `value`, in every item of a list, and adds its full path to `found`.
fn take(value: &mut Value, path: &[&str], prefix: String, found: &mut Vec<String>) {
    let Some((step, rest)) = path.split_first() else { return };
    let Some(fields) = value.as_object_mut() else { return };
    let (name, is_list) = match step.strip_suffix("[]") {
        Some(name) => (name, true),
        None => (*step, false),
    };
    let prefix = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
    if rest.is_empty() {
        if fields.remove(name).is_some() {
            found.push(prefix);
        }
    } else if !is_list {
        if let Some(field) = fields.get_mut(name) {
            take(field, rest, prefix, found);
        }
    } else if let Some(Value::Array(items)) = fields.get_mut(name) {
        for (number, item) in items.iter_mut().enumerate() {
            take(item, rest, format!("{prefix}[{number}]"), found);
        }
    }
}

/// Removes the service account token, which every exported pod mounts; returns the name of its volume.
fn drop_token_volume(pod: &mut Value) -> Option<String> {
    let spec = pod.get_mut("spec")?;
    let volumes = spec.get_mut("volumes")?.as_array_mut()?;
    let is_token = |volume: &Value| {
        let name = volume.get("name")?.as_str()?;
        (name.starts_with(TOKEN_VOLUME) && volume.get("projected").is_some()).then(|| name.to_owned())
    };
    let name = volumes.iter().find_map(is_token)?;
    volumes.retain(|volume| volume["name"] != name.as_str());
    for list in ["containers", "initContainers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            if let Some(mounts) = container.get_mut("volumeMounts").and_then(Value::as_array_mut) {
                mounts.retain(|mount| mount["name"] != name.as_str());
            }
        }
    }
    Some(name)
}
