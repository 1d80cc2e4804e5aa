package reporter

import (
	"errors"
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
