package main

import (
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func (w *world) podLabels() map[string]string {
	labels := map[string]string{"app": pick(w.dice, "a", "a", "b", "c")}
	if w.chance(0.6) {
		labels["tier"] = pick(w.dice, "web", "db", "")
	}
	if w.chance(0.5) {
		labels["version"] = pick(w.dice, "1", "2")
	}
	if w.chance(0.05) {
		return nil
	}
	return labels
}

// boundPod draws a pod that runs on a node, whether or not the node is feasible for it.
func (w *world) boundPod(pod *v1.Pod) {
	pod.Spec.NodeName = pick(w.dice, w.c.Nodes...).Name
	if w.chance(0.02) {
		pod.Spec.NodeName = "gone"
	}
	w.containers(pod)
	if w.chance(0.2) {
		w.hostPorts(pod)
	}
	if w.chance(0.12) {
		w.requiredAntiAffinity(pod)
	}
	if w.chance(0.1) {
		w.requiredPodAffinity(pod)
	}
	if w.chance(0.2) {
		w.preferredPodAffinity(pod)
	}
	if len(w.claims) > 0 && w.chance(0.5) {
		w.volumes(pod)
	}
}

// past adds status to an admitted pod.
func (w *world) past(pod *v1.Pod) {
	pod.Status.Phase = v1.PodRunning
	switch {
	case w.chance(0.04):
		pod.Status.Phase = pick(w.dice, v1.PodSucceeded, v1.PodFailed)
	case w.chance(0.1):
		now := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
		pod.DeletionTimestamp = &now
	case w.chance(0.1):
		w.resizing(pod)
	}
}

// resizing adds an in-place resize: allocated resources differ from requested ones.
func (w *world) resizing(pod *v1.Pod) {
	for _, container := range pod.Spec.Containers {
		status := v1.ContainerStatus{Name: container.Name}
		if w.chance(0.8) {
			status.AllocatedResources = w.requests(0.7)
		}
		if w.chance(0.8) {
			status.Resources = &v1.ResourceRequirements{Requests: w.requests(0.7)}
		}
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, status)
	}
	if w.chance(0.5) {
		pod.Status.Conditions = append(pod.Status.Conditions, v1.PodCondition{
			Type: v1.PodResizePending, Status: v1.ConditionTrue,
			Reason: pick(w.dice, v1.PodReasonInfeasible, v1.PodReasonDeferred),
		})
	}
}

// pendingPod draws the pod to place. It has few constraints, so that each decides some cases.
func (w *world) pendingPod(pod *v1.Pod) {
	w.containers(pod)
	asks := []func(*v1.Pod){
		w.nodeSelector, w.requiredNodeAffinity, w.preferredNodeAffinity, w.preferredNodeAffinity, w.hostPorts,
		w.requiredPodAffinity, w.requiredAntiAffinity, w.requiredAntiAffinity, w.preferredPodAffinity,
		w.hardSpread, w.hardSpread, w.softSpread, w.softSpread, w.bothSpreads,
	}
	if len(w.claims) > 0 {
		asks = append(asks, w.volumes, w.volumes, w.volumes)
	}
	count := pick(w.dice, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 7)
	for _, i := range w.Perm(len(asks))[:count] {
		asks[i](pod)
	}
	if len(w.claims) > 0 && pod.Spec.Volumes == nil && w.chance(0.6) {
		w.volumes(pod)
	}
	w.tolerations(pod)
}

// tolerations mostly match existing taints.
func (w *world) tolerations(pod *v1.Pod) {
	for _, taint := range w.taints {
		if !w.chance(0.45) {
			continue
		}
		toleration := v1.Toleration{
			Key: taint.Key, Operator: pick(w.dice, "", v1.TolerationOpEqual, v1.TolerationOpExists), Effect: taint.Effect,
		}
		if toleration.Operator != v1.TolerationOpExists {
			toleration.Value = taint.Value
		}
		switch {
		case w.chance(0.25):
			toleration.Effect = ""
		case w.chance(0.1):
			toleration.Effect = pick(w.dice, v1.TaintEffectNoSchedule, v1.TaintEffectPreferNoSchedule)
		}
		if toleration.Effect == v1.TaintEffectNoExecute && w.chance(0.3) {
			toleration.TolerationSeconds = maybe[int64](w.dice, 1, 0, 60)
		}
		if w.chance(0.1) && toleration.Operator != v1.TolerationOpExists {
			toleration.Value = pick(w.dice, "", "a", "other")
		}
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, toleration)
	}
	if w.chance(0.1) {
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, v1.Toleration{
			Operator: v1.TolerationOpExists, Effect: pick(w.dice, "", v1.TaintEffectNoSchedule, v1.TaintEffectPreferNoSchedule),
		})
	}
	if w.cordoned > 0 && w.chance(0.3) {
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, v1.Toleration{
			Key: v1.TaintNodeUnschedulable, Operator: v1.TolerationOpExists,
			Effect: pick(w.dice, "", v1.TaintEffectNoSchedule, v1.TaintEffectNoExecute),
		})
	}
}

func (w *world) hostPorts(pod *v1.Pod) {
	pod.Spec.HostNetwork = w.chance(0.1)
	for i := range w.between(1, 2) {
		port := pick[int32](w.dice, 53, 80, 443)
		containers := pod.Spec.Containers
		if len(pod.Spec.InitContainers) > 0 && w.chance(0.3) {
			containers = pod.Spec.InitContainers
		}
		container := &containers[w.IntN(len(containers))]
		container.Ports = append(container.Ports, v1.ContainerPort{
			Name: fmt.Sprintf("port%d", i), ContainerPort: port, HostPort: port,
			Protocol: pick(w.dice, v1.ProtocolTCP, v1.ProtocolTCP, v1.ProtocolUDP),
			HostIP:   pick(w.dice, "", "", "0.0.0.0", "127.0.0.1", "198.51.100.7"),
		})
	}
}
