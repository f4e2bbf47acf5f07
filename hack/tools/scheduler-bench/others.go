package main

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// busy is the CPU time used so far, by the whole machine and by this box.
type busy struct {
	at       time.Time
	all, own time.Duration
}

// lookAround reads it. The root of the box's cgroup tree accounts for all processes in the box.
func lookAround() (busy, bool) {
	b := busy{at: time.Now()}
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return b, false
	}
	// user, nice, system, idle, iowait, irq, softirq, steal: stolen time counts as used by others
	for i, field := range strings.Fields(strings.SplitN(string(stat), "\n", 2)[0]) {
		if i == 0 || i == 4 || i == 5 || i > 8 {
			continue
		}
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return b, false
		}
		b.all += time.Duration(ticks) * 10 * time.Millisecond
	}
	if usage, err := os.ReadFile("/sys/fs/cgroup/cpuacct/cpuacct.usage"); err == nil { // cgroup v1
		nanoseconds, err := strconv.ParseInt(strings.TrimSpace(string(usage)), 10, 64)
		b.own = time.Duration(nanoseconds)
		return b, err == nil
	}
	usage, err := os.ReadFile("/sys/fs/cgroup/cpu.stat") // v2: "usage_usec N" comes first
	if fields := strings.Fields(string(usage)); err == nil && len(fields) > 1 {
		microseconds, err := strconv.ParseInt(fields[1], 10, 64)
		b.own = time.Duration(microseconds) * time.Microsecond
		return b, err == nil
	}
	return b, false
}

// others returns the share of CPU time since then that was not used by this box.
func (b busy) others() float64 {
	now, ok := lookAround()
	if !ok {
		return 0
	}
	foreign := (now.all - b.all) - (now.own - b.own)
	return max(0, foreign.Seconds()/now.at.Sub(b.at).Seconds()/float64(runtime.NumCPU()))
}
