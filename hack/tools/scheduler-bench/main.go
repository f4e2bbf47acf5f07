// Command scheduler-bench measures a scheduler on an otherwise idle API server, and checks its placements.
//
//	scheduler-bench measure [OPTION...] -- SCHEDULER [ARG...]   one measurement, as one JSON line
//	scheduler-bench floor [OPTION...]                           binds every pod without scheduling, as fast as possible
//	scheduler-bench table < LINES                               medians compared with the targets; also as JSON
//
// hack/bench scheduler starts a new API server for each measurement.
package main

import (
	"flag"
	"fmt"
	"os"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const usage = `usage:
  scheduler-bench measure [OPTION...] -- SCHEDULER [ARG...]
  scheduler-bench floor [OPTION...]
  scheduler-bench table [--json FILE] < LINES`

func main() {
	verbs := map[string]func([]string) error{"measure": measure, "floor": floor, "table": table}
	if len(os.Args) < 2 || verbs[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	if err := verbs[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "scheduler-bench %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

// kubeconfigFlag adds the flag of all commands that use the API server.
func kubeconfigFlag(flags *flag.FlagSet) *string {
	return flags.String("kubeconfig", os.Getenv("KUBECONFIG"), "who to be, and where the API server is")
}

// clientConfig has no rate limits, and uses protobuf, the cheapest encoding for the API server.
func clientConfig(kubeconfig string) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = config.ContentType
	return config, nil
}

func client(kubeconfig string) (*kubernetes.Clientset, error) {
	config, err := clientConfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}
