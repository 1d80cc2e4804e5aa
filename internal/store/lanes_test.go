package store_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/devices"
	"quell/internal/outage"
	"quell/internal/report"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

// steadily has decisions come one after the other, until stop is called. It returns how many
// transactions there were.
func steadily(t *testing.T) (s *store.Store, stop func() (commits int64)) {
	var commits atomic.Int64
	s = storetest.Open(t, t.TempDir(), func(o *store.Options) { o.OnCommit = func(time.Duration, error) { commits.Add(1) } })
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	ctx, end := context.WithCancel(t.Context())
	var senders sync.WaitGroup
	for sender := range 8 {
		senders.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				// One in three has no window: it takes a transaction of its own where
				// suppressions take one trip.
				s.Ledger.Decide(ctx, storetest.AD1(1+min(n%3, 1), fmt.Sprint("steady", sender, n), storetest.T0), outage.Suppressed, 0)
			}
		})
	}
	return s, func() int64 {
		end()
		senders.Wait()
		return commits.Load()
	}
}

// However many decisions come, a report is cut, old rows are deleted, and an import goes on.
// TestBackground in package sqldb says how often it is their turn.
func TestEveryLaneMoves(t *testing.T) { storetest.EachEngine(t, testEveryLaneMoves) }

func testEveryLaneMoves(t *testing.T) {
	s, stop := steadily(t)
	storetest.MakeLeader(t, s)
	var rows strings.Builder
	rows.WriteString("device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n")
	for n := range 3 * 250 {
		fmt.Fprintf(&rows, "%s,ESME,SMETS2,Landis+Gyr,E470,%s,1200023305967\n", storetest.Meter(n), storetest.Hub(n))
	}
	var all sync.WaitGroup
	for what, step := range map[string]func(ctx context.Context) error{
		"cut": func(ctx context.Context) error {
			_, err := s.Reports.Cut(ctx, report.CutOptions{SystemID: "test", Cause: report.CauseAsked, Start: storetest.T0, End: storetest.T0, At: storetest.T0, Name: func(r report.Report, _ report.File) string { return fmt.Sprint(r.No) }})
			return err
		},
		"housekeep": func(ctx context.Context) error { _, err := s.Housekeep(ctx, store.Limits{}); return err },
		"import": func(ctx context.Context) error {
			files := []devices.File{{Name: "x", Reader: strings.NewReader(rows.String())}}
			_, err := s.Devices.ImportInventory(ctx, "test", storetest.T0, func() (devices.File, error) {
				if len(files) == 0 {
					return devices.File{}, io.EOF
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
	if commits := stop(); commits >= 20_000 {
		t.Errorf("they took %d transactions", commits)
	}
}
