//! The number of volumes a CSI driver can attach to a node is limited.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use super::ClusterEvents;
use super::Filter;
use super::Prepared;
use super::Refusal;
use crate::cluster::Cluster;
use crate::cluster::NodeInfo;
use crate::model::Claim;
use crate::model::CsiNode;
use crate::model::InTree;
use crate::model::Pod;
use crate::model::Source;

pub(super) const FILTER: Filter = Filter {
    name: "NodeVolumeLimits",
    prepare,
    events: ClusterEvents::CSI.or(ClusterEvents::POD_REMOVED).or(ClusterEvents::CLAIM).or(ClusterEvents::VOLUME),
};

/// A volume as its driver identifies it: driver name and volume handle.
type Attached = (Arc<str>, String);

fn prepare<'a>(pod: &'a Pod, cluster: &'a Cluster) -> Prepared<'a> {
    // VolumeBinding rejects a claim that does not exist or has another owner; this filter skips it.
    let claim_of = |claim| cluster.storage.claim(pod.namespace(), &pod.claim_name(claim));
    let claims: Vec<_> = pod.shape.claims.iter().filter_map(claim_of).collect();
    if claims.is_empty() {
        return Ok(None);
    }
    Ok(Some(Box::new(move |_, info| {
        let Some(csi) = cluster.storage.csi_nodes.get(&info.node.name).filter(|csi| !csi.limits.is_empty()) else {
            return Ok(());
        };
        let requested: HashSet<_> = claims.iter().filter_map(|claim| attached(claim, csi, cluster)).collect();
        if requested.is_empty() || fits(requested, csi, info, cluster) {
            Ok(())
        } else {
            Err(Refusal::resolvable("node(s) exceed max volume count"))
        }
    })))
}

/// Whether these volumes can be attached besides those already attached or needed by the node's pods.
fn fits(mut requested: HashSet<Attached>, csi: &CsiNode, info: &NodeInfo, cluster: &Cluster) -> bool {
    let mut in_use: HashSet<Attached> = HashSet::new();
    for pod in &info.pods {
        for claim in &pod.shape.claims {
            let claim = cluster.storage.claim(pod.namespace(), &pod.claim_name(claim));
            in_use.extend(claim.and_then(|claim| attached(claim, csi, cluster)));
        }
    }
    requested.retain(|volume| !in_use.contains(volume));
    for attachment in cluster.storage.attachments.values().filter(|attachment| attachment.node == info.node.name) {
        let volume = cluster.storage.volumes.get(&attachment.volume);
        if let Some(Source::Csi { handle, .. }) = volume.map(|volume| &volume.source) {
            in_use.insert((attachment.attacher.clone(), handle.to_string()));
        }
    }
    let count = |volumes: &HashSet<Attached>| {
        let mut counts: HashMap<Arc<str>, i64> = HashMap::new();
        for (driver, _) in volumes {
            *counts.entry(driver.clone()).or_default() += 1;
        }
        counts
    };
    let in_use = count(&in_use);
    count(&requested).into_iter().all(|(driver, new)| {
        let limit = csi.limits.iter().find(|(name, _)| *name == driver);
        limit.is_none_or(|(_, limit)| in_use.get(&driver).copied().unwrap_or(0) + new <= *limit)
    })
}

/// The volume of a claim, if a CSI driver attaches it. A volume not yet provisioned is identified by its claim.
fn attached(claim: &Claim, csi: &CsiNode, cluster: &Cluster) -> Option<Attached> {
    let migrated = |kind: &InTree| csi.migrated.iter().any(|plugin| **plugin == *kind.plugin);
    let volume = claim.volume.as_ref().and_then(|name| cluster.storage.volumes.get(name));
    let Some(volume) = volume else {
        let class = cluster.storage.classes.get(&claim.class)?;
        let handle = format!("unprovisioned {}/{}", claim.namespace, claim.name);
        return match InTree::by_plugin(&class.provisioner) {
            None => Some((class.provisioner.clone(), handle)),
            Some(kind) => migrated(&kind).then(|| (Arc::from(kind.driver), handle)),
        };
    };
    match &volume.source {
        Source::Csi { driver, handle } => Some((driver.clone(), handle.to_string())),
        Source::InTree(kind) => migrated(kind).then(|| (Arc::from(kind.driver), format!("volume {}", volume.name))),
        Source::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use crate::cluster::testing::Builder;
    use crate::filter::tests::fits;
    use crate::filter::tests::verdict;

    fn uses(claim: &str) -> Value {
        json!({"spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]}})
    }

    fn bound(builder: Builder, name: &str) -> Builder {
        let claim = json!({"spec": {"volumeName": name},
            "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}});
        let volume = json!({"spec": {"csi": {"driver": "disks", "volumeHandle": name}}});
        builder.claim(name, claim).volume(name, volume)
    }

    #[test]
    fn a_node_takes_no_more_volumes_than_its_driver_allows() {
        let limit = json!({"spec": {"drivers": [{"name": "disks", "allocatable": {"count": 1}}]}});
        let builder = ["one", "two"].into_iter().fold(Builder::default().nodes(&["a", "b"]), bound);
        let builder = builder.csi_node("a", limit).runs("p", "a", uses("one"));
        assert_eq!(fits(&builder, uses("two")), ["b"]);
        assert_eq!(fits(&builder, uses("one")), ["a", "b"]);
    }

    #[test]
    fn a_volume_yet_to_be_provisioned_counts_too() {
        let limit = json!({"spec": {"drivers": [{"name": "disks", "allocatable": {"count": 0}}]}});
        let class = json!({"provisioner": "disks", "volumeBindingMode": "WaitForFirstConsumer"});
        let claim = json!({"spec": {"storageClassName": "fast"}});
        let builder =
            Builder::default().nodes(&["a", "b"]).csi_node("a", limit).class("fast", class).claim("new", claim);
        assert_eq!(fits(&builder, uses("new")), ["b"]);
    }

    #[test]
    fn a_missing_ephemeral_claim_is_left_to_volume_binding() {
        let builder = Builder::default().nodes(&["a"]).csi_node("a", json!({}));
        let pod = json!({"spec": {"volumes": [{"name": "v", "ephemeral": {}}]}});
        let reason = verdict(&builder, pod, "a").unwrap();
        assert!(reason.starts_with("VolumeBinding: waiting for ephemeral volume controller"), "{reason}");
    }
}
