package main

import "testing"

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "",
		"Landis+Gyr, Zählerstraße": "Landis+Gyr, Zählerstraße",
		"a\nThe switch is on.":     `a\nThe switch is on.`,
		"a\r\tb":                   `a\r\tb`,
		"\x1b[2J\x1b]0;x\a":        `\x1b[2J\x1b]0;x\a`,
		"\u009b2J\x7f":             `\u009b2J\x7f`,
		"a\u202eb\u2066c":          `a\u202eb\u2066c`, // they turn the text round
		"a\xffb":                   "a\ufffdb",
	} {
		if have := printable(text); have != want {
			t.Errorf("%q: %q, want %q", text, have, want)
		}
	}
	if have, want := printableLines("a\n\x1bb\n"), "a\n\\x1bb\n"; have != want {
		t.Errorf("%q, want %q", have, want)
	}
}
