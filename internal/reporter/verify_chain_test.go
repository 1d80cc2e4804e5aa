package reporter

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quell/internal/evidence"
	"quell/internal/outage"
	"quell/internal/report"
	"quell/internal/reportfile"
)

// A chain goes on when the system's id is changed, and changed back.
func TestVerifySystemChanged(t *testing.T) {
	story := func() (b *bench) {
		b = newBench(t, func(s *Settings) { s.PerDistributor = true })
		b.setSwitch(outage.SwitchOn, "quell", "first value")
		b.activate(1)
		for i, id := range []string{"quell", "quell", "next", "next", "quell"} {
			set := *b.settings.Load()
			set.SystemID = id
			b.Set(set)
			b.setTime(t0.Add(time.Duration(i+1) * time.Minute))
			b.alert(1, fmt.Sprint("alert ", i), "1200023305967")
			b.cutNow()
		}
		return b
	}
	b := story()
	chains, err := verifyDir(b.Dir)
	if err != nil || len(chains) != 2 || chains[0].System != "quell, then next, then quell" || chains[0].First != 1 || chains[0].Last != 5 || !chains[0].Complete || chains[1].Files != 5 {
		t.Errorf("%+v %v", chains, err)
	}
	for no := 1; no <= 4; no++ {
		b := story()
		for _, path := range b.paths() {
			if strings.Contains(path, fmt.Sprintf("_%08d", no)) {
				os.Remove(path)
			}
		}
		chains, err := verifyDir(b.Dir)
		if no == 1 {
			if err != nil || chains[0].Complete {
				t.Errorf("without the first: %+v %v", chains, err)
			}
			continue
		}
		var fault *reportfile.Fault
		if !errors.As(err, &fault) || !strings.Contains(err.Error(), fmt.Sprintf("report %d is missing before it", no)) {
			t.Errorf("without report %d: %v", no, err)
		}
	}
	// Two systems that are not connected are different chains.
	other := newBench(t, func(s *Settings) { s.SystemID = "other" })
	other.setSwitch(outage.SwitchOn, "quell", "first value")
	other.cutNow()
	if chains, err := reportfile.Verify(append(b.paths(), other.paths()...), nil); err != nil || len(chains) != 3 {
		t.Errorf("%+v %v", chains, err)
	}
}

// Files of a distributor that are missing or differ are found with the consolidated files, also at
// the end of the chain.
func TestVerifyDistributorsEnd(t *testing.T) {
	dir, whole := makeReports(t)
	os.Remove(strings.TrimSuffix(whole[4], ".csv") + "_12.csv")
	if _, err := verifyDir(dir); err == nil || !strings.Contains(err.Error(), "has 2 entries of distributor 12, whose files end with report 4") {
		t.Errorf("the newest file of a distributor is missing: %v", err)
	}
	dir, whole = makeReports(t)
	forge(t, strings.TrimSuffix(whole[4], ".csv")+"_12.csv", func(l []string) []string {
		l[3] = strings.Replace(l[3], ",suppressed,", ",forwarded,", 1)
		return l
	})
	if _, err := verifyDir(dir); err == nil || !strings.Contains(err.Error(), "the records are not the same") {
		t.Errorf("an outcome differs from the consolidated file: %v", err)
	}
	dir, whole = makeReports(t)
	forge(t, strings.TrimSuffix(whole[4], ".csv")+"_12.csv", func(l []string) []string {
		l[2] = strings.Replace(l[2], "first value", "other value", 1)
		return l
	})
	if _, err := verifyDir(dir); err == nil || !strings.Contains(err.Error(), "the records are not the same") {
		t.Errorf("the reason of a change of the switch differs from the consolidated file: %v", err)
	}
}

// A distributor's file has no correction of another one's entry. Otherwise nothing would compare it
// with the consolidated file, and a reader would take it for one of this distributor's, by its number.
func TestVerifyForeignCorrection(t *testing.T) {
	dir, whole := makeReports(t)
	entries, err := os.ReadFile(strings.TrimSuffix(whole[3], ".csv") + "_12.csv")
	if err != nil {
		t.Fatal(err)
	}
	_, entry, _ := strings.Cut(string(entries), "\r\nD,")
	entry, _, _ = strings.Cut(entry, "\r\n")
	forge(t, strings.TrimSuffix(whole[4], ".csv")+"_12.csv", func(l []string) []string {
		i := slices.IndexFunc(l, func(line string) bool { return strings.HasPrefix(line, "D,") })
		return slices.Insert(l, i, "C,"+strings.NewReplacer(",suppressed,", ",forwarded,", ",12,", ",13,").Replace(entry))
	})
	if _, err := verifyDir(dir); err == nil || !strings.Contains(err.Error(), "a correction of distributor 13 in a file of 12") {
		t.Errorf("a correction of another distributor: %v", err)
	}
}

// A distributor's newest file is missed also if it has no entries, but says what became of
// earlier ones.
func TestVerifyDistributorsEndWithoutEntries(t *testing.T) {
	for what, change := range map[string]func(b *bench){
		"a correction": func(b *bench) { b.forwardAfterAll(1, "a") },
		"evidence":     func(b *bench) { b.assessed(1, "12", evidence.None, evidence.Strong, 30, "probably genuine") },
	} {
		b := newBench(t, func(s *Settings) { s.PerDistributor = true })
		b.setSwitch(outage.SwitchOn, "quell", "first value")
		b.activate(1)
		b.alert(1, "a", "1200023305967")
		b.cutNow()
		b.setTime(t0.Add(10 * time.Minute))
		change(b)
		b.cutNow()
		if _, err := verifyDir(b.Dir); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		files, _ := b.parsed("12")
		if len(files) != 2 || files[1].Entries != 0 {
			t.Fatalf("%s: %d files", what, len(files))
		}
		os.Remove(filepath.Join(b.Dir, files[1].Name))
		if _, err := verifyDir(b.Dir); err == nil || !strings.Contains(err.Error(), "whose files end with report 1") {
			t.Errorf("%s: the newest file of a distributor is missing: %v", what, err)
		}
	}
}

// If files of distributors were not written for a time, the period of the next file leaves that
// time out. So the file does not claim that there were no entries.
func TestVerifyPerDistributorOff(t *testing.T) {
	b := newBench(t, func(s *Settings) { s.PerDistributor = true })
	b.setSwitch(outage.SwitchOn, "quell", "first value")
	b.activate(1)
	for i, on := range []bool{true, true, false, false, true, true} {
		set := *b.settings.Load()
		set.PerDistributor = on
		b.Set(set)
		b.setTime(t0.Add(time.Duration(i+1) * time.Minute))
		b.alert(1, fmt.Sprint("alert ", i), "1200023305967")
		b.cutNow()
		if i == 3 {
			if _, err := verifyDir(b.Dir); err == nil || !strings.Contains(err.Error(), "whose files end with report 2") {
				t.Errorf("while per_distributor is off: %v", err)
			}
		}
	}
	files, _ := b.parsed("12")
	whole, _ := b.parsed(report.Consolidated)
	if len(files) != 4 || !files[2].Header.Start.Equal(whole[3].Header.End) || files[2].Header.PreviousName != files[1].Name || !files[3].Header.Start.Equal(files[2].Header.End) {
		t.Errorf("%d files, the third starts at %v", len(files), files[2].Header.Start)
	}
	chains, err := verifyDir(b.Dir)
	if err != nil || len(chains) != 2 || chains[0].Gaps != 0 || chains[1].Gaps != 1 {
		t.Errorf("%+v %v", chains, err)
	}
	// A file whose period covers that time all the same, as in earlier versions, is found.
	os.Remove(filepath.Join(b.Dir, files[3].Name))
	h := files[2].Header
	lied := filepath.Join(b.Dir, reportfile.NameOf(h.System, files[1].Header.End, h.End, h.Report, "12"))
	if err := os.Rename(filepath.Join(b.Dir, files[2].Name), lied); err != nil {
		t.Fatal(err)
	}
	forge(t, lied, func(l []string) []string {
		l[0] = strings.Replace(l[0], reportfile.FormatTime(h.Start), reportfile.FormatTime(files[1].Header.End), 1)
		return l
	})
	if _, err := verifyDir(b.Dir); err == nil || !strings.Contains(err.Error(), "has 1 entries of distributor 12 that are in none of its files") {
		t.Errorf("a period that covers too much: %v", err)
	}
}
