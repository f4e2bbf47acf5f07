package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
)

// openLines returns a function for each file that returns its next line.
func openLines(names ...string) ([]func() ([]byte, bool, error), func(), error) {
	var readers []func() ([]byte, bool, error)
	var files []*os.File
	closeAll := func() {
		for _, file := range files {
			file.Close()
		}
	}
	for _, name := range names {
		file, err := os.Open(name)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		files = append(files, file)
		readers = append(readers, lineReader(file))
	}
	return readers, closeAll, nil
}

// stats shows whether the cases cover enough: feasible nodes, refusals by plugin, scores that vary.
type stats struct {
	cases, none, all, failed int
	passed, nodes            int
	refused                  map[string]int // nodes, by plugin
	scored, varied           map[string]int // cases, by plugin; varied: not all nodes got the same
}

func statsOfFile(args []string) error {
	if len(args) != 1 {
		return errors.New(usage)
	}
	readers, closeAll, err := openLines(args[0])
	if err != nil {
		return err
	}
	defer closeAll()
	s := stats{refused: map[string]int{}, scored: map[string]int{}, varied: map[string]int{}}
	for {
		line, ok, err := readers[0]()
		if err != nil {
			return err
		}
		if !ok {
			s.print()
			return nil
		}
		var a Answer
		if err := json.Unmarshal(line, &a); err != nil {
			return err
		}
		s.add(&a)
	}
}

func (s *stats) add(a *Answer) {
	s.cases++
	s.passed += len(a.Feasible)
	s.nodes += len(a.Feasible) + len(a.Verdicts)
	switch {
	case a.Error != "":
		s.failed++
	case len(a.Feasible) == 0:
		s.none++
	case len(a.Verdicts) == 0:
		s.all++
	}
	for _, verdict := range a.Verdicts {
		s.refused[plugin(verdict)]++
	}
	values := map[string]map[int64]bool{}
	for _, scores := range a.Scores {
		for name, score := range scores {
			if values[name] == nil {
				values[name] = map[int64]bool{}
			}
			values[name][score] = true
		}
	}
	for name, different := range values {
		s.scored[name]++
		if len(different) > 1 {
			s.varied[name]++
		}
	}
}

func (s *stats) print() {
	share := 100 * float64(s.passed) / float64(max(s.nodes, 1))
	fmt.Printf("%d cases, %d nodes, of which %d pass (%.1f %%)\n", s.cases, s.nodes, s.passed, share)
	fmt.Printf("all nodes pass in %d, none in %d, a plugin fails in %d\n", s.all, s.none, s.failed)
	for _, name := range slices.Sorted(maps.Keys(s.refused)) {
		fmt.Printf("  refused by %-32s %6d nodes\n", name, s.refused[name])
	}
	for _, name := range slices.Sorted(maps.Keys(s.scored)) {
		fmt.Printf("  scored by  %-32s %6d cases, in %d not all nodes alike\n", name, s.scored[name], s.varied[name])
	}
}
