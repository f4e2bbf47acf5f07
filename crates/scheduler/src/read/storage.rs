//! Claims, volumes, storage classes, and the objects of CSI drivers.

use std::sync::Arc;

use kubernetes_quantity::Quantity;

use super::BadField;
use super::Invalid;
use super::selector::labels;
use super::selector::node_selector;
use super::selector::selector;
use crate::model::AccessModes;
use crate::model::Attachment;
use crate::model::BoundClaim;
use crate::model::Capacity;
use crate::model::Claim;
use crate::model::Class;
use crate::model::CsiDriver;
use crate::model::CsiNode;
use crate::model::InTree;
use crate::model::Intern;
use crate::model::Source;
use crate::model::Volume;
use crate::wire;

/// The class of claims and volumes, before the API had a field for it.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// The annotation that requests provisioning for a node.
pub(crate) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const MIGRATED: &str = "storage.alpha.kubernetes.io/migrated-plugins";

/// Converts a PersistentVolumeClaim.
///
/// # Errors
/// An invalid field.
pub(crate) fn claim(wire: &wire::PersistentVolumeClaim, intern: &Intern) -> Result<Claim, Invalid> {
    read_claim(wire, intern).map_err(|bad| bad.of("persistentvolumeclaim", &wire.metadata))
}

fn read_claim(wire: &wire::PersistentVolumeClaim, intern: &Intern) -> Result<Claim, BadField> {
    let (meta, spec) = (&wire.metadata, &wire.spec);
    let in_field = spec.storage_class_name.as_deref().unwrap_or_default();
    let class = meta.annotations.get(CLASS_ANNOTATION).map_or(in_field, String::as_str);
    let selector = match &spec.selector {
        None => None,
        some => Some(selector(some.as_ref(), intern).map_err(|bad| bad.within("spec.selector"))?),
    };
    let request = storage(&spec.resources.requests, "spec.resources.requests")?;
    Ok(Claim {
        namespace: intern.str(&meta.namespace),
        name: Arc::from(&*meta.name),
        uid: Arc::from(&*meta.uid),
        resource_version: meta.resource_version.as_str().into(),
        volume: (!spec.volume_name.is_empty()).then(|| Arc::from(&*spec.volume_name)),
        bound: !spec.volume_name.is_empty() && meta.annotations.contains_key(BIND_COMPLETED),
        class: intern.str(class),
        selected_node: meta.annotations.get(SELECTED_NODE).map(|node| intern.str(node)),
        lost: wire.status.phase == "Lost",
        terminating: meta.deletion_timestamp.is_some(),
        modes: AccessModes::named(spec.access_modes.iter().map(String::as_str)),
        request: request.unwrap_or_default(),
        has_request: request.is_some(),
        selector,
        block: spec.volume_mode.as_deref() == Some("Block"),
        attributes_class: intern.str(spec.volume_attributes_class_name.as_deref().unwrap_or_default()),
        owner: meta.controller().map(|owner| Arc::from(&*owner.uid)),
    })
}

fn storage(amounts: &wire::Amounts, field: &str) -> Result<Option<i64>, BadField> {
    let Some(amount) = amounts.get("storage") else { return Ok(None) };
    let quantity = Quantity::parse(&amount.0).map_err(|error| BadField::new(format!("{field}[storage]"), error))?;
    Ok(Some(quantity.value()))
}

/// Converts a PersistentVolume.
///
/// # Errors
/// An invalid field.
pub(crate) fn volume(wire: &wire::PersistentVolume, intern: &Intern) -> Result<Volume, Invalid> {
    read_volume(wire, intern).map_err(|bad| bad.of("persistentvolume", &wire.metadata))
}

fn read_volume(wire: &wire::PersistentVolume, intern: &Intern) -> Result<Volume, BadField> {
    let (meta, spec) = (&wire.metadata, &wire.spec);
    let class = meta.annotations.get(CLASS_ANNOTATION).unwrap_or(&spec.storage_class_name);
    let affinity = match &spec.node_affinity.required {
        None => None,
        Some(required) => {
            Some(node_selector(required, intern).map_err(|bad| bad.within("spec.nodeAffinity.required"))?)
        }
    };
    let bound = |claim: &wire::ClaimReference| BoundClaim {
        namespace: intern.str(&claim.namespace),
        name: Arc::from(&*claim.name),
        uid: Arc::from(&*claim.uid),
    };
    Ok(Volume {
        name: Arc::from(&*meta.name),
        resource_version: meta.resource_version.as_str().into(),
        labels: labels(&meta.labels, intern),
        class: intern.str(class),
        capacity: storage(&spec.capacity, "spec.capacity")?.unwrap_or_default(),
        modes: AccessModes::named(spec.access_modes.iter().map(String::as_str)),
        block: spec.volume_mode.as_deref() == Some("Block"),
        attributes_class: intern.str(spec.volume_attributes_class_name.as_deref().unwrap_or_default()),
        claim: spec.claim_ref.as_ref().map(bound),
        affinity,
        available: wire.status.phase == "Available",
        terminating: meta.deletion_timestamp.is_some(),
        source: source(spec, intern),
    })
}

fn source(spec: &wire::VolumeSpec, intern: &Intern) -> Source {
    let from = &spec.source;
    if let Some(csi) = &from.csi {
        return Source::Csi { driver: intern.str(&csi.driver), handle: Arc::from(&*csi.volume_handle) };
    }
    let present = |known: &InTree| match known.field {
        "awsElasticBlockStore" => from.aws_elastic_block_store.is_some(),
        "gcePersistentDisk" => from.gce_persistent_disk.is_some(),
        "azureDisk" => from.azure_disk.is_some(),
        "azureFile" => from.azure_file.is_some(),
        "cinder" => from.cinder.is_some(),
        "vsphereVolume" => from.vsphere_volume.is_some(),
        "portworxVolume" => from.portworx_volume.is_some(),
        _ => false,
    };
    InTree::ALL.into_iter().find(present).map_or(Source::Other, Source::InTree)
}

/// Converts a StorageClass.
pub(crate) fn class(wire: &wire::StorageClass, intern: &Intern) -> Class {
    let values = |values: &[String]| values.iter().map(|value| intern.str(value)).collect();
    let term = |term: &wire::TopologySelectorTerm| {
        term.match_label_expressions.iter().map(|one| (intern.str(&one.key), values(&one.values))).collect()
    };
    Class {
        name: intern.str(&wire.metadata.name),
        provisioner: intern.str(&wire.provisioner),
        waits_for_consumer: wire.volume_binding_mode.as_deref().map(|mode| mode == "WaitForFirstConsumer"),
        topologies: wire.allowed_topologies.iter().map(term).collect(),
    }
}

/// Converts a CSINode.
pub(crate) fn csi_node(wire: &wire::CsiNode, intern: &Intern) -> CsiNode {
    let limit = |driver: &wire::CsiNodeDriver| Some((intern.str(&driver.name), driver.allocatable.count?));
    let migrated = wire.metadata.annotations.get(MIGRATED).map_or("", String::as_str);
    CsiNode {
        name: intern.str(&wire.metadata.name),
        limits: wire.spec.drivers.iter().filter_map(limit).collect(),
        migrated: migrated.split(',').filter(|plugin| !plugin.is_empty()).map(|plugin| intern.str(plugin)).collect(),
    }
}

/// Converts a CSIDriver.
pub(crate) fn csi_driver(wire: &wire::CsiDriver, intern: &Intern) -> CsiDriver {
    CsiDriver { name: intern.str(&wire.metadata.name), storage_capacity: wire.spec.storage_capacity == Some(true) }
}

/// Converts a CSIStorageCapacity.
///
/// # Errors
/// An invalid field.
pub(crate) fn capacity(wire: &wire::CsiStorageCapacity, intern: &Intern) -> Result<Capacity, Invalid> {
    let read = || {
        let (amount, field) = match &wire.maximum_volume_size {
            Some(largest) => (Some(largest), "maximumVolumeSize"),
            None => (wire.capacity.as_ref(), "capacity"),
        };
        let quantity = |amount: &wire::Amount| Quantity::parse(&amount.0).map_err(|error| BadField::new(field, error));
        Ok(Capacity {
            namespace: intern.str(&wire.metadata.namespace),
            name: Arc::from(&*wire.metadata.name),
            class: intern.str(&wire.storage_class_name),
            largest: amount.map(quantity).transpose()?.map(Quantity::value),
            nodes: selector(wire.node_topology.as_ref(), intern).map_err(|bad: BadField| bad.within("nodeTopology"))?,
        })
    };
    read().map_err(|bad: BadField| bad.of("csistoragecapacity", &wire.metadata))
}

/// Converts a VolumeAttachment.
pub(crate) fn attachment(wire: &wire::VolumeAttachment, intern: &Intern) -> Attachment {
    Attachment {
        name: Arc::from(&*wire.metadata.name),
        node: intern.str(&wire.spec.node_name),
        attacher: intern.str(&wire.spec.attacher),
        volume: Arc::from(wire.spec.source.persistent_volume_name.as_deref().unwrap_or_default()),
    }
}
