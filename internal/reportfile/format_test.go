package reportfile

import (
	"bytes"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"quell/internal/assess"
	"quell/internal/events"
	"quell/internal/evidence"
	"quell/internal/outage"
	"quell/internal/report"
	"quell/internal/reportfile/reportfiletest"

	"pgregory.net/rapid"
)

func TestEscape(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "",
		"1200023305967":           "1200023305967",
		"a = b":                   "a = b",
		"=1+1":                    "'=1+1",
		"  -2":                    "  '-2",
		"'":                       "''",
		"it's":                    "it's",
		`x;@SUM(A1)`:              `x;'@SUM(A1)`,
		"a\r\n=b":                 `a\r\n=b`,
		"\t=b":                    `\t=b`,
		`C:\n`:                    `C:\\n`,
		"＝cmd":                    "'＝cmd",
		"\u0000\u2028":            `\u0000\u2028`,
		`she said "=cmd|' /C'!A0`: `she said "'=cmd|'' /C'!A0`,
	} {
		got := escapeText(text)
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
		if back, err := unescapeText(got); back != text || err != nil {
			t.Errorf("%q is unescaped to %q %v", text, back, err)
		}
	}
	for _, text := range []string{"=1", "a,=1", "'a", `\`, `\x`, `\u0041`, "a\nb", `\u00`} {
		if back, err := unescapeText(text); err == nil {
			t.Errorf("%q is unescaped to %q, want an error", text, back)
		}
	}
}

// Whatever a text is, no cell that a spreadsheet may make of it starts like a formula, and
// unescapeText returns the text.
func TestEscapeAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := reportfiletest.Texts().Draw(t, "text")
		a := escapeText(text)
		if back, err := unescapeText(a); err != nil || back != text {
			t.Fatalf("%q is escaped to %q, and that is unescaped to %q %v", text, a, back, err)
		}
		if strings.ContainsFunc(a, control) {
			t.Fatalf("%q has a control character", a)
		}
		for _, cell := range strings.FieldsFunc(a, separatesCells) {
			cell = strings.TrimLeft(cell, " \u00a0")
			if cell != "" && strings.ContainsRune("=+-@＝＋－＠", []rune(cell)[0]) {
				t.Fatalf("%q has the cell %q", a, cell)
			}
		}
	})
}

func ms(min, max int64) *rapid.Generator[time.Time] {
	return rapid.Map(rapid.Int64Range(min, max), func(ms int64) time.Time { return time.UnixMilli(ms).UTC() })
}

var someTime = ms(1, 4102444800000)

func someEntry(t *rapid.T, seq int64) outage.Entry {
	counts := rapid.Ptr(rapid.Uint32(), true)
	e := outage.Entry{Seq: seq, AlertID: reportfiletest.Texts().Draw(t, "id"), AlertCode: reportfiletest.Texts().Draw(t, "code"), CHF: outage.DeviceID(rapid.Uint64().Draw(t, "chf")),
		ESME: outage.DeviceID(rapid.Uint64().Draw(t, "esme")), MPxN: reportfiletest.Texts().Draw(t, "mpxn"), OutageStart: someTime.Draw(t, "outage"), Received: someTime.Draw(t, "received"),
		RequestID: "90-B3-D5-1F-30-01-00-00:00-DB-12-34-56-78-90-A0:1", Mode: outage.OnDemand, WindowStart: someTime.Draw(t, "start"), WindowEnd: someTime.Draw(t, "end"),
		Throttled: outage.Throttled{SequenceID: counts.Draw(t, "sequence"), Count: counts.Draw(t, "count")},
		Outcome:   rapid.SampledFrom([]outage.Outcome{outage.Suppressed, outage.Shadow, outage.Forwarded}).Draw(t, "outcome"),
		Repeated:  rapid.Bool().Draw(t, "repeated"), StartedBefore: rapid.Bool().Draw(t, "before")}
	if rapid.Bool().Draw(t, "valid") {
		e.Distributor, e.MPxNValid = rapid.SampledFrom([]string{"10", "23", "24", "99", "09"}).Draw(t, "distributor"), true
	}
	return e
}

// A file that is read has what was written, whatever that was.
func TestFileRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type contents struct {
			Header      Header
			Standing    []events.Event
			Changes     []events.Event
			Corrections []outage.Entry
			Entries     []outage.Entry
			Evidence    []assess.Recorded
		}
		some := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) events.Event {
			return events.Event{What: rapid.SampledFrom([]string{"switch", "devices"}).Draw(t, "what"), At: someTime.Draw(t, "at"),
				Old: reportfiletest.Texts().Draw(t, "old"), New: reportfiletest.Texts().Draw(t, "new"), Who: reportfiletest.Texts().Draw(t, "who"), Why: reportfiletest.Texts().Draw(t, "why")}
		}), 0, 3)
		first := rapid.Int64Range(1, 1<<40).Draw(t, "first")
		n := rapid.Int64Range(0, 5).Draw(t, "n")
		in := contents{Header: Header{System: "DSP-1", Report: rapid.Int64Range(1, 1<<40).Draw(t, "report"), Stream: report.Consolidated,
			Start: someTime.Draw(t, "start"), End: someTime.Draw(t, "end"), CutAt: someTime.Draw(t, "cut"), FirstSeq: first, LastSeq: first + n - 1,
			PreviousName: "POAS_x.csv", PreviousSHA256: "ab", DeviceList: "cd", Window: time.Duration(rapid.Int64Range(1, 1e9).Draw(t, "window")) * time.Microsecond,
			Switch: outage.SwitchShadow, Cause: report.CauseSize},
			Standing: some.Draw(t, "standing"), Changes: some.Draw(t, "changes")}
		for i := range rapid.Int64Range(0, 2).Draw(t, "corrections") {
			in.Corrections = append(in.Corrections, someEntry(t, max(0, first-3)+i%max(1, min(3, first))))
		}
		for i := range n {
			in.Entries = append(in.Entries, someEntry(t, first+i))
		}

		if n > 0 && rapid.Bool().Draw(t, "evidence") {
			in.Header.Evidence = true
			levels := rapid.Permutation([]evidence.Level{evidence.None, evidence.Weak, evidence.Strong})
			for range rapid.IntRange(1, 3).Draw(t, "changes of evidence") {
				l := levels.Draw(t, "levels")
				odds, _ := strconv.ParseFloat(strconv.FormatFloat(rapid.Float64Range(0, 1e12).Draw(t, "odds"), 'g', 4, 64), 64)
				in.Evidence = append(in.Evidence, assess.Recorded{Was: l[0], Text: reportfiletest.Texts().Draw(t, "text"), Distributor: rapid.SampledFrom([]string{"", "12"}).Draw(t, "distributor"),
					Assessment: evidence.Assessment{Entry: rapid.Int64Range(1, first+n-1).Draw(t, "entry"), Level: l[1], Odds: odds, At: someTime.Draw(t, "assessed")}})
			}
		}

		var file bytes.Buffer
		w := NewWriter(&file)
		check := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		check(w.Header(&in.Header))
		for _, e := range in.Standing {
			check(w.Event(e, true))
		}
		for _, e := range in.Changes {
			check(w.Event(e, false))
		}
		for i := range in.Corrections {
			check(w.Correction(&in.Corrections[i]))
		}
		for i := range in.Entries {
			check(w.Entry(&in.Entries[i]))
		}
		for i := range in.Evidence {
			check(w.Evidence(&in.Evidence[i]))
		}
		sum, err := w.Close()
		check(err)

		out := contents{Standing: []events.Event{}, Changes: []events.Event{}}
		f, err := Read("x", bytes.NewReader(file.Bytes()), func(r Record) {
			switch {
			case r.Event != nil && r.Standing:
				out.Standing = append(out.Standing, *r.Event)
			case r.Event != nil:
				out.Changes = append(out.Changes, *r.Event)
			case r.Correction != nil:
				out.Corrections = append(out.Corrections, *r.Correction)
			case r.Evidence != nil:
				out.Evidence = append(out.Evidence, *r.Evidence)
			default:
				out.Entries = append(out.Entries, *r.Entry)
			}
		})
		check(err)
		out.Header = f.Header
		if !reflect.DeepEqual(in, out) {
			t.Fatalf("written:\n%+v\nread:\n%+v", in, out)
		}
		if f.SHA256 != sum || f.Size != int64(file.Len()) || f.Entries != n {
			t.Fatalf("sum %s, %d bytes, %d entries, want %s, %d, %d", f.SHA256, f.Size, f.Entries, sum, file.Len(), n)
		}
		reportfiletest.WellFormed(t, file.Bytes())
	})
}

func TestName(t *testing.T) {
	start := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	for stream, want := range map[string]string{
		report.Consolidated:       "POAS_quell_20260301T100000000Z_20260301T110000123Z_00000007.csv",
		"14":                      "POAS_quell_20260301T100000000Z_20260301T110000123Z_00000007_14.csv",
		outage.UnknownDistributor: "POAS_quell_20260301T100000000Z_20260301T110000123Z_00000007_unknown.csv",
	} {
		if got := NameOf("quell", start, start.Add(time.Hour+123*time.Millisecond), 7, stream); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestFormatTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(-70_000_000_000, 260_000_000_000).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
		if got, want := FormatTime(at), at.UTC().Format(timeLayout); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	})
	if got := FormatTime(time.Time{}); got != "" {
		t.Errorf("the zero time is %q", got)
	}
}

func BenchmarkFormatTime(b *testing.B) {
	at := time.Date(2026, 3, 1, 10, 0, 0, 123e6, time.UTC)
	b.Run("ours", func(b *testing.B) {
		for b.Loop() {
			FormatTime(at)
		}
	})
	b.Run("time", func(b *testing.B) {
		for b.Loop() {
			_ = at.Format(timeLayout)
		}
	})
}

// TestLongRecord: a record that does not end is refused before the whole file is in memory.
func TestLongRecord(t *testing.T) {
	read := 0
	endless := readerFunc(func(b []byte) (int, error) {
		for i := range b {
			b[i] = 'a'
		}
		if read == 0 {
			b[0] = '"'
		}
		read += len(b)
		return len(b), nil
	})
	_, err := Read("x", endless, nil)
	var fault *Fault
	if !errors.As(err, &fault) || !errors.Is(err, errLongRecord) || read > maxRecord+1<<20 {
		t.Errorf("%v after %d bytes", err, read)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }
