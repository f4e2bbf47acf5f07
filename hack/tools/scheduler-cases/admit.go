package main

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	api "k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install" // registers these types with legacyscheme
	_ "k8s.io/kubernetes/pkg/apis/storage/install"
	"k8s.io/kubernetes/pkg/registry/core/node"
	"k8s.io/kubernetes/pkg/registry/core/persistentvolume"
	"k8s.io/kubernetes/pkg/registry/core/persistentvolumeclaim"
	"k8s.io/kubernetes/pkg/registry/core/pod"
)

// The objects of a case are as an API server stores them: valid, defaulted, and with derived fields (such as selectors
// from matchLabelKeys).

// admitPod returns the pod as the API server would store it, or the reason why it would reject it.
func admitPod(in *v1.Pod) (*v1.Pod, error) {
	var inside api.Pod
	if err := toInside(in, &inside); err != nil {
		return nil, err
	}
	pod.Strategy.PrepareForCreate(context.Background(), &inside)
	if errs := pod.Strategy.Validate(context.Background(), &inside); len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	out := &v1.Pod{}
	return out, legacyscheme.Scheme.Convert(&inside, out, nil)
}

func admitNode(in *v1.Node) (*v1.Node, error) {
	var inside api.Node
	if err := toInside(in, &inside); err != nil {
		return nil, err
	}
	if errs := node.Strategy.Validate(context.Background(), &inside); len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	out := &v1.Node{}
	return out, legacyscheme.Scheme.Convert(&inside, out, nil)
}

func admitVolume(in *v1.PersistentVolume) (*v1.PersistentVolume, error) {
	var inside api.PersistentVolume
	if err := toInside(in, &inside); err != nil {
		return nil, err
	}
	if errs := persistentvolume.Strategy.Validate(context.Background(), &inside); len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	out := &v1.PersistentVolume{}
	return out, legacyscheme.Scheme.Convert(&inside, out, nil)
}

func admitClaim(in *v1.PersistentVolumeClaim) (*v1.PersistentVolumeClaim, error) {
	var inside api.PersistentVolumeClaim
	if err := toInside(in, &inside); err != nil {
		return nil, err
	}
	if errs := persistentvolumeclaim.Strategy.Validate(context.Background(), &inside); len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	out := &v1.PersistentVolumeClaim{}
	return out, legacyscheme.Scheme.Convert(&inside, out, nil)
}

func toInside(in, inside runtime.Object) error {
	legacyscheme.Scheme.Default(in)
	if err := legacyscheme.Scheme.Convert(in, inside, nil); err != nil {
		return fmt.Errorf("converting %T: %w", in, err)
	}
	return nil
}
