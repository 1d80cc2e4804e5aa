package sqldb

import (
	"encoding/json"
	"strings"
	"time"
)

// Precision is the precision of instants: the database truncates them to it. Truncate an
// instant before you compare it with a stored one.
const Precision = time.Microsecond

// Micros returns an instant as it is stored: in microseconds since 1970, 0 for the zero
// time.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// Instant is the inverse of Micros.
func Instant(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// Bool returns a truth value as it is stored: as 0 or 1.
func Bool(v bool) int {
	if v {
		return 1
	}
	return 0
}

// maxText is the longest text from outside that is stored, in bytes, if nothing else
// limits it: the error page of a server can be long.
const maxText = 4 << 10

// Text turns a text from outside (a remote's error, a file's name, the name of an
// operator's machine) into one that any engine can store. PostgreSQL refuses the whole
// transaction if a text is not UTF-8 or has a NUL.
func Text(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "…"
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// Column returns a JSON array of rows, each with one value, for json_each.
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
