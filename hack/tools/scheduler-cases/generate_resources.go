package main

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func (w *world) containers(pod *v1.Pod) {
	pod.Spec.Containers = w.containerList("c", pick(w.dice, 1, 1, 1, 2, 3))
	if w.chance(0.25) {
		pod.Spec.InitContainers = w.containerList("i", w.between(1, 3))
		for i := range pod.Spec.InitContainers {
			if w.chance(0.4) {
				always := v1.ContainerRestartPolicyAlways
				pod.Spec.InitContainers[i].RestartPolicy = &always
			}
		}
	}
	if w.chance(0.1) {
		pod.Spec.Overhead = w.requests(0.6)
	}
	if w.chance(0.08) { // at least the containers' total, or the API server would reject it
		pod.Spec.Resources = &v1.ResourceRequirements{Requests: v1.ResourceList{}}
		if w.chance(0.7) {
			pod.Spec.Resources.Requests[v1.ResourceCPU] = resource.MustParse(pick(w.dice, "1", "2500m", "3"))
		}
		if w.chance(0.7) {
			pod.Spec.Resources.Requests[v1.ResourceMemory] = resource.MustParse(pick(w.dice, "1Gi", "1.5Gi", "3e9"))
		}
	}
}

func (w *world) containerList(prefix string, count int) []v1.Container {
	list := make([]v1.Container, count)
	for i := range list {
		list[i] = v1.Container{
			Name: fmt.Sprintf("%s%d", prefix, i+1), Image: pick(w.dice, imageNames...), Resources: w.resources(),
		}
	}
	return list
}

func (w *world) resources() v1.ResourceRequirements {
	if w.chance(0.15) {
		return v1.ResourceRequirements{}
	}
	needs := v1.ResourceRequirements{Requests: w.requests(0.75)}
	if w.chance(0.1) { // the API server uses limits as requests if there are none
		needs = v1.ResourceRequirements{Limits: w.requests(0.75)}
	}
	for _, whole := range []struct {
		name   v1.ResourceName
		values []string
	}{{gpuResource, []string{"0", "1", "1", "2"}}, {nicResource, []string{"1", "3"}}, {hugePages, []string{"32Mi", "64Mi"}}} {
		if !w.chance(0.04) {
			continue
		}
		value := resource.MustParse(pick(w.dice, whole.values...)) // for these, requests equal limits
		if needs.Limits == nil {
			needs.Limits = v1.ResourceList{}
		}
		needs.Limits[whole.name] = value
		if needs.Requests != nil {
			needs.Requests[whole.name] = value
		}
	}
	return needs
}

// requests draws the usual resources, each with this probability.
func (w *world) requests(probability float64) v1.ResourceList {
	list := v1.ResourceList{}
	if w.chance(probability) {
		list[v1.ResourceCPU] = resource.MustParse(
			pick(w.dice, "0", "100u", "1m", "10m", "10m", "100m", "100m", "0.1", "250m", "0.5", "1e-1", "1", "1500m"))
	}
	if w.chance(probability) {
		list[v1.ResourceMemory] = resource.MustParse(
			pick(w.dice, "0", "1", "1Ki", "1e3", "1500m", "64Mi", "64Mi", "100M", "128974848", "0.25Gi", "5e8", "1Gi", "1.5Gi"))
	}
	if w.chance(probability * 0.2) {
		list[v1.ResourceEphemeralStorage] = resource.MustParse(pick(w.dice, "0", "10Mi", "1Gi", "3G"))
	}
	return list
}
