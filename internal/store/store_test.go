package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"quell/internal/outage"
)

// What is read in pages at the start is all there is.
func TestLoad(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	logN(t, s, 1) // hub 1
	const rows = loadRows + 7
	for _, table := range []string{
		"activation (id, request_id, form, kind, execute_at, mode, esme, chf, received_at, starts_at, ends_at, state, standing) SELECT i, CAST(i AS TEXT), '', '', 0, '', 0, -2 * i, 0, 0, 0, '', 0",
		"suppression (seq, alert_id, alert_code, chf, esme, mpxn, mpxn_valid, distributor, outage_start, received_at, activation_id, request_id, mode, window_start, window_end, outcome, started_before, repeated) " +
			"SELECT i, CAST(i AS TEXT), '', -2 * i - 1, 0, '', 0, '', 0, 0, 0, '', '', 0, 0, '', 0, 0",
	} {
		script(t, s, fmt.Sprintf(`WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT INTO %s FROM n`, rows, table))
	}
	s.Close()
	s = openIn(t, dir)
	if s.Hubs() != 1+2*(rows-1) || s.last != rows {
		t.Errorf("%d hubs, the last activation is %d", s.Hubs(), s.last)
	}
}

// A store that an earlier version made opens, although that named the migrations
// otherwise.
func TestEarlierStore(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	s.Record(t.Context(), onDemand(1, 1, t0))
	script(t, s, `UPDATE migration SET name = replace(name, 'migrations/', 'migrations/sqlite/')`)
	s.Close()
	if d := decide(t, openIn(t, dir), ad1(1, "x", t0)); d.Outcome != outage.Suppressed {
		t.Errorf("%+v", d)
	}
}

func TestDecideLogsInOneStep(t *testing.T) {
	s := openIn(t, t.TempDir())
	s.Record(t.Context(), onDemand(1, 1, t0))
	seq, count := uint32(7), uint32(3)
	a := ad1(1, "a", t0.Add(5*time.Minute))
	a.Throttled = outage.Throttled{SequenceID: &seq, Count: &count}
	d := decide(t, s, a)
	if d.Outcome != outage.Suppressed || d.Reason != outage.ReasonWindowOpen || d.Retry {
		t.Fatalf("decision: %+v", d)
	}
	e := allEntries(t, s)[0]
	if fmt.Sprint(*e.Throttled.SequenceID, *e.Throttled.Count) != "7 3" {
		t.Errorf("throttled: %+v", e.Throttled)
	}
	e.Throttled = outage.Throttled{}
	want := outage.Entry{Seq: 1, AlertID: "a", AlertCode: "AD1", CHF: hub(1), ESME: meter(1), MPxN: "1200023305967", MPxNValid: true, Distributor: "12",
		OutageStart: outageOf("a"), Received: t0.Add(5 * time.Minute), RequestID: onDemand(1, 1, t0).RequestID.String(), Mode: outage.OnDemand,
		WindowStart: t0, WindowEnd: t0.Add(30 * time.Minute), Outcome: outage.Suppressed}
	if e != want {
		t.Errorf("entry\n got %+v\nwant %+v", e, want)
	}
}

func TestEvidence(t *testing.T) {
	s := openIn(t, t.TempDir())
	s.Record(t.Context(), onDemand(1, 1, t0))
	for i, c := range []struct {
		start    time.Duration // of the outage, from the window's start
		mpxn     string
		before   bool
		repeated bool
		valid    bool
	}{
		{-60 * time.Second, "1200023305967", false, false, true}, // within the tolerance
		{-60*time.Second - time.Microsecond, "1200023305968", true, true, false},
		{0, "not a number \"\\\x01é", false, true, false},
	} {
		a := ad1(1, fmt.Sprint(i), t0.Add(10*time.Minute))
		a.OutageStart, a.MPxN = t0.Add(c.start), c.mpxn
		e := decide(t, s, a).Entry
		if e.StartedBefore != c.before || e.Repeated != c.repeated || e.MPxN != c.mpxn || e.MPxNValid != c.valid || (e.Distributor != "") != c.valid {
			t.Errorf("%d: got %+v, want %+v", i, e, c)
		}
	}
}

// Of the outages of one window all but the first are repeated, also within a batch;
// one that is told to several users is not.
func TestRepeatedInABatch(t *testing.T) {
	s := openIn(t, t.TempDir())
	s.Record(t.Context(), onDemand(1, 1, t0))
	s.Record(t.Context(), onDemand(2, 1, t0))
	decide(t, s, ad1(1, "alone", t0)) // from now on PostgreSQL's committer expects suppressions
	free := holdCommitter(t, s)
	type told struct {
		hub, minutes int // when the outage began
		repeated     bool
	}
	list := []told{{1, -3, false}, {2, -3, false}, {2, -2, true}, {2, -3, false}, {2, -1, true}}
	got := make([]Decision, len(list))
	var wg sync.WaitGroup
	for i, x := range list {
		a := ad1(x.hub, fmt.Sprint(i), t0)
		a.OutageStart = t0.Add(time.Duration(x.minutes) * time.Minute)
		wg.Go(func() { got[i], _ = s.Decide(t.Context(), a, outage.Suppressed, 0) })
		eventually(t, "queued", func() bool { s.queue.mu.Lock(); defer s.queue.mu.Unlock(); return len(s.queue.decisions) == i+1 })
	}
	free()
	wg.Wait()
	first := decide(t, s, ad1(1, "alone", t0)).Entry.OutageStart
	for i, e := range allEntries(t, s)[1:] {
		want := list[i].repeated || list[i].hub == 1 && !got[i].Entry.OutageStart.Equal(first)
		if e.Repeated != want || got[i].Entry.Repeated != want || got[i].Entry.AlertID != e.AlertID {
			t.Errorf("entry %d is repeated: %v in the log, %v in the decision, want %v", e.Seq, e.Repeated, got[i].Entry.Repeated, want)
		}
	}
}

func TestBatch(t *testing.T) {
	// A batch with the same alert twice, two of one hub, one without a window:
	// held back behind a slow transaction so that they form one batch.
	gate := make(chan struct{})
	var batches []int
	s := openIn(t, t.TempDir(), func(o *Options) {
		o.OnCommit = func(n int, _ time.Duration, _ error) {
			if n > 0 {
				batches = append(batches, n)
			}
		}
	})
	s.Record(t.Context(), onDemand(1, 1, t0))
	s.Record(t.Context(), futureDated(2, 1, t0, t0.Add(time.Hour)))
	held := make(chan struct{})
	go s.do(t.Context(), urgent, func(context.Context) error { close(held); <-gate; return nil })
	<-held
	alerts := []outage.Alert{ad1(1, "a", t0), ad1(1, "a", t0), ad1(2, "b", t0), ad1(1, "c", t0)}
	got := make([]Decision, len(alerts))
	done := make(chan int)
	for i, a := range alerts {
		go func() {
			got[i], _ = s.Decide(t.Context(), a, outage.Suppressed, 0)
			done <- i
		}()
		eventually(t, "queued", func() bool { s.queue.mu.Lock(); defer s.queue.mu.Unlock(); return len(s.queue.decisions) == i+1 })
	}
	close(gate)
	for range alerts {
		<-done
	}
	if fmt.Sprint(batches) != "[4]" {
		t.Errorf("batches: %v", batches)
	}
	if got[0].Entry != got[1].Entry || got[0].Entry.Seq != 1 || got[3].Entry.Seq != 2 {
		t.Errorf("sequence: %+v", got)
	}
	if got[0].Entry.Repeated || !got[3].Entry.Repeated {
		t.Errorf("repeated: %+v", got)
	}
	if got[2].Outcome != outage.Forwarded || got[2].Reason != outage.ReasonWindowNotBegun {
		t.Errorf("without window: %+v", got[2])
	}
	if n := len(allEntries(t, s)); n != 2 {
		t.Errorf("%d entries", n)
	}
}

func TestSameAlertSameDecision(t *testing.T) {
	dir := t.TempDir()
	s := lead(t, openIn(t, dir))
	s.Record(t.Context(), futureDated(1, 1, t0, t0.Add(time.Hour)))
	// Forwarded before the window, and again within it; known only as a note,
	// and again once the hub has a window.
	if d := decide(t, s, ad1(1, "early", t0)); d.Reason != outage.ReasonWindowNotBegun {
		t.Fatal(d)
	}
	s.Note(noted(1, "noted", t0, outage.ReasonNoWindow))
	if d := decide(t, s, ad1(1, "inside", t0.Add(61*time.Minute))); d.Outcome != outage.Suppressed {
		t.Fatal(d)
	}
	for range 2 {
		for id, want := range map[string]outage.Decision{
			"early":  {Outcome: outage.Forwarded, Reason: outage.ReasonWindowNotBegun},
			"noted":  {Outcome: outage.Forwarded, Reason: outage.ReasonNoWindow},
			"inside": {Outcome: outage.Suppressed, Reason: outage.ReasonWindowOpen},
		} {
			for _, at := range []time.Duration{61 * time.Minute, 100 * time.Hour} {
				if d := decide(t, s, ad1(1, id, t0.Add(at))); d.Decision != want || !d.Retry {
					t.Errorf("%s after %v: %+v", id, at, d)
				}
			}
		}
		if n := len(allEntries(t, s)); n != 1 {
			t.Fatalf("%d entries", n)
		}
		// The same after a restart, and after the window has been housekept.
		s.Close()
		s = lead(t, openIn(t, dir))
		if h, err := s.Housekeep(t.Context(), Limits{WindowsBefore: t0.Add(1000 * time.Hour), LogBefore: t0.Add(-time.Hour)}); err != nil || h.Entries+h.Notes > 0 {
			t.Fatal(h, err)
		}
		if !s.MayHold(hub(1)) {
			t.Error("a hub with a log entry is not asked for")
		}
	}
}

func TestRecordRetry(t *testing.T) {
	s := openIn(t, t.TempDir())
	first := onDemand(1, 1, t0)
	if r := s.Record(t.Context(), first); r.Repeated {
		t.Fatal("first is repeated")
	}
	second := onDemand(1, 1, t0.Add(20*time.Minute))
	if r := s.Record(t.Context(), second); !r.Repeated {
		t.Fatal("the same message opened a second window")
	}
	// One try refused, the other accepted, in either order: the window stands.
	s.Settle(t.Context(), second, outage.Withdrawn)
	if d := decide(t, s, ad1(1, "refused", t0.Add(21*time.Minute))); d.Reason != outage.ReasonWindowWithdrawn {
		t.Fatal(d)
	}
	s.Settle(t.Context(), first, outage.Accepted)
	if d := decide(t, s, ad1(1, "accepted", t0.Add(22*time.Minute))); d.Outcome != outage.Suppressed {
		t.Fatal(d)
	}
	s.Settle(t.Context(), second, outage.Withdrawn)
	if d := decide(t, s, ad1(1, "still", t0.Add(23*time.Minute))); d.Outcome != outage.Suppressed {
		t.Fatal(d)
	}
	// Refused, and sent again: a window from then on.
	s.Record(t.Context(), onDemand(2, 1, t0))
	s.Settle(t.Context(), onDemand(2, 1, t0), outage.Withdrawn)
	again := onDemand(2, 1, t0.Add(time.Hour))
	if r := s.Record(t.Context(), again); r.Repeated {
		t.Fatal("a refused request stands in the way of its retry")
	}
	// A late answer to the first try changes nothing of the second.
	s.Settle(t.Context(), onDemand(2, 1, t0), outage.Withdrawn)
	if d := decide(t, s, ad1(2, "again", t0.Add(89*time.Minute))); d.Outcome != outage.Suppressed {
		t.Fatal(d)
	}
}

func TestOneProcessPerFolder(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	_, err := Open(t.Context(), Options{Dir: dir})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Fatalf("second: %v", err)
	}
	s.Close()
	openIn(t, dir)
}

func TestSwitch(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	if s.Switch() != "" {
		t.Fatal(s.Switch())
	}
	for _, sw := range []outage.Switch{outage.SwitchOn, outage.SwitchShadow} {
		if _, err := s.SetSwitch(t.Context(), sw, "alice", "because", t0); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	s = openIn(t, dir)
	if s.Switch() != outage.SwitchShadow {
		t.Fatal(s.Switch())
	}
	events, err := s.Events(t.Context(), 10)
	want := Event{ID: 2, At: t0, Who: "alice", What: "switch", Old: "on", New: "shadow", Why: "because"}
	if err != nil || len(events) != 2 || events[0] != want {
		t.Fatalf("%+v %v", events, err)
	}
	holdWriteLock(t, s.opts.Dir)
	// Any position but off, which TestSwitchOffWithoutStore is about.
	if _, err := s.SetSwitch(short(t), outage.SwitchOn, "alice", "because", t0); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrHereOnly) || s.Switch() != outage.SwitchShadow {
		t.Fatalf("without the store: %v, switch %s", err, s.Switch())
	}
}

func TestHousekeep(t *testing.T) {
	s := lead(t, openIn(t, t.TempDir()))
	const n = housekeepBatch + 10
	for i := range n {
		s.Record(t.Context(), onDemand(i, 1, t0))
		s.Note(noted(i, fmt.Sprint("n", i), t0, outage.ReasonNoWindow))
	}
	decide(t, s, ad1(0, "a", t0))
	cancel := onDemand(1, 2, t0)
	cancel.Order.Kind, cancel.Start, cancel.End = outage.Cancellation, time.Time{}, time.Time{}
	s.Record(t.Context(), cancel)
	s.Record(t.Context(), futureDated(2, 3, t0, t0.Add(1000*time.Hour)))

	over := t0.Add(30 * time.Minute)
	h, err := s.Housekeep(t.Context(), Limits{WindowsBefore: over, LogBefore: t0})
	if err != nil || h != (Housekeeping{}) {
		t.Fatalf("%+v %v", h, err)
	}
	h, err = s.Housekeep(t.Context(), Limits{WindowsBefore: over.Add(time.Microsecond), LogBefore: t0})
	if err != nil || h != (Housekeeping{Activations: n + 1}) { // the cancellation, too, which came after a window
		t.Fatalf("%+v %v", h, err)
	}
	prune(t, s)
	for i, want := range []bool{true /* has an entry */, false, true /* waits */, false} {
		if got := s.MayHold(hub(i)); got != want {
			t.Errorf("MayHold(hub %d) = %v", i, got)
		}
	}
	logged := Limits{WindowsBefore: t0, LogBefore: t0.Add(time.Microsecond)}
	h, err = s.Housekeep(t.Context(), logged)
	if err != nil || h != (Housekeeping{Notes: n}) || !s.MayHold(hub(0)) {
		t.Fatalf("an entry that is in no report: %+v %v", h, err)
	}
	writeReport(t, s, 1)
	h, err = s.Housekeep(t.Context(), logged)
	prune(t, s)
	if err != nil || h != (Housekeeping{Entries: 1}) || s.MayHold(hub(0)) {
		t.Fatalf("%+v %v", h, err)
	}
	// Numbers go on where they were.
	s.Record(t.Context(), onDemand(0, 9, t0))
	if d := decide(t, s, ad1(0, "b", t0)); d.Entry.Seq != 2 {
		t.Errorf("sequence %d after housekeeping", d.Entry.Seq)
	}
}

// Devices that are gone are skipped and counted, over all files of an import.
func TestImportSkips(t *testing.T) {
	s := openIn(t, t.TempDir())
	const head = "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn,device_status\n"
	row := func(m int, status string) string {
		return fmt.Sprintf("%s,ESME,SMETS2,Landis+Gyr,E470,%s,,%s\n", meter(m), hub(m), status)
	}
	files := []string{head + row(1, "Commissioned") + row(2, "Decommissioned"), head + row(3, "Withdrawn") + row(4, "")}
	im, err := s.ImportInventory(t.Context(), "alice", t0, func() (File, error) {
		if len(files) == 0 {
			return File{}, io.EOF
		}
		f := File{"f.csv", strings.NewReader(files[0])}
		files = files[1:]
		return f, nil
	})
	if err != nil || im.Rows != 2 || im.Skipped != 2 {
		t.Fatalf("%+v %v", im, err)
	}
	for m, want := range map[int]bool{1: true, 2: false, 3: false, 4: true} {
		if d, _, err := s.Device(t.Context(), meter(m)); err != nil || (d != nil) != want {
			t.Errorf("meter %d: %+v %v", m, d, err)
		}
	}
}

func TestImports(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	const head = "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n"
	row := func(m int, version string) string {
		return fmt.Sprintf("%s,ESME,%s,Landis+Gyr,E470,%s,1200023305967\n", meter(m), version, hub(m))
	}
	load := func(texts ...string) (Import, error) {
		return s.ImportInventory(t.Context(), "alice", t0, func() (File, error) {
			if len(texts) == 0 {
				return File{}, io.EOF
			}
			f := File{fmt.Sprintf("f%d.csv", len(texts)), strings.NewReader(texts[0])}
			texts = texts[1:]
			return f, nil
		})
	}
	version := func(m int) string {
		d, _, err := s.Device(t.Context(), meter(m))
		if err != nil {
			t.Fatal(err)
		}
		if d == nil {
			return "none"
		}
		return d.SMETSVersion
	}
	var many strings.Builder
	many.WriteString(head)
	for i := range 2*importBatch + 5 {
		many.WriteString(row(i, "first"))
	}
	if im, err := load(many.String(), head+row(5000, "other file")); err != nil || im.Rows != 2*importBatch+6 || im.Source != "f2.csv, f1.csv" {
		t.Fatalf("%+v %v", im, err)
	}
	if im, err := load(head + row(1, "second") + row(6000, "second")); err != nil || im.Rows != 2 {
		t.Fatalf("%+v %v", im, err)
	}
	faulty := strings.Replace(many.String(), "first", "third", -1)
	for name, text := range map[string]string{
		"fault at the end":     faulty + "rubbish\n",
		"twice, far apart":     faulty + row(0, "third"),
		"twice, side by side":  head + row(0, "third") + row(0, "third"),
		"in the second of two": faulty,
	} {
		more := []string{text}
		if name == "in the second of two" {
			more = append(more, head+"rubbish\n")
		}
		_, err := load(more...)
		if err == nil || !strings.Contains(err.Error(), "f1.csv: ") && !strings.Contains(err.Error(), "twice") {
			t.Errorf("%s: error %v", name, err)
		}
		if strings.HasPrefix(name, "twice") && !strings.Contains(err.Error(), meter(0).String()) {
			t.Errorf("%s: the error does not name the device: %v", name, err)
		}
	}
	check := func() {
		t.Helper()
		for m, want := range map[int]string{0: "first", 1: "second", importBatch: "first", 5000: "other file", 6000: "second", 7000: "none"} {
			if got := version(m); got != want {
				t.Errorf("meter %d: %s, want %s", m, got, want)
			}
		}
		var rows int
		if err := s.reader.QueryRowContext(t.Context(), `SELECT count(*) FROM inventory`).Scan(&rows); err != nil || rows != 2*importBatch+7 {
			t.Errorf("%d rows of inventory are kept, %v", rows, err)
		}
	}
	check()
	s.Close()
	s = openIn(t, dir)
	check()

	list := func(text string) error {
		_, err := s.ImportList(t.Context(), "bob", t0, File{"list", strings.NewReader(text)})
		return err
	}
	listed := func(m int) bool {
		_, yes, err := s.Device(t.Context(), meter(m))
		return yes && err == nil
	}
	if err := list(meter(1).String() + "\n" + meter(2).String() + "\n" + meter(2).String()); err != nil || !listed(1) || !listed(2) || listed(3) {
		t.Fatal(err)
	}
	if err := list(meter(3).String() + "\nrubbish!\n"); err == nil || !listed(1) || listed(3) {
		t.Fatal("half a list came into force")
	}
	if err := list(meter(3).String()); err != nil || listed(1) || !listed(3) {
		t.Fatal("the list was not replaced", err)
	}
	im, err := s.LastImport(t.Context(), "devices")
	if err != nil || im.Rows != 1 || im.Who != "bob" || len(im.SHA256) != 64 {
		t.Fatalf("%+v %v", im, err)
	}
	if ids, err := s.List(t.Context(), nil, 10); err != nil || fmt.Sprint(ids) != fmt.Sprint([]outage.DeviceID{meter(3)}) {
		t.Fatal(ids, err)
	}
}
