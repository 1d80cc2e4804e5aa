package reporter

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"quell/internal/evidence"
	"quell/internal/outage"
	"quell/internal/report"
	"quell/internal/reportfile"
)

// Each change of the evidence is in exactly one report: the next one, if its entry was reported
// before, or is in that report. What was reported never changes.
func TestEvidenceInReports(t *testing.T) {
	for _, maxBytes := range []int64{10 << 20, 4 << 10} {
		b := newBench(t, func(s *Settings) { s.MaxBytes, s.PerDistributor = maxBytes, true })
		b.setSwitch(outage.SwitchOn, "quell", "first")
		b.activate(1)
		for n := range 3 {
			b.alert(1, fmt.Sprint("a", n), "1200023305967")
		}
		b.cutNow()
		b.alert(1, "later", "1200023305967")
		b.setTime(t0.Add(10 * time.Minute))
		b.assessed(2, "12", evidence.None, evidence.Weak, 2, "one")
		b.assessed(2, "12", evidence.Weak, evidence.Strong, 20, "two")
		b.assessed(4, "12", evidence.None, evidence.Strong, 30, "of an entry that is in no report yet")
		b.assessed(1, "12", evidence.None, evidence.Weak, 3, "after that")
		b.setTime(t0.Add(time.Hour))
		b.due()
		b.due()
		for n := range 40 {
			b.setTime(b.Now().Add(time.Second))
			b.assessed(3, "12", []evidence.Level{evidence.None, evidence.Weak}[n%2], []evidence.Level{evidence.Weak, evidence.None}[n%2], 1, fmt.Sprint("change ", n))
		}
		b.setTime(t0.Add(2 * time.Hour))
		b.due()
		b.due()
		b.setTime(t0.Add(3 * time.Hour))
		b.due()
		b.due()
		want := []string{"one", "two", "of an entry that is in no report yet", "after that"}
		for n := range 40 {
			want = append(want, fmt.Sprint("change ", n))
		}
		for _, stream := range []string{report.Consolidated, "12"} {
			files, records := b.parsed(stream)
			var have []string
			for _, r := range records {
				if r.Evidence != nil {
					have = append(have, r.Evidence.Text)
				}
			}
			if !slices.Equal(have, want) {
				t.Errorf("%s has %q\nwant %q", stream, have, want)
			}
			for _, f := range files {
				if f.Size > maxBytes+1<<10 {
					t.Errorf("report %d has %d bytes", f.Header.Report, f.Size)
				}
			}
			if first := files[0].Header; first.Evidence || !files[1].Header.Evidence {
				t.Errorf("%s: of which version are %v, %v", stream, first.Evidence, files[1].Header.Evidence)
			}
		}
		if _, err := reportfile.Verify(b.paths(), nil); err != nil {
			t.Error(err)
		}
	}
}
