package hubs

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkPause adds so many hubs and removes most of them, and reports the longest Add, Remove
// and Has of that, and what a hub takes with all of them. The times are the processor's: nobody
// waits for a lock here. What a busy or virtual machine does meanwhile is in them all the same, so
// they are the least of the rounds: -benchtime 5x.
func BenchmarkPause(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			least := [3]time.Duration{time.Hour, time.Hour, time.Hour}
			var memory float64
			for b.Loop() {
				longest, each := pauses(size)
				for i := range least {
					least[i] = min(least[i], longest[i])
				}
				memory = max(memory, each)
			}
			for i, name := range []string{"add", "remove", "has"} {
				b.ReportMetric(float64(least[i].Microseconds())/1000, "ms-longest-"+name)
			}
			b.ReportMetric(memory, "bytes/hub")
		})
	}
}

// pauses returns the longest Add, Remove and Has, and the bytes of a hub.
func pauses(size int) (longest [3]time.Duration, memory float64) {
	x := new(Set)
	var done atomic.Bool
	var reader sync.WaitGroup
	reader.Go(func() {
		runtime.LockOSThread()
		for i := 0; !done.Load(); i++ {
			longest[2] = max(longest[2], spent(func() { x.Has(hub(i % size)) }))
		}
	})
	before := heap()
	for i := range size {
		longest[0] = max(longest[0], spent(func() { x.Add(hub(i)) }))
	}
	memory = (heap() - before) / float64(size)
	for i := range size * 9 / 10 {
		longest[1] = max(longest[1], spent(func() { x.Remove(hub(i)) }))
	}
	done.Store(true)
	reader.Wait()
	return longest, memory
}

// spent returns the time of the processor that f takes on this thread.
func spent(f func()) time.Duration {
	now := func() time.Duration {
		var t unix.Timespec
		unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) // this clock is always there
		return time.Duration(t.Nano())
	}
	start := now()
	f()
	return now() - start
}

// heap returns how many bytes are in use.
func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
