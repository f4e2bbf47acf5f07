package main

import (
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// A Case is a cluster state and the pod to place: the complete input of filters and scores.
type Case struct {
	Nodes []*v1.Node `json:"nodes"`
	// Pods have a node, which may not exist; terminated pods do not count.
	Pods           []*v1.Pod                   `json:"pods"`
	Namespaces     []*v1.Namespace             `json:"namespaces"`
	PVCs           []*v1.PersistentVolumeClaim `json:"pvcs"`
	PVs            []*v1.PersistentVolume      `json:"pvs"`
	StorageClasses []*storagev1.StorageClass   `json:"storageClasses"`
	CSINodes       []*storagev1.CSINode        `json:"csiNodes"`
	// Storage capacity for new volumes, and attached volumes that no pod uses.
	CSIDrivers           []*storagev1.CSIDriver          `json:"csiDrivers"`
	CSIStorageCapacities []*storagev1.CSIStorageCapacity `json:"csiStorageCapacities"`
	VolumeAttachments    []*storagev1.VolumeAttachment   `json:"volumeAttachments"`
	// Services and ReplicaSets only affect the default spreading of pods without constraints of their own.
	Services    []*v1.Service        `json:"services"`
	ReplicaSets []*appsv1.ReplicaSet `json:"replicaSets"`
	Pod         *v1.Pod              `json:"pod"`
}

// An Answer has the feasible nodes, the reasons against the others, and the scores.
type Answer struct {
	// Feasible has the names of the feasible nodes, sorted.
	Feasible []string `json:"feasible"`
	// Verdicts has every other node: the name of the plugin, a colon and its reason.
	Verdicts map[string]string `json:"verdicts"`
	// Scores has every feasible node: the weighted score by plugin, and the sum as "total". Plugins that were skipped
	// are missing.
	Scores map[string]map[string]int64 `json:"scores"`
	// Error is set when a plugin failed; no node is feasible then.
	Error string `json:"error,omitempty"`
}

// total is the key of the sum in the scores.
const total = "total"
