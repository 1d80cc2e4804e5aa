package journal

import (
	"bytes"
	"fmt"
	"testing"
)

// Whatever bytes the journal has, they are read to the end without a panic, and a whole
// line after them is read.
func FuzzReadLines(f *testing.F) {
	whole := []byte(`{"name":"a","text":"no-window"}`)
	line := fmt.Appendf(nil, "%s %s\n", checksum(whole), whole)
	f.Add([]byte(nil))
	f.Add(line)
	f.Add(append(line[:40:40], line...))
	f.Add(bytes.ReplaceAll(append(line[:len(line):len(line)], line...), []byte("\n"), []byte(" ")))
	f.Add([]byte("00000000 {}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		count := func(text []byte) (lines, records int) {
			last, err := readLines(bytes.NewReader(text), 0, int64(len(text)), -1, func(_ []byte, list []note, _ bool) {
				lines++
				records += len(list)
			})
			if err != nil || last.to != int64(len(text)) {
				t.Fatalf("ended at %d of %d: %v", last.to, len(text), err)
			}
			return lines, records
		}
		lines, records := count(text)
		longer := append(append(text[:len(text):len(text)], '\n'), line...)
		if l, r := count(longer); l < lines+1 || r < records+1 {
			t.Errorf("%d records in %d lines; with a whole line after them %d in %d", records, lines, r, l)
		}
		r, ok := parseLine[note](line)
		if !ok || r != (note{Name: "a", Text: "no-window"}) {
			t.Errorf("the line is read as %+v", r)
		}
	})
}
