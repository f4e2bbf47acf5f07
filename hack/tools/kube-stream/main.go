// Command kube-stream uses the streaming URL of a container runtime as kubectl does: exec, attach and
// port-forward, with client-go's code.
//
// exec and attach connect this process's standard streams and exit with the code of the command, or
// 255 if it is unknown. forward prints one line per port once all of them accept connections,
// and runs until its standard input ends; it exits with 1 if anything fails before that.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
)

const usage = `usage:
  kube-stream exec|attach --url URL [--transport spdy|websocket] [--insecure-skip-tls-verify]
      [--stdin] [--tty] [--no-stdout] [--no-stderr] [--resize 80x24,120x40 [--resize-interval 200ms]]
  kube-stream forward --url URL [--transport spdy|websocket] [--insecure-skip-tls-verify] LOCAL:REMOTE...`

func main() {
	// client-go reports some errors only through this hook, among them those from an error stream. By
	// default they are logged with a time and a source line, and rate limited.
	runtime.ErrorHandlers = []runtime.ErrorHandler{
		func(_ context.Context, err error, msg string, _ ...any) {
			if err == nil {
				err = errors.New(msg)
			}
			fmt.Fprintf(os.Stderr, "kube-stream: %v\n", err)
		},
	}

	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	name, args := os.Args[1], os.Args[2:]
	switch name {
	case "exec", "attach":
		err := command(name, args)
		var exit exec.CodeExitError
		if errors.As(err, &exit) {
			os.Exit(exit.Code)
		}
		fail(name, err, 255)
	case "forward":
		fail(name, forward(name, args), 1)
	default:
		fmt.Fprintf(os.Stderr, "kube-stream: no such command: %s\n%s\n", name, usage)
		os.Exit(2)
	}
}

func fail(name string, err error, code int) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "kube-stream %s: %v\n", name, err)
		os.Exit(code)
	}
}

// endpoint is the URL and the protocol, set by the flags of all subcommands.
type endpoint struct {
	url       *url.URL
	websocket bool
	config    rest.Config
}

func newFlags(name string) (*flag.FlagSet, *endpoint) {
	e := new(endpoint)
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the returned error suffices
	flags.Func("url", "", func(s string) (err error) {
		if e.url, err = url.Parse(s); err == nil && e.url.Scheme != "http" && e.url.Scheme != "https" {
			err = errors.New("the URL must start with http:// or https://")
		}
		return err
	})
	flags.Func("transport", "", func(s string) error {
		if s != "spdy" && s != "websocket" {
			return errors.New("it has to be spdy or websocket")
		}
		e.websocket = s == "websocket"
		return nil
	})
	flags.BoolVar(&e.config.Insecure, "insecure-skip-tls-verify", false, "")
	return flags, e
}

// parse returns the arguments after the flags.
func (e *endpoint) parse(flags *flag.FlagSet, args []string) ([]string, error) {
	err := flags.Parse(args)
	if err == nil && e.url == nil {
		err = errors.New("--url is missing")
	}
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, usage)
	}
	return flags.Args(), nil
}

// executor and dialer use the HTTP methods that kubectl uses. A WebSocket is always a GET (RFC 6455).
func (e *endpoint) executor() (remotecommand.Executor, error) {
	if e.websocket {
		return remotecommand.NewWebSocketExecutor(&e.config, http.MethodGet, e.url.String())
	}
	return remotecommand.NewSPDYExecutor(&e.config, http.MethodPost, e.url)
}

func (e *endpoint) dialer() (httpstream.Dialer, error) {
	if e.websocket {
		return portforward.NewSPDYOverWebsocketDialer(e.url, &e.config)
	}
	transport, upgrader, err := spdy.RoundTripperFor(&e.config)
	if err != nil {
		return nil, err
	}
	return spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, e.url), nil
}

// command implements exec and attach: the URL determines which command runs.
func command(name string, args []string) error {
	flags, e := newFlags(name)
	stdin := flags.Bool("stdin", false, "")
	tty := flags.Bool("tty", false, "")
	noStdout := flags.Bool("no-stdout", false, "")
	noStderr := flags.Bool("no-stderr", false, "")
	var queue sizeQueue
	flags.Func("resize", "", func(s string) (err error) {
		queue.sizes, err = parseSizes(s)
		return err
	})
	flags.DurationVar(&queue.interval, "resize-interval", 200*time.Millisecond, "")
	extra, err := e.parse(flags, args)
	if err != nil {
		return err
	}
	if len(extra) > 0 {
		return fmt.Errorf("argument not understood: %s\n%s", extra[0], usage)
	}
	if len(queue.sizes) > 0 && !*tty {
		return errors.New("--resize needs --tty: without a terminal there is no stream for sizes")
	}

	options := remotecommand.StreamOptions{Tty: *tty}
	if *stdin {
		options.Stdin = os.Stdin
	}
	if !*noStdout {
		options.Stdout = os.Stdout
	}
	if !*noStderr && !*tty { // a terminal merges stdout and stderr
		options.Stderr = os.Stderr
	}
	if len(queue.sizes) > 0 {
		options.TerminalSizeQueue = &queue
	}
	executor, err := e.executor()
	if err != nil {
		return fmt.Errorf("setting up a connection to %s: %w", e.url, err)
	}
	return executor.StreamWithContext(context.Background(), options)
}

// sizeQueue returns the first size at once, and each further size after the interval.
type sizeQueue struct {
	sizes    []remotecommand.TerminalSize
	interval time.Duration
	started  bool
}

func (q *sizeQueue) Next() *remotecommand.TerminalSize {
	if len(q.sizes) == 0 {
		return nil
	}
	if q.started {
		time.Sleep(q.interval)
	}
	q.started = true
	size := q.sizes[0]
	q.sizes = q.sizes[1:]
	return &size
}

func parseSizes(list string) ([]remotecommand.TerminalSize, error) {
	var sizes []remotecommand.TerminalSize
	for item := range strings.SplitSeq(list, ",") {
		width, height, _ := strings.Cut(item, "x")
		w, errW := strconv.ParseUint(width, 10, 16)
		h, errH := strconv.ParseUint(height, 10, 16)
		if errW != nil || errH != nil {
			return nil, fmt.Errorf("%q is not a size like 80x24", item)
		}
		sizes = append(sizes, remotecommand.TerminalSize{Width: uint16(w), Height: uint16(h)})
	}
	return sizes, nil
}

func forward(name string, args []string) error {
	flags, e := newFlags(name)
	ports, err := e.parse(flags, args)
	if err != nil {
		return err
	}
	dialer, err := e.dialer()
	if err != nil {
		return fmt.Errorf("setting up a connection to %s: %w", e.url, err)
	}

	stop, ready := make(chan struct{}), make(chan struct{})
	// client-go continues if it can listen on some of the ports; only this shows the others.
	var failed bytes.Buffer
	forwarder, err := portforward.NewOnAddresses(
		dialer, []string{"127.0.0.1"}, ports, stop, ready, io.Discard, io.MultiWriter(&failed, os.Stderr))
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- forwarder.ForwardPorts() }()
	select {
	case err := <-done:
		return err
	case <-ready:
	}

	if failed.Len() > 0 {
		close(stop)
		<-done
		return errors.New("not all of the ports can be forwarded")
	}
	forwarded, err := forwarder.GetPorts()
	if err != nil {
		return err
	}
	for _, port := range forwarded {
		fmt.Printf("forwarding 127.0.0.1:%d %d\n", port.Local, port.Remote)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	return <-done
}
