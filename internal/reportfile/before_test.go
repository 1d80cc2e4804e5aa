package reportfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quell/internal/audit"
)

// Files of versions that had no audit log are read and verified as before. A head that is none is
// a fault.
func TestBeforeAudit(t *testing.T) {
	for dir, n := range map[string]int{"testdata/before-audit": 6, "testdata/golden": 9} {
		has := n == 9
		files, _, err := List([]string{dir})
		if err != nil || len(files) != n {
			t.Fatal(files, err)
		}
		if _, err := Verify(files, nil); err != nil {
			t.Error(err)
		}
		for _, path := range files {
			f, err := ReadFile(path, nil)
			if err != nil || (f.Header.Audit != audit.Head{}) != has {
				t.Errorf("%s: %+v %v", path, f.Header.Audit, err)
			}
		}
	}
	text, err := os.ReadFile("testdata/golden/POAS_quell_20260301T100000000Z_20260301T110000000Z_00000001.csv")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "POAS_x.csv")
	f, err := ReadFile("testdata/golden/POAS_quell_20260301T100000000Z_20260301T110000000Z_00000001.csv", nil)
	if err != nil {
		t.Fatal(err)
	}
	head := f.Header.Audit.String()
	for i := range len(text) - len(head) {
		if string(text[i:i+len(head)]) == head {
			text = append(append(text[:i:i], 'x'), text[i+1:]...)
			break
		}
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path, nil); err == nil || !strings.Contains(err.Error(), "not a head of the audit log") {
		t.Errorf("a head that is none: %v", err)
	}
}
