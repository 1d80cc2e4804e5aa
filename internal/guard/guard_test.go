package guard

import (
	"net/url"
	"strings"
	"testing"
)

// FuzzParameters: a query that is accepted has no other parameter than those that are known, and
// none of them twice.
func FuzzParameters(f *testing.F) {
	for _, s := range []string{"", "limit=5&at=2026-03-01T10:00:00Z", "limit=5&limit=6", "Limit=5", "limit=%35", "a;limit=5", "limit=+5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		if checkParameters(query, []string{"limit", "at"}) != nil {
			return
		}
		seen := map[string]bool{}
		for part := range strings.SplitSeq(query, "&") {
			name, _, _ := strings.Cut(part, "=")
			name, err := url.QueryUnescape(name)
			if err != nil || part != "" && name != "limit" && name != "at" {
				t.Fatalf("%q is accepted with %q", query, name)
			}
			if part != "" && seen[name] {
				t.Fatalf("%q is accepted with %q twice", query, name)
			}
			seen[name] = true
		}
	})
}
