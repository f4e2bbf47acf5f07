//! The Pods that a command line names: by file, or as NAMESPACE/NAME.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;

use super::Error;
use super::check;
use super::load;
use super::load::Manifest;

/// A Pod to take down or to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) namespace: String,
    pub(super) name: String,
    /// From the manifest, if the Pod was named by one.
    pub(super) uid: Option<String>,
    /// The grace period in seconds, from the manifest.
    pub(super) grace: Option<i64>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// All manifests in these files, in their order.
pub(super) fn manifests(files: &[PathBuf]) -> Result<Vec<Manifest>, Error> {
    let mut all: Vec<Manifest> = Vec::new();
    for file in files {
        for manifest in load::load(file)? {
            let pod = manifest.pod.to_string();
            if all.iter().any(|other| other.pod.to_string() == pod) {
                return Err(load::Error::Duplicate { place: file.display().to_string(), pod }.into());
            }
            all.push(manifest);
        }
    }
    Ok(all)
}

/// The Pods of these arguments. An argument that is an existing file, or `-`, is a file.
pub(super) fn resolve(arguments: &[String]) -> Result<Vec<Target>, Error> {
    let mut targets: Vec<Target> = Vec::new();
    for text in arguments {
        let path = Path::new(text);
        if text == "-" || path.exists() {
            targets.extend(load::load(path)?.iter().map(of_manifest));
        } else {
            targets.push(by_name(text).ok_or_else(|| Error::Target(text.clone()))?);
        }
    }
    Ok(targets)
}

fn of_manifest(manifest: &Manifest) -> Target {
    let pod = &manifest.pod;
    Target {
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: Some(pod.metadata.uid.clone()),
        grace: Some(pod.spec.termination_grace_period_seconds),
    }
}

/// Reads NAMESPACE/NAME.
pub(super) fn by_name(text: &str) -> Option<Target> {
    let (namespace, name) = text.split_once('/')?;
    let is_valid = check::is_namespace(namespace) && check::is_pod_name(name);
    is_valid.then(|| Target { namespace: namespace.to_owned(), name: name.to_owned(), uid: None, grace: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_named_by_namespace_and_name() {
        let target = by_name("default/first-job").unwrap();
        assert_eq!((target.namespace.as_str(), target.name.as_str()), ("default", "first-job"));
        for text in ["first-job", "default/", "/first-job", "Default/x", "default/a/b", "../x", "default/.."] {
            assert!(by_name(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_file_wins_over_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pod.yaml");
        let text = "{apiVersion: v1, kind: Pod, metadata: {name: web, uid: u}, spec: {terminationGracePeriodSeconds: 3, containers: [{name: c, image: x}]}}";
        std::fs::write(&file, text).unwrap();
        let targets = resolve(&[file.display().to_string(), "kube-system/dns".into()]).unwrap();
        assert_eq!(
            targets[0],
            Target { namespace: "default".into(), name: "web".into(), uid: Some("u".into()), grace: Some(3) }
        );
        assert_eq!(targets[1].namespace, "kube-system");
        let twice = manifests(&[file.clone(), file]).unwrap_err().to_string();
        assert!(twice.ends_with("there is another manifest of pod default/web"), "{twice}");
    }

    #[test]
    fn an_argument_that_is_neither_file_nor_pod_is_an_error() {
        let error = resolve(&["nowhere.yaml".into()]).unwrap_err().to_string();
        assert_eq!(error, "could not find `nowhere.yaml`: it is not a file, and not a pod as in NAMESPACE/NAME");
    }
}
