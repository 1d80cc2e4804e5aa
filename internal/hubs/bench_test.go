package hubs

import (
	"fmt"
	"testing"
)

var sizes = []int{10_000, 1_000_000, 10_000_000}

// sets has sets that were built, by their number of hubs.
var sets = map[int]*Set{}

func setOf(size int) *Set {
	if sets[size] == nil {
		x := new(Set)
		for i := range size {
			x.Add(hub(i))
		}
		sets[size] = x
	}
	return sets[size]
}

// lookUp measures Has for hubs at random among so many as the set has, from the hub from(size) on.
func lookUp(b *testing.B, want bool, from func(size int) int) {
	for _, size := range sizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			x, first, rnd := setOf(size), from(size), uint64(1)
			for b.Loop() {
				rnd = rnd*6364136223846793005 + 1442695040888963407
				if x.Has(hub(first+int(rnd>>33)%size)) != want {
					b.Fatal(!want)
				}
			}
		})
	}
}

// BenchmarkHit measures Has for a hub with a window.
func BenchmarkHit(b *testing.B) { lookUp(b, true, func(int) int { return 0 }) }

// BenchmarkMiss measures Has for a hub without a window, as for nearly every alert.
func BenchmarkMiss(b *testing.B) { lookUp(b, false, func(size int) int { return size }) }

// BenchmarkAdd measures Add, up to so many hubs.
func BenchmarkAdd(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			var x *Set
			for i := range b.N {
				if i%size == 0 {
					x = new(Set)
				}
				x.Add(hub(i % size))
			}
		})
	}
}
