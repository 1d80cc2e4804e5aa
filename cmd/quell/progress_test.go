package main

import (
	"bytes"
	"math"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestProgressLine(t *testing.T) {
	began := time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		what        string
		unit        func(int64) string
		done, total int64
		took        time.Duration
		want        string
	}{
		{"importing", inBytes, 0, 30e6, 0, "importing   0% of 30 MB"},
		{"importing", inBytes, 0, 30e6, time.Second, "importing   0% of 30 MB"},
		{"importing", inBytes, 13.5e6, 30e6, 2700 * time.Millisecond, "importing  45% of 30 MB, 5.0 MB/s, 3s left"},
		{"copying", inRows, 1200, 2400, 2 * time.Minute, "copying  50% of 2,400 rows, 10 rows/s, 2m0s left"},
		{"verifying", inBytes, 30e6, 30e6, time.Second, "verifying 100% of 30 MB, 30 MB/s, 0s left"},
	} {
		var out bytes.Buffer
		p := progress{out: &out, what: c.what, unit: c.unit, began: began, done: c.done, total: c.total}
		p.draw(began.Add(c.took))
		if have, ok := strings.CutPrefix(out.String(), "\r"); !ok || strings.TrimRight(have, " ") != c.want || utf8.RuneCountInString(have) != progressColumns {
			t.Errorf("have %q\nwant %q", out.String(), c.want)
		}
	}
}

// A shorter line hides the longer one before it, and the end hides the line.
func TestProgressLeavesNothing(t *testing.T) {
	var out bytes.Buffer
	p := progress{out: &out, what: "copying", unit: inRows, began: time.Now().Add(-10 * time.Hour)}
	p.set(0, 0) // the total is not known yet
	if out.Len() > 0 {
		t.Errorf("%q before there is anything", out.String())
	}
	p.set(40_000, math.MaxInt32)
	shown := out.Len()
	p.add(1) // too soon to be drawn
	if out.Len() != shown {
		t.Errorf("drawn again at once: %q", out.String())
	}
	if shown != len("\r")+progressColumns {
		t.Errorf("%d columns: %q", shown-1, out.String())
	}
	p.end()
	if want := "\r" + strings.Repeat(" ", progressColumns) + "\r"; out.String()[shown:] != want {
		t.Errorf("the end writes %q", out.String()[shown:])
	}
	p.add(1)
	p.end()
	if out.Len() != shown+progressColumns+2 {
		t.Errorf("something is written after the end: %q", out.String()[shown:])
	}
	if strings.ContainsRune(out.String(), '\x1b') {
		t.Errorf("an escape sequence: %q", out.String())
	}
}

// Nothing is shown if standard error is not a terminal.
func TestProgressOnlyOnTerminals(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p := newProgress(&env{stderr: file}, "importing", 100, inBytes)
	if n, err := p.Write(make([]byte, 60)); n != 60 || err != nil || p.done != 60 {
		t.Errorf("wrote %d, %v; done %d", n, err, p.done)
	}
	p.end()
	if info, err := file.Stat(); err != nil || info.Size() > 0 {
		t.Errorf("%v, %v", info, err)
	}
}
