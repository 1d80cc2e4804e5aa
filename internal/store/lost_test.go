package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"quell/internal/devices"
	"quell/internal/events"
	"quell/internal/outage"
	"quell/internal/report"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
	"quell/internal/windows"
)

// The server commits, and the answer is lost. Each change is made again, and counts once; or the
// caller gets an error, and the alert counts as forwarded.
func TestAnswerToCommitLost(t *testing.T) {
	s, proxy := storetest.OpenLosing(t)
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	losing := func(what string, f func()) {
		t.Helper()
		proxy.LoseAnswer(storetest.CommitAnswer, 0)
		f()
		storetest.Eventually(t, what+": an answer was lost", proxy.LostAnswer)
		storetest.Eventually(t, what+": the journal is played", func() bool { return s.Ledger.Pending() == 0 && s.DB.Ping(t.Context()) == nil })
	}
	losing("record", func() {
		if r := s.Ledger.Record(t.Context(), storetest.OnDemand(2, 1, storetest.T0)); !r.Remembered {
			t.Errorf("record: %+v", r)
		}
	})
	if list, err := s.Windows.Activations(t.Context(), windows.Filter{CHF: storetest.Hub(2)}, 10); err != nil || len(list) != 1 || !list[0].Standing {
		t.Errorf("record: %+v %v", list, err)
	}
	losing("withdraw", func() { s.Ledger.RecordAnswer(t.Context(), storetest.OnDemand(2, 1, storetest.T0), outage.Withdrawn) })
	if d := storetest.Decide(t, s, storetest.AD1(2, "withdrawn", storetest.T0)); d.Reason != outage.ReasonWindowWithdrawn {
		t.Errorf("withdraw: %+v", d)
	}
	losing("decide", func() {
		if d, err := s.Ledger.Decide(t.Context(), storetest.AD1(1, "x", storetest.T0), outage.Suppressed, 0); !errors.Is(err, sqldb.ErrUnavailable) {
			t.Errorf("decide: %+v %v", d, err)
		}
	})
	if got := storetest.Outcomes(t, s)["x"]; got != outage.Forwarded {
		t.Errorf("decide: the alert went forward, but the log says %q", got)
	}
	if d := storetest.Decide(t, s, storetest.AD1(1, "x", storetest.T0)); d.Outcome != outage.Forwarded || !d.Retry {
		t.Errorf("decide: the retry: %+v", d)
	}
	losing("note", func() { s.Ledger.NoteForwarded(storetest.Noted(1, "y", storetest.T0, outage.ReasonNoWindow)) })
	if d := storetest.Decide(t, s, storetest.AD1(1, "y", storetest.T0)); d.Outcome != outage.Forwarded || !d.Retry {
		t.Errorf("note: the retry: %+v", d)
	}
	losing("switch", func() {
		if _, err := s.Ledger.SetSwitch(t.Context(), outage.SwitchShadow, "alice", "a reason", storetest.T0); err != nil || s.Ledger.Switch() != outage.SwitchShadow {
			t.Errorf("switch: %s %v", s.Ledger.Switch(), err)
		}
	})
	if list, err := events.Latest(t.Context(), s.DB, 10); err != nil || len(list) != 1 {
		t.Errorf("switch: %+v %v", list, err)
	}
	c := report.CutOptions{SystemID: "test", Cause: report.CauseAsked, Start: storetest.T0, End: storetest.T0, At: storetest.T0, LastSeq: 1, Name: func(report.Report, report.File) string { return "x" }}
	losing("cut", func() {
		if r, err := s.Reports.Cut(t.Context(), c); !errors.Is(err, sqldb.ErrUnavailable) {
			t.Errorf("cut: %+v %v", r, err)
		}
	})
	if r, err := s.Reports.Cut(t.Context(), c); !errors.Is(err, report.ErrStale) {
		t.Errorf("cut again: %+v %v", r, err)
	}
	losing("housekeeping", func() {
		if _, err := storetest.MakeLeader(t, s).Housekeep(t.Context(), store.Limits{WindowsBefore: storetest.T0.Add(time.Hour), LogBefore: storetest.T0}); err == nil {
			_, err = s.Housekeep(t.Context(), store.Limits{WindowsBefore: storetest.T0.Add(time.Hour), LogBefore: storetest.T0})
			if err != nil {
				t.Errorf("housekeeping: %v", err)
			}
		}
	})
}

// The answer to each commit of an import is lost in turn. The list in force is whole, and agrees
// with the result of the import.
func TestAnswerToImportLost(t *testing.T) {
	s, proxy := storetest.OpenLosing(t)
	const many = 750 // three steps of an import
	seen := 0
	for nth := range 12 {
		var text strings.Builder
		var want []outage.DeviceID
		for i := range many {
			want = append(want, storetest.Meter(nth*many+i))
			fmt.Fprintln(&text, want[i])
		}
		proxy.LoseAnswer(storetest.CommitAnswer, nth)
		im, err := s.Devices.ImportList(t.Context(), "bob", storetest.T0, devices.File{Name: "list", Reader: strings.NewReader(text.String())})
		if proxy.LostAnswer() {
			seen++
		}
		proxy.LoseAnswer("never", 0)
		in, e := s.Devices.LastImport(t.Context(), "devices")
		if e != nil || err == nil && in.No != im.No {
			t.Errorf("answer %d: the import returned %+v %v, in force is %+v %v", nth, im, err, in, e)
		}
		if err != nil && !errors.Is(err, sqldb.ErrUnavailable) {
			t.Errorf("answer %d: %v", nth, err)
		}
		list, e := s.Devices.List(t.Context(), nil, 10*many)
		if e != nil || len(list) != in.Rows || (err == nil || in.No != 0 && slices.Contains(list, want[0])) && !slices.Equal(list, want) {
			t.Errorf("answer %d: the import returned %v, the list has %d devices, %v", nth, err, len(list), e)
		}
		if err != nil && slices.Contains(list, want[0]) {
			t.Errorf("answer %d: the import returned %v, but the list is in force", nth, err)
		}
		// As after the minute in which an import may make no progress.
		storetest.Script(t, s, `UPDATE import SET touched = 0`)
	}
	if seen < 5 {
		t.Errorf("only %d answers were lost", seen)
	}
	list, err := sqldb.Numbers(s.DB.Query(t.Context(), `SELECT DISTINCT import_no FROM device_list`))
	if err != nil || len(list) != 1 {
		t.Errorf("rows of other imports are left: %v %v", list, err)
	}
}
