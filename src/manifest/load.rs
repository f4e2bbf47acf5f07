//! Reads Pod manifests, as strictly as the API server does with `--validate=strict`.
//!
//! A field that `dockside pod` does not implement is an error that names its path. Only what the API server adds to every
//! Pod, and what is meant for a scheduler, is ignored with a note: so a Pod exported with `kubectl get -o yaml` works here.

#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize as _;
use serde_json::Value;
use sha2::Digest as _;
use sha2::Sha256;

use super::check;
use super::prune;
use super::types::Pod;

/// A Pod, and what was ignored in its manifest.
#[derive(Clone, Debug)]
pub(super) struct Manifest {
    /// The Pod, checked.
    pub(super) pod: Pod,
    /// A sentence for each reason to ignore something.
    pub(super) notes: Vec<String>,
}

/// Why a manifest cannot be used. The command then does nothing for any Pod.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("could not read {file}: {source}")]
    Read {
        /// The file, or `standard input`.
        file: String,
        /// The cause.
        source: io::Error,
    },

    /// The text is not YAML.
    #[error("{file}: {source}")]
    Yaml {
        /// The file.
        file: String,
        /// The parser's message, with line and column.
        source: serde_yaml_ng::Error,
    },

    /// The document is not a Pod, or has a field that is not implemented here.
    #[error("{place}: {path}: {reason}")]
    Field {
        /// The file, and the document if there are several.
        place: String,
        /// The field, such as `spec.containers[0].image`.
        path: String,
        /// What is wrong with it.
        reason: String,
    },

    /// Two manifests of one Pod.
    #[error("{place}: there is another manifest of pod {pod}")]
    Duplicate {
        /// The file of the second one, and the document if there are several.
        place: String,
        /// The Pod, as NAMESPACE/NAME.
        pod: String,
    },

    /// The file has no documents.
    #[error("{file}: there is no Pod in it")]
    Empty {
        /// The file.
        file: String,
    },
}

/// Reads the Pods in a file, in their order; `-` is standard input.
///
/// # Errors
/// The first error in the file.
pub(super) fn load(file: &Path) -> Result<Vec<Manifest>, Error> {
    let is_stdin = file == Path::new("-");
    let name = if is_stdin { "standard input".to_owned() } else { file.display().to_string() };
    let text = if is_stdin {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(file)
    };
    let text = text.map_err(|source| Error::Read { file: name.clone(), source })?;
    parse(&name, &text)
}

/// Reads the Pods in a text; `file` names it in messages.
pub(super) fn parse(file: &str, text: &str) -> Result<Vec<Manifest>, Error> {
    let documents = documents(text).map_err(|source| Error::Yaml { file: file.to_owned(), source })?;
    let count = documents.len();
    let mut manifests: Vec<Manifest> = Vec::new();
    for (number, document) in documents.into_iter().enumerate() {
        let place = if count == 1 { file.to_owned() } else { format!("{file}, document {}", number + 1) };
        for (prefix, value) in pods_in(document, &place)? {
            let manifest = read(value, &place, &prefix)?;
            let pod = manifest.pod.to_string();
            if manifests.iter().any(|other| other.pod.to_string() == pod) {
                return Err(Error::Duplicate { place, pod });
            }
            manifests.push(manifest);
        }
    }
    if manifests.is_empty() { Err(Error::Empty { file: file.to_owned() }) } else { Ok(manifests) }
}

/// The documents that are not empty, as JSON.
fn documents(text: &str) -> Result<Vec<Value>, serde_yaml_ng::Error> {
    let mut documents = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(text) {
        // YAML's own value first: it rejects duplicate keys and resolves merge keys.
        let mut value = serde_yaml_ng::Value::deserialize(document)?;
        value.apply_merge()?;
        if !value.is_null() {
            documents.push(serde_yaml_ng::from_value(value)?);
        }
    }
    Ok(documents)
}

/// The document itself, or the items of a List, with the path that leads to each.
fn pods_in(document: Value, place: &str) -> Result<Vec<(String, Value)>, Error> {
    let refuse = |path: &str, reason: String| Error::Field { place: place.to_owned(), path: path.to_owned(), reason };
    let kind = document.get("kind").and_then(Value::as_str).unwrap_or_default();
    let version = document.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    match (kind, version) {
        ("Pod", "v1") => Ok(vec![(String::new(), document)]),
        ("List" | "PodList", "v1") => {
            let Some(Value::Array(items)) = document.get("items") else {
                return Err(refuse("items", "it has to be a list".into()));
            };
            let mut pods = Vec::new();
            for (number, item) in items.iter().enumerate() {
                let path = format!("items[{number}]");
                // The items of a PodList have no kind.
                match item.get("kind").and_then(Value::as_str) {
                    Some("Pod") | None => pods.push((format!("{path}."), typed(item.clone()))),
                    Some(other) => return Err(refuse(&format!("{path}.kind"), not_a_pod(other))),
                }
            }
            Ok(pods)
        }
        ("Pod" | "List" | "PodList", _) => Err(refuse("apiVersion", "it has to be v1".into())),
        _ => Err(refuse("kind", not_a_pod(kind))),
    }
}

fn not_a_pod(kind: &str) -> String {
    format!("it has to be Pod, not `{kind}`")
}

fn typed(mut pod: Value) -> Value {
    if let Some(fields) = pod.as_object_mut() {
        fields.insert("apiVersion".into(), "v1".into());
        fields.insert("kind".into(), "Pod".into());
    }
    pod
}

fn read(mut value: Value, place: &str, prefix: &str) -> Result<Manifest, Error> {
    let notes = prune::prune(&mut value);
    let refuse =
        |path: &str, reason: String| Error::Field { place: place.to_owned(), path: format!("{prefix}{path}"), reason };
    let hashes = hashes(&value);
    let mut pod: Pod = serde_path_to_error::deserialize(value)
        .map_err(|error| refuse(&error.path().to_string(), reason(&error.inner().to_string())))?;
    if pod.metadata.uid.is_empty() {
        pod.metadata.uid = uid(&pod.metadata.namespace, &pod.metadata.name);
    }
    let containers = pod.spec.init_containers.iter_mut().chain(&mut pod.spec.containers);
    for (container, hash) in containers.zip(hashes) {
        container.hash = hash;
    }
    check::check(&pod).map_err(|violation| refuse(&violation.path, violation.reason))?;
    Ok(Manifest { pod, notes })
}

/// serde lists every known field, which does not help in a message.
fn reason(message: &str) -> String {
    if message.starts_with("unknown field") {
        return "`dockside pod` does not implement this field, or Pods have no such field".into();
    }
    message.to_owned()
}

/// A hash of each container's manifest, init containers first.
fn hashes(pod: &Value) -> Vec<String> {
    let lists = ["initContainers", "containers"];
    let containers = lists.iter().filter_map(|list| pod.get("spec")?.get(list)?.as_array()).flatten();
    // serde_json keeps objects sorted, so the order of the fields in the manifest does not matter.
    containers.map(|container| format!("{:x}", fnv(container.to_string().as_bytes()))).collect()
}

/// FNV-1a with 32 bits, the hash that the kubelet keeps of a container's definition.
fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// The UID of a Pod whose manifest has none. It depends on namespace and name alone, so that each command computes the same.
///
/// A UUID of version 8 (RFC 9562), the version for custom values.
pub(super) fn uid(namespace: &str, name: &str) -> String {
    let digest = Sha256::digest(format!("dockside pod {namespace}/{name}"));
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
