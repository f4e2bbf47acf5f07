//! Answers scheduling cases on standard input: each line is a small cluster and a pod, each answer the verdict for
//! every node. Tests compare the answers with kube-scheduler's.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::io::Write;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use super::cluster::Cluster;
use super::cluster::key;
use super::decide::explain;
use super::model::GroupKind;
use super::model::Intern;
use super::model::OwnerKind;
use super::read;
use super::wire;

/// Why the cases could not be answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Standard input failed.
    #[error("could not read a case: {0}")]
    Read(#[source] std::io::Error),
    /// Standard output failed.
    #[error("could not write an answer: {0}")]
    Write(#[source] std::io::Error),
    /// A line is not a case.
    #[error("case {line}: {source}")]
    Json { line: usize, source: serde_path_to_error::Error<serde_json::Error> },
    /// An object of a case has an invalid field.
    #[error("case {line}: {source}")]
    Invalid { line: usize, source: read::Invalid },
}

/// One line of input. Every list may be absent.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Case {
    nodes: Vec<wire::Node>,
    /// Pods that are bound to a node.
    pods: Vec<wire::Pod>,
    namespaces: Vec<wire::Namespace>,
    pvcs: Vec<wire::PersistentVolumeClaim>,
    pvs: Vec<wire::PersistentVolume>,
    storage_classes: Vec<wire::StorageClass>,
    csi_nodes: Vec<wire::CsiNode>,
    csi_drivers: Vec<wire::CsiDriver>,
    csi_storage_capacities: Vec<wire::CsiStorageCapacity>,
    volume_attachments: Vec<wire::VolumeAttachment>,
    services: Vec<wire::MapSelected>,
    replica_sets: Vec<wire::Controller>,
    /// The pod to schedule.
    pod: wire::Pod,
}

/// One line of output.
#[derive(Default, Serialize)]
struct Answer {
    feasible: Vec<String>,
    /// `<filter>: <reasons>` by node.
    verdicts: BTreeMap<String, String>,
    /// Weighted points by score, and their sum as `total`, by node.
    scores: BTreeMap<String, BTreeMap<&'static str, i64>>,
}

/// Answers every line of `input` with a line of `output`.
///
/// # Errors
/// A line is invalid, or cannot be read or written.
pub(crate) fn run(input: impl BufRead, mut output: impl Write) -> Result<(), Error> {
    for (at, line) in input.lines().enumerate() {
        let line = line.map_err(Error::Read)?;
        if line.trim().is_empty() {
            continue;
        }
        let json = &mut serde_json::Deserializer::from_str(&line);
        let case = serde_path_to_error::deserialize(json).map_err(|source| Error::Json { line: at + 1, source })?;
        let answer = answer(&case).map_err(|source| Error::Invalid { line: at + 1, source })?;
        let text = serde_json::to_string(&answer).map_err(|error| Error::Write(error.into()))?;
        writeln!(output, "{text}").map_err(Error::Write)?;
    }
    output.flush().map_err(Error::Write)
}

fn answer(case: &Case) -> Result<Answer, read::Invalid> {
    let intern = Intern::default();
    let mut cluster = cluster(case, &intern)?;
    let pod = read::pod(&case.pod, &intern)?;
    let mut answer = Answer::default();
    for (id, verdict) in explain(&pod, &mut cluster) {
        let name = cluster.node(id).node.name.to_string();
        if let Some(total) = verdict.points() {
            let scores = verdict.scores().iter().copied().chain([("total", total)]).collect();
            answer.scores.insert(name.clone(), scores);
            answer.feasible.push(name);
        } else if let Some(refusal) = verdict.refusal() {
            answer.verdicts.insert(name, refusal);
        }
    }
    answer.feasible.sort();
    Ok(answer)
}

fn cluster(case: &Case, intern: &Intern) -> Result<Cluster, read::Invalid> {
    let mut cluster = Cluster::default();
    for node in &case.nodes {
        cluster.put_node(read::node(node, intern)?);
    }
    for namespace in &case.namespaces {
        let namespace = read::namespace(namespace, intern);
        cluster.namespaces.insert(namespace.name, namespace.labels);
    }
    for pod in &case.pods {
        let pod = read::pod(pod, intern)?;
        if pod.is_placed() {
            cluster.put_pod(Arc::new(pod));
        }
    }
    let services = case.services.iter().map(|service| read::service(GroupKind::Service, service, intern));
    let replica_set = GroupKind::Controller(OwnerKind::ReplicaSet);
    let controllers = case.replica_sets.iter().map(|set| read::group(replica_set, set, intern));
    for group in services.map(Ok).chain(controllers) {
        cluster.put_group(group?);
    }
    add_storage(&mut cluster, case, intern)?;
    Ok(cluster)
}

fn add_storage(cluster: &mut Cluster, case: &Case, intern: &Intern) -> Result<(), read::Invalid> {
    let storage = &mut cluster.storage;
    for claim in &case.pvcs {
        storage.put_claim(read::claim(claim, intern)?);
    }
    for volume in &case.pvs {
        let volume = read::volume(volume, intern)?;
        storage.volumes.insert(volume.name.clone(), Arc::new(volume));
    }
    for capacity in &case.csi_storage_capacities {
        let capacity = read::capacity(capacity, intern)?;
        storage.capacities.insert(key(&capacity.namespace, &capacity.name), capacity);
    }
    let classes = case.storage_classes.iter().map(|class| read::class(class, intern));
    storage.classes.extend(classes.map(|class| (class.name.clone(), class)));
    let csi_nodes = case.csi_nodes.iter().map(|node| read::csi_node(node, intern));
    storage.csi_nodes.extend(csi_nodes.map(|node| (node.name.clone(), node)));
    let drivers = case.csi_drivers.iter().map(|driver| read::csi_driver(driver, intern));
    storage.csi_drivers.extend(drivers.map(|driver| (driver.name.clone(), driver)));
    let attachments = case.volume_attachments.iter().map(|attachment| read::attachment(attachment, intern));
    storage.attachments.extend(attachments.map(|attachment| (attachment.name.clone(), attachment)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use super::*;
    use crate::cluster::testing::node;
    use crate::cluster::testing::pod;

    #[test]
    fn every_case_is_answered_with_a_line() {
        let cordoned = node("b", json!({"spec": {"unschedulable": true}}));
        let case = json!({"nodes": [node("a", json!({})), cordoned], "pod": pod("p", json!({}))});
        let mut output = Vec::new();
        run(format!("{case}\n\n{case}\n").as_bytes(), &mut output).unwrap();
        let lines: Vec<Value> =
            String::from_utf8(output).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["feasible"], json!(["a"]));
        assert_eq!(lines[0]["verdicts"], json!({"b": "NodeUnschedulable: node(s) were unschedulable"}));
        assert!(lines[0]["scores"]["a"]["total"].as_i64().unwrap() > 0);
    }

    #[test]
    fn an_invalid_case_is_reported_with_line_and_field() {
        let error = |line: &str| run(line.as_bytes(), Vec::new()).unwrap_err().to_string();
        assert!(error("{}\n{\"nodes\": 3}").starts_with("case 2: nodes: invalid type"));
        let bad = r#"{"nodes": [{"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "lots"}}}]}"#;
        assert!(error(bad).starts_with("case 1: node n: status.allocatable[cpu]: \"lots\""));
    }
}
