package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"quell/internal/outage"
)

// cutUpTo cuts a report with the entries up to a sequence number.
func cutUpTo(t testing.TB, s *Store, last int64, change ...func(*Cut)) Report {
	t.Helper()
	before, err := s.LastReport(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := Cut{After: before.No, SystemID: "test", Cause: CauseAsked, Start: t0, End: t0.Add(time.Duration(before.No+1) * time.Hour), At: t0, LastSeq: last,
		Window: 30 * time.Minute, Name: func(r Report, f ReportFile) string { return fmt.Sprint(f.Stream, "-", r.No) }}
	for _, f := range change {
		f(&c)
	}
	r, err := s.Cut(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// writeReport cuts a report, and says that its files are written.
func writeReport(t testing.TB, s *Store, last int64, change ...func(*Cut)) Report {
	t.Helper()
	r := cutUpTo(t, s, last, change...)
	for i := range r.Files {
		r.Files[i].SHA256 = "00"
	}
	if err := s.Written(t.Context(), r.No, r.Files, t0); err != nil {
		t.Fatal(err)
	}
	return r
}

func entriesOf(t testing.TB, s *Store, r Report) (list []outage.Entry) {
	t.Helper()
	for e, err := range s.ReportEntries(t.Context(), r) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

// logN logs n alerts of one hub, whose numbers go on from the last.
func logN(t testing.TB, s *Store, n int) {
	t.Helper()
	s.Record(t.Context(), onDemand(1, 1, t0))
	have := len(allEntries(t, s))
	for i := range n {
		decide(t, s, ad1(1, fmt.Sprint("alert", have+i), t0.Add(time.Duration(have+i)*time.Millisecond)))
	}
}

// Each entry is in one report, in order, and reports join without a gap.
func TestCut(t *testing.T) {
	s := openIn(t, t.TempDir())
	logN(t, s, 7)
	var seqs []int64
	for i, last := range []int64{3, 3, 6, 7} {
		r := cutUpTo(t, s, last)
		if r.No != int64(i+1) {
			t.Errorf("report %d is number %d", i+1, r.No)
		}
		for _, e := range entriesOf(t, s, r) {
			seqs = append(seqs, e.Seq)
		}
		again, err := s.Report(t.Context(), r.No)
		if err != nil || again.FirstSeq != r.FirstSeq || again.LastSeq != r.LastSeq || !again.Start.Equal(r.Start) || !again.End.Equal(r.End) {
			t.Errorf("read back: %+v %v, cut: %+v", again, err, r)
		}
	}
	if !slices.Equal(seqs, []int64{1, 2, 3, 4, 5, 6, 7}) {
		t.Errorf("entries %v", seqs)
	}
	_, err := s.Cut(t.Context(), Cut{After: 3, End: t0, LastSeq: 7})
	if !errors.Is(err, ErrStale) {
		t.Errorf("cut after a report that is not the last: %v", err)
	}
	if last, _ := s.LastReport(t.Context()); last.No != 4 {
		t.Errorf("the last report is %d", last.No)
	}
	// A clock that was set back makes no period that ends before it begins.
	if r := cutUpTo(t, s, 7, func(c *Cut) { c.End = t0 }); r.End.Before(r.Start) {
		t.Errorf("period from %v to %v", r.Start, r.End)
	}
}

// A report keeps showing outcomes as they were when it was cut; the next one
// has the correction.
func TestCorrectionAfterCut(t *testing.T) {
	s := openIn(t, t.TempDir())
	logN(t, s, 3)
	correct := func(n int) {
		s.Note(noted(1, fmt.Sprint("alert", n), t0, outage.ReasonStoreUnavailable))
		if err := s.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	outcomes := func(r Report) (list []outage.Outcome) {
		for _, e := range entriesOf(t, s, r) {
			list = append(list, e.Outcome)
		}
		return list
	}
	correct(0)
	first := cutUpTo(t, s, 2)
	correct(1)
	correct(1)
	correct(2)
	want := []outage.Outcome{outage.Forwarded, outage.Suppressed}
	if got := outcomes(first); !slices.Equal(got, want) {
		t.Errorf("outcomes %v, want %v", got, want)
	}
	second := cutUpTo(t, s, 3)
	if got := outcomes(second); !slices.Equal(got, []outage.Outcome{outage.Forwarded}) {
		t.Errorf("an entry that was corrected before its first report: %v", got)
	}
	third := cutUpTo(t, s, 3)
	for _, c := range []struct {
		r    Report
		want []int64
	}{{first, nil}, {second, []int64{2}}, {third, nil}} {
		list, err := s.Corrections(t.Context(), c.r)
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

// A correction that comes while a report is read does not get into it.
func TestCorrectionWhileRead(t *testing.T) {
	s := openIn(t, t.TempDir())
	logN(t, s, 1)
	const entries = entryReads*entrySpan + 1 // of which the last is not read before the first is used
	const others = `alert_code, chf, esme, mpxn, mpxn_valid, distributor, outage_start, received_at, activation_id, request_id, mode, window_start, window_end, outcome, started_before, repeated`
	script(t, s, fmt.Sprintf(`WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		INSERT INTO suppression (seq, alert_id, %s) SELECT i, 'alert' || CAST(i - 1 AS TEXT), %s FROM n JOIN suppression ON seq = 1;
		UPDATE counter SET value = %[1]d WHERE name = 'suppression'`, entries, others, others))
	r := cutUpTo(t, s, entries)
	for e, err := range s.ReportEntries(t.Context(), r) {
		if err != nil || e.Outcome != outage.Suppressed {
			t.Fatalf("entry %d: %s %v", e.Seq, e.Outcome, err)
		}
		if e.Seq == 1 {
			s.Note(Forwarded{fmt.Sprint("alert", entries-1), hub(1), e.OutageStart, t0, outage.ReasonStoreUnavailable})
			eventually(t, "it is corrected", func() bool {
				list, err := s.Entries(t.Context(), Find{AlertID: fmt.Sprint("alert", entries-1)}, 1)
				return err == nil && len(list) == 1 && list[0].Outcome == outage.Forwarded
			})
		}
	}
}

// What stood at a report's beginning and what changed in it are told, each
// change in one report.
func TestReportEvents(t *testing.T) {
	s := openIn(t, t.TempDir())
	turn := func(to outage.Switch) {
		if _, err := s.SetSwitch(t.Context(), to, "alice", "why "+string(to), t0); err != nil {
			t.Fatal(err)
		}
	}
	turn(outage.SwitchOn)
	first := cutUpTo(t, s, 0)
	second := cutUpTo(t, s, 0)
	turn(outage.SwitchOff)
	turn(outage.SwitchShadow)
	third := cutUpTo(t, s, 0)
	if third.Switch != outage.SwitchShadow || second.Switch != outage.SwitchOn {
		t.Errorf("switch %s, then %s", second.Switch, third.Switch)
	}
	values := func(list []Event) (v []string) {
		for _, e := range list {
			v = append(v, e.New)
		}
		return v
	}
	for _, c := range []struct {
		r              Report
		state, changes []string
	}{{first, nil, []string{"on"}}, {second, []string{"on"}, nil}, {third, []string{"on"}, []string{"off", "shadow"}}} {
		state, changes, err := s.ReportEvents(t.Context(), c.r)
		if err != nil || !slices.Equal(values(state), c.state) || !slices.Equal(values(changes), c.changes) {
			t.Errorf("report %d: %v then %v (%v), want %v then %v", c.r.No, values(state), values(changes), err, c.state, c.changes)
		}
	}
}

// A distributor has files from its first entry on, or from the beginning if a
// remote waits for them.
func TestStreams(t *testing.T) {
	s := openIn(t, t.TempDir())
	streams := func(change func(*Cut)) (list []string) {
		r := writeReport(t, s, 0, change)
		for _, f := range r.Files {
			list = append(list, fmt.Sprintf("%s after %d", f.Stream, f.Previous))
		}
		return list
	}
	for i, c := range []struct {
		with func(*Cut)
		want []string
	}{
		{func(c *Cut) {}, []string{"consolidated after 0"}},
		{func(c *Cut) { c.Streams = []string{"12"} }, []string{"consolidated after 1", "12 after 0"}},
		{func(c *Cut) { c.Streams = []string{} }, []string{"consolidated after 2", "12 after 2"}},
		{func(c *Cut) { c.Streams, c.SkipEmpty = []string{"14"}, true }, []string{"consolidated after 3", "14 after 0"}},
		{func(c *Cut) { c.Streams, c.Remotes = []string{}, map[string]string{"a": "15", "b": Consolidated} },
			[]string{"consolidated after 4", "12 after 3", "14 after 4", "15 after 0"}},
	} {
		if got := streams(c.with); !slices.Equal(got, c.want) {
			t.Errorf("report %d: %q, want %q", i+1, got, c.want)
		}
	}
	r, err := s.Report(t.Context(), 5)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		start      time.Time
		deliveries int
	}{{t0.Add(4 * time.Hour), 1}, {t0.Add(3 * time.Hour), 0}, {t0.Add(4 * time.Hour), 0}, {t0.Add(4 * time.Hour), 1}} {
		if f := r.Files[i]; !f.Start.Equal(want.start) || len(f.Deliveries) != want.deliveries {
			t.Errorf("%s begins %v with %d deliveries, want %+v", f.Stream, f.Start, len(f.Deliveries), want)
		}
	}
}

// A turn of the switch is told to every distributor, also where empty files are
// left out.
func TestStreamsOfChanges(t *testing.T) {
	s := openIn(t, t.TempDir())
	skip := func(streams ...string) func(*Cut) {
		return func(c *Cut) { c.Streams, c.SkipEmpty = append([]string{}, streams...), true }
	}
	cutUpTo(t, s, 0, skip("12"))
	if _, err := s.SetSwitch(t.Context(), outage.SwitchOff, "alice", "a reason", t0); err != nil {
		t.Fatal(err)
	}
	if r := cutUpTo(t, s, 0, skip()); len(r.Files) != 2 || r.Files[1].Stream != "12" {
		t.Errorf("files of a report with a turn of the switch: %+v", r.Files)
	}
	if r := cutUpTo(t, s, 0, skip()); len(r.Files) != 1 {
		t.Errorf("files of a report with nothing: %+v", r.Files)
	}
}

// An entry stays until every remote in use that is to have it has it.
func TestHousekeepKeepsUnreported(t *testing.T) {
	s := lead(t, openIn(t, t.TempDir()))
	logN(t, s, 4)
	remotes := func(c *Cut) { c.Remotes = map[string]string{"esi": Consolidated, "old": Consolidated} }
	housekeep := func(remotes ...string) (left []int64) {
		if _, err := s.Housekeep(t.Context(), Limits{LogBefore: t0.Add(time.Hour), Remotes: remotes}); err != nil {
			t.Fatal(err)
		}
		for _, e := range allEntries(t, s) {
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
		if err := s.SetDelivery(t.Context(), Delivery{Report: no, Stream: Consolidated, Remote: remote, State: StateConfirmed, At: t0, Tries: 1}); err != nil {
			t.Fatal(err)
		}
	}
	expect("no report", housekeep(), 1, 2, 3, 4)
	writeReport(t, s, 1, remotes)
	writeReport(t, s, 2, remotes)
	r := cutUpTo(t, s, 3, remotes)
	expect("nothing confirmed", housekeep("esi"), 1, 2, 3, 4)
	confirm(1, "esi")
	expect("the first confirmed, but not by old", housekeep("esi", "old"), 1, 2, 3, 4)
	expect("the first confirmed, old no more in use", housekeep("esi"), 2, 3, 4)
	confirm(2, "esi")
	expect("the third not written", housekeep(), 3, 4)
	for e, err := range s.ReportEntries(t.Context(), r) {
		if err != nil || e.Seq != 3 {
			t.Errorf("entry %d %v", e.Seq, err)
		}
	}
	confirm(3, "esi")
	expect("cut, not written", housekeep("esi"), 3, 4)
	r.Files[0].SHA256 = "00"
	if err := s.Written(t.Context(), 3, r.Files, t0); err != nil {
		t.Fatal(err)
	}
	expect("all written and confirmed", housekeep("esi"), 4)
	for _, err := range s.ReportEntries(t.Context(), r) {
		if err == nil {
			t.Error("a report whose entries are gone has entries")
		}
	}
}

func TestRedeliver(t *testing.T) {
	s := lead(t, openIn(t, t.TempDir()))
	writeReport(t, s, 0, func(c *Cut) { c.Remotes = map[string]string{"esi": Consolidated} })
	undelivered := func(remote string) int {
		list, err := s.Undelivered(t.Context(), remote, Consolidated, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if err := s.SetDelivery(t.Context(), Delivery{Report: 1, Stream: Consolidated, Remote: "esi", State: StateConfirmed, At: t0, Tries: 1}); err != nil {
		t.Fatal(err)
	}
	if n := undelivered("esi"); n != 0 {
		t.Errorf("%d deliveries wait after the confirmation", n)
	}
	for _, remote := range []string{"esi", "new"} {
		if err := s.Redeliver(t.Context(), 1, Consolidated, remote, t0); err != nil || undelivered(remote) != 1 {
			t.Errorf("%s: %v", remote, err)
		}
	}
	for _, c := range []struct {
		no     int64
		stream string
	}{{2, Consolidated}, {1, "12"}} {
		if err := s.Redeliver(t.Context(), c.no, c.stream, "esi", t0); !errors.Is(err, ErrNoReport) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	w, err := s.Waiting(t.Context())
	if err != nil || len(w) != 2 || w[0] != (Waiting{"esi", 1, t0, 1}) {
		t.Errorf("waiting: %+v %v", w, err)
	}
}

// Reading stops with its caller, and leaves nothing behind.
func TestEntriesBetween(t *testing.T) {
	s := openIn(t, t.TempDir())
	logN(t, s, 10)
	for range s.EntriesBetween(t.Context(), 1, 10) {
		break
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	var last error
	for _, err := range s.EntriesBetween(ended, 1, 10) {
		last = err
	}
	if last == nil {
		t.Error("a reading that was cut short says nothing of it")
	}
}

// Who gives up waiting reads nothing that the committer may still write.
func TestGivenUpTasks(t *testing.T) {
	s := openIn(t, t.TempDir())
	logN(t, s, 3)
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		s.Cut(ctx, Cut{After: -1, Name: func(Report, ReportFile) string { return "" }})
		s.Housekeep(ctx, Limits{WindowsBefore: t0.Add(-time.Hour)})
		s.Redeliver(ctx, 1, Consolidated, "esi", t0)
	}
}

// Whoever gives up waiting does not touch what the transaction writes, which
// comes later: the race detector looks.
func TestGivenUp(t *testing.T) {
	s := lead(t, openIn(t, t.TempDir()))
	held := make(chan struct{})
	// Not until a channel says so: that would have one wait for the other.
	go s.do(t.Context(), urgent, func(context.Context) error { close(held); time.Sleep(300 * time.Millisecond); return nil })
	<-held
	var wg sync.WaitGroup
	for what, f := range map[string]func(ctx context.Context) error{
		"cut": func(ctx context.Context) error {
			r, err := s.Cut(ctx, Cut{SystemID: "test", Start: t0, End: t0, Name: func(Report, ReportFile) string { return "file" }})
			if r.No != 0 {
				t.Errorf("%+v", r)
			}
			return err
		},
		"switch": func(ctx context.Context) error {
			_, err := s.SetSwitch(ctx, outage.SwitchOff, "alice", "a reason", t0)
			return err
		},
		"import": func(ctx context.Context) error {
			_, err := s.ImportList(ctx, "bob", t0, File{"list", strings.NewReader(meter(1).String())})
			return err
		},
		"housekeep": func(ctx context.Context) error {
			_, err := s.Housekeep(ctx, Limits{WindowsBefore: t0, LogBefore: t0})
			return err
		},
		"redeliver": func(ctx context.Context) error { return s.Redeliver(ctx, 1, Consolidated, "there", t0) },
		"record":    func(ctx context.Context) error { s.Record(ctx, onDemand(1, 1, t0)); return ErrUnavailable },
		"decide": func(ctx context.Context) error {
			_, err := s.Decide(ctx, ad1(1, "x", t0), outage.Suppressed, 0)
			return err
		},
	} {
		ctx := short(t)
		wg.Go(func() {
			if err := f(ctx); !errors.Is(err, ErrUnavailable) {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	wg.Wait()
	time.Sleep(time.Second) // by then all of it has run, and nobody has asked whether
}

// A zero time is no bound: what was received while the clock was a year ahead is read too.
func TestEntriesReceived(t *testing.T) {
	s := openIn(t, t.TempDir())
	logN(t, s, 3)
	script(t, s, fmt.Sprintf(`UPDATE suppression SET received_at = %d WHERE seq = 2`, time.Now().AddDate(30, 0, 0).UnixMicro()))
	for _, x := range []struct {
		from, to time.Time
		want     int
	}{
		{time.Time{}, time.Time{}, 3},
		{t0, time.Time{}, 3},
		{time.Time{}, t0.Add(time.Hour), 2},
		{t0.Add(time.Millisecond), time.Time{}, 2},
		{t0, t0.Add(time.Millisecond), 1},
	} {
		n := 0
		for _, err := range s.EntriesReceived(t.Context(), x.from, x.to) {
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
