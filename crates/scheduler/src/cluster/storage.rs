//! Claims, volumes and drivers, and what is assumed about them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::Attachment;
use crate::model::BoundClaim;
use crate::model::Capacity;
use crate::model::Claim;
use crate::model::Class;
use crate::model::CsiDriver;
use crate::model::CsiNode;
use crate::model::Volume;

/// The storage objects of the cluster. Claims and capacities are keyed by `namespace/name`, the rest by name.
#[derive(Debug, Default)]
pub(crate) struct Storage {
    /// PersistentVolumeClaims.
    pub(crate) claims: HashMap<String, Arc<Claim>>,
    /// PersistentVolumes.
    pub(crate) volumes: HashMap<Arc<str>, Arc<Volume>>,
    /// StorageClasses.
    pub(crate) classes: HashMap<Arc<str>, Class>,
    /// CSINodes.
    pub(crate) csi_nodes: HashMap<Arc<str>, CsiNode>,
    /// CSIDrivers.
    pub(crate) csi_drivers: HashMap<Arc<str>, CsiDriver>,
    /// CSIStorageCapacities.
    pub(crate) capacities: HashMap<String, Capacity>,
    /// VolumeAttachments.
    pub(crate) attachments: HashMap<Arc<str>, Attachment>,
}

/// What must be done about a pod's volumes before it is bound to its node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct VolumePlan {
    /// Volumes to reserve, each with its claim.
    pub(crate) bind: Vec<(Arc<Volume>, Arc<Claim>)>,
    /// Claims whose volumes are to be provisioned for the node.
    pub(crate) provision: Vec<Arc<Claim>>,
}

impl VolumePlan {
    /// Whether nothing must be done.
    pub(crate) fn is_empty(&self) -> bool {
        self.bind.is_empty() && self.provision.is_empty()
    }
}

/// The state before an assumption, to revert it.
#[derive(Debug, Default)]
pub(crate) struct AssumedVolumes {
    /// Before and after.
    volumes: Vec<(Arc<Volume>, Arc<Volume>)>,
    claims: Vec<(Arc<Claim>, Arc<Claim>)>,
}

impl Storage {
    /// The claim of this name.
    pub(crate) fn claim(&self, namespace: &str, name: &str) -> Option<&Arc<Claim>> {
        self.claims.get(&key(namespace, name))
    }

    /// Adds or updates a claim.
    pub(crate) fn put_claim(&mut self, claim: Claim) {
        self.claims.insert(key(&claim.namespace, &claim.name), Arc::new(claim));
    }

    /// Counts the plan's volumes and claims as taken.
    pub(crate) fn assume(&mut self, plan: &VolumePlan, node: &Arc<str>) -> AssumedVolumes {
        let mut assumed = AssumedVolumes::default();
        for (volume, claim) in &plan.bind {
            let (namespace, name, uid) = (claim.namespace.clone(), claim.name.clone(), claim.uid.clone());
            let after = Arc::new(Volume { claim: Some(BoundClaim { namespace, name, uid }), ..Volume::clone(volume) });
            self.volumes.insert(volume.name.clone(), after.clone());
            assumed.volumes.push((volume.clone(), after));
        }
        for claim in &plan.provision {
            let after = Arc::new(Claim { selected_node: Some(node.clone()), ..Claim::clone(claim) });
            self.claims.insert(key(&claim.namespace, &claim.name), after.clone());
            assumed.claims.push((claim.clone(), after));
        }
        assumed
    }

    /// Reverts an assumption, except for objects that the API server has updated since.
    pub(crate) fn forget(&mut self, assumed: AssumedVolumes) {
        for (before, after) in assumed.volumes {
            if let Some(known) = self.volumes.get_mut(&after.name).filter(|known| Arc::ptr_eq(known, &after)) {
                *known = before;
            }
        }
        for (before, after) in assumed.claims {
            let known = self.claims.get_mut(&key(&after.namespace, &after.name));
            if let Some(known) = known.filter(|known| Arc::ptr_eq(known, &after)) {
                *known = before;
            }
        }
    }
}

/// `namespace/name`.
pub(crate) fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assumptions_are_reverted_unless_the_object_was_updated() {
        let mut storage = Storage::default();
        let claim = Arc::new(Claim { name: Arc::from("c"), namespace: Arc::from("n"), ..Claim::default() });
        let volume = |name: &str| Arc::new(Volume { name: Arc::from(name), ..Volume::default() });
        for name in ["v", "w"] {
            storage.volumes.insert(Arc::from(name), volume(name));
        }
        let bind = ["v", "w"].map(|name| (storage.volumes[name].clone(), claim.clone())).to_vec();
        let assumed = storage.assume(&VolumePlan { bind, provision: vec![claim] }, &Arc::from("node"));
        assert!(storage.volumes["v"].claim.is_some());
        assert_eq!(storage.claim("n", "c").unwrap().selected_node.as_deref(), Some("node"));
        storage
            .volumes
            .insert(Arc::from("w"), Arc::new(Volume { capacity: 5, ..Volume::clone(&storage.volumes["w"]) }));
        storage.forget(assumed);
        assert!(storage.volumes["v"].claim.is_none());
        assert!(storage.volumes["w"].claim.is_some());
        assert!(storage.claim("n", "c").unwrap().selected_node.is_none());
    }
}
