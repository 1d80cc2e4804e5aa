package reportfile

import (
	"strings"
	"testing"
	"time"
)

// FuzzParseName: what is read as the name of a report file is a name that NameOf writes, as far
// as ParseName reads it. The names come from a remote.
func FuzzParseName(f *testing.F) {
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	f.Add(NameOf("q", at, at.Add(time.Hour), 7, "consolidated"))
	f.Add(NameOf("q", at, at.Add(time.Hour), 123456789, "12"))
	f.Add("POAS_q_a_b_+0000007.csv")
	f.Add("POAS_q_a_b_-0000007.csv")
	f.Add("POAS_q_a_b_7.csv")
	f.Fuzz(func(t *testing.T, text string) {
		n, ok := ParseName(text)
		if !ok {
			return
		}
		written := NameOf(n.System, at, at, n.Report, n.Stream)
		again, ok := ParseName(written)
		if !ok || again.System != n.System || again.Report != n.Report || again.Stream != n.Stream || n.Text != text {
			t.Fatalf("%q is read as %+v, which is written %q and read as %+v", text, n, written, again)
		}
		if n.Report < 1 || numberPart(text) != numberPart(written) {
			t.Fatalf("%q is read as report %d, which is written %q", text, n.Report, written)
		}
	})
}

// numberPart returns the number in the name of a file as it is written there.
func numberPart(name string) string { return strings.Split(strings.TrimSuffix(name, ".csv"), "_")[4] }
