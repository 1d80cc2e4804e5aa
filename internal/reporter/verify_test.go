package reporter

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quell/internal/outage"
	"quell/internal/report"
	"quell/internal/reportfile"
	"quell/internal/reportfile/reportfiletest"

	"pgregory.net/rapid"
)

// makeReports makes five reports of three entries each, with files of distributors. It returns the
// folder of the files, and the paths of the consolidated ones.
func makeReports(t testing.TB) (dir string, whole []string) {
	b := newBench(t, func(s *Settings) { s.PerDistributor = true })
	b.setSwitch(outage.SwitchOn, "quell", "first value")
	b.activate(1)
	for i := range 15 {
		b.setTime(t0.Add(time.Duration(i+1) * time.Minute))
		mpxn := "1200023305967"
		if i%3 == 0 {
			mpxn = "no MPAN"
		}
		b.alert(1, fmt.Sprint("alert ", i), mpxn)
		if i%3 == 2 {
			b.cutNow()
		}
	}
	for _, path := range b.paths() {
		if strings.Count(filepath.Base(path), "_") == 4 {
			whole = append(whole, path)
		}
	}
	return b.Dir, whole
}

func verifyDir(dir string) ([]reportfile.Chain, error) {
	files, _, err := reportfile.List([]string{dir})
	if err != nil {
		return nil, err
	}
	return reportfile.Verify(files, nil)
}

func TestVerifySound(t *testing.T) {
	dir, whole := makeReports(t)
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("not a report"), 0o600); err != nil {
		t.Fatal(err)
	}
	chains, err := verifyDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range chains {
		got = append(got, fmt.Sprintf("%s %s %d-%d complete %v: %d files, %d entries", c.System, c.Stream, c.First, c.Last, c.Complete, c.Files, c.Entries))
	}
	want := "quell consolidated 1-5 complete true: 5 files, 15 entries\nquell 12 1-5 complete true: 5 files, 10 entries\nquell unknown 1-5 complete true: 5 files, 5 entries"
	if strings.Join(got, "\n") != want {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
	// The end of a chain is a chain that is not complete.
	chains, err = reportfile.Verify(whole[2:], nil)
	if err != nil || len(chains) != 1 || chains[0].Complete || chains[0].First != 3 {
		t.Errorf("from the third on: %+v %v", chains, err)
	}
	// A copy of a file does not count.
	copied := filepath.Join(t.TempDir(), filepath.Base(whole[0]))
	copyFile(t, whole[0], copied)
	if chains, err = reportfile.Verify([]string{whole[0], copied, whole[1]}, nil); err != nil || chains[0].Files != 2 {
		t.Errorf("with a copy: %+v %v", chains, err)
	}
	read := 0
	if _, err := reportfile.Verify(whole, func(n int) { read += n }); err != nil {
		t.Fatal(err)
	}
	size := 0
	for _, path := range whole {
		text, _ := os.ReadFile(path)
		size += len(text)
	}
	if read != size {
		t.Errorf("progress of %d bytes, but the files have %d", read, size)
	}
}

// edit changes the lines of a file; they are without CRLF.
func edit(t testing.TB, path string, f func(lines []string) []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := f(strings.Split(strings.TrimSuffix(string(text), "\r\n"), "\r\n"))
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\r\n")+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// forge changes lines of a file, and corrects its trailer.
func forge(t testing.TB, path string, f func(lines []string) []string) {
	t.Helper()
	edit(t, path, func(lines []string) []string {
		lines = f(lines[:len(lines)-1])
		entries, corrections, events := 0, 0, 0
		for _, l := range lines {
			switch l[:2] {
			case "D,":
				entries++
			case "C,":
				corrections++
			case "S,":
				events++
			}
		}
		sum := sha256.Sum256([]byte(strings.Join(lines, "\r\n") + "\r\n"))
		trailer := fmt.Sprintf("T,%d,%d,%d,%x", entries, corrections, events, sum)
		return append(lines, trailer+strings.Repeat(",", strings.Count(lines[0], ",")-strings.Count(trailer, ",")))
	})
}

// Each kind of damage is found, with the place where it is.
func TestVerifyDamage(t *testing.T) {
	// In a file: the header is line 1, then the names, then S, then D.
	for name, c := range map[string]struct {
		damage func(t *testing.T, whole []string)
		at     int // index of the file that is named
		line   int
		says   string
	}{
		"a digit of an entry": {func(t *testing.T, whole []string) {
			edit(t, whole[1], func(l []string) []string { l[4] = strings.Replace(l[4], "alert 4", "alert 9", 1); return l })
		}, 1, 0, "was changed"},
		"a record removed": {func(t *testing.T, whole []string) {
			edit(t, whole[1], func(l []string) []string { return append(l[:4], l[5:]...) })
		}, 1, 5, "entry 6 where 5 is due: entries are missing"},
		"the last record removed": {func(t *testing.T, whole []string) {
			edit(t, whole[1], func(l []string) []string { return append(l[:5], l[6:]...) })
		}, 1, 6, "the trailer where entry 6 is due"},
		"a record twice": {func(t *testing.T, whole []string) {
			edit(t, whole[1], func(l []string) []string { return append(l[:5:5], l[4:]...) })
		}, 1, 6, "entry 5 where 6 is due"},
		"two records swapped": {func(t *testing.T, whole []string) {
			edit(t, whole[1], func(l []string) []string { l[4], l[5] = l[5], l[4]; return l })
		}, 1, 5, "entry 6 where 5 is due"},
		"a record S removed": {func(t *testing.T, whole []string) {
			edit(t, whole[0], func(l []string) []string { return append(l[:2], l[3:]...) })
		}, 0, 6, "the trailer says 1 records S, there are 0"},
		"a record of an unknown kind": {func(t *testing.T, whole []string) {
			edit(t, whole[0], func(l []string) []string { l[3] = "X" + l[3][1:]; return l })
		}, 0, 4, `unknown kind "X"`},
		"a field too many": {func(t *testing.T, whole []string) {
			edit(t, whole[0], func(l []string) []string { l[3] += ",x"; return l })
		}, 0, 4, "wrong number of fields"},
		"a quote that does not end": {func(t *testing.T, whole []string) {
			edit(t, whole[0], func(l []string) []string { l[3] = strings.Replace(l[3], "alert 0", `"alert 0`, 1); return l })
		}, 0, 0, ""},
		"a formula": {func(t *testing.T, whole []string) {
			edit(t, whole[0], func(l []string) []string { l[3] = strings.Replace(l[3], "alert 0", "=1+1", 1); return l })
		}, 0, 4, `field 3, "=1+1"`},
		"no header": {func(t *testing.T, whole []string) {
			edit(t, whole[0], func(l []string) []string { return l[1:] })
		}, 0, 1, "a record record where H is due"},
		"another version": {func(t *testing.T, whole []string) {
			edit(t, whole[0], func(l []string) []string { l[0] = strings.Replace(l[0], "POAS,1", "POAS,3", 1); return l })
		}, 0, 1, `version "3"`},
		"evidence in a file of the first version": {func(t *testing.T, whole []string) {
			edit(t, whole[0], func(l []string) []string {
				return append(l[:len(l)-1:len(l)-1], "E,1,strong,none,24.75,later,2026-03-01T12:00:00.000Z,x,12,,,,,,,,,,,\r\n", l[len(l)-1])
			})
		}, 0, 7, `a record of the unknown kind "E"`},
		"a record after the trailer": {func(t *testing.T, whole []string) {
			edit(t, whole[0], func(l []string) []string { return append(l, l[3]) })
		}, 0, 8, "a record D after a record T"},
		"a truncated tail": {func(t *testing.T, whole []string) {
			edit(t, whole[4], func(l []string) []string { return l[:len(l)-1] })
		}, 4, 0, "its end is missing"},
		"a file missing": {func(t *testing.T, whole []string) {
			os.Remove(whole[2])
		}, 3, 1, "report 3 is missing before it"},
		"two files missing": {func(t *testing.T, whole []string) {
			os.Remove(whole[2])
			os.Remove(whole[3])
		}, 4, 1, "reports 3 to 4 are missing before it"},
		"two files swapped": {func(t *testing.T, whole []string) {
			os.Rename(whole[1], whole[1]+"x")
			os.Rename(whole[2], whole[1])
			os.Rename(whole[1]+"x", whole[2])
		}, 1, 1, "says that it is POAS_quell_"},
		"a number reused": {func(t *testing.T, whole []string) {
			text, _ := os.ReadFile(whole[2])
			other := strings.Replace(filepath.Base(whole[2]), "Z_00000003", "Z_00000002", 1)
			os.WriteFile(filepath.Join(filepath.Dir(whole[2]), other), text, 0o600)
			forge(t, filepath.Join(filepath.Dir(whole[2]), other), func(l []string) []string {
				l[0] = strings.Replace(l[0], ",quell,3,", ",quell,2,", 1)
				return l
			})
			whole[1] = filepath.Join(filepath.Dir(whole[2]), other)
		}, 1, 1, "the report number 2 is there twice"},
		"forged, with a correct trailer": {func(t *testing.T, whole []string) {
			forge(t, whole[2], func(l []string) []string { l[4] = strings.Replace(l[4], "suppressed", "forwarded", 1); return l })
		}, 3, 1, "was changed: its SHA-256 is"},
		"entries left out, with a correct trailer": {func(t *testing.T, whole []string) {
			forge(t, whole[4], func(l []string) []string {
				l[0] = strings.Replace(l[0], ",13,15,", ",14,15,", 1)
				return append(l[:3], l[4:]...)
			})
		}, 4, 1, "its entries begin with 14, but those of the file before end with 12"},
		"a false beginning of a chain": {func(t *testing.T, whole []string) {
			for _, path := range whole[:4] {
				os.Remove(path)
			}
			forge(t, whole[4], func(l []string) []string {
				f := strings.Split(l[0], ",")
				f[11], f[12] = "", ""
				l[0] = strings.Join(f, ",")
				return l
			})
		}, 4, 1, "report 5 names no file before it"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, whole := makeReports(t)
			c.damage(t, whole)
			_, err := verifyDir(dir)
			var f *reportfile.Fault
			if !errors.As(err, &f) {
				t.Fatalf("found %v", err)
			}
			if filepath.Base(f.File) != filepath.Base(whole[c.at]) || c.line != 0 && f.Line != c.line || !strings.Contains(f.Error(), c.says) {
				t.Errorf("found %v\nwant %s line %d: %s", err, whole[c.at], c.line, c.says)
			}
		})
	}
}

// A distributor's files are compared with the consolidated ones.
func TestVerifyDistributor(t *testing.T) {
	dir, whole := makeReports(t)
	part := strings.TrimSuffix(whole[4], ".csv") + "_12.csv"
	forge(t, part, func(l []string) []string { return append(l[:4], l[5:]...) })
	if _, err := verifyDir(dir); err == nil || !strings.Contains(err.Error(), "has 1 entries") {
		t.Errorf("an entry less than in the consolidated file: %v", err)
	}
	dir, whole = makeReports(t)
	os.Remove(strings.TrimSuffix(whole[2], ".csv") + "_12.csv")
	if _, err := verifyDir(dir); err == nil || !strings.Contains(err.Error(), `_00000003_12.csv" is missing before it`) {
		t.Errorf("a file of a distributor is missing: %v", err)
	}
	dir, whole = makeReports(t)
	part = strings.TrimSuffix(whole[2], ".csv") + "_12.csv"
	edit(t, part, func(l []string) []string {
		l[3] = strings.Replace(l[3], "1200023305967,true,12", "x,false,", 1)
		return l
	})
	if _, err := verifyDir(dir); err == nil || !strings.Contains(err.Error(), "an entry of distributor unknown in a file of 12") {
		t.Errorf("an entry of another distributor: %v", err)
	}
}

// If a byte of a file is changed, removed or doubled, or the end is cut off, that is noticed.
func TestVerifyEveryByte(t *testing.T) {
	_, whole := makeReports(t)
	text, err := os.ReadFile(whole[0])
	if err != nil {
		t.Fatal(err)
	}
	noticed := func(what string, i int, damaged []byte) {
		t.Helper()
		f, err := reportfile.Read("file", bytes.NewReader(damaged), nil)
		if err == nil && f.Name == filepath.Base(whole[0]) {
			t.Errorf("%s at %d, %q, goes unnoticed", what, i, text[max(0, i-5):min(i+5, len(text))])
		}
	}
	for i := range text {
		for _, bit := range []byte{1, 2, 32, 128} {
			changed := bytes.Clone(text)
			changed[i] ^= bit
			noticed("a change", i, changed)
		}
		noticed("a removed byte", i, append(bytes.Clone(text[:i]), text[i+1:]...))
		noticed("a doubled byte", i, append(bytes.Clone(text[:i+1]), text[i:]...))
		noticed("a cut", i, text[:i])
	}
}

// Whatever the log is and however it is cut, the files have all of it, and each distributor's
// files have its part.
func TestLogRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBench(t, func(s *Settings) {
			s.PerDistributor = rapid.Bool().Draw(rt, "per distributor")
			s.Empty = rapid.Bool().Draw(rt, "empty")
			s.MaxBytes = rapid.Int64Range(overhead, overhead+4000).Draw(rt, "max_bytes")
			s.Every = rapid.SampledFrom([]time.Duration{time.Minute, time.Hour}).Draw(rt, "every")
		})
		defer b.store.Close()
		b.setSwitch(outage.SwitchOn, "quell", "first")
		corrected := map[int64]bool{}
		ids := map[int64]string{}
		for range rapid.IntRange(0, 40).Draw(rt, "steps") {
			b.setTime(b.Now().Add(time.Duration(rapid.Int64Range(0, 600_000).Draw(rt, "ms")) * time.Millisecond))
			switch rapid.IntRange(0, 5).Draw(rt, "step") {
			case 0:
				b.due()
			case 1:
				b.setSwitch(rapid.SampledFrom([]outage.Switch{outage.SwitchOn, outage.SwitchShadow}).Draw(rt, "switch"), reportfiletest.Texts().Draw(rt, "who"), reportfiletest.Texts().Draw(rt, "why"))
			case 2:
				if n := len(ids); n > 0 {
					seq := rapid.Int64Range(1, int64(n)).Draw(rt, "corrected")
					b.forwardAfterAll(1, ids[seq])
					corrected[seq] = true
				}
			default:
				b.activate(1)
				seq := int64(len(ids) + 1)
				ids[seq] = fmt.Sprint(seq, " ", reportfiletest.Texts().Draw(rt, "id"))
				mpxn := rapid.OneOf(reportfiletest.Texts(), rapid.SampledFrom([]string{"1200023305967", "2400000000003"})).Draw(rt, "mpxn")
				b.alert(1, ids[seq], mpxn)
			}
		}
		b.cutNow()
		want, err := b.store.Ledger.EntriesAfter(b.Context(), 0, 1000)
		if err != nil {
			rt.Fatal(err)
		}
		read := map[string]map[int64]outage.Entry{}
		for _, path := range b.paths() {
			text, err := os.ReadFile(path)
			if err != nil {
				rt.Fatal(err)
			}
			reportfiletest.WellFormed(rt, text)
			f, err := reportfile.Read(path, bytes.NewReader(text), nil)
			if err != nil {
				rt.Fatal(err)
			}
			of := read[f.Header.Stream]
			if of == nil {
				of = map[int64]outage.Entry{}
				read[f.Header.Stream] = of
			}
			reportfile.Read(path, bytes.NewReader(text), func(r reportfile.Record) {
				switch {
				case r.Entry != nil:
					if _, twice := of[r.Entry.Seq]; twice {
						rt.Fatalf("entry %d is in two reports", r.Entry.Seq)
					}
					of[r.Entry.Seq] = *r.Entry
				case r.Correction != nil:
					of[r.Correction.Seq] = *r.Correction
				}
			})
		}
		parts := 0
		for stream, of := range read {
			if stream != report.Consolidated {
				parts += len(of)
			}
			for _, e := range want {
				if stream != report.Consolidated && stream != e.Stream() {
					continue
				}
				for _, at := range []*time.Time{&e.OutageStart, &e.Received, &e.WindowStart, &e.WindowEnd} {
					*at = at.Truncate(time.Millisecond)
				}
				if got := of[e.Seq]; got != e {
					rt.Fatalf("%s has\n%+v, the log\n%+v", stream, got, e)
				}
			}
		}
		if len(read[report.Consolidated]) != len(want) || len(read) > 1 && parts != len(want) {
			rt.Fatalf("%d entries in the consolidated files, %d in those of distributors, %d in the log", len(read[report.Consolidated]), parts, len(want))
		}
		if _, err := reportfile.Verify(b.paths(), nil); err != nil {
			rt.Fatal(err)
		}
	})
}
