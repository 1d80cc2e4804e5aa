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
	s.Updates.Arrived(outage.RequestID{Originator: storetest.Supplier}, storetest.Meter(1), true, storetest.T0)
	if err := s.Updates.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.DB.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Evidence.Assess(t.Context(), storetest.T0.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	storetest.Script(t, s, `INSERT INTO evidence (seq, at, level, restored, facts) VALUES (5, 1, 'weak', 0, '{}');
		INSERT INTO evidence_change (seq, at, was, level, distributor, facts, text) VALUES (5, 1, 'none', 'weak', '12', '{}', '')`)
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
