package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/latest"
	internalcache "k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/names"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/kubernetes/pkg/scheduler/metrics"
)

// A Judge decides cases as kube-scheduler does in its default configuration, considering all nodes.
type Judge struct {
	profile config.KubeSchedulerProfile
	client  *fake.Clientset
}

func newJudge() (*Judge, error) {
	klog.SetLogger(klog.Logger{}) // do not log refusals: they are the result
	defaults, err := latest.Default()
	if err != nil {
		return nil, fmt.Errorf("taking kube-scheduler's default configuration: %w", err)
	}
	profile := defaults.Profiles[0]
	// Cases have no resource claims.
	profile.Plugins.MultiPoint.Enabled = slices.DeleteFunc(profile.Plugins.MultiPoint.Enabled, func(p config.Plugin) bool {
		return p.Name == names.DynamicResources
	})
	metrics.Register()
	return &Judge{profile: profile, client: fake.NewClientset()}, nil
}

// plugins returns a framework for this case. Its goroutines exit when the context is done.
func (j *Judge) plugins(ctx context.Context, c *Case, snapshot framework.SharedLister) (framework.Framework, error) {
	factory := newStillFactory(j.client)
	f, err := frameworkruntime.NewFramework(ctx, plugins.NewInTreeRegistry(), &j.profile,
		frameworkruntime.WithClientSet(j.client),
		frameworkruntime.WithInformerFactory(factory),
		frameworkruntime.WithSnapshotSharedLister(snapshot),
		frameworkruntime.WithParallelism(1),
	)
	if err != nil {
		return nil, err
	}
	core, storage := factory.Core().V1(), factory.Storage().V1()
	return f, errors.Join(
		fill(core.Namespaces().Informer(), c.Namespaces),
		fill(core.PersistentVolumes().Informer(), c.PVs),
		fill(core.PersistentVolumeClaims().Informer(), c.PVCs),
		fill(core.Services().Informer(), c.Services),
		fill(storage.StorageClasses().Informer(), c.StorageClasses),
		fill(storage.CSINodes().Informer(), c.CSINodes),
		fill(storage.CSIDrivers().Informer(), c.CSIDrivers),
		fill(storage.CSIStorageCapacities().Informer(), c.CSIStorageCapacities),
		fill(storage.VolumeAttachments().Informer(), c.VolumeAttachments),
		fill(factory.Apps().V1().ReplicaSets().Informer(), c.ReplicaSets),
	)
}

// snapshotOf omits the pods that kube-scheduler does not keep in its cache.
func snapshotOf(c *Case) *internalcache.Snapshot {
	exists := map[string]bool{}
	for _, node := range c.Nodes {
		exists[node.Name] = true
	}
	var pods []*v1.Pod
	for _, pod := range c.Pods {
		done := pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed
		if exists[pod.Spec.NodeName] && !done {
			pods = append(pods, pod)
		}
	}
	return internalcache.NewSnapshot(pods, c.Nodes)
}

func (j *Judge) answer(original *Case) (*Answer, error) {
	changed := *original
	c := &changed
	c.Pod = withNamespaces(c.Pod, c.Namespaces)
	snapshot := snapshotOf(c)
	ctx, done := context.WithCancel(context.Background())
	defer done()
	f, err := j.plugins(ctx, c, snapshot)
	if err != nil {
		return nil, fmt.Errorf("setting up the plugins: %w", err)
	}
	answer := &Answer{Feasible: []string{}, Verdicts: map[string]string{}, Scores: map[string]map[string]int64{}}
	state := framework.NewCycleState()
	feasible, err := filter(ctx, f, state, snapshot, c, answer)
	if err == nil && len(feasible) > 0 {
		err = score(ctx, f, state, c, feasible, answer)
	}
	if err != nil {
		answer = &Answer{Feasible: []string{}, Verdicts: map[string]string{}, Scores: map[string]map[string]int64{}}
		answer.Error = err.Error()
		for _, node := range c.Nodes {
			answer.Verdicts[node.Name] = "error: " + err.Error()
		}
	}
	return answer, nil
}

// filter sets the verdicts and the feasible nodes; it returns the error of a plugin, on which kube-scheduler aborts.
func filter(
	ctx context.Context, f framework.Framework, state fwk.CycleState, snapshot *internalcache.Snapshot, c *Case, answer *Answer,
) ([]fwk.NodeInfo, error) {
	only, status, narrowing := f.RunPreFilterPlugins(ctx, state, c.Pod)
	if !status.IsSuccess() {
		if !status.IsRejected() {
			return nil, status.AsError()
		}
		plugin := status.Plugin()
		if plugin == "" { // the PreFilter results of several plugins have no node in common
			plugin = strings.Join(narrowing.UnsortedList(), "+")
		}
		for _, node := range c.Nodes {
			answer.Verdicts[node.Name] = plugin + ": " + status.Message()
		}
		return nil, nil
	}
	var feasible []fwk.NodeInfo
	for _, node := range c.Nodes {
		// Nodes that PreFilter excluded are not filtered; the plugin that excluded them would reject them.
		info, err := snapshot.Get(node.Name)
		if err != nil {
			return nil, err
		}
		status := f.RunFilterPlugins(ctx, state, c.Pod, info)
		inside := only.AllNodes() || only.NodeNames.Has(node.Name)
		switch {
		case !inside && status.IsSuccess():
			answer.Verdicts[node.Name] = strings.Join(narrowing.UnsortedList(), "+") + ": ruled out before"
		case status.IsSuccess():
			feasible = append(feasible, info)
			answer.Feasible = append(answer.Feasible, node.Name)
		case status.IsRejected():
			answer.Verdicts[node.Name] = status.Plugin() + ": " + status.Message()
		case inside:
			return nil, status.AsError()
		default:
			answer.Verdicts[node.Name] = status.Plugin() + ": " + status.Message()
		}
	}
	slices.Sort(answer.Feasible)
	return feasible, nil
}

func score(
	ctx context.Context, f framework.Framework, state fwk.CycleState, c *Case, feasible []fwk.NodeInfo, answer *Answer,
) error {
	if status := f.RunPreScorePlugins(ctx, state, c.Pod, feasible); !status.IsSuccess() {
		return status.AsError()
	}
	scores, status := f.RunScorePlugins(ctx, state, c.Pod, feasible)
	if !status.IsSuccess() {
		return status.AsError()
	}
	for _, node := range scores {
		of := map[string]int64{total: node.TotalScore}
		for _, plugin := range node.Scores {
			of[plugin.Name] = plugin.Score
		}
		answer.Scores[node.Name] = of
	}
	return nil
}
