package main

import (
	"encoding/json"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
)

// A speedometer repeats a fixed unit of work during a measurement. On a virtual machine the speed of the processors varies
// between rounds, which no counter inside the machine shows. The work is encoding and decoding a pod as JSON, as an API
// server does; it takes about one percent of one processor.
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

// stop returns the units of work per second of CPU time.
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
			text, _ := json.Marshal(work) // a pod can be encoded, and the result decoded
			_ = json.Unmarshal(text, new(v1.Pod))
			done++
		}
		took += threadTime() - began
	}
	s.speed <- float64(done) / took.Seconds()
}

// threadTime is the CPU time of this thread, which excludes waiting for a processor.
func threadTime() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now) // every Linux has it
	return time.Duration(now.Nano())
}
