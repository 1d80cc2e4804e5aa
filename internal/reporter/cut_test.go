package reporter

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/report"
	"quell/internal/reportfile"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// A clock that was once a year ahead stops no reports. There is an alarm, and the next reports are
// cut by the present clock. No entry is lost or waits.
func TestClockWasAhead(t *testing.T) {
	for _, aheadEntry := range []bool{false, true} {
		b := newBench(t)
		b.setSwitch(outage.SwitchOn, "quell", "first")
		b.activate(1)
		b.alert(1, "a", "1200023305967")
		b.setTime(t0.AddDate(1, 0, 0))
		if aheadEntry {
			b.activate(1)
			b.alert(1, "ahead", "1200023305967")
		}
		b.due() // by the clock a year is over
		if len(b.Conditions()) != 0 {
			t.Errorf("while the clock is ahead: %v", b.Conditions())
		}
		if aheadEntry {
			b.activate(1)
			b.alert(1, "ahead too", "1200023305967")
		}
		reports := func() int { return len(b.files()) }
		b.setTime(t0.Add(10 * time.Minute))
		first := reports()
		b.due()
		if list := b.Conditions(); len(list) != 1 || !strings.Contains(list[0], "in the future") || testutil.ToFloat64(b.Metrics.Ahead) < 3600*24*364 {
			t.Errorf("no alarm: %v", list)
		}
		for h := 1; h <= 3; h++ {
			b.setTime(t0.Add(time.Duration(h)*time.Hour - time.Minute))
			b.activate(1)
			b.alert(1, fmt.Sprint("b", h), "1200023305967")
			b.due()
			if n := reports(); n != first+h-1 {
				t.Errorf("before hour %d: %d reports", h, n)
			}
			b.setTime(t0.Add(time.Duration(h) * time.Hour))
			b.due()
			b.due()
			if n := reports(); n != first+h {
				t.Errorf("at hour %d: %d reports, want %d", h, n, first+h)
			}
			if waiting, err := b.store.Reports.Last(t.Context()); err != nil || waiting.LastSeq != int64(len(allEntries(t, b))) {
				t.Errorf("at hour %d report %d has entries up to %d of %d (%v)", h, waiting.No, waiting.LastSeq, len(allEntries(t, b)), err)
			}
		}
		if _, err := reportfile.Verify(b.paths(), nil); err != nil {
			t.Error(err)
		}
		// A year later, when the period of that report is over, nothing is wrong.
		b.setTime(t0.AddDate(1, 0, 1).Truncate(time.Hour))
		b.due()
		if list := b.Conditions(); len(list) != 0 {
			t.Errorf("a year later: %v", list)
		}
	}
}

func allEntries(t testing.TB, b *bench) (list []outage.Entry) {
	t.Helper()
	list, err := b.store.Ledger.EntriesAfter(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// The events in a report count for its size. If there are too many, several reports have them.
func TestEventsBySize(t *testing.T) {
	const maxBytes, changes = 20 << 10, 60
	b := newBench(t, func(s *Settings) { s.MaxBytes = maxBytes })
	for n := range changes {
		b.setTime(b.Now().Add(time.Second))
		b.setSwitch([]outage.Switch{outage.SwitchOn, outage.SwitchShadow}[n%2], "somebody", strings.Repeat("why ", 200))
	}
	b.activate(1)
	for i := range 30 {
		b.alert(1, fmt.Sprint("alert ", i), "1200023305967")
	}
	b.cutNow()
	files, records := b.parsed(report.Consolidated)
	for _, f := range files {
		if f.Size > maxBytes {
			t.Errorf("report %d has %d bytes", f.Header.Report, f.Size)
		}
	}
	found := 0
	for _, r := range records {
		if r.Event != nil && !r.Standing {
			found++
		}
	}
	if found != changes || len(files) < 3 {
		t.Errorf("%d changes, want %d, in %d files", found, changes, len(files))
	}
	if _, err := reportfile.Verify(b.paths(), nil); err != nil {
		t.Error(err)
	}
}

// Corrections count for the size of a file too. The next file has those that find no room.
func TestCorrectionsBySize(t *testing.T) {
	const maxBytes, alerts = 20 << 10, 300
	b := newBench(t, func(s *Settings) { s.MaxBytes = maxBytes })
	b.setSwitch(outage.SwitchOn, "quell", "first")
	b.activate(1)
	for i := range alerts {
		b.setTime(b.Now().Add(time.Second))
		b.alert(1, fmt.Sprint("alert ", i), "1200023305967")
	}
	b.cutNow()
	for i := range alerts {
		b.store.Ledger.NoteForwarded(ledger.ForwardedNote{AlertID: fmt.Sprint("alert ", i), CHF: hub(1), OutageStart: t0.Add(time.Duration(i+1)*time.Second - 3*time.Minute),
			Received: b.Now(), Reason: outage.ReasonStoreUnavailable})
		if i == alerts/2 {
			b.alert(1, "in between", "1200023305967")
			b.due()
		}
	}
	if err := b.store.DB.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.due()
	b.alert(1, "the last", "1200023305967")
	b.cutNow()
	files, records := b.parsed(report.Consolidated)
	for _, f := range files {
		if f.Size > maxBytes {
			t.Errorf("report %d has %d bytes", f.Header.Report, f.Size)
		}
	}
	corrected := map[int64]int{}
	for _, r := range records {
		if r.Correction != nil && r.Correction.Outcome == outage.Forwarded {
			corrected[r.Correction.Seq]++
		}
	}
	if len(corrected) != alerts {
		t.Errorf("%d entries are corrected, want %d", len(corrected), alerts)
	}
	for seq, n := range corrected {
		if n != 1 {
			t.Errorf("entry %d is corrected %d times", seq, n)
		}
	}
	if _, err := reportfile.Verify(b.paths(), nil); err != nil {
		t.Error(err)
	}
}

// A record that fills the file exactly is still in it. With one byte less, it is in the next.
func TestExactFit(t *testing.T) {
	for less, want := range []int{0, 1} {
		b := newBench(t)
		b.setSwitch(outage.SwitchOn, "quell", "first")
		b.activate(1)
		for i := range 5 {
			b.alert(1, fmt.Sprint("alert ", i), "1200023305967")
		}
		measure := reportfile.NewWriter(io.Discard)
		changes, err := b.Register.EventsAfter(t.Context(), 0, 10)
		if err != nil || len(changes) != 1 {
			t.Fatal(changes, err)
		}
		for _, e := range changes {
			if err := measure.Event(e, false); err != nil {
				t.Fatal(err)
			}
		}
		for _, e := range allEntries(t, b) {
			if err := measure.Entry(&e); err != nil {
				t.Fatal(err)
			}
		}
		set := *b.settings.Load()
		set.MaxBytes = overhead + measure.Size() - int64(less)
		b.Set(set)
		b.due()
		if n := len(b.files()); n != want {
			t.Errorf("with %d bytes less than they need: %d reports, want %d", less, n, want)
		}
		if r, err := b.Register.Last(t.Context()); err != nil || want == 1 && r.LastSeq != 4 {
			t.Errorf("the report has entries up to %d, %v", r.LastSeq, err)
		}
	}
}

// Where empty reports are left out, one that has nothing but a correction is not empty.
func TestCorrectionsAlone(t *testing.T) {
	b := newBench(t, func(s *Settings) { s.Empty = false })
	b.setSwitch(outage.SwitchOn, "quell", "first")
	b.activate(1)
	b.alert(1, "a", "1200023305967", func(a *outage.Alert) { a.OutageStart = t0 })
	hour := t0
	next := func(want int) {
		t.Helper()
		hour = hour.Add(time.Hour)
		b.setTime(hour)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := b.step(ctx); err != nil {
			t.Fatal(err)
		}
		if n := len(b.files()); n != want {
			t.Errorf("%d reports, want %d", n, want)
		}
	}
	next(1)
	next(1) // nothing
	b.store.Ledger.NoteForwarded(ledger.ForwardedNote{AlertID: "a", CHF: hub(1), OutageStart: t0, Received: b.Now(), Reason: outage.ReasonStoreUnavailable})
	if err := b.store.DB.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	next(2)
	next(2)
	corrected := 0
	_, records := b.parsed(report.Consolidated)
	for _, r := range records {
		if r.Correction != nil && r.Correction.AlertID == "a" && r.Correction.Outcome == outage.Forwarded {
			corrected++
		}
	}
	if corrected != 1 {
		t.Errorf("the entry is corrected %d times", corrected)
	}
}
