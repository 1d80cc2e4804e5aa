package main

import (
	"strings"
	"testing"

	"quell/bench/load"
)

// Each message is in one log, once, and in the one that its sender was told of.
func TestAccount(t *testing.T) {
	for _, c := range []struct {
		name, forwarded, suppressed string
		wrong                       int
	}{
		{"as told", "/100000000\n/100000002\n", "A:B:100000001\n", 0},
		{"one is lost", "/100000000\n", "A:B:100000001\n", 1},
		{"one was forwarded twice", "/100000000\n/100000002\n/100000002\n", "A:B:100000001\n", 1},
		{"one was forwarded and logged", "/100000000\n/100000001\n/100000002\n", "A:B:100000001\n", 1},
		{"one was logged, and its sender was told that it was forwarded", "/100000002\n", "A:B:100000001\nA:B:100000000\n", 1},
	} {
		sent := []*load.Loop{{From: 0, Total: 3, Suppressed: []bool{false, true, false}}}
		wrong, err := account(sent, strings.NewReader(c.forwarded), strings.NewReader(c.suppressed))
		if err != nil || wrong != c.wrong {
			t.Errorf("%s: %d are wrong, want %d: %v", c.name, wrong, c.wrong, err)
		}
	}
	if _, err := account(nil, strings.NewReader("/nothing\n"), strings.NewReader("")); err == nil {
		t.Error("a log that cannot be read is taken for an empty one")
	}
}

// All messages of the national day come as often as they should.
func TestNationalMix(t *testing.T) {
	times := map[int]int{}
	for i := range int64(100 * (deviceAlerts + responses + dccAlerts)) {
		times[nationalKind(i)]++
	}
	for kind, want := range []int{99 * deviceAlerts, 99 * responses, 99 * dccAlerts, deviceAlerts, responses, dccAlerts} {
		if got := times[kind]; got < want*95/100-1 || got > want*105/100+1 {
			t.Errorf("kind %d came %d times, want about %d", kind, got, want)
		}
	}
}
