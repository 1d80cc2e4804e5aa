package store

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/outage"
)

// BenchmarkIndex is the decision on the alert of a hub without a window, the
// answer to nearly every alert, and on one with a window, which the store is
// then asked about.
func BenchmarkIndex(b *testing.B) {
	for _, size := range []int{10_000, 5_000_000} {
		var x index
		for i := range size {
			x.add(hub(i))
		}
		for _, c := range []struct {
			name string
			from int
		}{{"without", size}, {"with", 0}} {
			b.Run(fmt.Sprintf("%s/windows=%d", c.name, size), func(b *testing.B) {
				n, rnd := 0, uint64(1)
				for b.Loop() {
					rnd = rnd*6364136223846793005 + 1442695040888963407
					if x.has(hub(c.from + int(rnd>>33)%size)) {
						n++
					}
				}
				if (n > 0) != (c.from == 0) {
					b.Fatal(n)
				}
			})
		}
	}
}

// BenchmarkSuppress compares durable suppressions through the store, by many
// senders at once, with the bare statement in batches of the same size on the
// same tables. Run with -benchtime=20000x; the two alternate, so that a noisy
// machine wrongs neither.
func BenchmarkSuppress(b *testing.B) {
	const hubs = 10_000
	prepare := func(b *testing.B, o func(*Options)) *Store {
		s := openIn(b, b.TempDir(), o)
		err := s.do(b.Context(), func(ctx context.Context) error {
			for i := range hubs {
				a := onDemand(i, 1, t0)
				if _, err := s.insertActivation(ctx, &a); err != nil {
					return err
				}
			}
			return nil
		}, nil)
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	alert := func(i int) outage.Alert {
		return ad1(i%hubs, outage.RequestID{Originator: supplier, Target: supplier, Counter: uint64(i)}.String(), t0.Add(time.Minute))
	}
	for round := range 3 {
		for _, senders := range []int{1, 100, 500} {
			var batches, decisions atomic.Int64
			b.Run(fmt.Sprintf("store/senders=%d/round=%d", senders, round), func(b *testing.B) {
				s := prepare(b, func(o *Options) {
					o.OnCommit = func(n int, _ time.Duration, _ error) {
						if n > 0 {
							batches.Add(1)
							decisions.Add(int64(n))
						}
					}
				})
				batches.Store(0)
				decisions.Store(0)
				var next atomic.Int64
				var wg sync.WaitGroup
				b.ResetTimer()
				for range senders {
					wg.Go(func() {
						for {
							i := int(next.Add(1)) - 1
							if i >= b.N {
								return
							}
							if d, err := s.Decide(b.Context(), alert(i), outage.Suppressed, time.Minute); err != nil || d.Outcome != outage.Suppressed {
								b.Error(d, err)
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "alerts/s")
				b.ReportMetric(float64(decisions.Load())/float64(batches.Load()), "alerts/batch")
			})
			size := max(1, int(decisions.Load()/max(1, batches.Load())))
			b.Run(fmt.Sprintf("bare/batch=%d/round=%d", size, round), func(b *testing.B) {
				s := prepare(b, func(*Options) {})
				b.ResetTimer()
				for i := 0; i < b.N; {
					rows := []byte("[")
					for n := 0; n < size && i < b.N; n, i = n+1, i+1 {
						if n > 0 {
							rows = append(rows, ',')
						}
						a := alert(i)
						rows = appendRow(rows, &a, outage.Suppressed, time.Minute)
					}
					err := s.inTx(b.Context(), func(context.Context) error {
						_, err := s.insertEntries(b.Context(), string(append(rows, ']')))
						return err
					})
					if err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "alerts/s")
			})
		}
	}
}
