package main

import (
	"fmt"
	"math"
	"slices"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// The rules between pods. The workloads' terms name no namespaces: all apply to the pod's own.

func antiTerms(pod *v1.Pod) []v1.PodAffinityTerm {
	if pod.Spec.Affinity == nil || pod.Spec.Affinity.PodAntiAffinity == nil {
		return nil
	}
	return pod.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
}

func terms(pod *v1.Pod) []v1.PodAffinityTerm {
	if pod.Spec.Affinity == nil || pod.Spec.Affinity.PodAffinity == nil {
		return nil
	}
	return pod.Spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution
}

func (p *placement) selector(from *metav1.LabelSelector) labels.Selector {
	parsed, known := p.selectors[from]
	if !known {
		var err error
		if parsed, err = metav1.LabelSelectorAsSelector(from); err != nil {
			parsed = labels.Nothing() // the API server rejects such selectors
		}
		p.selectors[from] = parsed
	}
	return parsed
}

func (p *placement) selects(selector *metav1.LabelSelector, of, other *v1.Pod) bool {
	return of.Namespace == other.Namespace && p.selector(selector).Matches(labels.Set(other.Labels))
}

// domain returns the pods on nodes with this value of the key.
func (p *placement) domain(key, value string) []*v1.Pod {
	values, known := p.in[key]
	if !known {
		values = map[string][]*v1.Pod{}
		for _, pod := range p.pods {
			if node, exists := p.nodes[pod.Spec.NodeName]; exists {
				if value, has := node.Labels[key]; has {
					values[value] = append(values[value], pod)
				}
			}
		}
		p.in[key] = values
	}
	return values[value]
}

func (p *placement) antiAffinity(pod *v1.Pod, node *v1.Node) string {
	for _, term := range antiTerms(pod) {
		value, has := node.Labels[term.TopologyKey]
		if !has {
			continue
		}
		for _, other := range p.domain(term.TopologyKey, value) {
			if other != pod && p.selects(term.LabelSelector, pod, other) {
				return fmt.Sprintf("it wants to be apart from %s", other.Name)
			}
		}
	}
	return ""
}

func (p *placement) othersAntiAffinity(pod *v1.Pod, node *v1.Node) string {
	for _, other := range p.apart {
		if other == pod {
			continue
		}
		for _, term := range antiTerms(other) {
			theirs, has := node.Labels[term.TopologyKey]
			where := p.nodes[other.Spec.NodeName]
			if has && where != nil && where.Labels[term.TopologyKey] == theirs && p.selects(term.LabelSelector, other, pod) {
				return fmt.Sprintf("%s wants to be apart from it", other.Name)
			}
		}
	}
	return ""
}

// affinity counts the pod itself too: the first pod of a group matches no other.
func (p *placement) affinity(pod *v1.Pod, node *v1.Node) string {
	for _, term := range terms(pod) {
		value, has := node.Labels[term.TopologyKey]
		if !has {
			return "the node has no label " + term.TopologyKey
		}
		near := func(other *v1.Pod) bool { return p.selects(term.LabelSelector, pod, other) }
		if !near(pod) && !slices.ContainsFunc(p.domain(term.TopologyKey, value), near) {
			return "it wants to be near pods that are elsewhere"
		}
	}
	return ""
}

func (p *placement) spread(pod *v1.Pod, node *v1.Node) string {
	for i := range pod.Spec.TopologySpreadConstraints {
		constraint := &pod.Spec.TopologySpreadConstraints[i]
		if constraint.WhenUnsatisfiable != v1.DoNotSchedule {
			continue
		}
		value, has := node.Labels[constraint.TopologyKey]
		if !has {
			return "the node has no label " + constraint.TopologyKey
		}
		counts := p.counts(pod, constraint)
		least := math.MaxInt
		for _, count := range counts {
			least = min(least, count)
		}
		if constraint.MinDomains != nil && len(counts) < int(*constraint.MinDomains) {
			least = 0
		}
		mine := counts[value]
		if p.selects(constraint.LabelSelector, pod, pod) {
			mine++
		}
		if mine-least > int(constraint.MaxSkew) {
			return fmt.Sprintf("%d of its kind in %s, and only %d elsewhere", mine, value, least)
		}
	}
	return ""
}

// counts returns the number of selected pods in each eligible domain, without the pod itself.
func (p *placement) counts(pod *v1.Pod, constraint *v1.TopologySpreadConstraint) map[string]int {
	ignores := func(policy *v1.NodeInclusionPolicy, otherwise v1.NodeInclusionPolicy) bool {
		if policy != nil {
			otherwise = *policy
		}
		return otherwise == v1.NodeInclusionPolicyIgnore
	}
	counts := map[string]int{}
	for _, node := range p.nodes {
		value, has := node.Labels[constraint.TopologyKey]
		if !has || !ignores(constraint.NodeAffinityPolicy, v1.NodeInclusionPolicyHonor) && p.affinityToNode(pod, node) != "" {
			continue
		}
		if !ignores(constraint.NodeTaintsPolicy, v1.NodeInclusionPolicyIgnore) && p.taints(pod, node) != "" {
			continue
		}
		count := 0
		for _, other := range p.on[node.Name] {
			if other != pod && other.DeletionTimestamp == nil && p.selects(constraint.LabelSelector, pod, other) {
				count++
			}
		}
		counts[value] += count
	}
	return counts
}
