package adviser

import (
	"context"
	"time"

	"quell/internal/liveness"
	"quell/internal/sqldb"
)

// Watch takes a sample each minute, until ctx ends, and logs what it shows. A minute in which
// the store does not answer has none: other alarms say that.
func (a *Adviser) Watch(ctx context.Context) {
	for {
		select {
		case <-time.After(liveness.Every):
			if s, err := a.sample(ctx); err == nil {
				a.addSample(s)
			}
		case <-ctx.Done():
			return
		}
	}
}

// sample counts what the watch needs.
func (a *Adviser) sample(ctx context.Context) (s liveness.Sample, err error) {
	now := a.Now()
	s.At, s.Nodes = now, a.Nodes()
	s.Northbound, s.Alerts = a.Arrived()
	if err = a.DB.QueryRow(ctx, `SELECT coalesce(max(seq), 0) FROM suppression`).Scan(&s.Entries); err != nil {
		return s, sqldb.Unavailable(err)
	}
	if s.Campaign, err = a.Windows.Started(ctx, now.Add(-liveness.CampaignFrom), now.Add(-liveness.CampaignTo), liveness.Campaign); err != nil {
		return s, err
	}
	a.mu.Lock()
	suppressed := a.watch.Suppressed(now, s.Entries)
	a.mu.Unlock()
	if suppressed > 0 {
		s.Windows, err = a.Windows.WereOpen(ctx, now.Add(-liveness.Within), now, suppressed)
	}
	return s, err
}

func (a *Adviser) addSample(s liveness.Sample) {
	a.mu.Lock()
	changes := a.watch.Add(s)
	a.mu.Unlock()
	for _, c := range changes {
		if c.Raised {
			a.Log.Warn("liveness: "+c.Text, "condition", c.Condition)
		} else {
			a.Log.Info("liveness: a condition is over", "condition", c.Condition)
		}
	}
}

// Conditions says what is wrong; nil if nothing is.
func (a *Adviser) Conditions() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.watch.Conditions()
}

// Raised reports whether a condition is raised.
func (a *Adviser) Raised(c liveness.Condition) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.watch.Raised(c)
}
