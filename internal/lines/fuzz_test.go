package lines

import (
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzTruncate: a text that is cut is the start of the text, is not longer than it may be, and
// ends with a whole character.
func FuzzTruncate(f *testing.F) {
	f.Add("message", 3)
	f.Add("größe", 3)
	f.Add("\xff\xff\xff\xff\xff\xff", 5)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		if limit < 0 {
			return
		}
		got := Truncate(text, limit)
		if len(text) <= limit {
			if got != text {
				t.Fatalf("%q was changed to %q", text, got)
			}
			return
		}
		start, ok := strings.CutSuffix(got, "… ("+strconv.Itoa(len(text))+" bytes)")
		if !ok || !strings.HasPrefix(text, start) || len(start) > limit || len(start) < limit-utf8.UTFMax || utf8.ValidString(text) && !utf8.ValidString(start) {
			t.Fatalf("%q at %d: %q", text, limit, got)
		}
	})
}
