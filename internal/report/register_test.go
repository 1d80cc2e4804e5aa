package report_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"quell/internal/devices"
	"quell/internal/events"
	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/report"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

// Each entry is in one report, in order, and there is no gap between reports.
func TestCut(t *testing.T) { storetest.EachEngine(t, testCut) }

func testCut(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	storetest.LogN(t, s, 7)
	var seqs []int64
	for i, last := range []int64{3, 3, 6, 7} {
		r := storetest.CutUpTo(t, s, last)
		if r.No != int64(i+1) {
			t.Errorf("report %d has number %d", i+1, r.No)
		}
		for _, e := range storetest.EntriesIn(t, s, r) {
			seqs = append(seqs, e.Seq)
		}
		again, err := s.Reports.Report(t.Context(), r.No)
		if err != nil || again.FirstSeq != r.FirstSeq || again.LastSeq != r.LastSeq || !again.Start.Equal(r.Start) || !again.End.Equal(r.End) {
			t.Errorf("read back: %+v %v, cut: %+v", again, err, r)
		}
	}
	if !slices.Equal(seqs, []int64{1, 2, 3, 4, 5, 6, 7}) {
		t.Errorf("entries %v", seqs)
	}
	_, err := s.Reports.Cut(t.Context(), report.CutOptions{After: 3, End: storetest.T0, LastSeq: 7})
	if !errors.Is(err, report.ErrStale) {
		t.Errorf("cut after a report that is not the last: %v", err)
	}
	if last, _ := s.Reports.Last(t.Context()); last.No != 4 {
		t.Errorf("the last report is %d", last.No)
	}
	// If the clock was set back, the period does not end before it starts.
	if r := storetest.CutUpTo(t, s, 7, func(c *report.CutOptions) { c.End = storetest.T0 }); r.End.Before(r.Start) {
		t.Errorf("period from %v to %v", r.Start, r.End)
	}
}

// A report always has outcomes as they were when it was cut. The next one has the correction.
func TestCorrectionAfterCut(t *testing.T) { storetest.EachEngine(t, testCorrectionAfterCut) }

func testCorrectionAfterCut(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	storetest.LogN(t, s, 3)
	correct := func(n int) {
		s.Ledger.NoteForwarded(storetest.Noted(1, fmt.Sprint("alert", n), storetest.T0, outage.ReasonStoreUnavailable))
		if err := s.DB.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	outcomes := func(r report.Report) (list []outage.Outcome) {
		for _, e := range storetest.EntriesIn(t, s, r) {
			list = append(list, e.Outcome)
		}
		return list
	}
	correct(0)
	first := storetest.CutUpTo(t, s, 2)
	correct(1)
	correct(1)
	correct(2)
	want := []outage.Outcome{outage.Forwarded, outage.Suppressed}
	if got := outcomes(first); !slices.Equal(got, want) {
		t.Errorf("outcomes %v, want %v", got, want)
	}
	second := storetest.CutUpTo(t, s, 3)
	if got := outcomes(second); !slices.Equal(got, []outage.Outcome{outage.Forwarded}) {
		t.Errorf("an entry that was corrected before its report was cut: %v", got)
	}
	third := storetest.CutUpTo(t, s, 3)
	for _, c := range []struct {
		r    report.Report
		want []int64
	}{{first, nil}, {second, []int64{2}}, {third, nil}} {
		list, err := s.Reports.Corrections(t.Context(), c.r)
		if err != nil {
			t.Fatal(err)
		}
		var seqs []int64
		for _, e := range list {
			seqs = append(seqs, e.Seq)
			if e.Outcome != outage.Forwarded {
				t.Errorf("correction %+v", e)
			}
		}
		if !slices.Equal(seqs, c.want) {
			t.Errorf("report %d corrects %v, want %v", c.r.No, seqs, c.want)
		}
	}
}

// A correction that is made while a report is read does not get into it.
func TestCorrectionWhileRead(t *testing.T) { storetest.EachEngine(t, testCorrectionWhileRead) }

func testCorrectionWhileRead(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	storetest.LogN(t, s, 1)
	const entries = 3*5000 + 1 // so many that the last is not read before the first is used
	const others = `alert_code, chf, esme, mpxn, mpxn_valid, distributor, outage_start, received_at, activation_id, request_id, mode, window_start, window_end, outcome, started_before, repeated`
	storetest.Script(t, s, fmt.Sprintf(`WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		INSERT INTO suppression (seq, alert_id, %s) SELECT i, 'alert' || CAST(i - 1 AS TEXT), %s FROM n JOIN suppression ON seq = 1;
		UPDATE counter SET value = %[1]d WHERE name = 'suppression'`, entries, others, others))
	r := storetest.CutUpTo(t, s, entries)
	for e, err := range s.Ledger.EntriesAsOf(t.Context(), r.FirstSeq, r.LastSeq, r.LastCorrection()) {
		if err != nil || e.Outcome != outage.Suppressed {
			t.Fatalf("entry %d: %s %v", e.Seq, e.Outcome, err)
		}
		if e.Seq == 1 {
			s.Ledger.NoteForwarded(ledger.ForwardedNote{AlertID: fmt.Sprint("alert", entries-1), CHF: storetest.Hub(1), OutageStart: e.OutageStart, Received: storetest.T0, Reason: outage.ReasonStoreUnavailable})
			storetest.Eventually(t, "it is corrected", func() bool {
				list, err := s.Ledger.Entries(t.Context(), ledger.Filter{AlertID: fmt.Sprint("alert", entries-1)}, 1)
				return err == nil && len(list) == 1 && list[0].Outcome == outage.Forwarded
			})
		}
	}
}

// A report has the state of the switch when it begins, and the changes in it. Each change is in
// one report.
func TestReportEvents(t *testing.T) { storetest.EachEngine(t, testReportEvents) }

func testReportEvents(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	set := func(to outage.Switch) {
		if _, err := s.Ledger.SetSwitch(t.Context(), to, "alice", "why "+string(to), storetest.T0); err != nil {
			t.Fatal(err)
		}
	}
	set(outage.SwitchOn)
	first := storetest.CutUpTo(t, s, 0)
	second := storetest.CutUpTo(t, s, 0)
	set(outage.SwitchOff)
	set(outage.SwitchShadow)
	third := storetest.CutUpTo(t, s, 0)
	if third.Switch != outage.SwitchShadow || second.Switch != outage.SwitchOn {
		t.Errorf("switch %s, then %s", second.Switch, third.Switch)
	}
	values := func(list []events.Event) (v []string) {
		for _, e := range list {
			v = append(v, e.New)
		}
		return v
	}
	for _, c := range []struct {
		r              report.Report
		state, changes []string
	}{{first, nil, []string{"on"}}, {second, []string{"on"}, nil}, {third, []string{"on"}, []string{"off", "shadow"}}} {
		state, changes, err := s.Reports.Events(t.Context(), c.r)
		if err != nil || !slices.Equal(values(state), c.state) || !slices.Equal(values(changes), c.changes) {
			t.Errorf("report %d: %v then %v (%v), want %v then %v", c.r.No, values(state), values(changes), err, c.state, c.changes)
		}
	}
}

// A distributor has files from its first entry on, or from the first report on if a remote
// takes them.
func TestStreams(t *testing.T) { storetest.EachEngine(t, testStreams) }

func testStreams(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	streams := func(change func(*report.CutOptions)) (list []string) {
		r := storetest.WriteReport(t, s, 0, change)
		for _, f := range r.Files {
			list = append(list, fmt.Sprintf("%s after %d", f.Stream, f.Previous))
		}
		return list
	}
	for i, c := range []struct {
		with func(*report.CutOptions)
		want []string
	}{
		{func(c *report.CutOptions) {}, []string{"consolidated after 0"}},
		{func(c *report.CutOptions) { c.Streams = []string{"12"} }, []string{"consolidated after 1", "12 after 0"}},
		{func(c *report.CutOptions) { c.Streams = []string{} }, []string{"consolidated after 2", "12 after 2"}},
		{func(c *report.CutOptions) { c.Streams, c.SkipEmpty = []string{"14"}, true }, []string{"consolidated after 3", "14 after 0"}},
		{func(c *report.CutOptions) {
			c.Streams, c.Remotes = []string{}, map[string]string{"a": "15", "b": report.Consolidated}
		},
			[]string{"consolidated after 4", "12 after 3", "14 after 4", "15 after 0"}},
	} {
		if got := streams(c.with); !slices.Equal(got, c.want) {
			t.Errorf("report %d: %q, want %q", i+1, got, c.want)
		}
	}
	r, err := s.Reports.Report(t.Context(), 5)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		start      time.Time
		deliveries int
	}{{storetest.T0.Add(4 * time.Hour), 1}, {storetest.T0.Add(3 * time.Hour), 0}, {storetest.T0.Add(4 * time.Hour), 0}, {storetest.T0.Add(4 * time.Hour), 1}} {
		if f := r.Files[i]; !f.Start.Equal(want.start) || len(f.Deliveries) != want.deliveries {
			t.Errorf("%s starts at %v with %d deliveries, want %+v", f.Stream, f.Start, len(f.Deliveries), want)
		}
	}
}

// A change of the switch is in a file for every distributor, even if empty files are left out.
func TestStreamsOfChanges(t *testing.T) { storetest.EachEngine(t, testStreamsOfChanges) }

func testStreamsOfChanges(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	skip := func(streams ...string) func(*report.CutOptions) {
		return func(c *report.CutOptions) { c.Streams, c.SkipEmpty = append([]string{}, streams...), true }
	}
	storetest.CutUpTo(t, s, 0, skip("12"))
	if _, err := s.Ledger.SetSwitch(t.Context(), outage.SwitchOff, "alice", "a reason", storetest.T0); err != nil {
		t.Fatal(err)
	}
	if r := storetest.CutUpTo(t, s, 0, skip()); len(r.Files) != 2 || r.Files[1].Stream != "12" {
		t.Errorf("files of a report with a change of the switch: %+v", r.Files)
	}
	if r := storetest.CutUpTo(t, s, 0, skip()); len(r.Files) != 1 {
		t.Errorf("files of an empty report: %+v", r.Files)
	}
}

// An entry is kept until every remote in use that takes it has confirmed it.
func TestHousekeepKeepsUnreported(t *testing.T) {
	storetest.EachEngine(t, testHousekeepKeepsUnreported)
}

func testHousekeepKeepsUnreported(t *testing.T) {
	s := storetest.MakeLeader(t, storetest.Open(t, t.TempDir()))
	storetest.LogN(t, s, 4)
	remotes := func(c *report.CutOptions) {
		c.Remotes = map[string]string{"esi": report.Consolidated, "old": report.Consolidated}
	}
	housekeep := func(remotes ...string) (left []int64) {
		if _, err := s.Housekeep(t.Context(), store.Limits{LogBefore: storetest.T0.Add(time.Hour), Remotes: remotes}); err != nil {
			t.Fatal(err)
		}
		for _, e := range storetest.Entries(t, s) {
			left = append(left, e.Seq)
		}
		return left
	}
	expect := func(what string, got []int64, want ...int64) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: entries %v are left, want %v", what, got, want)
		}
	}
	confirm := func(no int64, remote string) {
		if err := s.Reports.SetDelivery(t.Context(), report.Delivery{Report: no, Stream: report.Consolidated, Remote: remote, State: report.StateConfirmed, At: storetest.T0, Tries: 1}); err != nil {
			t.Fatal(err)
		}
	}
	expect("no report", housekeep(), 1, 2, 3, 4)
	storetest.WriteReport(t, s, 1, remotes)
	storetest.WriteReport(t, s, 2, remotes)
	r := storetest.CutUpTo(t, s, 3, remotes)
	expect("nothing is confirmed", housekeep("esi"), 1, 2, 3, 4)
	confirm(1, "esi")
	expect("the first is confirmed, but not by old", housekeep("esi", "old"), 1, 2, 3, 4)
	expect("the first is confirmed, old is no longer in use", housekeep("esi"), 2, 3, 4)
	confirm(2, "esi")
	expect("the third is not written", housekeep(), 3, 4)
	for e, err := range s.Ledger.EntriesAsOf(t.Context(), r.FirstSeq, r.LastSeq, r.LastCorrection()) {
		if err != nil || e.Seq != 3 {
			t.Errorf("entry %d %v", e.Seq, err)
		}
	}
	confirm(3, "esi")
	expect("the third is cut, not written", housekeep("esi"), 3, 4)
	r.Files[0].SHA256 = "00"
	if err := s.Reports.Written(t.Context(), 3, r.Files, storetest.T0); err != nil {
		t.Fatal(err)
	}
	expect("all are written and confirmed", housekeep("esi"), 4)
	for _, err := range s.Ledger.EntriesAsOf(t.Context(), r.FirstSeq, r.LastSeq, r.LastCorrection()) {
		if err == nil {
			t.Error("entries are read of a report whose entries were deleted")
		}
	}
}

func TestRedeliver(t *testing.T) { storetest.EachEngine(t, testRedeliver) }

func testRedeliver(t *testing.T) {
	s := storetest.MakeLeader(t, storetest.Open(t, t.TempDir()))
	storetest.WriteReport(t, s, 0, func(c *report.CutOptions) { c.Remotes = map[string]string{"esi": report.Consolidated} })
	undelivered := func(remote string) int {
		list, err := s.Reports.Undelivered(t.Context(), remote, report.Consolidated, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if err := s.Reports.SetDelivery(t.Context(), report.Delivery{Report: 1, Stream: report.Consolidated, Remote: "esi", State: report.StateConfirmed, At: storetest.T0, Tries: 1}); err != nil {
		t.Fatal(err)
	}
	if n := undelivered("esi"); n != 0 {
		t.Errorf("%d deliveries wait after the confirmation", n)
	}
	for _, remote := range []string{"esi", "new"} {
		if err := s.Reports.Redeliver(t.Context(), 1, report.Consolidated, remote, storetest.T0); err != nil || undelivered(remote) != 1 {
			t.Errorf("%s: %v", remote, err)
		}
	}
	for _, c := range []struct {
		no     int64
		stream string
	}{{2, report.Consolidated}, {1, "12"}} {
		if err := s.Reports.Redeliver(t.Context(), c.no, c.stream, "esi", storetest.T0); !errors.Is(err, report.ErrNoReport) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	w, err := s.Reports.Waiting(t.Context())
	if err != nil || len(w) != 2 || w[0] != (report.Waiting{"esi", 1, storetest.T0, 1}) {
		t.Errorf("waiting: %+v %v", w, err)
	}
}

// Reading stops when its caller stops, or when its context ends.
func TestEntriesBetween(t *testing.T) { storetest.EachEngine(t, testEntriesBetween) }

func testEntriesBetween(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	storetest.LogN(t, s, 10)
	for range s.Ledger.EntriesBetween(t.Context(), 1, 10) {
		break
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	var last error
	for _, err := range s.Ledger.EntriesBetween(ended, 1, 10) {
		last = err
	}
	if last == nil {
		t.Error("a read whose context ended yields no error")
	}
}

// A caller that gives up waiting does not read what the writer may still write: the race
// detector would find it.
func TestGivenUpTasks(t *testing.T) { storetest.EachEngine(t, testGivenUpTasks) }

func testGivenUpTasks(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	storetest.LogN(t, s, 3)
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		s.Reports.Cut(ctx, report.CutOptions{After: -1, Name: func(report.Report, report.File) string { return "" }})
		s.Housekeep(ctx, store.Limits{WindowsBefore: storetest.T0.Add(-time.Hour)})
		s.Reports.Redeliver(ctx, 1, report.Consolidated, "esi", storetest.T0)
	}
}

// A caller that gives up waiting does not use what the transaction writes later: the race
// detector would find it.
func TestGivenUp(t *testing.T) { storetest.EachEngine(t, testGivenUp) }

func testGivenUp(t *testing.T) {
	s := storetest.MakeLeader(t, storetest.Open(t, t.TempDir()))
	held := make(chan struct{})
	// It sleeps rather than wait for a channel, which would order the two for the race detector.
	go s.DB.Do(t.Context(), sqldb.Urgent, func(context.Context, sqldb.Tx) error { close(held); time.Sleep(300 * time.Millisecond); return nil })
	<-held
	var wg sync.WaitGroup
	for what, f := range map[string]func(ctx context.Context) error{
		"cut": func(ctx context.Context) error {
			r, err := s.Reports.Cut(ctx, report.CutOptions{SystemID: "test", Start: storetest.T0, End: storetest.T0, Name: func(report.Report, report.File) string { return "file" }})
			if r.No != 0 {
				t.Errorf("a cut that failed returns %+v", r)
			}
			return err
		},
		"switch": func(ctx context.Context) error {
			_, err := s.Ledger.SetSwitch(ctx, outage.SwitchOff, "alice", "a reason", storetest.T0)
			return err
		},
		"import": func(ctx context.Context) error {
			_, err := s.Devices.ImportList(ctx, "bob", storetest.T0, devices.File{Name: "list", Reader: strings.NewReader(storetest.Meter(1).String())})
			return err
		},
		"housekeep": func(ctx context.Context) error {
			_, err := s.Housekeep(ctx, store.Limits{WindowsBefore: storetest.T0, LogBefore: storetest.T0})
			return err
		},
		"redeliver": func(ctx context.Context) error {
			return s.Reports.Redeliver(ctx, 1, report.Consolidated, "there", storetest.T0)
		},
		"record": func(ctx context.Context) error {
			s.Ledger.Record(ctx, storetest.OnDemand(1, 1, storetest.T0))
			return sqldb.ErrUnavailable
		},
		"decide": func(ctx context.Context) error {
			_, err := s.Ledger.Decide(ctx, storetest.AD1(1, "x", storetest.T0), outage.Suppressed, 0)
			return err
		},
	} {
		ctx := storetest.Short(t)
		wg.Go(func() {
			if err := f(ctx); !errors.Is(err, sqldb.ErrUnavailable) {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	wg.Wait()
	time.Sleep(time.Second) // until all transactions have run; to wait for them would order the two
}

// A zero time is no bound: an entry that was received while the clock was 30 years ahead is read
// too.
func TestEntriesReceived(t *testing.T) { storetest.EachEngine(t, testEntriesReceived) }

func testEntriesReceived(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	storetest.LogN(t, s, 3)
	storetest.Script(t, s, fmt.Sprintf(`UPDATE suppression SET received_at = %d WHERE seq = 2`, time.Now().AddDate(30, 0, 0).UnixMicro()))
	for _, x := range []struct {
		from, to time.Time
		want     int
	}{
		{time.Time{}, time.Time{}, 3},
		{storetest.T0, time.Time{}, 3},
		{time.Time{}, storetest.T0.Add(time.Hour), 2},
		{storetest.T0.Add(time.Millisecond), time.Time{}, 2},
		{storetest.T0, storetest.T0.Add(time.Millisecond), 1},
	} {
		n := 0
		for _, err := range s.Ledger.EntriesReceived(t.Context(), x.from, x.to) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != x.want {
			t.Errorf("[%v, %v): %d entries, want %d", x.from, x.to, n, x.want)
		}
	}
}
