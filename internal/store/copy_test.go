package store

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

	"quell/internal/outage"
	"quell/internal/remote/remotetest"
	"quell/internal/store/storetest"
)

// Every table is copied, but those of nodes.
func TestCopyKnowsEveryTable(t *testing.T) {
	if onPostgres() {
		t.Skip("skip allowed: it is about SQLite's tables")
	}
	s := openIn(t, t.TempDir())
	have, err := texts(s.reader.QueryContext(t.Context(), `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`))
	if err != nil {
		t.Fatal(err)
	}
	known := []string{"node", "lead", "migration"}
	for _, c := range tables {
		known = append(known, c.name)
	}
	slices.Sort(have)
	slices.Sort(known)
	if !slices.Equal(have, known) {
		t.Errorf("tables %q, of which Copy knows %q", have, known)
	}
}

// fill has something in every table, and more than a page in one.
func fill(t *testing.T, s *Store) {
	var list, inv strings.Builder
	fmt.Fprintln(&inv, "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn")
	for n := range 2*copyPage + 10 {
		fmt.Fprintln(&list, meter(n))
	}
	for n := range 20 {
		fmt.Fprintf(&inv, "%s,ESME,SMETS2,\"Landis+Gyr ü\",E470,%s,1200023305967\n", meter(n), hub(n))
	}
	if _, err := s.ImportList(t.Context(), "bob", t0, File{"list", strings.NewReader(list.String())}); err != nil {
		t.Fatal(err)
	}
	files := []File{{"inventory", strings.NewReader(inv.String())}}
	if _, err := s.ImportInventory(t.Context(), "bob", t0, func() (File, error) {
		if len(files) == 0 {
			return File{}, io.EOF
		}
		f := files[0]
		files = nil
		return f, nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SetSwitch(t.Context(), outage.SwitchOn, "alice", "a \"reason\"\n", t0); err != nil {
		t.Fatal(err)
	}
	logN(t, s, 30)
	s.Note(noted(99, "a note", t0, outage.ReasonNoWindow))
	s.NoteUntracked(untracked(98, 1, t0, outage.ReasonNotListed))
	writeReport(t, s, 20, func(c *Cut) { c.Remotes = map[string]string{"there": Consolidated} })
	s.Note(noted(1, allEntries(t, s)[3].AlertID, t0, outage.ReasonStoreUnavailable))
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A store is copied while it is in use, changes, is copied again, which is cut
// off at every step, and once more; what comes of it goes on as the source would
// have.
func TestCopy(t *testing.T) {
	if onPostgres() {
		t.Skip("skip allowed: it has a server of its own")
	}
	server := storetest.Start(t)
	database := server.URL("postgres")
	none := func(int64, int64) {}
	log := slog.New(slog.DiscardHandler)
	dir := t.TempDir()
	s := openIn(t, dir)
	fill(t, s)
	if list, err := Copy(t.Context(), dir, database, log, none); !errors.Is(err, ErrInUse) {
		t.Errorf("while it is in use: %v %v", list, err)
	}
	node := Options{Dir: t.TempDir(), Database: database, Node: "test"}
	if n, err := Open(t.Context(), node); !errors.Is(err, ErrCopying) {
		n.Close()
		t.Errorf("a node on a copy that is not complete: %v", err)
	}
	// Some goes, some comes, some changes, some of it in the middle.
	script(t, s, `DELETE FROM suppression WHERE seq < 3; DELETE FROM device_list WHERE device_id % 7 = 3; UPDATE device_list SET device_id = device_id + 1000000 WHERE device_id % 11 = 5`)
	s.Record(t.Context(), onDemand(500, 1, t0))
	decide(t, s, ad1(500, "later", t0))
	want := allEntries(t, s)
	wantList, err := s.List(t.Context(), nil, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()

	for steps := 1; ; steps++ {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		list, err := Copy(ctx, dir, database, log, func(done, total int64) {
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
			for _, c := range tables {
				if rows[c.name] == 0 {
					t.Errorf("table %s is empty", c.name)
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
	if list, err := Copy(t.Context(), dir, database, log, none); err != nil || len(list) != len(tables) {
		t.Errorf("into what is complete: %v %v", list, err)
	}
	openIn(t, node.Dir, func(o *Options) { *o = node }).Close()
	if _, err := Copy(t.Context(), dir, database, log, none); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("into what was used: %v", err)
	}
	p := openIn(t, node.Dir, func(o *Options) { *o = node })
	if got := allEntries(t, p); !slices.Equal(got, want) {
		t.Errorf("entries\n got %+v\nwant %+v", got, want)
	}
	if list, err := p.List(t.Context(), nil, 100_000); err != nil || !slices.Equal(list, wantList) {
		t.Errorf("%d devices, want %d, %v", len(list), len(wantList), err)
	}
	if p.Switch() != outage.SwitchOn {
		t.Errorf("the switch is %q", p.Switch())
	}
	if d := decide(t, p, ad1(500, "later", t0)); !d.Retry || d.Entry.Seq != want[len(want)-1].Seq {
		t.Errorf("a retry: %+v", d)
	}
	if d := decide(t, p, ad1(99, "a note", t0)); !d.Retry || d.Outcome != outage.Forwarded {
		t.Errorf("the retry of a forwarded alert: %+v", d)
	}
	p.Record(t.Context(), onDemand(501, 1, t0))
	if d := decide(t, p, ad1(501, "new", t0)); d.Outcome != outage.Suppressed || d.Entry.Seq != want[len(want)-1].Seq+1 {
		t.Errorf("a new alert: %+v", d)
	}
	if _, err := p.ImportList(t.Context(), "bob", t0, File{"next", strings.NewReader(meter(3).String())}); err != nil {
		t.Error(err)
	}
	if r, err := p.Cut(t.Context(), Cut{After: 1, SystemID: "test", Cause: CauseAsked, End: t0.Add(time.Hour), At: t0, LastSeq: want[len(want)-1].Seq + 1,
		Name: func(Report, ReportFile) string { return "next" }}); err != nil || r.No != 2 {
		t.Errorf("%+v %v", r, err)
	}
	p.Note(noted(501, "new", t0, outage.ReasonStoreUnavailable)) // a correction gets an id
	if err := p.Check(t.Context()); err != nil || outcomes(t, p)["new"] != outage.Forwarded {
		t.Error(err)
	}
}

// What the database made something else of is noticed, and no quell starts on it.
func TestCopyDiffers(t *testing.T) {
	if onPostgres() {
		t.Skip("skip allowed: it has a server of its own")
	}
	database := storetest.Start(t).URL("postgres")
	dir := t.TempDir()
	s := openIn(t, dir)
	fill(t, s)
	s.Close()
	target, err := openTarget(t.Context(), database, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := target.inTx(t.Context(), func(ctx context.Context) error {
		return target.conn.script(ctx, `CREATE FUNCTION spoil() RETURNS trigger AS 'BEGIN NEW.mpxn = NEW.mpxn || '' ''; RETURN NEW; END' LANGUAGE plpgsql;
			CREATE TRIGGER spoil BEFORE INSERT ON suppression FOR EACH ROW WHEN (NEW.seq = 7) EXECUTE FUNCTION spoil()`)
	}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		list, err := Copy(t.Context(), dir, database, slog.New(slog.DiscardHandler), func(int64, int64) {})
		if err == nil || !strings.Contains(err.Error(), "table suppression: the copy differs: 30 rows") {
			t.Errorf("%v %v", list, err)
		}
	}
	if n, err := Open(t.Context(), Options{Dir: t.TempDir(), Database: database}); !errors.Is(err, ErrCopying) {
		n.Close()
		t.Errorf("a node on it: %v", err)
	}
}

// A node that is stopped leaves a database alone that is being copied into, and
// keeps what it remembers.
func TestCloseMeetsCopy(t *testing.T) {
	if onPostgres() {
		t.Skip("skip allowed: it has a server of its own")
	}
	server := storetest.Start(t)
	proxy := remotetest.NewProxy(t, server.Socket())
	proxy.BreakAfter(0, false)
	s := openIn(t, t.TempDir(), func(o *Options) { o.Database = through(proxy) })
	s.Record(short(t), onDemand(1, 1, t0))
	target, err := openTarget(t.Context(), server.URL("postgres"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer target.reader.Close()
	defer target.conn.close()
	if err := target.inTx(t.Context(), func(ctx context.Context) error { return target.mark(ctx, copyBegun, copyDone) }); err != nil {
		t.Fatal(err)
	}
	proxy.Mend()
	s.Close()
	if list, err := target.Activations(t.Context(), Find{CHF: hub(1)}, 1); err != nil || len(list) > 0 {
		t.Errorf("the database has %v %v", list, err)
	}
	if s.Pending() != 1 {
		t.Errorf("the journal holds %d records", s.Pending())
	}
}
