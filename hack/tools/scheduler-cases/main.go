// Command scheduler-cases generates random scheduling cases and decides them with kube-scheduler's plugins, without an API
// server. It compares the answers with those of another scheduler, case by case.
//
//	scheduler-cases generate [--seed S] [--count N]        cases, one JSON object a line
//	scheduler-cases judge < CASES                          an answer to each, one JSON object a line
//	scheduler-cases compare CASES EXPECTED ACTUAL          where two files of answers differ
//	scheduler-cases stats EXPECTED                         what kind of cases these were
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
)

const usage = `usage:
  scheduler-cases generate [--seed S] [--count N]
  scheduler-cases judge < CASES
  scheduler-cases compare [--save DIR] [--show N] CASES EXPECTED ACTUAL
  scheduler-cases stats EXPECTED`

// errDiffer causes exit status 1: the comparison succeeded, and found differences.
var errDiffer = errors.New("the answers differ")

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	verbs := map[string]func([]string) error{
		"generate": generateCases,
		"judge":    judgeCases,
		"compare":  compareFiles,
		"stats":    statsOfFile,
	}
	verb, known := verbs[os.Args[1]]
	if !known {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	switch err := verb(os.Args[2:]); {
	case errors.Is(err, errDiffer):
		os.Exit(1)
	case err != nil:
		fmt.Fprintf(os.Stderr, "scheduler-cases: %v\n", err)
		os.Exit(2)
	}
}

func generateCases(args []string) error {
	flags := flag.NewFlagSet("generate", flag.ExitOnError)
	seed := flags.Uint64("seed", 1, "the same seed gives the same cases")
	count := flags.Int("count", 1000, "how many cases")
	_ = flags.Parse(args)

	judge, err := newJudge()
	if err != nil {
		return err
	}
	numbers := func(yield func([]byte) bool) error {
		for i := range *count {
			if !yield([]byte(fmt.Sprint(i))) {
				break
			}
		}
		return nil
	}
	return inOrder(numbers, os.Stdout, func(number []byte) (any, error) {
		var i uint64
		if _, err := fmt.Sscan(string(number), &i); err != nil {
			return nil, err
		}
		return generate(judge, *seed, i)
	})
}

func judgeCases(args []string) error {
	flags := flag.NewFlagSet("judge", flag.ExitOnError)
	_ = flags.Parse(args)
	judge, err := newJudge()
	if err != nil {
		return err
	}
	return inOrder(linesOf(os.Stdin), os.Stdout, func(line []byte) (any, error) {
		var c Case
		if err := json.Unmarshal(line, &c); err != nil {
			return nil, fmt.Errorf("not a case: %w", err)
		}
		return judge.answer(&c)
	})
}

// lineReader returns a function that returns the next line. A line may be megabytes long.
func lineReader(r io.Reader) func() ([]byte, bool, error) {
	reader := bufio.NewReaderSize(r, 1<<20)
	return func() ([]byte, bool, error) {
		line, err := reader.ReadBytes('\n')
		if err == io.EOF {
			err = nil
		}
		return line, len(line) > 0, err
	}
}

// linesOf yields all lines.
func linesOf(r io.Reader) func(func([]byte) bool) error {
	next := lineReader(r)
	return func(yield func([]byte) bool) error {
		for {
			line, ok, err := next()
			if err != nil || !ok || !yield(line) {
				return err
			}
		}
	}
}

// inOrder processes several inputs in parallel, and writes the results as JSON lines in the order of the inputs.
func inOrder(inputs func(func([]byte) bool) error, w io.Writer, work func([]byte) (any, error)) error {
	type result struct {
		line []byte
		err  error
	}
	queue := make(chan chan result, 4*runtime.GOMAXPROCS(0))
	var failed error
	var done sync.WaitGroup
	done.Go(func() {
		out := bufio.NewWriterSize(w, 1<<20)
		for pending := range queue {
			r := <-pending
			if failed == nil {
				failed = r.err
			}
			if failed == nil {
				_, failed = out.Write(append(r.line, '\n'))
			}
		}
		if failed == nil {
			failed = out.Flush()
		}
	})

	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	err := inputs(func(input []byte) bool {
		pending := make(chan result, 1)
		slots <- struct{}{}
		queue <- pending
		go func() {
			var r result
			var value any
			if value, r.err = work(input); r.err == nil {
				r.line, r.err = json.Marshal(value)
			}
			pending <- r
			<-slots
		}()
		return true
	})
	close(queue)
	done.Wait()
	return errors.Join(err, failed)
}
