package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// comparison counts agreements and differences of two schedulers.
type comparison struct {
	save string // directory for the cases that differ; empty: do not save
	show int    // limit for each kind

	cases, sameFeasible  int
	failed               int // kube-scheduler fails: nothing to compare
	verdicts, samePlugin int
	nodes, sameTotal     int
	bestCases, sameBest  int
	groups               map[string]*group
	plugins              map[string]*agreement
}

// group has the differences of one kind.
type group struct {
	nodes    int
	cases    map[int]bool
	examples []string
}

// agreement counts equal scores of one plugin, over all nodes feasible to both.
type agreement struct{ nodes, same int }

func compareFiles(args []string) error {
	flags := flag.NewFlagSet("compare", flag.ExitOnError)
	c := comparison{groups: map[string]*group{}, plugins: map[string]*agreement{}}
	flags.StringVar(&c.save, "save", "", "a directory for the first cases of each difference")
	flags.IntVar(&c.show, "show", 3, "how many of each difference to show and save")
	_ = flags.Parse(args)
	if flags.NArg() != 3 {
		return fmt.Errorf("three files are needed\n%s", usage)
	}
	if c.save != "" {
		if err := os.MkdirAll(c.save, 0o755); err != nil {
			return err
		}
	}
	if err := c.files(flags.Arg(0), flags.Arg(1), flags.Arg(2)); err != nil {
		return err
	}
	c.print()
	if c.sameFeasible < c.cases {
		return errDiffer
	}
	return nil
}

func (c *comparison) files(cases, expected, actual string) error {
	all, closeAll, err := openLines(cases, expected, actual)
	if err != nil {
		return err
	}
	defer closeAll()
	for number := 1; ; number++ {
		var lines [3][]byte
		ended := 0
		for i, next := range all {
			line, ok, err := next()
			if err != nil {
				return err
			}
			if !ok {
				ended++
			}
			lines[i] = line
		}
		if ended == len(all) {
			return nil
		}
		if ended > 0 {
			return fmt.Errorf("one of the files ends before line %d", number)
		}
		var want, got Answer
		if err := json.Unmarshal(lines[1], &want); err != nil {
			return fmt.Errorf("%s, line %d: %w", expected, number, err)
		}
		if err := json.Unmarshal(lines[2], &got); err != nil {
			return fmt.Errorf("%s, line %d: %w", actual, number, err)
		}
		if err := c.one(number, lines[0], &want, &got); err != nil {
			return err
		}
	}
}

// one compares the two answers to a case.
func (c *comparison) one(number int, line []byte, want, got *Answer) error {
	differs := map[string][]string{} // details by kind
	if want.Error != "" {
		c.failed++
		if len(got.Feasible) > 0 {
			differs["(places what kube-scheduler fails on)"] = []string{want.Error}
		}
		return c.note(number, line, want, got, differs)
	}
	c.cases++
	for _, node := range got.Feasible {
		if !slices.Contains(want.Feasible, node) {
			kind := "too lax: " + plugin(want.Verdicts[node])
			differs[kind] = append(differs[kind], fmt.Sprintf("%s: %s", node, want.Verdicts[node]))
		}
	}
	for _, node := range want.Feasible {
		if !slices.Contains(got.Feasible, node) {
			kind := "too strict: " + plugin(got.Verdicts[node])
			differs[kind] = append(differs[kind], fmt.Sprintf("%s: %s", node, got.Verdicts[node]))
		}
	}
	if len(differs) == 0 {
		c.sameFeasible++
	}
	for node, verdict := range want.Verdicts {
		if other, both := got.Verdicts[node]; both {
			c.verdicts++
			if plugin(other) == plugin(verdict) {
				c.samePlugin++
			} else {
				kind := fmt.Sprintf("(other reason, %s for %s)", plugin(other), plugin(verdict))
				differs[kind] = append(differs[kind], fmt.Sprintf("%s: %q, expected %q", node, other, verdict))
			}
		}
	}
	c.scores(want, got, differs)
	return c.note(number, line, want, got, differs)
}

// scores compares the scores if the feasible sets are equal; otherwise their normalization differs.
func (c *comparison) scores(want, got *Answer, differs map[string][]string) {
	if !slices.Equal(slices.Sorted(slices.Values(got.Feasible)), want.Feasible) || len(want.Feasible) == 0 {
		return
	}
	c.bestCases++
	if slices.Equal(best(want), best(got)) {
		c.sameBest++
	}
	for _, node := range want.Feasible {
		c.nodes++
		if want.Scores[node][total] == got.Scores[node][total] {
			c.sameTotal++
		}
		names := maps.Clone(want.Scores[node])
		maps.Copy(names, got.Scores[node])
		delete(names, total)
		for name := range names {
			a, seen := c.plugins[name]
			if !seen {
				a = &agreement{}
				c.plugins[name] = a
			}
			a.nodes++
			expected, actual := want.Scores[node][name], got.Scores[node][name]
			if expected == actual {
				a.same++
			} else {
				kind := "(score " + name + ")"
				differs[kind] = append(differs[kind], fmt.Sprintf("%s: %d, expected %d", node, actual, expected))
			}
		}
	}
}

// best returns the nodes with the highest total: kube-scheduler selects any of them.
func best(a *Answer) []string {
	var names []string
	for _, node := range slices.Sorted(slices.Values(a.Feasible)) {
		switch {
		case len(names) == 0 || a.Scores[node][total] > a.Scores[names[0]][total]:
			names = []string{node}
		case a.Scores[node][total] == a.Scores[names[0]][total]:
			names = append(names, node)
		}
	}
	return names
}

// plugin returns the part of a verdict before the colon.
func plugin(verdict string) string {
	name, _, _ := strings.Cut(verdict, ":")
	if name == "" {
		return "(no verdict)"
	}
	return name
}

func (c *comparison) note(number int, line []byte, want, got *Answer, differs map[string][]string) error {
	for kind, details := range differs {
		g, seen := c.groups[kind]
		if !seen {
			g = &group{cases: map[int]bool{}}
			c.groups[kind] = g
		}
		g.nodes += len(details)
		g.cases[number] = true
		if len(g.examples) >= c.show {
			continue
		}
		g.examples = append(g.examples, fmt.Sprintf("case %d, %s", number, details[0]))
		if c.save == "" {
			continue
		}
		if err := c.saveCase(fmt.Sprintf("case-%d.json", number), line, want, got); err != nil {
			return err
		}
	}
	return nil
}

// saveCase writes the case in a form that both schedulers read, and the answers beside it.
func (c *comparison) saveCase(name string, line []byte, want, got *Answer) error {
	if err := os.WriteFile(filepath.Join(c.save, name), line, 0o644); err != nil {
		return err
	}
	answers, err := json.MarshalIndent(map[string]*Answer{"expected": want, "actual": got}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.save, "answers-"+name), append(answers, '\n'), 0o644)
}

func (c *comparison) print() {
	share := func(part, whole int) string {
		return fmt.Sprintf("%d of %d (%.2f %%)", part, whole, 100*float64(part)/float64(max(whole, 1)))
	}
	fmt.Printf("same feasible nodes:  %s\n", share(c.sameFeasible, c.cases))
	if c.failed > 0 {
		fmt.Printf("kube-scheduler fails on %d more\n", c.failed)
	}
	fmt.Printf("same best nodes:      %s\n", share(c.sameBest, c.bestCases))
	fmt.Printf("same total score:     %s nodes\n", share(c.sameTotal, c.nodes))
	for _, name := range slices.Sorted(maps.Keys(c.plugins)) {
		fmt.Printf("  %-34s %s\n", name, share(c.plugins[name].same, c.plugins[name].nodes))
	}
	fmt.Printf("same refusing plugin: %s nodes\n", share(c.samePlugin, c.verdicts))
	// Less important differences are in brackets, and come last.
	kinds := slices.SortedFunc(maps.Keys(c.groups), func(a, b string) int {
		if bracket := strings.Count(a[:1], "(") - strings.Count(b[:1], "("); bracket != 0 {
			return bracket
		}
		return len(c.groups[b].cases) - len(c.groups[a].cases)
	})
	for _, kind := range kinds {
		g := c.groups[kind]
		fmt.Printf("\n%s: %d cases, %d nodes\n", kind, len(g.cases), g.nodes)
		for _, example := range g.examples {
			fmt.Printf("    %s\n", example)
		}
	}
	if len(kinds) > 0 && c.save != "" {
		fmt.Printf("\nthese cases are in %s\n", c.save)
	}
}
