package store

import "strings"

// maxText is the longest text from outside that is kept where nobody bounds it, in
// bytes: a server's page of an error can be long.
const maxText = 4 << 10

// storable makes of a text from outside (a remote's error, a file's name, what an
// operator's machine calls itself) one that any engine keeps: PostgreSQL takes
// neither what is not UTF-8 nor a NUL, and refuses the whole transaction.
func storable(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "…"
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
