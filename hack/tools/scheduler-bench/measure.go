package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// A Result is one measurement of one scheduler.
type Result struct {
	Contender string `json:"contender"`
	Workload  string `json:"workload"`
	Nodes     int    `json:"nodes"`
	Pods      int    `json:"pods"`
	// Seconds from the start of the process to the first pod with a node, as seen by a watch.
	Startup float64 `json:"startupSeconds"`
	// Pods per second: from the first to the last pod, and from the start of the process.
	Rate      float64 `json:"podsPerSecond"`
	RateStart float64 `json:"podsPerSecondFromStart"`
	// Milliseconds from the request that creates a pod to the watch event with its node, at a low creation rate.
	LatencyP50 float64 `json:"latencyP50Ms,omitempty"`
	LatencyP99 float64 `json:"latencyP99Ms,omitempty"`
	PeakMB     float64 `json:"peakMB"`
	CPU        float64 `json:"cpuSeconds"`
	// Others is the share of CPU time that other processes used meanwhile: the higher, the less pods/s mean.
	Others float64 `json:"others"`
	// Speed is the speedometer's units of work per second of CPU time.
	Speed float64 `json:"speed"`
	// Events is the final number of events with reason "Scheduled", EventSeconds the time from the last pod's node to
	// the last event. CPU time and memory are read after that, so that deferred events are included.
	Events       int     `json:"events"`
	EventSeconds float64 `json:"eventSeconds"`
	// Left is the number of pods without a node at the end, Missed those of them with a feasible node (of a sample).
	Left   int `json:"left"`
	Missed int `json:"missed"`
	// Broken is the number of pods that violate a hard constraint. The floor ignores constraints, so there the check finds some.
	Broken int      `json:"broken"`
	Say    []string `json:"say,omitempty"`
}

type options struct {
	kubeconfig, name, workload, schedulerName, log string
	nodes, pods, latencyPods                       int
	rate                                           float64
	patience                                       time.Duration
}

func measure(args []string) error {
	flags := flag.NewFlagSet("measure", flag.ExitOnError)
	var o options
	kubeconfig := kubeconfigFlag(flags)
	flags.StringVar(&o.name, "name", "scheduler", "what to call it in the result")
	flags.StringVar(&o.workload, "workload", "plain", "plain or mixed")
	flags.StringVar(&o.schedulerName, "scheduler-name", "default-scheduler", "which scheduler the pods ask for")
	flags.StringVar(&o.log, "log", "/dev/null", "where its output goes")
	flags.IntVar(&o.nodes, "nodes", 500, "")
	flags.IntVar(&o.pods, "pods", 3000, "")
	flags.IntVar(&o.latencyPods, "latency-pods", 0, "so many more, one by one, for the latency")
	flags.Float64Var(&o.rate, "rate", 50, "of these, in a second")
	flags.DurationVar(&o.patience, "patience", 20*time.Second, "how long nothing may happen before it is over")
	_ = flags.Parse(args)
	o.kubeconfig = *kubeconfig
	if flags.NArg() == 0 {
		return errors.New(usage)
	}
	if o.workload != "plain" && o.workload != "mixed" {
		return fmt.Errorf("no such workload: %q (plain or mixed)", o.workload)
	}
	if o.workload == "mixed" && o.nodes < 3*groupSize {
		return fmt.Errorf("the mixed workload needs %d nodes at least, or not all pods find one", 3*groupSize)
	}
	result, err := o.measure(context.Background(), flags.Args())
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

func (o *options) measure(ctx context.Context, command []string) (*Result, error) {
	c, err := client(o.kubeconfig)
	if err != nil {
		return nil, err
	}
	if err := createNodes(ctx, c, o.nodes); err != nil {
		return nil, fmt.Errorf("creating nodes: %w", err)
	}
	if err := createPods(ctx, c, o.workload, o.schedulerName, o.pods); err != nil {
		return nil, fmt.Errorf("creating pods: %w", err)
	}
	bound, err := watchBindings(ctx, c)
	if err != nil {
		return nil, err
	}
	result := &Result{Contender: o.name, Workload: o.workload, Nodes: o.nodes, Pods: o.pods}
	time.Sleep(time.Second) // let the API server finish its work of creating them
	s, err := startScheduler(command, o.log)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	if err := o.throughput(result, s, bound); err != nil {
		return nil, err
	}
	if err := result.awaitEvents(ctx, c); err != nil {
		return nil, err
	}
	if err := result.costs(s); err != nil {
		return nil, err
	}
	if o.latencyPods > 0 && result.Left == 0 {
		if err := o.latency(ctx, c, result, s, bound); err != nil {
			return nil, err
		}
	}
	return result, check(ctx, c, result)
}

// seen is when the watch reported the pod's node.
type seen struct {
	name string
	at   time.Time
}

// watchBindings reports each pod that gets a node from now on.
func watchBindings(ctx context.Context, c kubernetes.Interface) (<-chan seen, error) {
	list, err := c.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return nil, err
	}
	bound := make(chan seen, 1<<16)
	go func() {
		defer close(bound)
		known := map[string]bool{}
		version := list.ResourceVersion
		for { // the API server closes a slow watch: resume from the last version
			events, err := c.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{ResourceVersion: version})
			if err != nil {
				fmt.Fprintf(os.Stderr, "watching the pods: %v\n", err)
				return
			}
			for event := range events.ResultChan() {
				pod, is := event.Object.(*v1.Pod)
				if !is {
					fmt.Fprintf(os.Stderr, "watching the pods: %v\n", event.Object)
					return
				}
				version = pod.ResourceVersion
				if event.Type == watch.Modified && pod.Spec.NodeName != "" && !known[pod.Name] {
					known[pod.Name] = true
					bound <- seen{pod.Name, time.Now()}
				}
			}
			fmt.Fprintln(os.Stderr, "the watch ended, and goes on")
		}
	}()
	return bound, nil
}

// next returns the next binding; false after a timeout.
func (o *options) next(s *scheduler, bound <-chan seen) (seen, bool, error) {
	select {
	case one, open := <-bound:
		if !open {
			return one, false, errors.New("the watch ended")
		}
		return one, true, nil
	case err := <-s.ended:
		s.ended <- err
		return seen{}, false, fmt.Errorf("the scheduler ended: %v (see %s)", err, o.log)
	case <-time.After(o.patience):
		return seen{}, false, nil
	}
}

func (o *options) throughput(result *Result, s *scheduler, bound <-chan seen) error {
	before, known := lookAround()
	speed := startSpeedometer()
	defer func() { result.Speed = speed.stop() }()
	var first, last time.Time
	count := 0
	for count < o.pods {
		one, ok, err := o.next(s, bound)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if count == 0 {
			first = one.at
		}
		last = one.at
		count++
	}
	if count > 1 {
		result.Startup = first.Sub(s.started).Seconds()
		result.Rate = float64(count-1) / last.Sub(first).Seconds()
		result.RateStart = float64(count) / last.Sub(s.started).Seconds()
	}
	result.Left = o.pods - count
	if known {
		result.Others = before.others()
	}
	return nil
}

func (r *Result) costs(s *scheduler) error {
	cpu, err := s.processorTime()
	if err != nil {
		return err
	}
	peak, err := s.peakMemory()
	r.CPU, r.PeakMB = cpu.Seconds(), float64(peak)/1e6
	return err
}

// awaitEvents returns when each pod has its event, or when none has arrived for a while.
func (r *Result) awaitEvents(ctx context.Context, c kubernetes.Interface) error {
	const quiet = 3 * time.Second
	began := time.Now()
	for changed := began; r.Events < r.Pods-r.Left && time.Since(changed) < quiet; time.Sleep(quiet / 10) {
		events, err := c.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{
			FieldSelector: "reason=Scheduled", ResourceVersion: "0",
		})
		if err != nil {
			return err
		}
		if len(events.Items) > r.Events {
			changed = time.Now()
			r.Events, r.EventSeconds = len(events.Items), changed.Sub(began).Seconds()
		}
	}
	return nil
}

// latency creates pods at a rate far below any scheduler's limit.
func (o *options) latency(
	ctx context.Context, c kubernetes.Interface, result *Result, s *scheduler, bound <-chan seen,
) error {
	created := map[string]time.Time{}
	var failed error
	ticks := time.NewTicker(time.Duration(float64(time.Second) / o.rate))
	defer ticks.Stop()
	for number := range o.latencyPods {
		<-ticks.C
		made := pod(o.workload, "late", number, o.schedulerName)
		created[made.Name] = time.Now()
		if _, failed = c.CoreV1().Pods(namespace).Create(ctx, made, metav1.CreateOptions{}); failed != nil {
			return failed
		}
	}
	var took []time.Duration
	for len(took) < o.latencyPods {
		one, ok, err := o.next(s, bound)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		took = append(took, one.at.Sub(created[one.name]))
	}
	result.Left += o.latencyPods - len(took)
	if len(took) > 0 {
		slices.Sort(took)
		at := func(share float64) float64 {
			return took[int(share*float64(len(took)-1)+0.5)].Seconds() * 1000
		}
		result.LatencyP50, result.LatencyP99 = at(0.5), at(0.99)
	}
	return nil
}
