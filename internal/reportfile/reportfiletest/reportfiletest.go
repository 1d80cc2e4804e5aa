// Package reportfiletest has, for tests, texts that are hard to write into report files, and a
// check of what every file must be.
package reportfiletest

import (
	"bytes"
	"encoding/csv"
	"strings"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// Texts returns a generator of texts that others may choose: any text, and texts of characters
// that are hard to write.
func Texts() *rapid.Generator[string] {
	hard := rapid.StringOf(rapid.RuneFrom([]rune("=+-@'＝＋－＠＇,;|\" \\\r\n\t\u0000\u0085\u00a0\u2028aZ9é")))
	return rapid.OneOf(rapid.String(), hard).Filter(utf8.ValidString)
}

type fataler interface{ Fatalf(string, ...any) }

// WellFormed checks what RFC 4180 and the format require of every file.
func WellFormed(t fataler, file []byte) {
	if !utf8.Valid(file) {
		t.Fatalf("not UTF-8")
	}
	lines := strings.SplitAfter(string(file), "\r\n")
	if last := lines[len(lines)-1]; last != "" {
		t.Fatalf("the last line does not end: %q", last)
	}
	r := csv.NewReader(bytes.NewReader(file))
	r.FieldsPerRecord = 20 // docs/report-format.md
	records, err := r.ReadAll()
	if err != nil || len(records) != len(lines)-1 {
		t.Fatalf("%d records in %d lines, %v", len(records), len(lines)-1, err)
	}
	for _, record := range records {
		for _, field := range record {
			if field != "" && strings.ContainsRune("=+-@\t\r\n", rune(field[0])) {
				t.Fatalf("a spreadsheet may run %q", field)
			}
		}
	}
}
