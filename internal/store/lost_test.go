package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"quell/internal/outage"
	"quell/internal/remote/remotetest"
	"quell/internal/store/storetest"
)

// through is the address of a server's database behind a proxy.
func through(proxy *remotetest.Proxy) string {
	return "postgres://quell@" + proxy.Addr + "/postgres?sslmode=disable"
}

// losing opens a store on a database of its own, through a proxy that loses the
// answer to a commit when it is told to.
func losing(t *testing.T) (*Store, *remotetest.Proxy) {
	if onPostgres() {
		t.Skip("skip allowed: it has a server of its own")
	}
	proxy := remotetest.NewProxy(t, storetest.Start(t).Socket())
	return openIn(t, t.TempDir(), func(o *Options) { o.Database = through(proxy) }), proxy
}

// committed is how the server says that it has committed.
const committed = "COMMIT\x00"

// The server commits, and the answer is lost: whatever it was is asked for
// again, and comes to have happened once, or not at all if that was said.
func TestAnswerToCommitLost(t *testing.T) {
	s, proxy := losing(t)
	s.Record(t.Context(), onDemand(1, 1, t0))
	lost := func(what string, f func()) {
		t.Helper()
		proxy.LoseAnswer(committed, 0)
		f()
		eventually(t, what+": an answer was lost", proxy.LostAnswer)
		eventually(t, what+": the journal is played", func() bool { return s.Pending() == 0 && s.Check(t.Context()) == nil })
	}
	lost("record", func() {
		if r := s.Record(t.Context(), onDemand(2, 1, t0)); !r.Remembered {
			t.Errorf("record: %+v", r)
		}
	})
	if list, err := s.Activations(t.Context(), Find{CHF: hub(2)}, 10); err != nil || len(list) != 1 || !list[0].Standing {
		t.Errorf("record: %+v %v", list, err)
	}
	lost("withdraw", func() { s.Settle(t.Context(), onDemand(2, 1, t0), outage.Withdrawn) })
	if d := decide(t, s, ad1(2, "withdrawn", t0)); d.Reason != outage.ReasonWindowWithdrawn {
		t.Errorf("withdraw: %+v", d)
	}
	lost("decide", func() {
		if d, err := s.Decide(t.Context(), ad1(1, "x", t0), outage.Suppressed, 0); !errors.Is(err, ErrUnavailable) {
			t.Errorf("decide: %+v %v", d, err)
		}
	})
	if got := outcomes(t, s)["x"]; got != outage.Forwarded {
		t.Errorf("decide: the sender was told forwarded, the log says %q", got)
	}
	if d := decide(t, s, ad1(1, "x", t0)); d.Outcome != outage.Forwarded || !d.Retry {
		t.Errorf("decide: the retry: %+v", d)
	}
	lost("note", func() { s.Note(noted(1, "y", t0, outage.ReasonNoWindow)) })
	if d := decide(t, s, ad1(1, "y", t0)); d.Outcome != outage.Forwarded || !d.Retry {
		t.Errorf("note: the retry: %+v", d)
	}
	lost("switch", func() {
		if _, err := s.SetSwitch(t.Context(), outage.SwitchShadow, "alice", "a reason", t0); err != nil || s.Switch() != outage.SwitchShadow {
			t.Errorf("switch: %s %v", s.Switch(), err)
		}
	})
	if list, err := s.Events(t.Context(), 10); err != nil || len(list) != 1 {
		t.Errorf("switch: %+v %v", list, err)
	}
	c := Cut{SystemID: "test", Cause: CauseAsked, Start: t0, End: t0, At: t0, LastSeq: 1, Name: func(Report, ReportFile) string { return "x" }}
	lost("cut", func() {
		if r, err := s.Cut(t.Context(), c); !errors.Is(err, ErrUnavailable) {
			t.Errorf("cut: %+v %v", r, err)
		}
	})
	if r, err := s.Cut(t.Context(), c); !errors.Is(err, ErrStale) {
		t.Errorf("cut again: %+v %v", r, err)
	}
	lost("housekeeping", func() {
		if _, err := lead(t, s).Housekeep(t.Context(), Limits{WindowsBefore: t0.Add(time.Hour), LogBefore: t0}); err == nil {
			_, err = s.Housekeep(t.Context(), Limits{WindowsBefore: t0.Add(time.Hour), LogBefore: t0})
			if err != nil {
				t.Errorf("housekeeping: %v", err)
			}
		}
	})
}

// An import whose answers are lost, at each of its commits: the list in force
// is whole, and is what the importer was told.
func TestAnswerToImportLost(t *testing.T) {
	s, proxy := losing(t)
	const devices = 3 * importBatch
	seen := 0
	for nth := range 12 {
		var text strings.Builder
		var want []outage.DeviceID
		for i := range devices {
			want = append(want, meter(nth*devices+i))
			fmt.Fprintln(&text, want[i])
		}
		proxy.LoseAnswer(committed, nth)
		im, err := s.ImportList(t.Context(), "bob", t0, File{"list", strings.NewReader(text.String())})
		if proxy.LostAnswer() {
			seen++
		}
		proxy.LoseAnswer("never", 0)
		in, e := s.LastImport(t.Context(), "devices")
		if e != nil || err == nil && in.No != im.No {
			t.Errorf("answer %d: said %+v %v, in force %+v %v", nth, im, err, in, e)
		}
		if err != nil && !errors.Is(err, ErrUnavailable) {
			t.Errorf("answer %d: %v", nth, err)
		}
		list, e := s.List(t.Context(), nil, 10*devices)
		if e != nil || len(list) != in.Rows || (err == nil || in.No != 0 && slices.Contains(list, want[0])) && !slices.Equal(list, want) {
			t.Errorf("answer %d: said %v, the list has %d devices, %v", nth, err, len(list), e)
		}
		if err != nil && slices.Contains(list, want[0]) {
			t.Errorf("answer %d: said %v, and the list is in force", nth, err)
		}
		// As after the minute that an import which is not heard of is waited for.
		script(t, s, `UPDATE import SET touched = 0`)
	}
	if seen < 5 {
		t.Errorf("only %d answers were lost", seen)
	}
	list, err := numbers(s.reader.QueryContext(t.Context(), `SELECT DISTINCT import_no FROM device_list`))
	if err != nil || len(list) != 1 {
		t.Errorf("rows of other imports are left: %v %v", list, err)
	}
}
