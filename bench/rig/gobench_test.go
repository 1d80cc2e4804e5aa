package rig

import (
	"fmt"
	"runtime"
	"testing"
)

func TestParseBench(t *testing.T) {
	procs := runtime.GOMAXPROCS(0)
	out := fmt.Sprintf("goos: linux\nBenchmarkHit/10000000-%d   \t 2042  149.5 ns/op\t 15.10 bytes/hub\nBenchmarkBare-%d 10 5 ns/op 3 cpu-ns/op\nPASS\n", procs, procs)
	results := parseBench([]byte(out))
	if len(results) != 2 || results[0].Name != "Hit/10000000" || results[0].Figures["ns/op"] != 149.5 || results[0].Figures["bytes/hub"] != 15.1 ||
		results[1].Name != "Bare" || results[1].Figures["cpu-ns/op"] != 3 {
		t.Error(results)
	}
}
