package recording

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"quell/internal/duis"
	"quell/internal/outage"

	"github.com/klauspost/compress/zstd"
)

var t0 = time.Date(2026, 3, 1, 10, 0, 0, 123456000, time.UTC)

const hub outage.DeviceID = 0x00db123456789000

func alertID(n uint64) outage.RequestID {
	return outage.RequestID{Originator: hub, Target: 1, Counter: n}
}

// samples are lines of each kind, with each field.
func samples() []Line {
	return []Line{
		{Kind: Settings, At: t0, Run: "0011223344556677", Rules: []byte(`{"Window":1800000000000}`)},
		{Kind: Southbound, At: t0, No: 7, Document: []byte("<a b=\"c\">\n\té\\ </a>"), Outcome: outage.Forwarded, Reason: outage.ReasonTracked, Listed: true,
			Meter:     outage.Device{ID: 5, Type: "ESME", SMETSVersion: "SMETS2", Manufacturer: "L\u00e4ndis \"+\" Gyr", Model: "E470", CHF: hub, Supplier: 3, Area: -5, Sector: 7},
			Signature: Signature{Signer: 3, Reason: outage.ReasonSignerMismatch, Forged: true}},
		{Kind: Southbound, At: t0, No: 1<<64 - 1, Document: []byte{'<', 0xff, 0xfe, 0}, Rest: true, Outcome: outage.Forwarded, Reason: outage.ReasonTooLarge},
		{Kind: Answer, At: t0.Add(time.Second), No: 7, State: outage.Withdrawn, Code: "E4"},
		{Kind: Northbound, At: t0, Document: duis.AppendPowerOutage(nil, alertID(1), t0, duis.PowerOutage{CHF: hub, Start: t0, MPxN: "x"}), Outcome: outage.Suppressed, Reason: outage.ReasonWindowOpen},
		{Kind: Heard, At: t0, Device: hub},
	}
}

func TestLines(t *testing.T) {
	var p Parser
	for _, l := range samples() {
		text := l.Append(nil)
		if !json.Valid(text) || bytes.Count(text, []byte("\n")) != 1 {
			t.Errorf("not one line of JSON: %s", text)
		}
		var got Line
		if err := p.Parse(text, &got); err != nil || !reflect.DeepEqual(got, l) {
			t.Errorf("%v\n%+v\nwant %+v", err, got, l)
		}
	}
}

// Lines may have their fields in any order, white space, and fields of a later version.
func TestOtherForms(t *testing.T) {
	var l Line
	if err := new(Parser).Parse([]byte(` { "later" : {"a":["}",1e3]} , "document":"\u003ca\/\ud83d\ude00\ud83dx\b\f\r\t", "at" :12, "kind":"northbound", "listed":false } `+"\r\n"), &l); err != nil {
		t.Fatal(err)
	}
	if string(l.Document) != "<a/\U0001F600\uFFFDx\b\f\r\t" || l.Kind != Northbound || !l.At.Equal(time.UnixMicro(12)) {
		t.Errorf("%+v, %q", l, l.Document)
	}
	for _, text := range []string{"", "{}", "[]", `{"kind":"heard"}`, `{"at":1}`, `{"kind":"other","at":1}`, `{"kind":"heard","at":-1}`, `{"kind":"heard","at":99999999999999999999}`, `{"kind":"heard","at":1`,
		`{"kind":"heard","at":1}}`, `{"kind":"heard","at":1 "no":2}`, `{"kind":"heard","at":1,}`, `{"kind":"heard","at":1,"device":"x"}`, `{"kind":"heard","at":1,"document":"\x"}`,
		`{"kind":"heard","at":1,"document":"\`, `{"kind":"heard","at":1,"base64":"?"}`, `{"kind":"heard","at":1,"rules":nope}`, `{"kind":"heard","at":1,"listed":1}`} {
		if err := new(Parser).Parse([]byte(text), &l); err == nil {
			t.Errorf("%s is read", text)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, l := range samples() {
		f.Add(l.Append(nil))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var p Parser
		var l, again Line
		if p.Parse(text, &l) != nil {
			return
		}
		if !json.Valid(l.Append(nil)) && len(l.Rules) == 0 {
			t.Fatalf("not JSON: %s", l.Append(nil))
		}
		if err := p.Parse(bytes.Clone(l.Append(nil)), &again); err != nil || !again.At.Equal(l.At) || !bytes.Equal(again.Document, l.Document) || again.Kind != l.Kind || again.Meter != l.Meter {
			t.Fatalf("%v\n%+v\n%+v", err, l, again)
		}
	})
}

// whole returns what is in the files of a folder, and their lines.
func whole(t *testing.T, dir string) (plain []byte, lines []Line) {
	names, _ := filepath.Glob(filepath.Join(dir, "recordings", "*"))
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		z, err := zstd.NewReader(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		plain = append(plain, all...)
		got, err := readAll(name, text)
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		lines = append(lines, got...)
	}
	return plain, lines
}

func readAll(name string, text []byte) (list []Line, err error) {
	r, err := NewReader(name, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for {
		var l Line
		if err := r.Next(&l); err != nil {
			return list, err
		}
		list = append(list, l)
	}
}

func newRecorder(t *testing.T, l Limits) (r *Recorder, dir string) {
	dir = t.TempDir()
	r = open(dir, slog.New(slog.DiscardHandler), queueLimit, time.Millisecond)
	l.Enabled = true
	r.Configure(l)
	return r, dir
}

var large = Limits{MaxBytes: 1 << 30, Keep: time.Hour}

// However an AD1 is written, its MPxN is not in the file. What takes its place has the form of
// the MPxN and its distributor, and is the same for the same MPxN. All else stays.
func TestPrivate(t *testing.T) {
	r, dir := newRecorder(t, large)
	mpxns := []string{"1400000000014", "2000000000010", "1234567890", "1400000000015", "ABC4567890123", "9", "14<00&00000\u00e9"}
	forms := []func(document []byte, mpxn string) []byte{
		func(d []byte, _ string) []byte { return d },
		func(d []byte, m string) []byte {
			return bytes.Replace(d, []byte(m), []byte("\n  "+m+"\n"), 1)
		},
		func(d []byte, m string) []byte {
			return bytes.Replace(d, []byte(">"+m), fmt.Appendf(nil, "><!-- %s -->&#%d;%s", strings.NewReplacer("<", "", "&", "").Replace(m), m[0], m[1:]), 1)
		},
		func(d []byte, m string) []byte {
			return bytes.Replace(d, []byte(">"+m+"<"), []byte("><![CDATA["+m+"]]><"), 1)
		},
	}
	var want []duis.Message
	var originals []string
	n := uint64(0)
	for _, mpxn := range mpxns {
		for _, form := range forms {
			n++
			document := form(duis.AppendPowerOutage(nil, alertID(n), t0, duis.PowerOutage{CHF: hub, Start: t0, MPxN: mpxn}), mpxn)
			m, err := duis.Read(document)
			if err != nil {
				continue // this form is not for this MPxN
			}
			r.Add(Line{Kind: Northbound, At: t0, Document: document, Outcome: outage.Forwarded, Reason: outage.ReasonNoWindow}, m.Outage.MPxN)
			want, originals = append(want, m), append(originals, m.Outage.MPxN)
		}
	}
	if len(want) < 20 {
		t.Fatalf("only %d forms can be read", len(want))
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	plain, lines := whole(t, dir)
	for _, m := range mpxns {
		if len(m) > 1 && (bytes.Contains(plain, []byte(m)) || bytes.Contains(plain, []byte(m[1:]))) {
			t.Errorf("%s is in the file", m)
		}
	}
	if len(lines) != len(want) {
		t.Fatalf("%d lines, not %d", len(lines), len(want))
	}
	seen := map[string]string{}
	for i, l := range lines {
		got, err := duis.Read(l.Document)
		if err != nil {
			t.Fatalf("%v: %s", err, l.Document)
		}
		was, other := want[i], got.Outage.MPxN
		d, valid := outage.DistributorOf(was.Outage.MPxN)
		if e, is := outage.DistributorOf(other); is != valid || d != e || len([]rune(other)) != len([]rune(was.Outage.MPxN)) {
			t.Errorf("%s became %s", was.Outage.MPxN, other)
		}
		if p, ok := seen[originals[i]]; ok && p != other {
			t.Errorf("%s became %s and %s", originals[i], p, other)
		}
		seen[originals[i]] = other
		got.Outage.MPxN = was.Outage.MPxN
		if !reflect.DeepEqual(got, was) {
			t.Errorf("%+v, was %+v", got, was)
		}
	}
	if key, err := os.ReadFile(filepath.Join(dir, "recording.key")); err != nil || len(key) != keySize {
		t.Errorf("%d bytes, %v", len(key), err)
	}
}

// Pseudonyms depend on the key: without it nobody can try all MPxNs.
func TestPseudonymsOfKeys(t *testing.T) {
	a, b := pseudonym([]byte("key 1"), "1400000000014"), pseudonym([]byte("key 2"), "1400000000014")
	if a == b || a == "1400000000014" {
		t.Errorf("%s, %s", a, b)
	}
}

func TestPlain(t *testing.T) {
	l := large
	l.Plain = true
	r, dir := newRecorder(t, l)
	document := duis.AppendPowerOutage(nil, alertID(1), t0, duis.PowerOutage{CHF: hub, Start: t0, MPxN: "1400000000014"})
	r.Add(Line{Kind: Northbound, At: t0, Document: document}, "1400000000014")
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, lines := whole(t, dir); len(lines) != 1 || !bytes.Equal(lines[0].Document, document) {
		t.Errorf("%+v", lines)
	}
}

// Each file begins with the settings in force. Files are deleted when there is no room for
// them, the oldest first.
func TestFiles(t *testing.T) {
	r, dir := newRecorder(t, Limits{MaxBytes: 64 << 10, Keep: time.Hour})
	if !r.Settings(t0, []byte(`{"Window":1}`)) {
		t.Fatal("no room")
	}
	document := make([]byte, 2000)
	for n := range 400 {
		for i := range document { // does not compress well
			document[i] = 'A' + byte((n*i*i+n+i/7)%50)
		}
		if n == 200 {
			r.Settings(t0, []byte(`{"Window":2}`))
		}
		r.Add(Line{Kind: Southbound, At: t0.Add(time.Duration(n) * time.Second), No: uint64(n) + 1, Document: document}, "")
		if err := r.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	names, _ := filepath.Glob(filepath.Join(dir, "recordings", "*"))
	sum, last := int64(0), uint64(0)
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sum += int64(len(text))
		lines, err := readAll(name, text)
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		window := `{"Window":1}`
		if lines[1].No > 200 {
			window = `{"Window":2}`
		}
		if lines[0].Kind != Settings || string(lines[0].Rules) != window || !lines[0].At.Equal(lines[1].At) {
			t.Errorf("%s begins with %+v, then %d", name, lines[0], lines[1].No)
		}
		for _, l := range lines {
			if l.Kind == Southbound {
				if last != 0 && l.No != last+1 {
					t.Errorf("%d after %d", l.No, last)
				}
				last = l.No
			}
		}
	}
	if len(names) < 3 || sum > 64<<10 || last != 400 {
		t.Errorf("%d files with %d bytes, the last line is %d", len(names), sum, last)
	}
}

// A file that is cut off anywhere is read up to there, and the error says so. A changed byte
// is an error, or changes nothing.
func TestDamaged(t *testing.T) {
	var file bytes.Buffer
	e := NewEncoder(&file)
	for range 4 {
		for _, l := range samples() {
			if err := e.Write(&l); err != nil {
				t.Fatal(err)
			}
		}
		if err := e.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	text := file.Bytes()
	all, err := readAll("f", text)
	if !errors.Is(err, io.EOF) || len(all) != 24 {
		t.Fatal(len(all), err)
	}
	isPrefix := func(list []Line) bool {
		return len(list) <= len(all) && reflect.DeepEqual(list, all[:len(list):len(list)]) || len(list) == 0
	}
	ends := 0
	for n := range len(text) {
		list, err := readAll("f", text[:n])
		if !isPrefix(list) || !errors.Is(err, io.EOF) && !errors.Is(err, ErrCutOff) && n > 4 {
			t.Fatalf("cut at %d of %d: %d lines, %v", n, len(text), len(list), err)
		}
		if errors.Is(err, io.EOF) {
			ends++ // between two frames
		} else if n > 4 && !strings.HasPrefix(err.Error(), fmt.Sprintf("f: line %d: ", len(list)+1)) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	if ends != 4 {
		t.Errorf("%d places where nothing is missing", ends)
	}
	faults := 0
	for n := range text {
		changed := bytes.Clone(text)
		changed[n] ^= 0x41
		list, err := readAll("f", changed)
		if errors.Is(err, io.EOF) && !isPrefix(list) {
			t.Fatalf("byte %d changed: %d lines, %v", n, len(list), err)
		}
		if !errors.Is(err, io.EOF) {
			faults++
			if !strings.HasPrefix(err.Error(), "f: ") {
				t.Fatalf("byte %d changed: %v", n, err)
			}
		}
	}
	if faults < len(text)*9/10 {
		t.Errorf("%d of %d changes show", faults, len(text))
	}
	// Plain text.
	var plain []byte
	for _, l := range samples() {
		plain = l.Append(plain)
	}
	if list, err := readAll("f", plain); len(list) != 6 || !errors.Is(err, io.EOF) {
		t.Error(len(list), err)
	}
	if list, err := readAll("f", plain[:len(plain)-1]); len(list) != 5 || !errors.Is(err, ErrCutOff) {
		t.Error(len(list), err)
	}
	if _, err := readAll("f", append(bytes.Clone(plain), "{}\n"...)); err == nil || !strings.HasPrefix(err.Error(), "f: line 7: ") {
		t.Error(err)
	}
}

// A disk that is full, or hangs for ever, delays nobody. Lines are dropped and counted, and
// written again when that is possible.
func TestDisk(t *testing.T) {
	add := func(t *testing.T, r *Recorder) {
		began := time.Now()
		for n := range 1000 {
			r.Add(Line{Kind: Southbound, At: t0, No: uint64(n) + 1, Document: make([]byte, 100)}, "")
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("1000 lines took %s", took)
		}
	}
	t.Run("fails", func(t *testing.T) {
		dir := t.TempDir()
		blocks := filepath.Join(dir, "recordings")
		if err := os.WriteFile(blocks, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		r := open(dir, slog.New(slog.DiscardHandler), 100_000, time.Millisecond)
		r.Configure(large)
		add(t, r)
		if r.Dropped() == 0 || r.Trouble() == "" {
			t.Errorf("%d dropped, trouble %q", r.Dropped(), r.Trouble())
		}
		if err := os.Remove(blocks); err != nil {
			t.Fatal(err)
		}
		if err := r.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if _, lines := whole(t, dir); len(lines)+int(r.Dropped()) != 1000 || len(lines) == 0 {
			t.Errorf("%d lines, %d dropped", len(lines), r.Dropped())
		}
	})
	t.Run("hangs", func(t *testing.T) {
		dir := t.TempDir()
		if err := syscall.Mkfifo(filepath.Join(dir, "recording.key"), 0o600); err != nil {
			t.Fatal(err)
		}
		r := open(dir, slog.New(slog.DiscardHandler), 100_000, time.Millisecond)
		r.Configure(large)
		add(t, r)
		if r.Dropped() == 0 {
			t.Error("none is dropped")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := r.Flush(ctx); err == nil {
			t.Error("lines are in a file that hangs")
		}
	})
}

// A file that is begun anew after a write that failed begins with what was in force before that write, not
// with what the write itself changes.
func TestSettingsAfterFailure(t *testing.T) {
	w := newWriter(t.TempDir(), "run", slog.New(slog.DiscardHandler), func() *Limits { return &large })
	defer w.close()
	set := func(rules string) []byte {
		return (&Line{Kind: Settings, At: t0, Run: "run", Rules: []byte(rules)}).Append(nil)
	}
	heard := (&Line{Kind: Heard, At: t0, Device: 1}).Append(nil)
	if _, err := w.Write(append(set("1"), heard...)); err != nil {
		t.Fatal(err)
	}
	w.file.Close() // as a disk that fails
	text := slices.Concat(heard, set("2"), heard)
	if _, err := w.Write(text); err == nil {
		t.Fatal("a closed file is written")
	}
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(w.file.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := NewReader("file", f)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var l Line
	if err := r.Next(&l); err != nil || l.Kind != Settings || string(l.Rules) != "1" {
		t.Errorf("the first line is %s, with %s, %v", l.Kind, l.Rules, err)
	}
}
