package reportfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever bytes a file has, reading it ends without a panic. If Read finds no fault, the size
// and the SHA-256 are of all bytes, and there are as many entries as D records.
func FuzzRead(f *testing.F) {
	golden, err := filepath.Glob("testdata/golden/*.csv")
	if err != nil || len(golden) == 0 {
		f.Fatal("no golden files", err)
	}
	for _, name := range golden {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		entries := int64(0)
		file, err := Read("fuzzed", bytes.NewReader(text), func(r Record) {
			if r.Entry != nil {
				entries++
			}
		})
		if err != nil {
			return
		}
		sum := sha256.Sum256(text)
		if file.Size != int64(len(text)) || file.SHA256 != hex.EncodeToString(sum[:]) {
			t.Errorf("%d bytes with the sum %s are read as %d with %s", len(text), hex.EncodeToString(sum[:]), file.Size, file.SHA256)
		}
		if n := strings.Count("\n"+string(text), "\nD,"); int64(n) != entries || entries != file.Entries {
			t.Errorf("%d D records, %d entries were read, and File says %d", n, entries, file.Entries)
		}
	})
}
