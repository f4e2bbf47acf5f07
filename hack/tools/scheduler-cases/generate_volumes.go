package main

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const csiDriver = "csi.example.com"

// storage draws classes, volumes and claims, in some of the cases.
func (w *world) storage() error {
	if !w.chance(0.3) {
		return nil
	}
	w.storageClasses()
	w.csiNodes()
	w.capacities()
	for i := range w.between(1, 5) {
		if err := w.boundClaim(fmt.Sprintf("bound%d", i+1)); err != nil {
			return err
		}
	}
	for i := range w.between(0, 6) {
		if err := w.volume(fmt.Sprintf("free%d", i+1), pick(w.dice, "local", "local", "late", ""), nil); err != nil {
			return err
		}
	}
	for i := range w.between(0, 3) {
		if err := w.freeClaim(fmt.Sprintf("free%d", i+1)); err != nil {
			return err
		}
	}
	w.attachments()
	return nil
}

func (w *world) storageClasses() {
	waits, immediate := storagev1.VolumeBindingWaitForFirstConsumer, storagev1.VolumeBindingImmediate
	for _, class := range []struct {
		name, provisioner string
		mode              *storagev1.VolumeBindingMode
	}{{"late", csiDriver, &waits}, {"local", "kubernetes.io/no-provisioner", &waits}, {"early", csiDriver, &immediate}} {
		made := &storagev1.StorageClass{
			ObjectMeta: metav1.ObjectMeta{Name: class.name}, Provisioner: class.provisioner, VolumeBindingMode: class.mode,
		}
		if class.name == "late" && w.chance(0.4) {
			made.AllowedTopologies = []v1.TopologySelectorTerm{{
				MatchLabelExpressions: []v1.TopologySelectorLabelRequirement{{Key: zoneLabel, Values: some(w.dice, "z1", "z2", "z3")}},
			}}
		}
		w.c.StorageClasses = append(w.c.StorageClasses, made)
	}
}

// csiNodes draws attach limits; some nodes lack the driver.
func (w *world) csiNodes() {
	limited := pick(w.dice, 0.2, 0.9)
	for _, node := range w.c.Nodes {
		if w.chance(0.1) {
			continue
		}
		csiNode := &storagev1.CSINode{
			ObjectMeta: metav1.ObjectMeta{Name: node.Name},
			Spec:       storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{}},
		}
		if !w.chance(0.1) {
			driver := storagev1.CSINodeDriver{Name: csiDriver, NodeID: node.Name}
			if w.chance(limited) {
				driver.Allocatable = &storagev1.VolumeNodeResources{Count: maybe[int32](w.dice, 0.9, 0, 1, 1, 2, 3)}
			}
			csiNode.Spec.Drivers = append(csiNode.Spec.Drivers, driver)
		}
		w.c.CSINodes = append(w.c.CSINodes, csiNode)
	}
}

// capacities draws the driver's remaining storage capacity by topology.
func (w *world) capacities() {
	if !w.chance(0.6) {
		return
	}
	counts := !w.chance(0.15)
	w.c.CSIDrivers = append(w.c.CSIDrivers, &storagev1.CSIDriver{
		ObjectMeta: metav1.ObjectMeta{Name: csiDriver}, Spec: storagev1.CSIDriverSpec{StorageCapacity: &counts},
	})
	for i := range w.between(0, 4) {
		free := resource.MustParse(pick(w.dice, "0", "1Gi", "1500Mi", "3Gi", "1Ti"))
		capacity := &storagev1.CSIStorageCapacity{
			ObjectMeta:       metav1.ObjectMeta{Name: fmt.Sprintf("free%d", i+1), Namespace: "red"},
			StorageClassName: pick(w.dice, "late", "late", "late", "early"),
			Capacity:         &free,
			NodeTopology:     &metav1.LabelSelector{MatchLabels: map[string]string{zoneLabel: pick(w.dice, "z1", "z2", "z3")}},
		}
		switch {
		case w.chance(0.1):
			capacity.NodeTopology = nil // nowhere
		case w.chance(0.2):
			capacity.NodeTopology = &metav1.LabelSelector{} // everywhere
		}
		if w.chance(0.2) {
			largest := resource.MustParse(pick(w.dice, "1Gi", "2Gi"))
			capacity.MaximumVolumeSize = &largest
		}
		w.c.CSIStorageCapacities = append(w.c.CSIStorageCapacities, capacity)
	}
}

// attachments draws attachments of used and unused volumes.
func (w *world) attachments() {
	for i, volume := range w.c.PVs {
		if volume.Spec.CSI == nil || !w.chance(0.2) {
			continue
		}
		w.c.VolumeAttachments = append(w.c.VolumeAttachments, &storagev1.VolumeAttachment{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("attached%d", i+1)},
			Spec: storagev1.VolumeAttachmentSpec{
				Attacher: csiDriver, NodeName: pick(w.dice, w.c.Nodes...).Name,
				Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &volume.Name},
			},
		})
	}
}

func (w *world) accessModes() []v1.PersistentVolumeAccessMode {
	return []v1.PersistentVolumeAccessMode{
		pick(w.dice, v1.ReadWriteOnce, v1.ReadWriteOnce, v1.ReadWriteMany, v1.ReadWriteOncePod),
	}
}

// volume draws a volume, bound to a claim or available.
func (w *world) volume(name, class string, claim *v1.PersistentVolumeClaim) error {
	volume := &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID("uid-" + name), ResourceVersion: "1", Labels: map[string]string{},
		},
		Spec: v1.PersistentVolumeSpec{
			Capacity:         v1.ResourceList{v1.ResourceStorage: resource.MustParse(pick(w.dice, "1Gi", "2Gi", "5G"))},
			AccessModes:      []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce, v1.ReadWriteMany},
			StorageClassName: class,
		},
		Status: v1.PersistentVolumeStatus{Phase: v1.VolumeAvailable},
	}
	if claim != nil {
		volume.Spec.AccessModes = claim.Spec.AccessModes
		volume.Spec.ClaimRef = &v1.ObjectReference{
			Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
		}
		volume.Status.Phase = v1.VolumeBound
	}
	w.volumeSource(volume)
	if w.chance(0.3) {
		key := pick(w.dice, zoneLabel, zoneLabel, regionLabel, "failure-domain.beta.kubernetes.io/zone")
		volume.Labels[key] = pick(w.dice, "z1", "z2", "z1__z3", "r1")
	}
	admitted, err := admitVolume(volume)
	if err != nil {
		return fmt.Errorf("volume %s: %w", name, err)
	}
	w.c.PVs = append(w.c.PVs, admitted)
	return nil
}

func (w *world) volumeSource(volume *v1.PersistentVolume) {
	on := func(key string, values ...string) *v1.VolumeNodeAffinity {
		return &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
			MatchExpressions: []v1.NodeSelectorRequirement{{Key: key, Operator: v1.NodeSelectorOpIn, Values: values}},
		}}}}
	}
	if w.chance(0.35) {
		volume.Spec.Local = &v1.LocalVolumeSource{Path: "/volumes/" + volume.Name}
		volume.Spec.NodeAffinity = on(v1.LabelHostname, pick(w.dice, w.c.Nodes...).Name, pick(w.dice, w.c.Nodes...).Name)
		return
	}
	volume.Spec.CSI = &v1.CSIPersistentVolumeSource{Driver: csiDriver, VolumeHandle: "handle-" + volume.Name}
	if w.chance(0.5) {
		volume.Spec.NodeAffinity = on(zoneLabel, some(w.dice, "z1", "z2", "z3")...)
	}
}

func (w *world) claim(name, class string) *v1.PersistentVolumeClaim {
	return &v1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: pick(w.dice, namespaceNames...), UID: types.UID("uid-" + name), ResourceVersion: "1",
			Annotations: map[string]string{},
		},
		Spec: v1.PersistentVolumeClaimSpec{
			AccessModes: w.accessModes(), StorageClassName: &class,
			Resources: v1.VolumeResourceRequirements{Requests: v1.ResourceList{
				v1.ResourceStorage: resource.MustParse(pick(w.dice, "1", "1Gi", "1500Mi", "4Gi")),
			}},
		},
		Status: v1.PersistentVolumeClaimStatus{Phase: v1.ClaimPending},
	}
}

func (w *world) boundClaim(name string) error {
	class := pick(w.dice, "late", "early", "local", "")
	claim := w.claim(name, class)
	claim.Spec.VolumeName = "pv-" + name
	claim.Status.Phase = v1.ClaimBound
	claim.Annotations["pv.kubernetes.io/bind-completed"] = "yes"
	switch {
	case w.chance(0.04):
		claim.Status.Phase = v1.ClaimLost
	case w.chance(0.04):
		delete(claim.Annotations, "pv.kubernetes.io/bind-completed")
	}
	if !w.chance(0.04) {
		if err := w.volume(claim.Spec.VolumeName, class, claim); err != nil {
			return err
		}
	}
	return w.putClaim(claim)
}

func (w *world) freeClaim(name string) error {
	class := pick(w.dice, "late", "late", "late", "local", "local", "local", "early", "absent", "")
	claim := w.claim(name, class)
	if w.chance(0.1) {
		claim.Annotations["volume.kubernetes.io/selected-node"] = pick(w.dice, w.c.Nodes...).Name
	}
	return w.putClaim(claim)
}

func (w *world) putClaim(claim *v1.PersistentVolumeClaim) error {
	admitted, err := admitClaim(claim)
	if err != nil {
		return fmt.Errorf("claim %s: %w", claim.Name, err)
	}
	if w.chance(0.04) {
		deleted := metav1.Unix(1767323045, 0)
		admitted.DeletionTimestamp = &deleted
	}
	w.c.PVCs = append(w.c.PVCs, admitted)
	w.claims[claim.Namespace] = append(w.claims[claim.Namespace], claim.Name)
	return nil
}

// volumes draws volumes for a pod, mostly claims of its namespace.
func (w *world) volumes(pod *v1.Pod) {
	if len(w.claims[pod.Namespace]) == 0 { // otherwise every claim of the namespace would be missing
		for _, namespace := range namespaceNames {
			if len(w.claims[namespace]) > 0 {
				pod.Namespace = namespace
			}
		}
	}
	for i := range pick(w.dice, 1, 1, 2, 3) {
		volume := v1.Volume{Name: fmt.Sprintf("v%d", i+1)}
		switch roll := w.Float64(); {
		case roll < 0.8:
			name := pick(w.dice, w.claims[pod.Namespace]...)
			if w.chance(0.02) {
				name = "missing"
			}
			volume.PersistentVolumeClaim = &v1.PersistentVolumeClaimVolumeSource{ClaimName: name}
		case roll < 0.83: // the claim of an ephemeral volume is named after the pod, and missing
			late := "late"
			volume.Ephemeral = &v1.EphemeralVolumeSource{VolumeClaimTemplate: &v1.PersistentVolumeClaimTemplate{
				Spec: v1.PersistentVolumeClaimSpec{
					AccessModes: []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce}, StorageClassName: &late,
					Resources: v1.VolumeResourceRequirements{Requests: v1.ResourceList{v1.ResourceStorage: resource.MustParse("1Gi")}},
				},
			}}
		case roll < 0.92:
			volume.EmptyDir = &v1.EmptyDirVolumeSource{}
		default:
			volume.VolumeSource = w.oldVolume()
		}
		pod.Spec.Volumes = append(pod.Spec.Volumes, volume)
	}
}

// oldVolume draws an in-tree volume that only one node at a time can use.
func (w *world) oldVolume() v1.VolumeSource {
	readOnly := w.chance(0.4)
	switch w.IntN(3) {
	case 0:
		return v1.VolumeSource{GCEPersistentDisk: &v1.GCEPersistentDiskVolumeSource{PDName: "disk", ReadOnly: readOnly}}
	case 1:
		return v1.VolumeSource{ISCSI: &v1.ISCSIVolumeSource{
			TargetPortal: "198.51.100.9:3260", IQN: "iqn.2026-01.com.example:storage", Lun: 1, ReadOnly: readOnly,
		}}
	}
	return v1.VolumeSource{RBD: &v1.RBDVolumeSource{
		CephMonitors: some(w.dice, "mon1", "mon2", "mon3"), RBDPool: "pool", RBDImage: "image", ReadOnly: readOnly,
	}}
}
