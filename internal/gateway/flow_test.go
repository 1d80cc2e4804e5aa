package gateway

import (
	"context"
	"time"

	"quell/internal/flow"
)

// audit returns what became of all AD1s of a world.
func (w *world) audit() *flow.Result {
	w.Helper()
	day := w.now().Truncate(24 * time.Hour)
	r, err := w.store.Flow.Audit(context.Background(), flow.Query{From: day.Add(-15 * 24 * time.Hour), To: day.Add(16 * 24 * time.Hour)})
	if err != nil {
		w.Fatal(err)
	}
	return r
}

// checkFlow holds at the end of every test that has a world: each AD1 has one end, and the log has
// the entries that were written.
func (w *world) checkFlow() {
	w.Helper()
	if w.Failed() || !w.store.DB.Available() {
		return
	}
	w.eventually("the store answers, and nothing is pending", func() bool {
		return w.store.DB.Ping(context.Background()) == nil && w.store.Ledger.Pending() == 0
	})
	r := w.audit()
	if r.Total.UnderWay > 0 {
		w.Errorf("%d AD1s are under way at the end: %+v", r.Total.UnderWay, r.Total)
	}
	for _, d := range r.Differences {
		if d.Kind != flow.Killed || !w.crashed {
			w.Errorf("the AD1s do not balance: %+v", d)
		}
	}
}
