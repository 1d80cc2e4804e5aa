package reporter

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/devices"
	"quell/internal/evidence"
	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/report"
	"quell/internal/reportfile"
	"quell/internal/reportfile/reportfiletest"
	"quell/internal/sqldb"
	"quell/internal/store"

	"github.com/prometheus/client_golang/prometheus"
)

var update = flag.Bool("update", false, "write the golden files again")

var t0 = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

func hub(n int) outage.DeviceID   { return outage.DeviceID(0x8873845700000000 + uint64(n)) }
func meter(n int) outage.DeviceID { return outage.DeviceID(0x00DB123400000000 + uint64(n)) }

// bench is a store with a reporter. Its clock stands still until setTime sets it.
type bench struct {
	testing.TB
	store *store.Store
	*Reporter
	now atomic.Pointer[time.Time]
}

func newBench(t testing.TB, change ...func(*Settings)) *bench {
	t.Helper()
	dir := t.TempDir()
	log := slog.New(slog.NewTextHandler(testLog{t}, nil))
	st, err := store.Open(t.Context(), store.Options{Dir: dir, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	b := &bench{TB: t, store: st}
	b.setTime(t0)
	b.Reporter = &Reporter{Register: st.Reports, Ledger: st.Ledger, Cluster: st.Cluster, Ready: st.Ready, Dir: filepath.Join(dir, "reports"), Now: func() time.Time { return *b.now.Load() }, Log: log, Metrics: NewMetrics(prometheus.NewRegistry())}
	s := Settings{SystemID: "quell", Every: time.Hour, MaxBytes: 10 << 20, Empty: true, AlarmAfter: time.Hour, Keep: 90 * 24 * time.Hour, Window: 30 * time.Minute}
	for _, f := range change {
		f(&s)
	}
	b.Set(s)
	return b
}

type testLog struct{ testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.Logf("%s", strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

func (b *bench) setTime(now time.Time) { b.now.Store(&now) }

// setSwitch changes the switch now.
func (b *bench) setSwitch(to outage.Switch, who, why string) {
	b.Helper()
	if _, err := b.store.Ledger.SetSwitch(b.Context(), to, who, why, b.Now()); err != nil {
		b.Fatal(err)
	}
}

// activate opens a window of a hub from now on.
func (b *bench) activate(n int) {
	request := outage.Request{ID: outage.RequestID{Originator: 0x90B3D51F30010000, Target: meter(n), Counter: uint64(b.Now().UnixMilli())},
		Form: outage.SignedPreCommand, Order: outage.Order{Kind: outage.OnDemand}, Received: b.Now()}
	b.store.Ledger.Record(b.Context(), request.Activation(hub(n), 30*time.Minute))
}

// alert logs an AD1 of a hub, received now.
func (b *bench) alert(n int, id, mpxn string, change ...func(*outage.Alert)) outage.Entry {
	b.Helper()
	a := outage.Alert{ID: id, Code: "AD1", CHF: hub(n), OutageStart: b.Now().Add(-3 * time.Minute), MPxN: mpxn, Received: b.Now()}
	for _, f := range change {
		f(&a)
	}
	d, err := b.store.Ledger.Decide(b.Context(), a, outage.Suppressed, time.Minute)
	if err != nil || d.Entry.Seq == 0 {
		b.Fatalf("%s: %+v %v", id, d, err)
	}
	return d.Entry
}

// assessed records that the evidence on an entry has changed, as the leader does.
func (b *bench) assessed(seq int64, distributor string, was, level evidence.Level, odds float64, text string) {
	b.Helper()
	facts, err := json.Marshal(&evidence.Assessment{Entry: seq, At: b.Now(), Stage: evidence.After15, Level: level, Odds: odds})
	if err != nil {
		b.Fatal(err)
	}
	if err := b.store.DB.Do(b.Context(), sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) error {
		return tx.Later(ctx, `INSERT INTO evidence_change (seq, at, was, level, distributor, facts, text) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			seq, sqldb.Micros(b.Now()), string(was), string(level), distributor, string(facts), text)
	}); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) forwardAfterAll(n int, id string) {
	b.Helper()
	b.store.Ledger.NoteForwarded(ledger.ForwardedNote{AlertID: id, CHF: hub(n), Received: b.Now(), Reason: outage.ReasonStoreUnavailable})
	if err := b.store.DB.Ping(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// due cuts and writes the reports that are due.
func (b *bench) due() {
	b.Helper()
	if err := b.step(b.Context()); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) cutNow() report.Report {
	b.Helper()
	r, err := b.Cut(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// files returns the names of the files of all reports, in order.
func (b *bench) files() (names []string) {
	b.Helper()
	list, err := b.store.Reports.List(b.Context(), 1<<62, 1000)
	if err != nil {
		b.Fatal(err)
	}
	for _, r := range slices.Backward(list) {
		for _, f := range r.Files {
			names = append(names, f.Name)
		}
	}
	return names
}

func (b *bench) paths() (paths []string) {
	for _, n := range b.files() {
		paths = append(paths, filepath.Join(b.Dir, n))
	}
	return paths
}

// parsed reads all files, and returns those of a stream with their records.
func (b *bench) parsed(stream string) (files []*reportfile.File, records []reportfile.Record) {
	b.Helper()
	for _, path := range b.paths() {
		text, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		var of []reportfile.Record
		f, err := reportfile.Read(path, bytes.NewReader(text), func(r reportfile.Record) {
			if r.Entry != nil {
				r.Entry = new(*r.Entry)
			}
			if r.Correction != nil {
				r.Correction = new(*r.Correction)
			}
			of = append(of, r)
		})
		if err != nil {
			b.Fatal(err)
		}
		reportfiletest.WellFormed(b, text)
		if f.Header.Stream == stream {
			files, records = append(files, f), append(records, of...)
		}
	}
	return files, records
}

// story makes three reports, with every kind of record that a file can have.
func story(t testing.TB) *bench {
	b := newBench(t, func(s *Settings) { s.PerDistributor = true })
	if _, err := b.store.Devices.ImportList(t.Context(), "bob", t0, devices.File{Name: "list.txt", Reader: strings.NewReader(meter(1).String() + "\n")}); err != nil {
		t.Fatal(err)
	}
	b.setSwitch(outage.SwitchOn, "quell", "first value, from the configuration")
	b.activate(1)
	b.activate(2)
	b.setTime(t0.Add(5*time.Minute + 250*time.Millisecond))
	b.alert(1, "88-73-84-57-00-00-00-01:90-B3-D5-1F-30-01-00-00:1", "1200023305967")
	b.setTime(t0.Add(6 * time.Minute))
	one, seven := uint32(1), uint32(7)
	b.alert(2, "88-73-84-57-00-00-00-02:90-B3-D5-1F-30-01-00-00:1", "=HYPERLINK(\"http://example.org\";\"x\")", func(a *outage.Alert) {
		a.Throttled = outage.Throttled{SequenceID: &one, Count: &seven}
		a.OutageStart = t0.Add(-time.Hour)
	})
	b.setTime(t0.Add(time.Hour + 10*time.Millisecond))
	b.due()
	b.setTime(t0.Add(70 * time.Minute))
	b.forwardAfterAll(1, "88-73-84-57-00-00-00-01:90-B3-D5-1F-30-01-00-00:1")
	b.setSwitch(outage.SwitchOff, "alice@ops", "-- CHG0042:\n\"until further notice\"")
	b.setTime(t0.Add(80 * time.Minute))
	b.setSwitch(outage.SwitchShadow, "alice@ops", "CHG0043")
	b.setTime(t0.Add(2 * time.Hour))
	b.due()
	b.assessed(1, "12", evidence.None, evidence.Strong, 24.7512, "14 of 17 hubs in the same postcode lost power within a minute.")
	b.assessed(2, "", evidence.None, evidence.Weak, 1, "=1: a text that a spreadsheet might run.")
	b.setTime(t0.Add(3 * time.Hour))
	b.due()
	return b
}

// Files are as the golden files; docs/report-format.md has one of these.
func TestGolden(t *testing.T) {
	b := story(t)
	names := b.files()
	if *update {
		if err := os.RemoveAll("../reportfile/testdata/golden"); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll("../reportfile/testdata/golden", 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range names {
		got, err := os.ReadFile(filepath.Join(b.Dir, n))
		if err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("../reportfile/testdata/golden", n)
		if *update {
			if err := os.WriteFile(golden, got, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is\n%s\nwant\n%s", n, got, want)
		}
	}
	if have, err := filepath.Glob("../reportfile/testdata/golden/*"); err != nil || len(have) != len(names) {
		t.Errorf("%d golden files for %d", len(have), len(names))
	}
	doc, err := os.ReadFile("../../docs/report-format.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile(filepath.Join(b.Dir, names[3]))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(strings.ReplaceAll(string(example), "\r\n", "\n")) {
		if !strings.Contains(string(doc), line) {
			t.Errorf("docs/report-format.md lacks this line of its example, %s: %s", names[3], line)
		}
	}
}

// Housekeeping keeps everything in a report that is not confirmed, also its corrections of old
// entries, so that the report can be rendered again.
func TestRenderAgainAfterHousekeeping(t *testing.T) {
	b := newBench(t, func(s *Settings) { s.Remotes = []Remote{{"esi", t.TempDir(), report.Consolidated}} })
	b.activate(1)
	b.alert(1, "first", "1200023305967", func(a *outage.Alert) { a.OutageStart = t0 })
	b.alert(1, "second", "1200023305967")
	b.cutNow()
	if _, err := b.deliverWaiting(t.Context(), b.settings.Load().Remotes[0], true); err != nil {
		t.Fatal(err)
	}
	b.store.Ledger.NoteForwarded(ledger.ForwardedNote{AlertID: "first", CHF: hub(1), OutageStart: t0, Received: b.Now(), Reason: outage.ReasonStoreUnavailable})
	if err := b.store.DB.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.setTime(t0.Add(time.Hour))
	r := b.cutNow()
	path := b.path(r.Files[0])
	want, err := os.ReadFile(path)
	if err != nil || bytes.Count(want, []byte("\nC,")) != 1 {
		t.Fatalf("%s %v", want, err)
	}
	old := b.Now().Add(1000 * time.Hour)
	h, err := b.store.Housekeep(t.Context(), store.Limits{WindowsBefore: old, LogBefore: old, ReportsBefore: old, Remotes: b.Remotes()})
	if err != nil || h.Entries != 1 {
		t.Fatalf("housekeeping deleted %+v %v", h, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := b.rewrite(t.Context(), r.Files[0]); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file is %s %v, and was %s", got, err, want)
	}
}

// A report that is rendered again is the same, to the byte, whatever has happened since it was
// cut.
func TestRenderAgain(t *testing.T) {
	b := story(t)
	want := map[string][]byte{}
	for _, path := range b.paths() {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want[path] = text
	}
	b.forwardAfterAll(2, "88-73-84-57-00-00-00-02:90-B3-D5-1F-30-01-00-00:1")
	b.assessed(1, "12", evidence.Strong, evidence.None, 0.1, "It was a reboot.")
	b.setTime(t0.Add(100 * time.Hour))
	b.Set(Settings{SystemID: "other", Every: time.Minute, Window: time.Hour})
	if err := os.RemoveAll(b.Dir); err != nil {
		t.Fatal(err)
	}
	for no := int64(1); no <= 3; no++ {
		f, err := b.Open(t.Context(), no, report.Consolidated)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	for path, text := range want {
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s: %v\n%s\nwas\n%s", path, err, got, text)
		}
	}
}

// If the log is not what was reported, that is noticed, and no other file is written.
func TestLogTamperedWith(t *testing.T) {
	b := story(t)
	db, err := sql.Open("sqlite", filepath.Join(filepath.Dir(b.Dir), "quell.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`UPDATE suppression SET outage_start = outage_start - 1000 WHERE seq = 1`); err != nil {
		t.Fatal(err)
	}
	path := b.paths()[0]
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Open(t.Context(), 1, report.Consolidated); !errors.Is(err, errDiffers) {
		t.Errorf("opened: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a file was written with other contents than reported")
	}
}

// Reports are cut at round times, whatever time they start at. If quell slept through several,
// one report has all of them. Entries that come exactly at the boundary belong to the next report.
func TestCutByTime(t *testing.T) {
	b := newBench(t)
	b.setTime(t0.Add(17 * time.Minute))
	b.setSwitch(outage.SwitchOn, "quell", "first")
	b.activate(1)
	b.due() // nothing is due
	b.setTime(t0.Add(time.Hour - time.Microsecond))
	b.activate(1)
	b.alert(1, "a", "1200023305967")
	b.due()
	b.setTime(t0.Add(time.Hour))
	b.alert(1, "b", "1200023305967")
	b.due()
	b.due()
	b.setTime(t0.Add(4*time.Hour + 59*time.Minute))
	b.due()
	b.setTime(t0.Add(5 * time.Hour))
	b.due()
	var got []string
	files, _ := b.parsed(report.Consolidated)
	for _, f := range files {
		got = append(got, fmt.Sprintf("%s to %s: %d to %d", f.Header.Start.Format("15:04"), f.Header.End.Format("15:04"), f.Header.FirstSeq, f.Header.LastSeq))
	}
	want := []string{"10:17 to 11:00: 1 to 1", "11:00 to 14:00: 2 to 2", "14:00 to 15:00: 3 to 2"}
	if !slices.Equal(got, want) {
		t.Errorf("reports\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// An entry is in no report whose period ends before it was received, even if it was logged before
// the end of that period was noticed.
func TestBoundaryNoticedLate(t *testing.T) {
	b := newBench(t)
	b.setSwitch(outage.SwitchOn, "quell", "first")
	b.setTime(t0.Add(time.Hour + time.Second))
	b.activate(1)
	b.alert(1, "after the hour", "1200023305967")
	b.setTime(t0.Add(time.Hour - time.Millisecond)) // when the step began
	b.due()
	b.setTime(t0.Add(time.Hour + 2*time.Second))
	b.due()
	b.setTime(t0.Add(2 * time.Hour))
	b.due()
	files, records := b.parsed(report.Consolidated)
	if len(files) != 2 || files[0].Entries != 0 || files[1].Entries != 1 {
		t.Errorf("%d files, records %+v", len(files), records)
	}
}

// A report is cut as soon as its file would be larger than max_bytes.
func TestCutBySize(t *testing.T) {
	b := newBench(t, func(s *Settings) { s.MaxBytes = 20 << 10 })
	b.setSwitch(outage.SwitchOn, "quell", "first")
	b.activate(1)
	for i := range 200 {
		b.setTime(b.Now().Add(time.Second))
		b.alert(1, fmt.Sprint("alert ", i), "1200023305967")
		if i%7 == 0 {
			b.due()
		}
	}
	b.due()
	files, records := b.parsed(report.Consolidated)
	for _, f := range files {
		if f.Header.Cause != report.CauseSize || f.Size > 20<<10 || f.Size < 15<<10 {
			t.Errorf("report %d, with the cause %s, has %d bytes", f.Header.Report, f.Header.Cause, f.Size)
		}
	}
	if len(files) < 2 {
		t.Fatalf("%d files", len(files))
	}
	for _, r := range records {
		if r.Entry != nil && !r.Entry.Received.Before(files[len(files)-1].Header.End) {
			t.Errorf("entry %d was received at %v, the last period ends at %v", r.Entry.Seq, r.Entry.Received, files[len(files)-1].Header.End)
		}
	}
	left := b.cutNow()
	if entries := records[len(records)-1].Entry.Seq; left.FirstSeq != entries+1 || left.LastSeq != 200 {
		t.Errorf("entries %d to %d are left after %d", left.FirstSeq, left.LastSeq, entries)
	}
	if _, err := reportfile.Verify(b.paths(), nil); err != nil {
		t.Error(err)
	}
}

func TestEmpty(t *testing.T) {
	for _, empty := range []bool{true, false} {
		b := newBench(t, func(s *Settings) { s.Empty = empty })
		b.setSwitch(outage.SwitchOn, "quell", "first")
		for h := range 4 {
			b.setTime(t0.Add(time.Duration(h) * time.Hour).Add(time.Minute))
			b.due()
			b.due()
		}
		b.setSwitch(outage.SwitchOff, "alice", "a reason")
		b.setTime(t0.Add(4 * time.Hour))
		b.due()
		files, records := b.parsed(report.Consolidated)
		want := 2 // for the two changes of the switch
		if empty {
			want = 4
		}
		if len(files) != want {
			t.Errorf("empty %v: %d files, want %d", empty, len(files), want)
		}
		if last := records[len(records)-1]; last.Event == nil || last.Event.New != "off" || last.Event.Who != "alice" || last.Event.Why != "a reason" {
			t.Errorf("empty %v: the last record is %+v", empty, last)
		}
		if _, err := reportfile.Verify(b.paths(), nil); err != nil {
			t.Error(err)
		}
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
