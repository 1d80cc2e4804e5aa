package sqldb

import (
	"encoding/json"
	"strings"
	"time"
)

// Precision is that of instants: one that is kept comes back truncated to it. Truncate
// before you compare.
const Precision = time.Microsecond

// Micros is how an instant is kept: in microseconds since 1970, 0 for the zero time.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// Instant is the instant that Micros made a number of.
func Instant(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// Bool is how a truth value is kept: as 0 or 1.
func Bool(v bool) int {
	if v {
		return 1
	}
	return 0
}

// maxText is the longest text from outside that is kept where nobody else limits it, in
// bytes: a server's page of an error can be long.
const maxText = 4 << 10

// Text makes of a text from outside (a remote's error, a file's name, what an operator's
// machine calls itself) one that any engine keeps: PostgreSQL takes neither what is not
// UTF-8 nor a NUL, and refuses the whole transaction.
func Text(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "…"
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// Column makes a JSON array of rows, each with one value, for json_each.
func Column[T string | int64](values []T) string {
	rows := make([][1]T, len(values))
	for i, v := range values {
		rows[i][0] = v
	}
	text, _ := json.Marshal(rows) // texts and numbers always marshal
	return string(text)
}

// AppendText appends a text as JSON.
func AppendText(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			q, _ := json.Marshal(s) // a string always marshals
			return append(b, q...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
