package updates

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"quell/internal/outage"
)

var t0 = time.Date(2026, 3, 1, 10, 20, 0, 0, time.UTC)

const supplier = outage.DeviceID(0x90B3D51F30010000)

func meter(n int) outage.DeviceID { return outage.DeviceID(0x00DB123400000000 + uint64(n)) }

// message is an 11.1 for meters 1 to n, with an image of some bytes.
func message(image, n int) string {
	var ids []string
	for i := range n {
		ids = append(ids, meter(i+1).String())
	}
	return `<?xml version="1.0"?><sr:Request xmlns:sr="http://www.dccinterface.co.uk/ServiceUserGateway" schemaVersion="5.4"><sr:Header><sr:RequestID>90-B3-D5-1F-30-01-00-00:00-00-00-00-00-00-00-00:7</sr:RequestID>` +
		`<sr:CommandVariant>8</sr:CommandVariant><sr:ServiceReference>11.1</sr:ServiceReference><sr:ServiceReferenceVariant>11.1</sr:ServiceReferenceVariant></sr:Header><sr:Body><sr:UpdateFirmware>` +
		`<sr:FirmwareImage>` + strings.Repeat("Q", image) + `</sr:FirmwareImage><sr:FirmwareVersion>00000002</sr:FirmwareVersion><sr:DeviceIDList>` + strings.Join(ids, ",") + `</sr:DeviceIDList></sr:UpdateFirmware></sr:Body></sr:Request>`
}

func begin(u *Updates) *Tap { return u.Begin(outage.RequestID{Originator: supplier, Counter: 7}, t0) }

// body is an answer.
func body(text string) io.ReadCloser { return io.NopCloser(strings.NewReader(text)) }

func response(code string) string {
	return `<sr:Response xmlns:sr="http://www.dccinterface.co.uk/ServiceUserGateway" schemaVersion="5.4"><sr:Header><sr:ResponseCode>` + code + `</sr:ResponseCode></sr:Header><sr:Body/></sr:Response>`
}

// read reads an answer through a tap to its end, and returns it.
func read(t *testing.T, tap *Tap, text string) string {
	t.Helper()
	a := tap.Answer(body(text))
	got, err := io.ReadAll(a)
	if err != nil || a.Close() != nil {
		t.Fatal(err)
	}
	return string(got)
}

func TestTap(t *testing.T) {
	text := message(1000, 3)
	want := []outage.DeviceID{meter(1), meter(2), meter(3)}
	// The message may pass in any two pieces.
	for i := range len(text) + 1 {
		u := New(nil, slog.New(slog.DiscardHandler))
		tap := begin(u)
		for _, p := range []string{text[:i], text[i:]} {
			if n, err := io.WriteString(tap, p); n != len(p) || err != nil {
				t.Fatal(n, err)
			}
		}
		if got := read(t, tap, response("I0")); got != response("I0") {
			t.Fatalf("the answer is changed: %q", got)
		}
		if len(u.lists) != 1 || u.taps.Load() != 0 {
			t.Fatalf("cut at %d: %d lists, %d taps", i, len(u.lists), u.taps.Load())
		}
		if got := u.lists[0].meters(); !slices.Equal(got, want) {
			t.Fatalf("cut at %d: %v", i, got)
		}
	}

	for name, c := range map[string]struct {
		message, answer string
		want            int // meters
	}{
		"without a prefix":   {strings.ReplaceAll(text, "sr:", ""), "", 3},
		"white space":        {strings.ReplaceAll(strings.ReplaceAll(text, "<sr:DeviceIDList>", "<sr:DeviceIDList >\n "), ",", ",\n"), "", 3},
		"one is not an id":   {strings.ReplaceAll(text, meter(2).String(), "x"), "", 2},
		"empty answer":       {text, "", 3},
		"no DUIS":            {text, "<html>", 3},
		"refused":            {text, response("E19"), 0},
		"refused at length":  {text, strings.Replace(response("E5"), "<sr:Body/>", "<sr:Body>"+strings.Repeat(" ", 2*maxHead)+"</sr:Body>", 1), 0},
		"accepted at length": {text, strings.Replace(response("I0"), "<sr:Body/>", "<sr:Body>"+strings.Repeat(" ", 2*maxHead)+"</sr:Body>", 1), 3},
		"cut":                {text[:strings.Index(text, "</sr:DeviceIDList>")], response("I0"), 0},
		"no list":            {strings.ReplaceAll(text, "DeviceIDList", "DeviceIDLists"), response("I0"), 0},
		"a long tag":         {strings.ReplaceAll(text, "<sr:DeviceIDList>", "<sr:DeviceIDList"+strings.Repeat(" ", maxName)+">"), response("I0"), 0},
		"too long":           {strings.ReplaceAll(text, "<sr:DeviceIDList>", "<sr:DeviceIDList>"+strings.Repeat(" ", maxList)), response("I0"), 0},
	} {
		u := New(nil, slog.New(slog.DiscardHandler))
		tap := begin(u)
		io.WriteString(tap, c.message)
		read(t, tap, c.answer)
		found := 0
		for _, l := range u.lists {
			found += len(l.meters())
		}
		if found != c.want || u.taps.Load() != 0 {
			t.Errorf("%s: %d meters, %d taps; want %d", name, found, u.taps.Load(), c.want)
		}
	}
}

// A message that did not arrive is forgotten, and what comes after the end of a tap has no effect.
func TestRefused(t *testing.T) {
	u := New(nil, slog.New(slog.DiscardHandler))
	tap := begin(u)
	io.WriteString(tap, message(10, 3))
	tap.Refused()
	read(t, tap, response("I0"))
	if len(u.lists) != 0 || u.taps.Load() != 0 {
		t.Errorf("%d lists, %d taps", len(u.lists), u.taps.Load())
	}
	tap = begin(u)
	io.WriteString(tap, message(10, 3))
	read(t, tap, response("I0"))
	tap.Refused() // the handler is over
	if len(u.lists) != 1 || u.taps.Load() != 0 {
		t.Errorf("%d lists, %d taps", len(u.lists), u.taps.Load())
	}
	var none *Tap
	none.Write(nil)
	none.Refused()
	(*Updates)(nil).Arrived(outage.RequestID{}, 1, true, t0)
	if (*Updates)(nil).Begin(outage.RequestID{}, t0) != nil {
		t.Error("a tap of nothing")
	}
}

// Only so many are followed at once, and so many wait.
func TestTapLimits(t *testing.T) {
	u := New(nil, slog.New(slog.DiscardHandler))
	var taps []*Tap
	for range maxTaps {
		taps = append(taps, begin(u))
	}
	if begin(u) != nil || u.Dropped() != 1 {
		t.Errorf("one more is followed; %d dropped", u.Dropped())
	}
	for _, tap := range append(taps, begin(u)) {
		io.WriteString(tap, message(1, 1))
		read(t, tap, "")
	}
	if more := begin(u); more == nil {
		t.Error("none is followed any more")
	} else {
		io.WriteString(more, message(1, 1))
		read(t, more, "")
	}
	if len(u.lists) != maxTaps || u.Dropped() != 3 {
		t.Errorf("%d lists wait, %d dropped", len(u.lists), u.Dropped())
	}
	const most = maxWaiting / blockSize * blockSize
	for range most + 1 {
		u.Arrived(outage.RequestID{}, 1, true, t0)
	}
	if n := len(u.full)*blockSize + len(u.open); n != most || u.Dropped() != 4 {
		t.Errorf("%d notes, %d dropped", n, u.Dropped())
	}
}

// BenchmarkTap is what an 11.1 costs while it passes, in pieces of 32 KiB.
func BenchmarkTap(b *testing.B) {
	for _, c := range []struct{ image, meters int }{{1_000_000, 1}, {1_000_000, 50_000}} {
		b.Run(fmt.Sprintf("%d meters", c.meters), func(b *testing.B) {
			text := []byte(message(c.image, c.meters))
			u := New(nil, slog.New(slog.DiscardHandler))
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				tap := begin(u)
				for p := range slices.Chunk(text, 32<<10) {
					tap.Write(p)
				}
				tap.Refused()
			}
		})
	}
}

func BenchmarkArrived(b *testing.B) {
	u := New(nil, slog.New(slog.DiscardHandler))
	for b.Loop() {
		u.Arrived(outage.RequestID{Originator: supplier}, meter(1), true, t0)
		if len(u.full) == maxWaiting/blockSize {
			u.full = nil
		}
	}
}

// A list that comes a byte at a time takes no more memory than another.
func TestListInBytes(t *testing.T) {
	text := message(10, maxList/24-10)
	tap := begin(New(nil, slog.New(slog.DiscardHandler)))
	for i := range len(text) {
		io.WriteString(tap, text[i:i+1])
	}
	size := 24 * cap(tap.list)
	for _, b := range tap.list {
		size += cap(b)
	}
	if !tap.whole || tap.size < maxList/2 || size > maxList+maxList/10 {
		t.Errorf("a list of %d bytes takes %d, whole %v", tap.size, size, tap.whole)
	}
	if got := len(tap.meters()); got != maxList/24-10 {
		t.Errorf("%d meters", got)
	}
}
