package reporter

import (
	"testing"
	"time"

	"quell/internal/store/storetest"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestDue: the metric says when the next report is due. If it is not cut then, the metric stays, so
// that it shows how late the report is. A node that is not the leader has 0.
func TestDue(t *testing.T) {
	b := newBench(t)
	due := func(want time.Time, what string) {
		t.Helper()
		if have := testutil.ToFloat64(b.Metrics.Due); have != float64(want.Unix()) {
			t.Errorf("%s: due at %v, want %v", what, time.Unix(int64(have), 0).UTC(), want)
		}
	}
	hour := t0.Truncate(time.Hour)
	step := func() {
		t.Helper()
		if err := b.step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	step()
	due(hour.Add(time.Hour), "at the start")
	b.setTime(hour.Add(time.Hour - time.Millisecond))
	step()
	due(hour.Add(time.Hour), "just before")
	b.setTime(hour.Add(time.Hour))
	step()
	due(hour.Add(2*time.Hour), "when it was cut")

	storetest.Script(t, b.store, `ALTER TABLE report RENAME TO gone`)
	b.setTime(hour.Add(5 * time.Hour))
	if err := b.step(t.Context()); err == nil {
		t.Fatal("a report was cut without a table")
	}
	due(hour.Add(2*time.Hour), "while it cannot be cut")
	storetest.Script(t, b.store, `ALTER TABLE gone RENAME TO report`)
	step()
	due(hour.Add(6*time.Hour), "when it was cut late")
	b.Metrics.forget()
	due(time.Unix(0, 0), "without the lease")
}
