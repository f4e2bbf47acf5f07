package main

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-helpers/resource"
	corehelpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// A placement is the final state of the cluster, read from the API server, indexed as the rules need it.
type placement struct {
	nodes map[string]*v1.Node
	pods  []*v1.Pod // pods with a node
	on    map[string][]*v1.Pod
	// in has the pods by topology key and value.
	in map[string]map[string][]*v1.Pod
	// apart has the pods with required anti-affinity.
	apart []*v1.Pod
	// selectors caches parsed selectors.
	selectors map[*metav1.LabelSelector]labels.Selector
}

// looks is the number of pods without a node that are tried on all nodes.
const looks = 20

// check adds the violated constraints to the result.
func check(ctx context.Context, c kubernetes.Interface, result *Result) error {
	nodes, err := c.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	pods, err := c.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	p := newPlacement(nodes.Items, pods.Items)
	for _, pod := range p.pods {
		node, exists := p.nodes[pod.Spec.NodeName]
		reason := "there is no such node"
		if exists {
			reason = p.refuses(pod, node)
		}
		if reason != "" {
			result.Broken++
			result.say("%s must not be on %s: %s", pod.Name, pod.Spec.NodeName, reason)
		}
	}
	looked := 0
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.Spec.NodeName != "" || looked == looks {
			continue
		}
		looked++
		for _, node := range p.nodes {
			if p.refuses(pod, node) == "" {
				result.Missed++
				result.say("%s could be on %s, and waits", pod.Name, node.Name)
				break
			}
		}
	}
	return nil
}

// say records a violation, up to a limit.
func (r *Result) say(format string, args ...any) {
	if len(r.Say) < 5 {
		r.Say = append(r.Say, fmt.Sprintf(format, args...))
	}
}

func newPlacement(nodes []v1.Node, pods []v1.Pod) *placement {
	p := &placement{
		nodes: map[string]*v1.Node{}, on: map[string][]*v1.Pod{}, in: map[string]map[string][]*v1.Pod{},
		selectors: map[*metav1.LabelSelector]labels.Selector{},
	}
	for i := range nodes {
		p.nodes[nodes[i].Name] = &nodes[i]
	}
	for i := range pods {
		pod := &pods[i]
		if pod.Spec.NodeName == "" || pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed {
			continue
		}
		p.pods = append(p.pods, pod)
		p.on[pod.Spec.NodeName] = append(p.on[pod.Spec.NodeName], pod)
		if len(antiTerms(pod)) > 0 {
			p.apart = append(p.apart, pod)
		}
	}
	return p
}

// refuses returns the reason why the pod must not run on the node, given all other pods; empty if it may.
func (p *placement) refuses(pod *v1.Pod, node *v1.Node) string {
	rules := []func(*v1.Pod, *v1.Node) string{
		p.taints, p.affinityToNode, p.resources, p.ports, p.antiAffinity, p.othersAntiAffinity, p.affinity, p.spread,
	}
	for _, rule := range rules {
		if reason := rule(pod, node); reason != "" {
			return reason
		}
	}
	return ""
}

func (p *placement) taints(pod *v1.Pod, node *v1.Node) string {
	taints := node.Spec.Taints
	if node.Spec.Unschedulable {
		taints = append([]v1.Taint{{Key: v1.TaintNodeUnschedulable, Effect: v1.TaintEffectNoSchedule}}, taints...)
	}
	taint, untolerated := corehelpers.FindMatchingUntoleratedTaint(taints, pod.Spec.Tolerations, func(t *v1.Taint) bool {
		return t.Effect != v1.TaintEffectPreferNoSchedule
	})
	if untolerated {
		return "it does not tolerate " + taint.ToString()
	}
	return ""
}

func (p *placement) affinityToNode(pod *v1.Pod, node *v1.Node) string {
	if match, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node); err != nil || !match {
		return "its node selector or affinity does not match"
	}
	return ""
}

func (p *placement) resources(pod *v1.Pod, node *v1.Node) string {
	total := resource.PodRequests(pod, resource.PodResourcesOptions{})
	count := int64(1)
	for _, other := range p.on[node.Name] {
		if other == pod {
			continue
		}
		count++
		for name, quantity := range resource.PodRequests(other, resource.PodResourcesOptions{}) {
			sum := total[name]
			sum.Add(quantity)
			total[name] = sum
		}
	}
	if count > node.Status.Allocatable.Pods().Value() {
		return fmt.Sprintf("%d pods are too many", count)
	}
	for name := range resource.PodRequests(pod, resource.PodResourcesOptions{}) {
		needs, has := total[name], node.Status.Allocatable[name]
		if needs.Cmp(has) > 0 {
			return fmt.Sprintf("%s of %s is too much", needs.String(), name)
		}
	}
	return ""
}

func (p *placement) ports(pod *v1.Pod, node *v1.Node) string {
	for _, mine := range hostPorts(pod) {
		for _, other := range p.on[node.Name] {
			if other == pod {
				continue
			}
			for _, theirs := range hostPorts(other) {
				if mine.HostPort == theirs.HostPort && mine.Protocol == theirs.Protocol && sameAddress(mine.HostIP, theirs.HostIP) {
					return fmt.Sprintf("port %d is taken by %s", mine.HostPort, other.Name)
				}
			}
		}
	}
	return ""
}

func sameAddress(a, b string) bool {
	all := func(address string) bool { return address == "" || address == "0.0.0.0" }
	return a == b || all(a) || all(b)
}

func hostPorts(pod *v1.Pod) []v1.ContainerPort {
	var ports []v1.ContainerPort
	for _, container := range pod.Spec.Containers {
		for _, port := range container.Ports {
			if port.HostPort > 0 {
				ports = append(ports, port)
			}
		}
	}
	return ports
}
