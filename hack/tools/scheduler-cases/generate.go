package main

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// world is a case under construction, with the values that its parts share.
type world struct {
	dice
	c *Case
	// Probabilities of obstacles in this case: few or many of each.
	zoneless, tainted, cordoned, crowded float64
	taints                               []v1.Taint
	allImages                            []v1.ContainerImage
	// The claims that pods can name, by namespace.
	claims map[string][]string
}

var namespaceNames = []string{"red", "green", "blue"}

// generate makes one case. Random cases where no node or every node is feasible are common: most of them are discarded.
func generate(judge *Judge, seed, number uint64) (*Case, error) {
	d := newDice(seed, number)
	for attempt := 0; ; attempt++ {
		c, err := draw(d)
		if err != nil {
			return nil, fmt.Errorf("case %d of seed %d: %w", number, seed, err)
		}
		answer, err := judge.answer(c)
		if err != nil {
			return nil, fmt.Errorf("case %d of seed %d: %w", number, seed, err)
		}
		keep := 1.0
		switch feasible := len(answer.Feasible); {
		case answer.Error != "":
			keep = 0.1
		case feasible == 0:
			keep = 0.12
		case feasible == len(c.Nodes):
			keep = 0.4
		}
		if attempt == 9 || d.chance(keep) {
			return c, nil
		}
	}
}

func draw(d dice) (*Case, error) {
	w := &world{
		dice:     d,
		zoneless: pick(d, 0, 0, 0.2, 0.5),
		tainted:  pick(d, 0, 0, 0, 0.2, 0.5),
		cordoned: pick(d, 0, 0, 0, 0.1, 0.3),
		crowded:  pick(d, 0, 0, 0.1, 0.3),
		claims:   map[string][]string{},
		c: &Case{
			Namespaces: []*v1.Namespace{}, PVCs: []*v1.PersistentVolumeClaim{}, PVs: []*v1.PersistentVolume{}, Pods: []*v1.Pod{},
			StorageClasses: []*storagev1.StorageClass{}, CSINodes: []*storagev1.CSINode{},
			CSIDrivers: []*storagev1.CSIDriver{}, CSIStorageCapacities: []*storagev1.CSIStorageCapacity{},
			VolumeAttachments: []*storagev1.VolumeAttachment{}, Services: []*v1.Service{}, ReplicaSets: []*appsv1.ReplicaSet{},
		},
	}
	for range w.between(1, 3) {
		w.taints = append(w.taints, v1.Taint{
			Key:   pick(d, "dedicated", "gpu", "example.com/maintenance", "node.kubernetes.io/not-ready"),
			Value: pick(d, "", "a", "b"),
			Effect: pick(d, v1.TaintEffectNoSchedule, v1.TaintEffectNoExecute,
				v1.TaintEffectPreferNoSchedule, v1.TaintEffectPreferNoSchedule),
		})
	}
	w.namespaces()
	w.drawImages()
	if err := w.nodes(); err != nil {
		return nil, err
	}
	if err := w.storage(); err != nil {
		return nil, err
	}
	w.services()
	return w.c, w.pods()
}

func (w *world) namespaces() {
	for _, name := range namespaceNames {
		if w.chance(0.02) {
			continue // the scheduler does not know this namespace yet
		}
		labels := map[string]string{"kubernetes.io/metadata.name": name}
		if w.chance(0.7) {
			labels["team"] = pick(w.dice, "x", "y")
		}
		w.c.Namespaces = append(w.c.Namespaces, &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}})
	}
}

// services and replica sets cause the default spreading of their pods.
func (w *world) services() {
	if !w.chance(0.25) {
		return
	}
	for i := range w.between(1, 3) {
		service := &v1.Service{ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("s%d", i+1), Namespace: pick(w.dice, namespaceNames...),
		}}
		if !w.chance(0.1) {
			service.Spec.Selector = w.podLabels()
		}
		w.c.Services = append(w.c.Services, service)
	}
	if w.chance(0.5) {
		w.c.ReplicaSets = append(w.c.ReplicaSets, &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Name: "set", Namespace: pick(w.dice, namespaceNames...), UID: "set"},
			Spec: appsv1.ReplicaSetSpec{Selector: &metav1.LabelSelector{
				MatchLabels:      map[string]string{"app": pick(w.dice, "a", "b")},
				MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "tier", Operator: metav1.LabelSelectorOpExists}},
			}},
		})
	}
}

func (w *world) pods() error {
	for i := range w.between(0, pick(w.dice, 3, 15, 40)) {
		pod, err := w.admitted(fmt.Sprintf("p%d", i+1), w.boundPod)
		if err != nil {
			return err
		}
		w.past(pod)
		w.c.Pods = append(w.c.Pods, pod)
	}
	pod, err := w.admitted("subject", w.pendingPod)
	w.c.Pod = pod
	return err
}

// admitted draws pods until the API server would accept one; it rejects pods with contradicting parts.
func (w *world) admitted(name string, drawPod func(*v1.Pod)) (*v1.Pod, error) {
	var refused error
	for range 200 {
		pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: pick(w.dice, namespaceNames...), UID: types.UID("uid-" + name), Labels: w.podLabels(),
		}}
		if len(w.c.ReplicaSets) > 0 && w.chance(0.3) {
			controller := true
			pod.OwnerReferences = []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "set", UID: "set", Controller: &controller,
			}}
		}
		drawPod(pod)
		admitted, err := admitPod(pod)
		if err == nil {
			return admitted, nil
		}
		refused = err
	}
	return nil, fmt.Errorf("pod %s: %w", name, refused)
}
