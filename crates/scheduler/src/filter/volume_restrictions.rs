//! Volumes that only one pod may use: claims with ReadWriteOncePod, and in-line disks.

use super::ClusterEvents;
use super::Filter;
use super::Prepared;
use super::Refusal;
use crate::cluster::Cluster;
use crate::model::AccessModes;
use crate::model::ClaimRef;
use crate::model::Pod;

pub(super) const FILTER: Filter = Filter {
    name: "VolumeRestrictions",
    prepare,
    events: ClusterEvents::NODE_ADDED.or(ClusterEvents::POD_REMOVED).or(ClusterEvents::CLAIM),
};

const IN_USE: &str =
    "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod";

fn prepare<'a>(pod: &'a Pod, cluster: &'a Cluster) -> Prepared<'a> {
    let mut in_use = false;
    for claim in &pod.shape.claims {
        let ClaimRef::Named(name) = claim else { continue };
        let Some(known) = cluster.storage.claim(pod.namespace(), name) else { return Err(missing(name)) };
        in_use |= known.modes.contains(AccessModes::ONE_POD) && is_used(claim, pod, cluster);
    }
    let disks = &pod.shape.disks;
    if !in_use && disks.is_empty() {
        return Ok(None);
    }
    Ok(Some(Box::new(move |_, info| {
        let mut taken = info.pods.iter().flat_map(|other| &other.shape.disks);
        if taken.any(|other| disks.iter().any(|disk| disk.conflicts(other))) {
            return Err(Refusal::resolvable("node(s) had no available disk"));
        }
        if in_use { Err(Refusal::resolvable(IN_USE)) } else { Ok(()) }
    })))
}

/// The refusal of a pod whose claim does not exist.
pub(super) fn missing(claim: &str) -> Refusal {
    Refusal::unresolvable(format!("persistentvolumeclaim {claim:?} not found"))
}

/// Whether a pod on an existing node uses the claim.
fn is_used(claim: &ClaimRef, pod: &Pod, cluster: &Cluster) -> bool {
    cluster.populations().any(|population| {
        population.shape.namespace == pod.shape.namespace
            && population.shape.claims.contains(claim)
            && population.on.keys().any(|node| cluster.is_known(*node))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use crate::cluster::testing::Builder;
    use crate::filter::tests::fits;
    use crate::filter::tests::verdict;

    fn uses(volume: Value) -> Value {
        json!({"spec": {"volumes": [volume]}})
    }

    fn claim(name: &str) -> Value {
        uses(json!({"name": "v", "persistentVolumeClaim": {"claimName": name}}))
    }

    #[test]
    fn a_claim_for_one_pod_is_used_by_one_pod_in_the_whole_cluster() {
        let bound = |mode: &str| {
            json!({"spec": {"accessModes": [mode], "volumeName": "pv"},
            "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}})
        };
        let builder = Builder::default()
            .nodes(&["a", "b"])
            .volume("pv", json!({}))
            .claim("one", bound("ReadWriteOncePod"))
            .claim("many", bound("ReadWriteOnce"));
        let builder = builder.runs("o", "gone", claim("one"));
        assert_eq!(fits(&builder, claim("one")), ["a", "b"], "a pod of a node that is gone does not count");
        let builder = builder.runs("p", "a", claim("one")).runs("q", "a", claim("many"));
        assert!(fits(&builder, claim("one")).is_empty());
        assert_eq!(fits(&builder, claim("many")), ["a", "b"]);
    }

    #[test]
    fn a_disk_is_written_by_one_pod_of_a_node() {
        let gce = |read_only| uses(json!({"name": "v", "gcePersistentDisk": {"pdName": "d", "readOnly": read_only}}));
        let builder = Builder::default().nodes(&["a", "b"]).runs("p", "a", gce(true));
        assert_eq!(fits(&builder, gce(true)), ["a", "b"]);
        assert_eq!(fits(&builder, gce(false)), ["b"]);
        let aws = uses(json!({"name": "v", "awsElasticBlockStore": {"volumeID": "d"}}));
        let builder = builder.runs("q", "b", aws.clone());
        assert_eq!(fits(&builder, aws), ["a"]);
    }

    #[test]
    fn a_missing_claim_rejects_every_node() {
        let builder = Builder::default().nodes(&["a"]);
        assert_eq!(
            verdict(&builder, claim("none"), "a").unwrap(),
            "VolumeRestrictions: persistentvolumeclaim \"none\" not found"
        );
    }
}
