package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
)

// A Figure is the median, minimum and maximum of the rounds.
type Figure struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// A Row is one scheduler on one workload.
type Row struct {
	Contender string `json:"contender"`
	Workload  string `json:"workload"`
	Nodes     int    `json:"nodes"`
	Pods      int    `json:"pods"`
	Rounds    int    `json:"rounds"`
	Rate      Figure `json:"podsPerSecond"`
	RateStart Figure `json:"podsPerSecondFromStart"`
	P50       Figure `json:"latencyP50Ms"`
	P99       Figure `json:"latencyP99Ms"`
	PeakMB    Figure `json:"peakMB"`
	CPU       Figure `json:"cpuSeconds"`
	Others    Figure `json:"others"`
	Speed     Figure `json:"speed"`
	// Pods per unit of the speedometer's work: pods/s, independent of the processors' speed.
	PodsPerWork Figure `json:"podsPerWork"`
	// The worst of the rounds.
	Broken int      `json:"broken"`
	Events int      `json:"events"` // the lowest of the rounds
	Left   int      `json:"left"`
	Missed int      `json:"missed"`
	Say    []string `json:"say,omitempty"`
}

// A Target is a target value and the measured value.
type Target struct {
	Workload string  `json:"workload"`
	What     string  `json:"what"`
	Wanted   string  `json:"wanted"`
	Is       float64 `json:"is"`
	Met      bool    `json:"met"`
}

func table(args []string) error {
	flags := flag.NewFlagSet("table", flag.ExitOnError)
	file := flags.String("json", "", "where the same goes as JSON")
	_ = flags.Parse(args)
	rows, err := readRows(bufio.NewScanner(os.Stdin))
	if err != nil {
		return err
	}
	printRows(rows)
	var targets []Target
	for _, workload := range []string{"plain", "mixed"} {
		targets = append(targets, targetsOf(workload, rows)...)
	}
	for _, t := range targets {
		met := "missed"
		if t.Met {
			met = "met"
		}
		fmt.Printf("%-6s %-46s %8.2f   wanted %-8s %s\n", t.Workload, t.What, t.Is, t.Wanted, met)
	}
	if *file == "" {
		return nil
	}
	text, err := json.MarshalIndent(map[string]any{"rows": rows, "targets": targets}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(*file, append(text, '\n'), 0o644)
}

func readRows(lines *bufio.Scanner) ([]Row, error) {
	type key struct{ workload, contender string }
	groups := map[key][]Result{}
	var order []key
	for lines.Scan() {
		var r Result
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, err
		}
		k := key{r.Workload, r.Contender}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], r)
	}
	slices.SortStableFunc(order, func(a, b key) int {
		return cmp.Or(-cmp.Compare(a.workload, b.workload), cmp.Compare(a.contender, b.contender))
	})
	var rows []Row
	for _, k := range order {
		rows = append(rows, rowOf(groups[k]))
	}
	return rows, lines.Err()
}

func rowOf(results []Result) Row {
	figure := func(of func(*Result) float64) Figure {
		var values []float64
		for i := range results {
			values = append(values, of(&results[i]))
		}
		slices.Sort(values)
		n := len(values)
		return Figure{Median: (values[(n-1)/2] + values[n/2]) / 2, Low: values[0], High: values[n-1]}
	}
	first := results[0]
	row := Row{
		Contender: first.Contender, Workload: first.Workload, Nodes: first.Nodes, Pods: first.Pods, Rounds: len(results),
		Rate:      figure(func(r *Result) float64 { return r.Rate }),
		RateStart: figure(func(r *Result) float64 { return r.RateStart }),
		P50:       figure(func(r *Result) float64 { return r.LatencyP50 }),
		P99:       figure(func(r *Result) float64 { return r.LatencyP99 }),
		PeakMB:    figure(func(r *Result) float64 { return r.PeakMB }),
		CPU:       figure(func(r *Result) float64 { return r.CPU }),
		Others:    figure(func(r *Result) float64 { return r.Others }),
		Speed:     figure(func(r *Result) float64 { return r.Speed }),

		PodsPerWork: figure(func(r *Result) float64 { return r.Rate / r.Speed }),
	}
	row.Events = first.Events
	for _, r := range results {
		row.Events = min(row.Events, r.Events)
		row.Broken, row.Left, row.Missed = max(row.Broken, r.Broken), max(row.Left, r.Left), max(row.Missed, r.Missed)
		row.Say = append(row.Say, r.Say...)
	}
	return row
}

func printRows(rows []Row) {
	fmt.Printf("%-22s %20s %20s %9s %9s %8s %7s %7s %6s %6s %7s %7s\n", "", "pods/s", "from the start", "p50 ms", "p99 ms",
		"peak MB", "CPU s", "broken", "left", "events", "others", "speed")
	for _, r := range rows {
		latency, tail := "-", "-"
		if r.P50.Median > 0 {
			latency, tail = fmt.Sprintf("%.1f", r.P50.Median), fmt.Sprintf("%.1f", r.P99.Median)
		}
		fmt.Printf("%-6s %-15s %20s %20s %9s %9s %8.1f %7.2f %7d %6d %6d %5.0f %% %7.0f\n", r.Workload, r.Contender,
			r.Rate.text(), r.RateStart.text(), latency, tail, r.PeakMB.Median, r.CPU.Median, r.Broken, r.Left, r.Events,
			100*r.Others.Median, r.Speed.Median)
		if isFloor(r.Contender) {
			continue // the floor ignores constraints
		}
		for _, sentence := range r.Say {
			fmt.Printf("       %s\n", sentence)
		}
	}
	fmt.Println("\nbroken: pods that violate a constraint; left: pods without a node; events: events of bound pods;")
	fmt.Println("others: the share of the processors that had other work; speed: how often a second of processor time did the")
	fmt.Println("same bit of work meanwhile, for machines whose processors are not equally fast all the time")
	fmt.Println()
}

func (f Figure) text() string { return fmt.Sprintf("%.0f (%.0f-%.0f)", f.Median, f.Low, f.High) }

func isFloor(contender string) bool { return contender == "floor" || contender == "floor-events" }

func targetsOf(workload string, rows []Row) []Target {
	by := map[string]*Row{}
	for i := range rows {
		if rows[i].Workload == workload {
			by[rows[i].Contender] = &rows[i]
		}
	}
	ours, floor, theirs := by["dockside"], by["floor"], by["kube-scheduler"]
	if ours == nil {
		return nil
	}
	var targets []Target
	least := func(what string, is, wanted float64) {
		targets = append(targets, Target{workload, what, fmt.Sprintf(">= %.2f", wanted), is, is >= wanted})
	}
	most := func(what string, is, wanted float64) {
		targets = append(targets, Target{workload, what, fmt.Sprintf("<= %.2f", wanted), is, is <= wanted})
	}
	if floor != nil {
		least("pods/s, as a share of the floor's", ours.Rate.Median/floor.Rate.Median, 0.9)
		least("the same, as if all rounds were equally fast", ours.PodsPerWork.Median/floor.PodsPerWork.Median, 0.9)
	}
	if theirs != nil {
		times := map[string]float64{"plain": 1.5, "mixed": 2}[workload]
		least("pods/s, in kube-scheduler's", ours.Rate.Median/theirs.Rate.Median, times)
		most("peak memory, in kube-scheduler's", ours.PeakMB.Median/theirs.PeakMB.Median, 0.25)
		most("processor time, in kube-scheduler's", ours.CPU.Median/theirs.CPU.Median, 0.25)
	}
	most("broken constraints", float64(ours.Broken), 0)
	most("pods left, although there is a node for them", float64(ours.Missed), 0)
	return targets
}
