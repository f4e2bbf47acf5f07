package main

import (
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func affinityOf(pod *v1.Pod) *v1.Affinity {
	if pod.Spec.Affinity == nil {
		pod.Spec.Affinity = &v1.Affinity{}
	}
	return pod.Spec.Affinity
}

// ---- to nodes ----

func (w *world) nodeSelector(pod *v1.Pod) {
	pod.Spec.NodeSelector = map[string]string{}
	key := pick(w.dice, "disk", "disk", regionLabel, zoneLabel, "cores", "empty")
	pod.Spec.NodeSelector[key] = w.nodeValue(key)
	if w.chance(0.2) {
		pod.Spec.NodeSelector[regionLabel] = "r1"
	}
}

func (w *world) nodeValue(key string) string {
	switch key {
	case "disk":
		return pick(w.dice, "ssd", "hdd")
	case zoneLabel:
		return pick(w.dice, "z1", "z2", "z3")
	case regionLabel:
		return pick(w.dice, "r1", "r2")
	case v1.LabelHostname:
		return pick(w.dice, w.c.Nodes...).Name
	case "cores":
		return pick(w.dice, "1", "4", "8", "007", "")
	}
	return ""
}

func (w *world) nodeExpression() v1.NodeSelectorRequirement {
	key := pick(w.dice,
		"disk", "disk", zoneLabel, zoneLabel, regionLabel, "cores", "cores", "empty", v1.LabelHostname, "nowhere")
	if key == "cores" && w.chance(0.7) {
		return v1.NodeSelectorRequirement{
			Key: key, Operator: pick(w.dice, v1.NodeSelectorOpGt, v1.NodeSelectorOpLt),
			Values: []string{pick(w.dice, "0", "3", "4", "4", "5", "7", "04", "9223372036854775807")},
		}
	}
	expression := v1.NodeSelectorRequirement{Key: key, Operator: pick(w.dice,
		v1.NodeSelectorOpIn, v1.NodeSelectorOpIn, v1.NodeSelectorOpNotIn, v1.NodeSelectorOpExists, v1.NodeSelectorOpDoesNotExist)}
	if expression.Operator == v1.NodeSelectorOpIn || expression.Operator == v1.NodeSelectorOpNotIn {
		for range w.between(1, 3) {
			expression.Values = append(expression.Values, w.nodeValue(key))
		}
	}
	return expression
}

func (w *world) nodeTerm() v1.NodeSelectorTerm {
	var term v1.NodeSelectorTerm
	if w.chance(0.05) {
		return term // selects nothing
	}
	if !w.chance(0.15) {
		for range pick(w.dice, 1, 1, 2) {
			term.MatchExpressions = append(term.MatchExpressions, w.nodeExpression())
		}
	}
	if w.chance(0.2) {
		term.MatchFields = []v1.NodeSelectorRequirement{{
			Key: "metadata.name", Operator: pick(w.dice, v1.NodeSelectorOpIn, v1.NodeSelectorOpNotIn),
			Values: []string{pick(w.dice, pick(w.dice, w.c.Nodes...).Name, pick(w.dice, w.c.Nodes...).Name, "gone")},
		}}
	}
	return term
}

func (w *world) requiredNodeAffinity(pod *v1.Pod) {
	selector := &v1.NodeSelector{}
	for range pick(w.dice, 1, 1, 2, 3) {
		selector.NodeSelectorTerms = append(selector.NodeSelectorTerms, w.nodeTerm())
	}
	affinity := affinityOf(pod)
	if affinity.NodeAffinity == nil {
		affinity.NodeAffinity = &v1.NodeAffinity{}
	}
	affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = selector
}

func (w *world) preferredNodeAffinity(pod *v1.Pod) {
	affinity := affinityOf(pod)
	if affinity.NodeAffinity == nil {
		affinity.NodeAffinity = &v1.NodeAffinity{}
	}
	for range w.between(1, 3) {
		affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution = append(
			affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution,
			v1.PreferredSchedulingTerm{Weight: w.weight(), Preference: w.nodeTerm()})
	}
}

func (w *world) weight() int32 { return pick[int32](w.dice, 1, 2, 10, 50, 99, 100) }

// ---- to pods ----

func (w *world) podSelector() *metav1.LabelSelector {
	if w.chance(0.04) {
		return nil // selects nothing
	}
	selector := &metav1.LabelSelector{}
	if w.chance(0.06) {
		return selector // selects all
	}
	if w.chance(0.7) {
		selector.MatchLabels = map[string]string{"app": pick(w.dice, "a", "b", "c")}
	}
	if selector.MatchLabels == nil || w.chance(0.25) {
		expression := metav1.LabelSelectorRequirement{
			Key: pick(w.dice, "app", "tier", "version", "nowhere"),
			Operator: pick(w.dice, metav1.LabelSelectorOpIn, metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn,
				metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist),
		}
		if expression.Operator == metav1.LabelSelectorOpIn || expression.Operator == metav1.LabelSelectorOpNotIn {
			expression.Values = some(w.dice, "a", "b", "web", "db", "", "1", "2")
		}
		selector.MatchExpressions = append(selector.MatchExpressions, expression)
	}
	return selector
}

func (w *world) topologyKey() string {
	return pick(w.dice, v1.LabelHostname, v1.LabelHostname, v1.LabelHostname,
		zoneLabel, zoneLabel, zoneLabel, "disk", regionLabel, "nowhere")
}

func (w *world) podTerm() v1.PodAffinityTerm {
	term := v1.PodAffinityTerm{LabelSelector: w.podSelector(), TopologyKey: w.topologyKey()}
	if w.chance(0.35) {
		term.Namespaces = some(w.dice, append([]string{"absent"}, namespaceNames...)...)
	}
	switch {
	case w.chance(0.12):
		term.NamespaceSelector = &metav1.LabelSelector{} // all namespaces
	case w.chance(0.2):
		term.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": pick(w.dice, "x", "y")}}
	case w.chance(0.05):
		term.NamespaceSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
			Key: "team", Operator: metav1.LabelSelectorOpDoesNotExist,
		}}}
	}
	if term.LabelSelector != nil && w.chance(0.15) {
		term.MatchLabelKeys = some(w.dice, "version", "tier", "absent")
	} else if term.LabelSelector != nil && w.chance(0.15) {
		term.MismatchLabelKeys = some(w.dice, "version", "tier", "absent")
	}
	return term
}

func (w *world) podTerms() []v1.PodAffinityTerm {
	var terms []v1.PodAffinityTerm
	for range pick(w.dice, 1, 1, 1, 2) {
		terms = append(terms, w.podTerm())
	}
	return terms
}

func (w *world) requiredPodAffinity(pod *v1.Pod) {
	affinity := affinityOf(pod)
	if affinity.PodAffinity == nil {
		affinity.PodAffinity = &v1.PodAffinity{}
	}
	affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution = w.podTerms()
}

func (w *world) requiredAntiAffinity(pod *v1.Pod) {
	affinity := affinityOf(pod)
	if affinity.PodAntiAffinity == nil {
		affinity.PodAntiAffinity = &v1.PodAntiAffinity{}
	}
	affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution = w.podTerms()
}

// preferredPodAffinity draws preferred affinity, anti-affinity or both.
func (w *world) preferredPodAffinity(pod *v1.Pod) {
	affinity := affinityOf(pod)
	var terms []v1.WeightedPodAffinityTerm
	for range w.between(1, 3) {
		terms = append(terms, v1.WeightedPodAffinityTerm{Weight: w.weight(), PodAffinityTerm: w.podTerm()})
	}
	split := w.between(0, len(terms))
	if split > 0 {
		if affinity.PodAffinity == nil {
			affinity.PodAffinity = &v1.PodAffinity{}
		}
		affinity.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution = terms[:split]
	}
	if split < len(terms) {
		if affinity.PodAntiAffinity == nil {
			affinity.PodAntiAffinity = &v1.PodAntiAffinity{}
		}
		affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution = terms[split:]
	}
}

// ---- spreading ----

func (w *world) hardSpread(pod *v1.Pod)  { w.spread(pod, v1.DoNotSchedule) }
func (w *world) softSpread(pod *v1.Pod)  { w.spread(pod, v1.ScheduleAnyway) }
func (w *world) bothSpreads(pod *v1.Pod) { w.hardSpread(pod); w.softSpread(pod) }

func (w *world) spread(pod *v1.Pod, action v1.UnsatisfiableConstraintAction) {
	for range pick(w.dice, 1, 1, 2) {
		constraint := v1.TopologySpreadConstraint{
			MaxSkew:            pick[int32](w.dice, 1, 1, 2, 3),
			TopologyKey:        w.topologyKey(),
			WhenUnsatisfiable:  action,
			LabelSelector:      w.podSelector(),
			NodeAffinityPolicy: maybe(w.dice, 0.4, v1.NodeInclusionPolicyHonor, v1.NodeInclusionPolicyIgnore),
			NodeTaintsPolicy:   maybe(w.dice, 0.4, v1.NodeInclusionPolicyHonor, v1.NodeInclusionPolicyIgnore),
		}
		if action == v1.DoNotSchedule {
			constraint.MinDomains = maybe[int32](w.dice, 0.25, 1, 2, 3, 5)
		}
		if constraint.LabelSelector != nil && w.chance(0.15) {
			constraint.MatchLabelKeys = some(w.dice, "version", "tier", "absent")
		}
		pod.Spec.TopologySpreadConstraints = append(pod.Spec.TopologySpreadConstraints, constraint)
	}
}
