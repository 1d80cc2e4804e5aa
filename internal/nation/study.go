package nation

import (
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"

	"quell/internal/evidence"
)

// A Study measures a scenario over many nights.
type Study struct {
	Homes  int
	Worlds int // each with other models and another network
	Before int // nights that are learned from, in each world
	Nights int // that are measured, in each world
	Seed   uint64
}

// A Result is what a study found, for one scenario and one detail.
type Result struct {
	Scenario Scenario
	Detail   Detail
	Counts   Counts
	nights   []*Counts
}

// Details are what the inventory may know in a scenario.
func (s Scenario) Details() []Detail {
	if s.NoPostcodes {
		return []Detail{NoPlace}
	}
	return []Detail{SectorOnly, FullPostcode}
}

// someDay is when the nights that are learned from begin. What is measured begins a month later.
var someDay = time.Date(2026, 11, 1, 22, 0, 0, 0, time.UTC)

// Run measures a scenario, with each detail. Nights that are learned from have as many faults
// as there are; those that are measured have more, in fair weather and with postcodes. done is called after each
// night. If ctx ends it returns nothing.
func (y Study) Run(ctx context.Context, s Scenario, done func()) []*Result {
	details := s.Details()
	results := make([]*Result, len(details))
	for i, d := range details {
		results[i] = &Result{Scenario: s, Detail: d, nights: make([]*Counts, y.Worlds*y.Nights)}
	}
	measured := s
	if !s.Storm && !s.NoPostcodes { // without places, faults elsewhere count too
		measured.MoreFaults = moreFaults
	}
	first := y.Seed << 32 // each scenario has nights of its own
	for i, c := range s.Name {
		first += uint64(i+1) * uint64(c) * 1_000_000
	}
	for world := range y.Worlds {
		seed := first + uint64(world)*1000
		w := NewWorld(seed, y.Homes)
		learned := make([]*evidence.Learning, len(details))
		for k := range y.Before {
			n := w.Night(s, seed+uint64(k), someDay.AddDate(0, 0, 3*k))
			for i, d := range details {
				learned[i] = w.Run(n, d, learned[i], nil).Learning()
			}
		}
		var all sync.WaitGroup
		next := make(chan int)
		for range runtime.GOMAXPROCS(0) {
			all.Go(func() {
				for k := range next {
					n := w.Night(measured, seed+500+uint64(k), someDay.AddDate(0, 1, k))
					for i, d := range details {
						results[i].nights[world*y.Nights+k] = w.Measure(measured, n, d, learned[i])
					}
					done()
				}
			})
		}
		for k := range y.Nights {
			if ctx.Err() == nil {
				next <- k
			}
		}
		close(next)
		all.Wait()
	}
	if ctx.Err() != nil {
		return nil
	}
	for _, r := range results {
		for _, c := range r.nights {
			r.Counts.Add(c)
		}
	}
	return results
}

// Interval is the range that holds 95 of 100 values of f when nights are drawn anew from those
// that were measured: what another study of that many nights may find.
func (r *Result) Interval(f func(*Counts) float64) (low, high float64) {
	random := rand.New(rand.NewPCG(1, 1))
	const draws = 400
	values := make([]float64, draws)
	for i := range values {
		var c Counts
		for range r.nights {
			c.Add(r.nights[random.IntN(len(r.nights))])
		}
		values[i] = f(&c)
	}
	slices.Sort(values)
	return values[draws/40], values[draws-1-draws/40]
}
