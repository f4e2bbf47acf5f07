package main

import (
	"encoding/json"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
)

// A speedometer does the same bit of work again and again, beside all else: where the processors are shared with other
// machines, they are not as fast in one round as in the next, and nothing that is counted inside this machine tells it.
// The work is what an API server has most of, JSON of a pod; it takes about one percent of one processor.
type speedometer struct {
	stopped atomic.Bool
	speed   chan float64
}

const (
	speedPause   = 20 * time.Millisecond
	speedRepeats = 2
)

func startSpeedometer() *speedometer {
	s := &speedometer{speed: make(chan float64, 1)}
	go s.run(pod("plain", "speed", 0, "nobody"))
	return s
}

// stop returns how often a second of processor time the work was done.
func (s *speedometer) stop() float64 {
	s.stopped.Store(true)
	return <-s.speed
}

func (s *speedometer) run(work *v1.Pod) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var took time.Duration
	done := 0
	for !s.stopped.Load() {
		time.Sleep(speedPause)
		began := threadTime()
		for range speedRepeats {
			text, _ := json.Marshal(work) // a pod can be written, and what was written be read
			_ = json.Unmarshal(text, new(v1.Pod))
			done++
		}
		took += threadTime() - began
	}
	s.speed <- float64(done) / took.Seconds()
}

// threadTime is the processor time that this thread has used: waiting for a processor does not count.
func threadTime() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now) // every Linux has it
	return time.Duration(now.Nano())
}
