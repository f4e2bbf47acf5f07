package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"time"

	v1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// floor binds all pending pods to the nodes in turn, many at a time: the limit of the API server for any scheduler.
func floor(args []string) error {
	flags := flag.NewFlagSet("floor", flag.ExitOnError)
	kubeconfig := kubeconfigFlag(flags)
	inFlight := flags.Int("in-flight", 64, "so many requests at a time")
	connections := flags.Int("connections", 2, "over so many connections")
	events := flags.Bool("events", false, "create an event for each binding, as schedulers do")
	_ = flags.Parse(args)

	ctx := context.Background()
	c, err := client(*kubeconfig)
	if err != nil {
		return err
	}
	pods, err := c.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{
		FieldSelector: "spec.nodeName=", ResourceVersion: "0",
	})
	if err != nil {
		return err
	}
	nodes, err := c.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return err
	}
	post, err := poster(*kubeconfig, *connections)
	if err != nil {
		return err
	}
	err = inParallel(len(pods.Items), *inFlight, func(number int) error {
		pod, node := &pods.Items[number], &nodes.Items[number%len(nodes.Items)]
		if err := post(number, binding(pod, node.Name)); err != nil || !*events {
			return err
		}
		return recordEvent(ctx, c, pod, node.Name)
	})
	if err != nil {
		return err
	}
	select {} // until killed: the measurement reads this process's resource usage
}

// request is a POST with a prepared body.
type request struct {
	path string
	body []byte
}

func binding(pod *v1.Pod, node string) request {
	body, _ := json.Marshal(map[string]any{ // a map of strings: cannot fail
		"apiVersion": "v1", "kind": "Binding",
		"metadata": map[string]any{"name": pod.Name, "namespace": pod.Namespace, "uid": pod.UID},
		"target":   map[string]any{"apiVersion": "v1", "kind": "Node", "name": node},
	})
	return request{fmt.Sprintf("/api/v1/namespaces/%s/pods/%s/binding", pod.Namespace, pod.Name), body}
}

// poster sends requests with less overhead than client-go.
func poster(kubeconfig string, connections int) (func(int, request) error, error) {
	config, err := clientConfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	var transports []http.RoundTripper
	for range connections {
		own := rest.CopyConfig(config)
		own.Dial = nil
		own.TLSClientConfig.NextProtos = []string{"h2"}
		tls, err := rest.TLSConfigFor(own)
		if err != nil {
			return nil, err
		}
		transports = append(transports, &http.Transport{TLSClientConfig: tls, ForceAttemptHTTP2: true})
	}
	return func(number int, r request) error {
		httpRequest, err := http.NewRequest(http.MethodPost, config.Host+r.path, bytes.NewReader(r.body))
		if err != nil {
			return err
		}
		httpRequest.Header.Set("Content-Type", "application/json")
		answer, err := transports[number%len(transports)].RoundTrip(httpRequest)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err == nil && answer.StatusCode != http.StatusCreated {
			err = fmt.Errorf("POST %s: %s: %s", r.path, answer.Status, text)
		}
		return err
	}, nil
}

func recordEvent(ctx context.Context, c kubernetes.Interface, pod *v1.Pod, node string) error {
	_, err := c.EventsV1().Events(pod.Namespace).Create(ctx, &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{GenerateName: pod.Name + "-", Namespace: pod.Namespace},
		EventTime:  metav1.NowMicro(), Type: v1.EventTypeNormal, Reason: "Scheduled", Action: "Binding",
		Note:                fmt.Sprintf("Successfully assigned %s/%s to %s", pod.Namespace, pod.Name, node),
		ReportingController: "floor", ReportingInstance: fmt.Sprintf("floor-%d", time.Now().Year()),
		Regarding: v1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
	}, metav1.CreateOptions{})
	return err
}
