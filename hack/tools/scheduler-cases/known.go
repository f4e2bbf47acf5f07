package main

import (
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Before it matches the terms of the pod to place, kube-scheduler finds out which namespaces their selectors select.
// From 1.34.0 on it then forgets to drop the selectors, and matches these again, against no labels at all: with
// NotIn or DoesNotExist every namespace is selected (kubernetes#141526, mended after 1.34.2). Nobody else should do
// that. The judge therefore sees the pod with the namespaces named, which is what kube-scheduler means to do.

// withNamespaces gives the pod with the namespaces named that its terms select.
func withNamespaces(pod *v1.Pod, namespaces []*v1.Namespace) *v1.Pod {
	if pod.Spec.Affinity == nil {
		return pod
	}
	pod = pod.DeepCopy()
	if affinity := pod.Spec.Affinity.PodAffinity; affinity != nil {
		nameAll(affinity.RequiredDuringSchedulingIgnoredDuringExecution, namespaces)
		nameAllWeighted(affinity.PreferredDuringSchedulingIgnoredDuringExecution, namespaces)
	}
	if affinity := pod.Spec.Affinity.PodAntiAffinity; affinity != nil {
		nameAll(affinity.RequiredDuringSchedulingIgnoredDuringExecution, namespaces)
		nameAllWeighted(affinity.PreferredDuringSchedulingIgnoredDuringExecution, namespaces)
	}
	return pod
}

func nameAll(terms []v1.PodAffinityTerm, namespaces []*v1.Namespace) {
	for i := range terms {
		name(&terms[i], namespaces)
	}
}

func nameAllWeighted(terms []v1.WeightedPodAffinityTerm, namespaces []*v1.Namespace) {
	for i := range terms {
		name(&terms[i].PodAffinityTerm, namespaces)
	}
}

func name(term *v1.PodAffinityTerm, namespaces []*v1.Namespace) {
	selector, err := metav1.LabelSelectorAsSelector(term.NamespaceSelector)
	if err != nil || term.NamespaceSelector == nil || selector.Empty() {
		return // none, or all
	}
	for _, namespace := range namespaces {
		if selector.Matches(labels.Set(namespace.Labels)) {
			term.Namespaces = append(term.Namespaces, namespace.Name)
		}
	}
	// Not nil: without any namespace this would be the pod's own.
	term.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"nowhere": ""}}
}
