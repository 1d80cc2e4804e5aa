package main

import (
	"strconv"
	"strings"
	"testing"
)

// FuzzPrintable: a text from outside is one line that a terminal obeys nothing of.
func FuzzPrintable(f *testing.F) {
	for _, s := range []string{"plain", "\x1b]0;title\x07", "a\nb", "\u202e", "\xff", `\n`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := printable(s)
		for _, r := range got {
			if !strconv.IsPrint(r) {
				t.Fatalf("%q is printed %q", s, got)
			}
		}
		if lines := printableLines(s); strings.Count(lines, "\n") != strings.Count(s, "\n") || printable(strings.ReplaceAll(lines, "\n", "")) != strings.ReplaceAll(lines, "\n", "") {
			t.Fatalf("%q is printed as the lines %q", s, lines)
		}
	})
}
