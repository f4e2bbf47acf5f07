//! How many volumes of a CSI driver can be attached to a node.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use super::Events;
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
    woken_by: Events::CSI.or(Events::POD_GONE).or(Events::CLAIM).or(Events::VOLUME),
};

/// A volume as its driver knows it: the driver, and what tells it from others.
type Attached = (Arc<str>, String);

fn prepare<'a>(pod: &'a Pod, cluster: &'a Cluster) -> Prepared<'a> {
    // A claim that does not exist, or is not the pod's, is refused by VolumeBinding, whatever is said here.
    let known = |claim| cluster.storage.claim(pod.namespace(), &pod.claim_name(claim));
    let claims: Vec<_> = pod.shape.claims.iter().filter_map(known).collect();
    if claims.is_empty() {
        return Ok(None);
    }
    Ok(Some(Box::new(move |_, info| {
        let Some(csi) = cluster.storage.csi_nodes.get(&info.node.name).filter(|csi| !csi.limits.is_empty()) else {
            return Ok(());
        };
        let wanted: HashSet<_> = claims.iter().filter_map(|claim| attached(claim, csi, cluster)).collect();
        if wanted.is_empty() || fits(wanted, csi, info, cluster) {
            Ok(())
        } else {
            Err(Refusal::curable("node(s) exceed max volume count"))
        }
    })))
}

/// Whether these volumes can be attached besides those that are, or are about to be.
fn fits(mut wanted: HashSet<Attached>, csi: &CsiNode, info: &NodeInfo, cluster: &Cluster) -> bool {
    let mut there: HashSet<Attached> = HashSet::new();
    for pod in &info.pods {
        for claim in &pod.shape.claims {
            let claim = cluster.storage.claim(pod.namespace(), &pod.claim_name(claim));
            there.extend(claim.and_then(|claim| attached(claim, csi, cluster)));
        }
    }
    wanted.retain(|volume| !there.contains(volume));
    for attachment in cluster.storage.attachments.values().filter(|attachment| attachment.node == info.node.name) {
        let volume = cluster.storage.volumes.get(&attachment.volume);
        if let Some(Source::Csi { handle, .. }) = volume.map(|volume| &volume.source) {
            there.insert((attachment.attacher.clone(), handle.to_string()));
        }
    }
    let count = |volumes: &HashSet<Attached>| {
        let mut counts: HashMap<Arc<str>, i64> = HashMap::new();
        for (driver, _) in volumes {
            *counts.entry(driver.clone()).or_default() += 1;
        }
        counts
    };
    let there = count(&there);
    count(&wanted).into_iter().all(|(driver, new)| {
        let limit = csi.limits.iter().find(|(name, _)| *name == driver);
        limit.is_none_or(|(_, limit)| there.get(&driver).copied().unwrap_or(0) + new <= *limit)
    })
}

/// The volume of a claim, if a driver attaches it. One that is yet to be provisioned counts by its claim.
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
    fn a_node_takes_no_more_volumes_than_its_driver_says() {
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
    fn a_claim_that_is_yet_to_be_made_is_not_for_this_filter_to_tell_of() {
        let builder = Builder::default().nodes(&["a"]).csi_node("a", json!({}));
        let pod = json!({"spec": {"volumes": [{"name": "v", "ephemeral": {}}]}});
        let told = verdict(&builder, pod, "a").unwrap();
        assert!(told.starts_with("VolumeBinding: waiting for ephemeral volume controller"), "{told}");
    }
}
