package main

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	zoneLabel   = "topology.kubernetes.io/zone"
	regionLabel = "topology.kubernetes.io/region"
	gpuResource = "example.com/gpu"
	nicResource = "example.com/nic"
	hugePages   = "hugepages-2Mi"
)

func (w *world) nodes() error {
	for i := range w.between(1, pick(w.dice, 3, 10, 20, 20)) {
		name := fmt.Sprintf("n%d", i+1)
		node, err := admitNode(&v1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: w.nodeLabels(name)},
			Spec:       v1.NodeSpec{Unschedulable: w.chance(w.cordoned), Taints: w.nodeTaints()},
			Status:     v1.NodeStatus{Allocatable: w.allocatable(), Images: w.images()},
		})
		if err != nil {
			return fmt.Errorf("node %s: %w", name, err)
		}
		w.c.Nodes = append(w.c.Nodes, node)
	}
	return nil
}

func (w *world) nodeLabels(name string) map[string]string {
	labels := map[string]string{
		v1.LabelHostname: name,
		"disk":           pick(w.dice, "ssd", "hdd"),
		regionLabel:      pick(w.dice, "r1", "r1", "r2"),
	}
	if !w.chance(w.zoneless) {
		labels[zoneLabel] = pick(w.dice, "z1", "z2", "z3")
	}
	if w.chance(0.04) {
		delete(labels, v1.LabelHostname)
	} else if w.chance(0.03) { // may differ from the node's name
		labels[v1.LabelHostname] = pick(w.dice, "host", "n1")
	}
	if w.chance(0.1) {
		delete(labels, "disk")
	}
	if w.chance(0.8) { // Gt and Lt also get values that are not numbers
		labels["cores"] = pick(w.dice, "0", "1", "4", "4", "8", "16", "007", "1e3", "many", "", "9223372036854775808")
	}
	if w.chance(0.2) {
		labels["empty"] = ""
	}
	return labels
}

func (w *world) nodeTaints() []v1.Taint {
	var taints []v1.Taint
	for _, taint := range w.taints {
		again := false
		for _, other := range taints {
			again = again || other.MatchTaint(&taint)
		}
		if !again && w.chance(w.tainted) {
			taints = append(taints, taint)
		}
	}
	return taints
}

func (w *world) allocatable() v1.ResourceList {
	list := v1.ResourceList{
		v1.ResourceCPU: resource.MustParse(pick(w.dice, "1", "1900m", "2", "3.5", "4", "4", "8", "8", "16", "32")),
		v1.ResourceMemory: resource.MustParse(pick(w.dice,
			"1Gi", "1.9Gi", "2147483649", "4e9", "3500M", "8Gi", "8Gi", "16Gi", "32e9")),
		v1.ResourcePods: resource.MustParse("110"),
	}
	if w.chance(w.crowded) {
		list[v1.ResourcePods] = resource.MustParse(pick(w.dice, "0", "1", "2", "3", "5"))
	}
	if w.chance(0.93) {
		list[v1.ResourceEphemeralStorage] = resource.MustParse(pick(w.dice, "3Gi", "5G", "20Gi", "1e11"))
	}
	if w.chance(0.6) {
		list[gpuResource] = resource.MustParse(pick(w.dice, "0", "1", "2", "4"))
	}
	if w.chance(0.6) {
		list[nicResource] = resource.MustParse(pick(w.dice, "1", "8"))
	}
	if w.chance(0.6) {
		list[hugePages] = resource.MustParse(pick(w.dice, "0", "64Mi", "1Gi"))
	}
	if w.chance(0.02) {
		delete(list, pick(w.dice, v1.ResourceCPU, v1.ResourceMemory, v1.ResourcePods))
	}
	return list
}

var imageNames = []string{
	"registry.test/app:1", "registry.test/app", "nginx", "nginx:latest", "docker.io/library/nginx:latest",
	"registry.test:5000/db", "registry.test:5000/db:latest",
	"registry.test/pinned@sha256:4f7c1d3a9be2568f6f0d6c3c9b7e11a4f3a3b5d2c1e0f9a8b7c6d5e4f3a2b1c0",
}

// images draws from the images of the case: an image has the same size on all nodes, and unique names.
func (w *world) images() []v1.ContainerImage {
	var images []v1.ContainerImage
	for _, image := range w.allImages {
		if w.chance(0.3) {
			images = append(images, image)
		}
	}
	return images
}

func (w *world) drawImages() {
	names := append([]string{}, imageNames...)
	w.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for len(names) > 0 && !w.chance(0.1) {
		count := min(len(names), pick(w.dice, 1, 1, 2, 3))
		w.allImages = append(w.allImages, v1.ContainerImage{
			Names:     names[:count:count],
			SizeBytes: pick[int64](w.dice, 0, 5<<20, 23<<20, 80<<20, 300_000_000, 1000<<20, 3<<30),
		})
		names = names[count:]
	}
}
