package search_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"quell/internal/adviser"
	"quell/internal/outage"
	"quell/internal/search"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// now is the instant of the tests.
var now = storetest.T0.Add(10 * 24 * time.Hour)

func newSearch(s *store.Store) *search.Search {
	return &search.Search{DB: s.DB, Devices: s.Devices, Evidence: s.Evidence, Now: func() time.Time { return now },
		Learned: s.Evidence.Learned, Advice: func(context.Context) (adviser.Windows, error) { return adviser.Windows{}, nil }, FirstWait: 20 * time.Second}
}

// entry is an entry of the log and what is known of it.
type entry struct {
	outage.Entry
	level string // "" if it was not assessed
	act   int64  // the activation
}

// logEntries writes entries into the log.
func logEntries(t testing.TB, s *store.Store, list []entry) {
	t.Helper()
	var b strings.Builder
	b.WriteString("DELETE FROM suppression; DELETE FROM evidence;\n")
	for _, e := range list {
		fmt.Fprintf(&b, `INSERT INTO suppression (seq, alert_id, alert_code, chf, esme, mpxn, mpxn_valid, distributor, outage_start, received_at,
			activation_id, request_id, mode, window_start, window_end, outcome, started_before, repeated)
			VALUES (%d, 'a%[1]d', 'AD1', %d, %d, '%s', 1, '%s', %d, %[6]d, %d, '', 'on-demand', %d, %d, '%s', 0, 0);`+"\n",
			e.Seq, int64(e.CHF), int64(e.ESME), e.MPxN, e.Distributor, e.Received.UnixMicro(), e.act, e.WindowStart.UnixMicro(), e.WindowEnd.UnixMicro(), e.Outcome)
		if e.level != "" {
			fmt.Fprintf(&b, `INSERT INTO evidence (seq, at, level, restored, facts) VALUES (%d, 0, '%s', 0, '{"entry":%[1]d,"level":"%[2]s","at":"2026-03-01T10:00:00Z"}');`+"\n", e.Seq, e.level)
		}
	}
	if len(list) > 0 {
		fmt.Fprintf(&b, `UPDATE counter SET value = %d WHERE name = 'suppression';`, list[len(list)-1].Seq)
	}
	storetest.Script(t, s, b.String())
}
