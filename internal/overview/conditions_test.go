package overview

import (
	"os"
	"strings"
	"testing"
)

// TestExplained: of each condition the page says what to do; of one that is unknown, where to look.
func TestExplained(t *testing.T) {
	for text, do := range map[string]string{
		"the store does not answer: every alert is forwarded (database or disk is full (13))": "Do not restart quell.",
		"the journal holds 5 records for the store":                                           "They go in by themselves.",
		"certificates: the last one of supplier x expires at y":                               "Replace the certificate",
		"something new": "docs/operations.md",
	} {
		if w := explained([]string{text})[0]; !strings.Contains(w.Do, do) {
			t.Errorf("%s: %q", text, w.Do)
		}
	}
}

// TestRemedies: what to do is about texts that docs/operations.md has.
func TestRemedies(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range remedies {
		if !strings.Contains(string(text), r.has) {
			t.Errorf("docs/operations.md does not have %q", r.has)
		}
	}
}
