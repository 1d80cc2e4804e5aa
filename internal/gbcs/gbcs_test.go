package gbcs

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quell/internal/outage"
)

// imageHash is the image hash of all vectors in testdata.
const imageHash = "6105D6CC76AF400325E94D588CE511BE5BFDBB73B437DC51ECA43917D7A43E3D"

func fromHex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// vector reads a file of testdata: hexadecimal, below a comment.
func vector(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	_, line, ok := strings.Cut(string(text), "\n")
	if !ok {
		t.Fatalf("%s: no second line", name)
	}
	return fromHex(t, strings.TrimSpace(line))
}

func command(counter uint64, order outage.Order) CS06 {
	c := CS06{
		Originator: 0x90B3D51F30010007,
		Target:     0x001BC502B0004C2E,
		Counter:    counter,
		Order:      order,
	}
	h, _ := hex.DecodeString(imageHash)
	copy(c.ImageHash[:], h)
	return c
}

var (
	onDemand     = outage.Order{Kind: outage.OnDemand}
	cancellation = outage.Order{Kind: outage.Cancellation}
	future       = outage.Order{Kind: outage.FutureDated, At: time.Date(2027, 3, 15, 2, 15, 0, 0, time.UTC)}
)

func TestReadCS06(t *testing.T) {
	tests := []struct {
		file string
		want CS06
	}{
		{"immediate-signed.hex", command(70001, onDemand)},
		{"future-signed.hex", command(70002, future)},
		{"cancellation-signed.hex", command(1<<63+1, cancellation)},
	}
	for _, tt := range tests {
		got, err := ReadCS06(vector(t, tt.file))
		if err != nil || got != tt.want {
			t.Errorf("%s: got %+v, %v; want %+v", tt.file, got, err, tt.want)
		}
	}
}

func TestReadCS06Other(t *testing.T) {
	precommand := vector(t, "immediate-precommand.hex")
	code := bytes.Clone(precommand)
	code[31] = 0x13
	long := append(bytes.Clone(precommand[:29]), fromHex(t, "00 04 0062 0000 28")...)
	tests := map[string][]byte{
		"response":                 vector(t, "response.hex"),
		"alert":                    vector(t, "alert.hex"),
		"other message code":       code,
		"longer other information": long,
	}
	for name, b := range tests {
		if c, err := ReadCS06(b); !errors.Is(err, ErrNotCS06) || c != (CS06{}) {
			t.Errorf("%s: got %+v, %v", name, c, err)
		}
	}
}

// A Signed Pre-Command is signed, and is not yet the DCC's command.
func TestReadCS06NotSigned(t *testing.T) {
	for _, file := range []string{"immediate-precommand.hex", "future-precommand.hex", "immediate-command.hex", "future-command.hex"} {
		if c, err := ReadCS06(vector(t, file)); !errors.Is(err, ErrNotSigned) || c != (CS06{}) {
			t.Errorf("%s: got %+v, %v", file, c, err)
		}
	}
	for _, mac := range []string{"DD", "DD000000000000 10 1100000000 DF0902 0000000000000001"} {
		if c, err := ReadCS06(fromHex(t, mac)); !errors.Is(err, ErrNotSigned) || c != (CS06{}) {
			t.Errorf("%s: got %+v, %v", mac, c, err)
		}
	}
}

// Each case is a message with one fault. The parts of a good one, in order:
var parts = [...]string{
	"DF", "09", "01", "0000000000000081", "08", "90B3D51F30010007", "08", "001BC502B0004C2E",
	"00", "02", "0012", "39", "30", "37", "04", "20", imageHash, "02", "02", "0081", "18", "0F",
	"32303237303331353032313530305A",
}

func with(t *testing.T, changes map[int]string) []byte {
	p := parts
	for i, s := range changes {
		p[i] = s
	}
	return fromHex(t, strings.Join(p[:], ""))
}

func TestReadCS06Malformed(t *testing.T) {
	bare := with(t, nil)
	good := AppendSigned(nil, bare, [64]byte{1, 2})
	if c, err := ReadCS06(good); err != nil || c != command(0x81, future) {
		t.Fatalf("the good one: %+v, %v", c, err)
	}
	replace := func(b []byte, i int, c byte) []byte {
		b = bytes.Clone(b)
		b[i] = c
		return b
	}
	tests := map[string][]byte{
		"nothing":                       {},
		"tag":                           with(t, map[int]string{0: "DE"}),
		"transaction id's length":       with(t, map[int]string{1: "08"}),
		"originator's length":           with(t, map[int]string{4: "07"}),
		"target's length":               with(t, map[int]string{6: "09"}),
		"date-time":                     with(t, map[int]string{8: "0C 07EB0201FF0D062900000000"}),
		"short other information":       with(t, map[int]string{9: "01"}),
		"no other information":          with(t, map[int]string{9: "00", 10: ""}),
		"long other information":        with(t, map[int]string{9: "03", 10: "001200"}),
		"content too long":              with(t, map[int]string{11: "3A"}),
		"content too short":             with(t, map[int]string{11: "38"}),
		"content's length not minimal":  with(t, map[int]string{11: "8139"}),
		"content's length not minimal2": with(t, map[int]string{11: "820039"}),
		"indefinite length":             with(t, map[int]string{11: "80"}),
		"length of three bytes":         with(t, map[int]string{11: "83000039"}),
		"not a SEQUENCE":                with(t, map[int]string{12: "31"}),
		"SEQUENCE too long":             with(t, map[int]string{13: "38"}),
		"SEQUENCE too short":            with(t, map[int]string{13: "36"}),
		"SEQUENCE's length not minimal": with(t, map[int]string{11: "3A", 13: "8137"}),
		"not an OCTET STRING":           with(t, map[int]string{14: "03"}),
		"short hash":                    with(t, map[int]string{11: "38", 13: "36", 15: "1F", 16: imageHash[2:]}),
		"long hash":                     with(t, map[int]string{11: "3A", 13: "38", 15: "21", 16: imageHash + "00"}),
		"not an INTEGER":                with(t, map[int]string{17: "0A"}),
		"counters disagree":             with(t, map[int]string{19: "0082"}),
		"counter in header disagrees":   with(t, map[int]string{3: "0000000000000082"}),
		"counter not minimal":           with(t, map[int]string{11: "3A", 13: "38", 18: "03", 19: "000081"}),
		"negative counter":              with(t, map[int]string{11: "38", 13: "36", 18: "01", 19: "81"}),
		"empty counter":                 with(t, map[int]string{11: "37", 13: "35", 18: "00", 19: ""}),
		"not a GeneralizedTime":         with(t, map[int]string{20: "17"}),
		"short time":                    with(t, map[int]string{11: "37", 13: "35", 21: "0D", 22: "3032303331353032313530305A"}),
		"time without Z":                with(t, map[int]string{22: hex.EncodeToString([]byte("202703150215000"))}),
		"time with fraction":            with(t, map[int]string{22: hex.EncodeToString([]byte("2027031502150.Z"))}),
		"time with blank":               with(t, map[int]string{22: hex.EncodeToString([]byte("20270315 21500Z"))}),
		"30 February":                   with(t, map[int]string{22: hex.EncodeToString([]byte("20270230021500Z"))}),
		"year 0000":                     with(t, map[int]string{22: hex.EncodeToString([]byte("00000315021500Z"))}),
		"the zero time":                 with(t, map[int]string{22: hex.EncodeToString([]byte("00010101000000Z"))}),
		"24 o'clock":                    with(t, map[int]string{22: hex.EncodeToString([]byte("20270315240000Z"))}),
		"second 60":                     with(t, map[int]string{22: hex.EncodeToString([]byte("20270315021560Z"))}),
		"bytes after time":              with(t, map[int]string{11: "3B", 13: "39", 22: parts[22] + "0500"}),
		"bytes after SEQUENCE":          with(t, map[int]string{11: "3B", 22: parts[22] + "0500"}),
		"byte after pre-command":        append(bytes.Clone(bare), 0),
		"byte after signature":          append(bytes.Clone(good), 0),
		"signature's length":            replace(good, len(bare), 0x41),
		"MAC on a signed pre-command":   append(bytes.Clone(good), make([]byte, 12)...),
	}
	for name, b := range tests {
		if c, err := ReadCS06(b); !errors.Is(err, ErrMalformed) || c != (CS06{}) {
			t.Errorf("%s: got %+v, %v", name, c, err)
		}
	}
	for n := range good {
		want := ErrMalformed
		if n == len(bare) {
			want = ErrNotSigned
		}
		if c, err := ReadCS06(good[:n]); !errors.Is(err, want) || c != (CS06{}) {
			t.Errorf("the first %d of %d bytes: %+v, %v", n, len(good), c, err)
		}
	}
}

func TestLength(t *testing.T) {
	tests := []struct {
		in   string
		want int
		ok   bool
	}{
		{"00", 0, true}, {"7F", 127, true}, {"80", 0, false}, {"8101", 0, false}, {"8180", 0, false},
		{"820100", 0, false}, {"FF", 0, false}, {"", 0, false},
	}
	for _, tt := range tests {
		d := decoder{b: fromHex(t, tt.in)}
		n := d.length()
		if ok := d.err == nil; ok != tt.ok || n != tt.want || ok && len(d.b) > 0 {
			t.Errorf("%q: got %d, %v", tt.in, n, d.err)
		}
	}
}

// Only 9999-12-31 cancels. In a payload, the time that means cancellation in the XML
// is a date like any other.
func TestCancellationTime(t *testing.T) {
	for at, want := range map[string]outage.Order{
		"99991231235959Z": cancellation,
		"99991231235958Z": {Kind: outage.FutureDated, At: time.Date(9999, 12, 31, 23, 59, 58, 0, time.UTC)},
		"30001231000000Z": {Kind: outage.FutureDated, At: time.Date(3000, 12, 31, 0, 0, 0, 0, time.UTC)},
	} {
		b := AppendSigned(nil, with(t, map[int]string{22: hex.EncodeToString([]byte(at))}), [64]byte{})
		if c, err := ReadCS06(b); err != nil || c.Order != want {
			t.Errorf("%s: got %+v, %v", at, c.Order, err)
		}
	}
}

func TestAppendCS06(t *testing.T) {
	for file, c := range map[string]CS06{
		"immediate-precommand.hex": command(70001, onDemand),
		"future-precommand.hex":    command(70002, future),
	} {
		if got := AppendCS06([]byte("x"), c); !bytes.Equal(got[1:], vector(t, file)) || got[0] != 'x' {
			t.Errorf("%s: got %X", file, got)
		}
	}
	counters := []uint64{0, 1, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 1 << 31, 1<<63 - 1, 1 << 63, 1<<64 - 1}
	for _, n := range counters {
		for _, order := range []outage.Order{onDemand, cancellation, future} {
			want := command(n, order)
			got, err := ReadCS06(AppendSigned(nil, AppendCS06(nil, want), [64]byte{}))
			if err != nil || got != want {
				t.Errorf("counter %d, %s: got %+v, %v", n, order.Kind, got, err)
			}
		}
	}
	east := command(1, outage.Order{Kind: outage.FutureDated, At: future.At.Add(999 * time.Millisecond).In(time.FixedZone("", 3600))})
	if got, err := ReadCS06(AppendSigned(nil, AppendCS06(nil, east), [64]byte{})); err != nil || got.Order != future {
		t.Errorf("zone and fraction: got %+v, %v", got, err)
	}
}

func FuzzReadCS06(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.hex"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no vectors: %v", err)
	}
	for _, file := range files {
		f.Add(vector(f, filepath.Base(file)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ReadCS06(b)
		if err != nil {
			kinds := 0
			for _, kind := range []error{ErrNotCS06, ErrNotSigned, ErrMalformed} {
				if errors.Is(err, kind) {
					kinds++
				}
			}
			if kinds != 1 || c != (CS06{}) {
				t.Fatalf("got %+v, %v", c, err)
			}
			return
		}
		if want := AppendSigned(nil, AppendCS06(nil, c), [64]byte(b[max(0, len(b)-signatureSize):])); !bytes.Equal(b, want) {
			t.Fatalf("%X reads as %+v, which is written %X", b, c, want)
		}
	})
}

func BenchmarkReadCS06(b *testing.B) {
	p := vector(b, "future-signed.hex")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadCS06(p); err != nil {
			b.Fatal(err)
		}
	}
}
