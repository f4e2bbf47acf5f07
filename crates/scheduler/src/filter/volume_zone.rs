//! Volumes with zone or region labels can be used in these zones or regions only.

use std::sync::Arc;

use super::ClusterEvents;
use super::Filter;
use super::Prepared;
use super::Refusal;
use super::volume_restrictions::missing;
use crate::cluster::Cluster;
use crate::model::ClaimRef;
use crate::model::Labels;
use crate::model::Pod;

pub(super) const FILTER: Filter = Filter {
    name: "VolumeZone",
    prepare,
    events: ClusterEvents::NODE_ADDED
        .or(ClusterEvents::NODE_LABELS)
        .or(ClusterEvents::CLAIM)
        .or(ClusterEvents::VOLUME)
        .or(ClusterEvents::STORAGE_CLASS),
};

/// Zone and region labels, each with its current name.
const LABELS: [(&str, &str); 4] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("topology.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "topology.kubernetes.io/region"),
];

/// Separates the zones of a volume that is in several.
const SEPARATOR: &str = "__";

/// A zone or region label of a volume.
struct Place {
    key: &'static str,
    today: &'static str,
    value: Arc<str>,
}

impl Place {
    fn is(&self, node: &Labels) -> bool {
        let value = node.get(self.key).or_else(|| node.get(self.today));
        value.is_some_and(|value| self.value.split(SEPARATOR).any(|zone| zone.trim() == &**value))
    }
}

fn prepare<'a>(pod: &'a Pod, cluster: &'a Cluster) -> Prepared<'a> {
    let mut places = Vec::new();
    for claim in &pod.shape.claims {
        let ClaimRef::Named(name) = claim else { continue };
        places.extend(places_of(name, pod, cluster)?);
    }
    if places.is_empty() {
        return Ok(None);
    }
    Ok(Some(Box::new(move |_, info| {
        let labels = &info.node.labels;
        let zoned = LABELS.iter().any(|(key, _)| labels.get(key).is_some());
        if !zoned || places.iter().all(|place| place.is(labels)) {
            Ok(())
        } else {
            Err(Refusal::unresolvable("node(s) had no available volume zone"))
        }
    })))
}

fn places_of(name: &str, pod: &Pod, cluster: &Cluster) -> Result<Vec<Place>, Refusal> {
    let storage = &cluster.storage;
    let claim = storage.claim(pod.namespace(), name).ok_or_else(|| missing(name))?;
    let Some(volume) = &claim.volume else {
        if claim.class.is_empty() {
            return Err(Refusal::unresolvable("PersistentVolumeClaim had no pv name and storageClass name"));
        }
        let class = storage.classes.get(&claim.class).ok_or_else(|| missing_class(&claim.class))?;
        return match class.waits_for_consumer {
            Some(true) => Ok(Vec::new()),
            Some(false) => Err(Refusal::unresolvable("PersistentVolume had no name")),
            None => Err(Refusal::unresolvable(format!("VolumeBindingMode not set for StorageClass {:?}", claim.class))),
        };
    };
    let missing = || Refusal::unresolvable(format!("persistentvolume {volume:?} not found"));
    let volume = storage.volumes.get(volume).ok_or_else(missing)?;
    let place = |(key, today)| volume.labels.get(key).map(|value| Place { key, today, value: value.clone() });
    // A label without any zone is ignored.
    let named = |place: &Place| place.value.split(SEPARATOR).all(|zone| !zone.trim().is_empty());
    Ok(LABELS.into_iter().filter_map(place).filter(named).collect())
}

/// The refusal of a pod with a claim whose class does not exist.
pub(super) fn missing_class(class: &str) -> Refusal {
    Refusal::unresolvable(format!("storageclass.storage.k8s.io {class:?} not found"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::cluster::testing::Builder;
    use crate::filter::tests::fits;

    #[test]
    fn a_volume_is_used_in_one_of_its_zones() {
        let zone = |zone: &str| json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}});
        let claim = json!({"spec": {"volumeName": "pv"},
            "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}});
        let builder = Builder::default()
            .node("a", zone("1"))
            .node("b", zone("2"))
            .node("c", zone("3"))
            .nodes(&["d"])
            .claim("c", claim)
            .volume("pv", json!({"metadata": {"labels": {"failure-domain.beta.kubernetes.io/zone": "1__2"}}}));
        let pod = json!({"spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}});
        assert_eq!(fits(&builder, pod), ["a", "b", "d"]);
    }
}
