package store

import (
	"bytes"
	"fmt"
	"testing"

	"quell/internal/outage"
)

// Whatever bytes the journal has, reading it ends without a panic at its end, and
// whole lines behind them are read.
func FuzzReadLines(f *testing.F) {
	whole := []byte(`{"forwarded":{"alert_id":"a","chf_id":"88-73-84-57-00-00-00-01","received_at":"2026-03-01T10:00:00Z","reason":"no-window"}}`)
	line := fmt.Appendf(nil, "%s %s\n", checksum(whole), whole)
	f.Add([]byte(nil))
	f.Add(line)
	f.Add(append(line[:40:40], line...))
	f.Add(bytes.ReplaceAll(append(line[:len(line):len(line)], line...), []byte("\n"), []byte(" ")))
	f.Add([]byte("00000000 {}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		count := func(text []byte) (lines, records int) {
			last, err := readLines(bytes.NewReader(text), 0, int64(len(text)), -1, func(_ []byte, list []record, _ bool) {
				lines++
				records += len(list)
			})
			if err != nil || last.to != int64(len(text)) {
				t.Fatalf("ended at %d of %d: %v", last.to, len(text), err)
			}
			return lines, records
		}
		lines, records := count(text)
		behind := append(append(text[:len(text):len(text)], '\n'), line...)
		if l, r := count(behind); l < lines+1 || r < records+1 {
			t.Errorf("%d records in %d lines, and with one more %d in %d", records, lines, r, l)
		}
		r, ok := parseLine(line)
		if !ok || r.Forwarded == nil || r.Forwarded.Reason != outage.ReasonNoWindow {
			t.Errorf("the line is read as %+v", r)
		}
	})
}
