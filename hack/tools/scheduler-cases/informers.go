package main

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	coreinformers "k8s.io/client-go/informers/core"
	corev1informers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
)

// stillFactory returns informers that never run: their stores are filled directly. The VolumeBinding plugin reads volumes
// and claims from caches filled by event handlers: these are called directly too.
type stillFactory struct {
	informers.SharedInformerFactory
	volumes, claims *stillInformer
}

func newStillFactory(client *fake.Clientset) *stillFactory {
	factory := informers.NewSharedInformerFactory(client, 0)
	core := factory.Core().V1()
	return &stillFactory{
		SharedInformerFactory: factory,
		volumes:               &stillInformer{SharedIndexInformer: core.PersistentVolumes().Informer()},
		claims:                &stillInformer{SharedIndexInformer: core.PersistentVolumeClaims().Informer()},
	}
}

func (f *stillFactory) Core() coreinformers.Interface {
	return stillCore{f.SharedInformerFactory.Core(), f}
}

type stillCore struct {
	coreinformers.Interface
	factory *stillFactory
}

func (c stillCore) V1() corev1informers.Interface {
	return stillCoreV1{c.Interface.V1(), c.factory}
}

type stillCoreV1 struct {
	corev1informers.Interface
	factory *stillFactory
}

func (c stillCoreV1) PersistentVolumes() corev1informers.PersistentVolumeInformer {
	return stillVolumes{c.Interface.PersistentVolumes(), c.factory.volumes}
}

func (c stillCoreV1) PersistentVolumeClaims() corev1informers.PersistentVolumeClaimInformer {
	return stillClaims{c.Interface.PersistentVolumeClaims(), c.factory.claims}
}

type stillVolumes struct {
	corev1informers.PersistentVolumeInformer
	informer *stillInformer
}

func (v stillVolumes) Informer() cache.SharedIndexInformer { return v.informer }

type stillClaims struct {
	corev1informers.PersistentVolumeClaimInformer
	informer *stillInformer
}

func (c stillClaims) Informer() cache.SharedIndexInformer { return c.informer }

// stillInformer calls its handlers when an object is added.
type stillInformer struct {
	cache.SharedIndexInformer
	handlers []cache.ResourceEventHandler
}

func (i *stillInformer) AddEventHandler(handler cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	i.handlers = append(i.handlers, handler)
	return synced{}, nil
}

type synced struct{}

func (synced) HasSynced() bool { return true }

func (i *stillInformer) put(object runtime.Object) error {
	for _, handler := range i.handlers {
		handler.OnAdd(object, true)
	}
	return i.GetIndexer().Add(object)
}

// fill adds all objects of one kind to a store.
func fill[T runtime.Object](store cache.SharedIndexInformer, objects []T) error {
	for _, object := range objects {
		var err error
		if still, is := store.(*stillInformer); is {
			err = still.put(object)
		} else {
			err = store.GetIndexer().Add(object)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
