package reporter

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"quell/internal/outage"
	"quell/internal/report"
	"quell/internal/reportfile"
)

// TestNewStore: the store is lost and there is no backup, so a new one begins, which knows no report. A remote
// has the files of the old one. Reports go on with the number that the operator gives.
func TestNewStore(t *testing.T) {
	b, dir := newDeliveries(t, 0)
	b.activate(1)
	b.alert(1, "a", "1200023305967")
	old := reportfile.NameOf("quell", t0.Add(-time.Hour), t0, 41, report.Consolidated)
	if err := os.WriteFile(filepath.Join(dir, old), []byte("it is lost for good"), 0o600); err != nil {
		t.Fatal(err)
	}
	to := b.settings.Load().Remotes[0]
	b.compareRemote(t.Context(), to)
	if _, err := b.Cut(t.Context()); !errors.Is(err, ErrRestored) {
		t.Fatalf("before an operator has said how to go on: %v", err)
	}
	if err := b.Resume(t.Context(), 42, "alice", "the disk is broken"); err != nil {
		t.Fatal(err)
	}
	for no := int64(42); no <= 43; no++ {
		if r := b.cutNow(); r.No != no {
			t.Errorf("report %d, want %d", r.No, no)
		}
		b.forwardAfterAll(1, "a") // the next one has a correction of the first
		b.setTime(b.Now().Add(time.Minute))
	}
	if n, err := b.deliverWaiting(t.Context(), to, false); n != 2 || err != nil {
		t.Errorf("%d delivered, %v", n, err)
	}
	files, records := b.parsed(report.Consolidated)
	if len(files) != 2 || files[0].Header.PreviousName != "" || files[1].Header.PreviousName != files[0].Name {
		t.Fatalf("%+v", files)
	}
	var events, entries, corrections int
	for _, r := range records {
		switch {
		case r.Event != nil && !r.Standing:
			events++ // the switch, and that reports go on
		case r.Entry != nil && r.Entry.Outcome == outage.Suppressed:
			entries++
		case r.Correction != nil:
			corrections++
		}
	}
	if events != 2 || entries != 1 || corrections != 1 {
		t.Errorf("%d events, %d entries, %d corrections", events, entries, corrections)
	}
	b.Reporter.next.streams = nil
	if err := b.checkRestored(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestCorrectionsComeBack: a backup is put back from before reports that correct entries: one that the backup
// has, and others that they have themselves. What is taken back says what became of each alert in the end.
func TestCorrectionsComeBack(t *testing.T) {
	old := newBench(t)
	old.setSwitch(outage.SwitchOn, "quell", "first")
	lose := func(b *bench, names ...string) {
		b.activate(1)
		for _, name := range names {
			b.alert(1, name, "1200023305967")
		}
	}
	lose(old, "a", "b")
	old.cutNow()
	lose(old, "c", "d", "e") // of report 2
	old.forwardAfterAll(1, "c")
	old.cutNow()
	old.forwardAfterAll(1, "a")
	old.forwardAfterAll(1, "d")
	old.cutNow()

	// The backup has report 1, and the alert c, which was not corrected then.
	b := newBench(t)
	b.setSwitch(outage.SwitchOn, "quell", "first")
	lose(b, "a", "b")
	b.cutNow()
	lose(b, "c")
	for _, name := range old.files()[1:] {
		text, err := os.ReadFile(filepath.Join(old.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(b.Dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Resume(t.Context(), 4, "alice", "a backup was put back"); err != nil {
		t.Fatal(err)
	}
	outcomes := func(b *bench) (text string) {
		for e, err := range b.Ledger.EntriesBetween(t.Context(), 1, 1000) {
			if err != nil {
				t.Fatal(err)
			}
			text += fmt.Sprintf(" %d %s %s", e.Seq, e.AlertID, e.Outcome)
		}
		return text
	}
	if got, want := outcomes(b), outcomes(old); got != want {
		t.Errorf("after it was put back:\n%s, want\n%s", got, want)
	}
	b.cutNow()
	if _, err := reportfile.Verify(b.paths(), nil); err != nil {
		t.Error(err)
	}
	for _, no := range []int64{1, 2} {
		rep, err := b.Register.Report(t.Context(), no)
		if err == nil {
			err = b.write(t.Context(), rep) // the same again
		}
		if err != nil {
			t.Errorf("report %d, written again: %v", no, err)
		}
	}
}
