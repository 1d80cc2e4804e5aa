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

// startDecisions makes decisions one after the other, until stop is called. stop returns how many
// transactions there were.
func startDecisions(t *testing.T) (s *store.Store, stop func() (commits int64)) {
	var commits atomic.Int64
	s = storetest.Open(t, t.TempDir(), func(o *store.Options) { o.OnCommit = func(time.Duration, error) { commits.Add(1) } })
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	ctx, end := context.WithCancel(t.Context())
	var senders sync.WaitGroup
	for sender := range 8 {
		senders.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				// Two in three have no window. If suppressed alerts are expected, these need a
				// second transaction.
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

// However many decisions there are, a report is cut, old rows are deleted, and an import is made.
// TestBackground in package sqldb tests how often a background task runs.
func TestBackgroundUnderLoad(t *testing.T) { storetest.EachEngine(t, testBackgroundUnderLoad) }

func testBackgroundUnderLoad(t *testing.T) {
	s, stop := startDecisions(t)
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
		t.Errorf("the background tasks ended after %d transactions", commits)
	}
}
