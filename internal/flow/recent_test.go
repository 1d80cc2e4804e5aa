package flow_test

import (
	"errors"
	"testing"
	"time"

	"quell/internal/flow"
	"quell/internal/store/storetest"
)

func TestRecent(t *testing.T) { storetest.EachEngine(t, testRecent) }

// The recent minutes are those in the range that have AD1s, with all distributors together.
func testRecent(t *testing.T) {
	s, _ := open(t, t.TempDir())
	s.Flow.Received(t0, london).End(flow.Suppressed)
	s.Flow.Received(t0.Add(30*time.Second), eastern).End(flow.Forwarded)
	s.Flow.Received(t0.Add(2*time.Minute), "").End(flow.Failed)
	s.Flow.Received(t0.Add(2*time.Minute), london) // is under way
	s.Flow.Received(t0.Add(3*time.Minute), london).End(flow.Shadow)
	flush(t, s)
	at := t0.Truncate(time.Minute)
	list, err := s.Flow.Recent(t.Context(), at, at.Add(3*time.Minute))
	if err != nil || len(list) != 2 || list[0] != (flow.Minute{At: at, Received: 2, Suppressed: 1, Forwarded: 1}) || list[1] != (flow.Minute{At: at.Add(2 * time.Minute), Received: 2, Failed: 1}) {
		t.Errorf("%+v, %v", list, err)
	}
	for _, length := range []time.Duration{0, -time.Minute, flow.MaxMinutes + 1} {
		if _, err := s.Flow.Recent(t.Context(), at, at.Add(length)); !errors.Is(err, flow.ErrRange) {
			t.Errorf("%v: %v", length, err)
		}
	}
}
