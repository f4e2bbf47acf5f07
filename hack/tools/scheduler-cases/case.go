package main

import (
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// A Case is a cluster at rest and the pod to place: all that the filters and scores may look at.
type Case struct {
	Nodes []*v1.Node `json:"nodes"`
	// Pods have a node, or none that exists; the ones that are done count nowhere.
	Pods           []*v1.Pod                   `json:"pods"`
	Namespaces     []*v1.Namespace             `json:"namespaces"`
	PVCs           []*v1.PersistentVolumeClaim `json:"pvcs"`
	PVs            []*v1.PersistentVolume      `json:"pvs"`
	StorageClasses []*storagev1.StorageClass   `json:"storageClasses"`
	CSINodes       []*storagev1.CSINode        `json:"csiNodes"`
	// Where space for new volumes is counted, and what is attached though no pod uses it.
	CSIDrivers           []*storagev1.CSIDriver          `json:"csiDrivers"`
	CSIStorageCapacities []*storagev1.CSIStorageCapacity `json:"csiStorageCapacities"`
	VolumeAttachments    []*storagev1.VolumeAttachment   `json:"volumeAttachments"`
	// Services and ReplicaSets matter only to the spreading of pods that ask for none.
	Services    []*v1.Service        `json:"services"`
	ReplicaSets []*appsv1.ReplicaSet `json:"replicaSets"`
	Pod         *v1.Pod              `json:"pod"`
}

// An Answer says where the pod may go, why not elsewhere, and how good each place is.
type Answer struct {
	// Feasible are the names of the nodes, sorted.
	Feasible []string `json:"feasible"`
	// Verdicts has every other node: the name of the plugin, a colon and its reason.
	Verdicts map[string]string `json:"verdicts"`
	// Scores has every feasible node: a plugin's weighted score by its name, and the sum as "total". A plugin that had
	// nothing to say is left out.
	Scores map[string]map[string]int64 `json:"scores"`
	// Error is set when a plugin failed; no node is feasible then.
	Error string `json:"error,omitempty"`
}

// total is the key of the sum among the scores of plugins.
const total = "total"
