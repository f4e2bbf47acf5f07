package main

import (
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// A bug of kube-scheduler 1.34.0 to 1.34.2 (kubernetes#141526): before it matches the terms of the pod to place, it resolves
// their namespace selectors to names, but keeps the selectors and matches them again, against no labels: with NotIn or
// DoesNotExist they select every namespace. The judge gets the pod with resolved names and without selectors, as intended.

// withNamespaces returns the pod with the namespace selectors of its terms resolved to names.
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
	// Not nil: no namespaces at all would mean the pod's own.
	term.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"nowhere": ""}}
}
