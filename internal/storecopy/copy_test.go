package storecopy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"quell/internal/audit"
	"quell/internal/datadir"
	"quell/internal/devices"
	"quell/internal/evidence"
	"quell/internal/flow"
	"quell/internal/outage"
	"quell/internal/remote/remotetest"
	"quell/internal/report"
	"quell/internal/role"
	"quell/internal/sighting"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
	"quell/internal/storecopy"
	"quell/internal/tokens"
	"quell/internal/windows"
)

// Every table is copied, except those of nodes and of migrations.
func TestCopyKnowsEveryTable(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	have, err := sqldb.Texts(s.DB.Query(t.Context(), `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`))
	if err != nil {
		t.Fatal(err)
	}
	known := append(storecopy.Tables(), "node", "lead", "migration")
	slices.Sort(have)
	slices.Sort(known)
	if !slices.Equal(have, known) {
		t.Errorf("the tables are %q, Copy knows %q", have, known)
	}
}

// fill writes rows into every table, and more than a page into one.
func fill(t *testing.T, s *store.Store) {
	var list, inv strings.Builder
	fmt.Fprintln(&inv, "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn,postcode")
	for n := range 2*storecopy.Page + 10 {
		fmt.Fprintln(&list, storetest.Meter(n))
	}
	for n := range 20 {
		fmt.Fprintf(&inv, "%s,ESME,SMETS2,\"Landis+Gyr ü\",E470,%s,1200023305967,SW1A 1AA\n", storetest.Meter(n), storetest.Hub(n))
	}
	if _, err := s.Devices.ImportList(t.Context(), "bob", storetest.T0, devices.File{Name: "list", Reader: strings.NewReader(list.String())}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := tokens.New(s.DB).Create(t.Context(), "grafana", role.Viewer, time.Hour, "bob", storetest.T0); err != nil {
		t.Fatal(err)
	}
	files := []devices.File{{Name: "inventory", Reader: strings.NewReader(inv.String())}}
	if _, err := s.Devices.ImportInventory(t.Context(), "bob", storetest.T0, func() (devices.File, error) {
		if len(files) == 0 {
			return devices.File{}, io.EOF
		}
		f := files[0]
		files = nil
		return f, nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ledger.SetSwitch(t.Context(), outage.SwitchOn, "alice", "a \"reason\"\n", storetest.T0); err != nil {
		t.Fatal(err)
	}
	storetest.LogN(t, s, 30)
	signed := storetest.OnDemand(97, 1<<63+1, storetest.T0)
	signed.Verified = true
	s.Ledger.Record(t.Context(), signed)
	s.Ledger.NoteForwarded(storetest.Noted(99, "a note", storetest.T0, outage.ReasonNoWindow))
	s.Ledger.NotePassed([]byte("passed"), storetest.Hub(99), storetest.T0, storetest.T0, outage.ReasonNoWindow)
	storetest.Eventually(t, "the alert that passed is noted", func() (noted bool) {
		return s.DB.QueryRow(t.Context(), `SELECT EXISTS (SELECT 1 FROM passed)`).Scan(&noted) == nil && noted
	})
	now := time.Now()
	s.Ledger.Record(t.Context(), storetest.OnDemand(96, 1, now.Add(-time.Minute)))
	released := storetest.AD1(96, "to be released", now)
	released.Message = []byte("a message\x00\xff")
	if _, err := s.Releases.Release(t.Context(), storetest.Decide(t, s, released).Entry.Seq, "alice", "a reason"); err != nil {
		t.Fatal(err)
	}
	s.Flow.Received(storetest.T0, "").End(flow.Forwarded)
	if err := s.Flow.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Ledger.NoteUntracked(windows.Untracked{RequestID: storetest.OnDemand(98, 1, storetest.T0).RequestID.String(), ESME: storetest.Meter(98), Received: storetest.T0, Reason: outage.ReasonNotListed})
	storetest.WriteReport(t, s, 20, func(c *report.CutOptions) { c.Remotes = map[string]string{"there": report.Consolidated} })
	s.Ledger.NoteForwarded(storetest.Noted(1, storetest.Entries(t, s)[3].AlertID, storetest.T0, outage.ReasonStoreUnavailable))
	s.Sightings.Enable(true)
	s.Sightings.Add(&sighting.Seen{Sighting: evidence.Sighting{Kind: evidence.Lost, Received: storetest.T0, Home: evidence.Home{Hub: storetest.Hub(99)}, Start: storetest.T0}})
	s.Sightings.Flush()
	if err := s.DB.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Evidence.Assess(t.Context(), storetest.T0.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	storetest.Script(t, s, `INSERT INTO evidence (seq, at, level, restored, facts) VALUES (5, 1, 'weak', 0, '{}');
		INSERT INTO evidence_change (seq, at, was, level, distributor, facts, text) VALUES (5, 1, 'none', 'weak', '12', '{}', '')`)
}

// A store is copied while it is in use, and then changes. It is copied again, interrupted after
// every number of steps, until the copy is complete. A quell on the copy works as it would on the
// source.
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

// If the database stores something else than it got, that is noticed, and no quell starts on it.
func TestCopyDiffers(t *testing.T) {
	database := storetest.Start(t).URL("postgres")
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	fill(t, s)
	s.Close()
	target, err := storecopy.OpenTarget(t.Context(), database, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := target.InTx(t.Context(), func(ctx context.Context, tx sqldb.Tx) error {
		return tx.Script(ctx, `CREATE FUNCTION spoil() RETURNS trigger AS 'BEGIN NEW.mpxn = NEW.mpxn || '' ''; RETURN NEW; END' LANGUAGE plpgsql;
			CREATE TRIGGER spoil BEFORE INSERT ON suppression FOR EACH ROW WHEN (NEW.seq = 7) EXECUTE FUNCTION spoil()`)
	}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		list, err := storecopy.Copy(t.Context(), dir, database, slog.New(slog.DiscardHandler), func(int64, int64) {})
		if err == nil || !strings.Contains(err.Error(), "table suppression: the copy differs: 31 rows") {
			t.Errorf("the copy: %v %v", list, err)
		}
	}
	if n, err := store.Open(t.Context(), store.Options{Dir: t.TempDir(), Database: database}); !errors.Is(err, store.ErrCopying) {
		n.Close()
		t.Errorf("a node on a copy that differs: %v", err)
	}
}

// A node that stops writes nothing into a database that is being copied into. It keeps its journal.
func TestCloseMeetsCopy(t *testing.T) {
	server := storetest.Start(t)
	proxy := remotetest.NewProxy(t, server.Socket())
	proxy.BreakAfter(0, false)
	s := storetest.Open(t, t.TempDir(), func(o *store.Options) { o.Database = storetest.Through(proxy) })
	s.Ledger.Record(storetest.Short(t), storetest.OnDemand(1, 1, storetest.T0))
	target, err := storecopy.OpenTarget(t.Context(), server.URL("postgres"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if err := target.InTx(t.Context(), func(ctx context.Context, tx sqldb.Tx) error { return store.SetMark(ctx, tx, store.CopyBegun) }); err != nil {
		t.Fatal(err)
	}
	proxy.Repair()
	s.Close()
	if list, err := sqldb.Numbers(target.Query(t.Context(), `SELECT id FROM activation`)); err != nil || len(list) > 0 {
		t.Errorf("the database has %v %v", list, err)
	}
	if s.Ledger.Pending() != 1 {
		t.Errorf("the journal holds %d records", s.Ledger.Pending())
	}
}
