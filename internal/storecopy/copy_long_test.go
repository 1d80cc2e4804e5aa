//go:build !race

package storecopy_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"quell/internal/audit"
	"quell/internal/datadir"
	"quell/internal/devices"
	"quell/internal/outage"
	"quell/internal/report"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
	"quell/internal/storecopy"
)

// A store is copied while it is in use, and then changes. It is copied again, interrupted after
// every number of steps, until the copy is complete. A quell on the copy works as it would on the
// source.
//
// TestCopyDiffers goes the same way under the race detector.
func TestCopy(t *testing.T) {
	server := storetest.Start(t)
	database := server.URL("postgres")
	none := func(int64, int64) {}
	log := slog.New(slog.DiscardHandler)
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	fill(t, s)
	if list, err := storecopy.Copy(t.Context(), dir, database, log, none); !errors.Is(err, datadir.ErrInUse) {
		t.Errorf("while it is in use: %v %v", list, err)
	}
	node := store.Options{Dir: t.TempDir(), Database: database, Node: "test"}
	if n, err := store.Open(t.Context(), node); !errors.Is(err, store.ErrCopying) {
		n.Close()
		t.Errorf("a node on a copy that is not complete: %v", err)
	}
	// Rows are deleted, added and changed, also between others.
	storetest.Script(t, s, `DELETE FROM suppression WHERE seq < 3; DELETE FROM device_list WHERE device_id % 7 = 3; UPDATE device_list SET device_id = device_id + 1000000 WHERE device_id % 11 = 5`)
	s.Ledger.Record(t.Context(), storetest.OnDemand(500, 1, storetest.T0))
	storetest.Decide(t, s, storetest.AD1(500, "later", storetest.T0))
	if err := s.Audit.Write(t.Context(), audit.Record{What: "later", Outcome: audit.Done}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Audit.Housekeep(t.Context(), storetest.T0.Add(time.Hour), func(context.Context, sqldb.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
	noted, err := audit.Verify(t.Context(), s.Audit.Page, audit.Head{})
	if err != nil || noted.Anchor.No == 0 {
		t.Fatal(noted, err)
	}
	want := storetest.Entries(t, s)
	wantList, err := s.Devices.List(t.Context(), nil, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()

	for steps := 1; ; steps++ {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		list, err := storecopy.Copy(ctx, dir, database, log, func(done, total int64) {
			if n++; n == steps {
				cancel()
			}
		})
		cancel()
		if err == nil {
			rows := map[string]int64{}
			for _, c := range list {
				rows[c.Table] = c.Rows
			}
			for _, c := range storecopy.Tables() {
				if rows[c] == 0 {
					t.Errorf("table %s is empty", c)
				}
			}
			if rows["suppression"] != int64(len(want)) || steps < 20 {
				t.Errorf("after %d steps: %v", steps, list)
			}
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if list, err := storecopy.Copy(t.Context(), dir, database, log, none); err != nil || len(list) != len(storecopy.Tables()) {
		t.Errorf("into a complete copy: %v %v", list, err)
	}
	storetest.Open(t, node.Dir, func(o *store.Options) { *o = node }).Close()
	if _, err := storecopy.Copy(t.Context(), dir, database, log, none); !errors.Is(err, storecopy.ErrNotEmpty) {
		t.Errorf("into a database that was used: %v", err)
	}
	p := storetest.Open(t, node.Dir, func(o *store.Options) { *o = node })
	if got := storetest.Entries(t, p); !slices.Equal(got, want) {
		t.Errorf("entries\n got %+v\nwant %+v", got, want)
	}
	if list, err := p.Devices.List(t.Context(), nil, 100_000); err != nil || !slices.Equal(list, wantList) {
		t.Errorf("%d devices, want %d, %v", len(list), len(wantList), err)
	}
	if p.Ledger.Switch() != outage.SwitchOn {
		t.Errorf("the switch is %q", p.Ledger.Switch())
	}
	if d := storetest.Decide(t, p, storetest.AD1(500, "later", storetest.T0)); !d.Retry || d.Entry.Seq != want[len(want)-1].Seq {
		t.Errorf("a retry: %+v", d)
	}
	if d := storetest.Decide(t, p, storetest.AD1(99, "a note", storetest.T0)); !d.Retry || d.Outcome != outage.Forwarded {
		t.Errorf("the retry of a forwarded alert: %+v", d)
	}
	if v, err := audit.Verify(t.Context(), p.Audit.Page, noted.Head); err != nil || v != noted {
		t.Errorf("the audit log: %+v %v, want %+v", v, err, noted)
	}
	p.Ledger.Record(t.Context(), storetest.OnDemand(501, 1, storetest.T0))
	if d := storetest.Decide(t, p, storetest.AD1(501, "new", storetest.T0)); d.Outcome != outage.Suppressed || d.Entry.Seq != want[len(want)-1].Seq+1 {
		t.Errorf("a new alert: %+v", d)
	}
	if _, err := p.Devices.ImportList(t.Context(), "bob", storetest.T0, devices.File{Name: "next", Reader: strings.NewReader(storetest.Meter(3).String())}); err != nil {
		t.Error(err)
	}
	if v, err := audit.Verify(t.Context(), p.Audit.Page, noted.Head); err != nil || v.Head.No != noted.Head.No+1 {
		t.Errorf("the audit log goes on: %+v %v", v, err)
	}
	if r, err := p.Reports.Cut(t.Context(), report.CutOptions{After: 1, SystemID: "test", Cause: report.CauseAsked, End: storetest.T0.Add(time.Hour), At: storetest.T0, LastSeq: want[len(want)-1].Seq + 1,
		Name: func(report.Report, report.File) string { return "next" }}); err != nil || r.No != 2 {
		t.Errorf("the next report: %+v %v", r, err)
	}
	p.Ledger.NoteForwarded(storetest.Noted(501, "new", storetest.T0, outage.ReasonStoreUnavailable)) // a correction gets an id
	if err := p.DB.Ping(t.Context()); err != nil || storetest.Outcomes(t, p)["new"] != outage.Forwarded {
		t.Error(err)
	}
}
