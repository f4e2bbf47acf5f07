package main

import (
	"context"
	"fmt"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	namespace = "bench"
	zoneLabel = "topology.kubernetes.io/zone"
	// The number of pods that share a label, like the pods of a Deployment. Anti-affinity places them on different
	// nodes, so there must be more nodes than that.
	groupSize = 50
)

// node returns a node in one of three zones; half of the nodes have a fast disk, and one of ten is reserved.
func node(number int) *v1.Node {
	name := fmt.Sprintf("node-%05d", number)
	resources := v1.ResourceList{
		v1.ResourceCPU: resource.MustParse("32"), v1.ResourceMemory: resource.MustParse("64Gi"),
		v1.ResourceEphemeralStorage: resource.MustParse("100Gi"), v1.ResourcePods: resource.MustParse("110"),
	}
	made := &v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			v1.LabelHostname: name,
			zoneLabel:        fmt.Sprintf("zone-%d", number%3),
			"disk":           []string{"ssd", "hdd"}[number/3%2],
		}},
		Status: v1.NodeStatus{
			Capacity: resources, Allocatable: resources,
			Conditions: []v1.NodeCondition{{Type: v1.NodeReady, Status: v1.ConditionTrue, Reason: "Bench"}},
		},
	}
	if number%10 == 9 {
		made.Spec.Taints = []v1.Taint{{Key: "dedicated", Value: "batch", Effect: v1.TaintEffectNoSchedule}}
	}
	return made
}

// pod returns a pod of a workload. Those of "plain" request CPU and memory; "mixed" has five more kinds, in turn.
func pod(workload, prefix string, number int, scheduler string) *v1.Pod {
	group := fmt.Sprintf("%s%d", prefix, number/6/groupSize)
	made := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%06d", prefix, number), Namespace: namespace},
		Spec: v1.PodSpec{
			SchedulerName: scheduler,
			Containers: []v1.Container{{
				Name: "main", Image: "registry.test/app:1",
				Resources: v1.ResourceRequirements{Requests: v1.ResourceList{
					v1.ResourceCPU: resource.MustParse("100m"), v1.ResourceMemory: resource.MustParse("128Mi"),
				}},
			}},
		},
	}
	if workload == "plain" {
		made.Labels = map[string]string{"app": "plain"}
		return made
	}
	kinds := []struct {
		name   string
		demand func(*v1.PodSpec, *metav1.LabelSelector, int)
	}{
		{"none", func(*v1.PodSpec, *metav1.LabelSelector, int) {}},
		{"selector", demandSelector}, {"toleration", demandZoneTolerating}, {"spread", demandSpread},
		{"apart", demandApart}, {"port", demandPort},
	}
	kind := kinds[number%len(kinds)]
	made.Labels = map[string]string{"app": kind.name + "-" + group}
	kind.demand(&made.Spec, &metav1.LabelSelector{MatchLabels: made.Labels}, number)
	return made
}

func demandSelector(spec *v1.PodSpec, _ *metav1.LabelSelector, _ int) {
	spec.NodeSelector = map[string]string{"disk": "ssd"}
}

func demandZoneTolerating(spec *v1.PodSpec, _ *metav1.LabelSelector, _ int) {
	spec.Tolerations = []v1.Toleration{{
		Key: "dedicated", Operator: v1.TolerationOpEqual, Value: "batch", Effect: v1.TaintEffectNoSchedule,
	}}
	spec.Affinity = &v1.Affinity{NodeAffinity: &v1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
			MatchExpressions: []v1.NodeSelectorRequirement{{
				Key: zoneLabel, Operator: v1.NodeSelectorOpIn, Values: []string{"zone-0", "zone-1"},
			}},
		}}},
	}}
}

func demandSpread(spec *v1.PodSpec, same *metav1.LabelSelector, _ int) {
	spec.TopologySpreadConstraints = []v1.TopologySpreadConstraint{{
		MaxSkew: 1, TopologyKey: zoneLabel, WhenUnsatisfiable: v1.DoNotSchedule, LabelSelector: same,
	}}
}

func demandApart(spec *v1.PodSpec, same *metav1.LabelSelector, _ int) {
	spec.Affinity = &v1.Affinity{PodAntiAffinity: &v1.PodAntiAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: []v1.PodAffinityTerm{{
			LabelSelector: same, TopologyKey: v1.LabelHostname,
		}},
	}}
}

// Each port is requested by as many pods as a group has, which therefore need different nodes.
func demandPort(spec *v1.PodSpec, _ *metav1.LabelSelector, number int) {
	port := int32(20000 + number/6/groupSize)
	spec.Containers[0].Ports = []v1.ContainerPort{{ContainerPort: port, HostPort: port}}
}

// inParallel calls work with each number below count, many at a time, and returns the first error.
func inParallel(count, workers int, work func(number int) error) error {
	numbers := make(chan int)
	errs := make(chan error, workers)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			var failed error
			for number := range numbers {
				if failed == nil {
					failed = work(number)
				}
			}
			errs <- failed
		})
	}
	for number := range count {
		numbers <- number
	}
	close(numbers)
	all.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func createNodes(ctx context.Context, c kubernetes.Interface, count int) error {
	made := &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	_, err := c.CoreV1().Namespaces().Create(ctx, made, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return inParallel(count, 16, func(number int) error {
		_, err := c.CoreV1().Nodes().Create(ctx, node(number), metav1.CreateOptions{})
		return err
	})
}

func createPods(ctx context.Context, c kubernetes.Interface, workload, scheduler string, count int) error {
	return inParallel(count, 16, func(number int) error {
		_, err := c.CoreV1().Pods(namespace).Create(ctx, pod(workload, "pod", number, scheduler), metav1.CreateOptions{})
		return err
	})
}
