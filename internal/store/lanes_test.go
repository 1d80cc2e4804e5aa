package store

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"quell/internal/outage"
)

// steadily has decisions wait whenever the committer looks, until stop is called.
// most is how many transactions came, while a background step waited, without one.
func steadily(t *testing.T) (s *Store, stop func() (most, commits int)) {
	var mu sync.Mutex // guards what follows
	var waited, most, n int
	stopped, give := false, func() {}
	s = openIn(t, t.TempDir(), func(o *Options) {
		o.OnCommit = func(decisions int, _ time.Duration, _ error) {
			mu.Lock()
			defer mu.Unlock()
			s.queue.mu.Lock()
			waits := len(s.queue.background) > 0
			s.queue.mu.Unlock()
			switch {
			case decisions == 0:
				waited = 0
			case waits:
				waited++
				most = max(most, waited)
			}
			give()
		}
	})
	s.Record(t.Context(), onDemand(1, 1, t0))
	mu.Lock()
	give = func() {
		if n++; !stopped && n < 5000 {
			// One in three has no window: it takes a transaction of its own where
			// suppressions take one trip.
			a := ad1(1+min(n%3, 1), fmt.Sprint("steady", n), t0)
			d := &decision{alert: a, done: make(chan struct{})}
			d.row = appendRow(nil, &a, outage.Suppressed, 0)
			s.queue.push(func() bool { return put(&s.queue.decisions, d) })
		}
	}
	give()
	mu.Unlock()
	return s, func() (int, int) {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		return most, n
	}
}

// However many decisions come, one transaction in ten is a step of what is not
// urgent: a report is cut, old rows are deleted, and an import goes on.
func TestEveryLaneMoves(t *testing.T) {
	s, stop := steadily(t)
	lead(t, s)
	var rows strings.Builder
	rows.WriteString("device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n")
	for n := range 3 * importBatch {
		fmt.Fprintf(&rows, "%s,ESME,SMETS2,Landis+Gyr,E470,%s,1200023305967\n", meter(n), hub(n))
	}
	var all sync.WaitGroup
	for what, step := range map[string]func(ctx context.Context) error{
		"cut": func(ctx context.Context) error {
			_, err := s.Cut(ctx, Cut{SystemID: "test", Cause: CauseAsked, Start: t0, End: t0, At: t0, Name: func(r Report, _ ReportFile) string { return fmt.Sprint(r.No) }})
			return err
		},
		"housekeep": func(ctx context.Context) error { _, err := s.Housekeep(ctx, Limits{}); return err },
		"import": func(ctx context.Context) error {
			files := []File{{"x", strings.NewReader(rows.String())}}
			_, err := s.ImportInventory(ctx, "test", t0, func() (File, error) {
				if len(files) == 0 {
					return File{}, io.EOF
				}
				f := files[0]
				files = nil
				return f, nil
			})
			return err
		},
	} {
		all.Go(func() {
			if err := step(t.Context()); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	all.Wait()
	if most, commits := stop(); most >= 10 || commits >= 5000 {
		t.Errorf("of %d transactions, up to %d in a row without a step of what waits", commits, most)
	}
}
