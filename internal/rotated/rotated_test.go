package rotated

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOldFiles: as many old files are kept as there may be, whatever the folder is named, and the files of
// others stay.
func TestOldFiles(t *testing.T) {
	for _, name := range []string{"data", "data[1]", "data[1", "data*"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		others := []string{"trail-0.jsonl", "trail-2026-03-01T10-00-00.000.jsonl.gz"}
		for _, other := range others {
			if err := os.WriteFile(filepath.Join(dir, other), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		f := &File{Path: filepath.Join(dir, "trail.jsonl"), What: "a test", Max: 10, Log: slog.New(slog.DiscardHandler)}
		for range Keep + 4 {
			if _, err := f.Write([]byte("a line\n")); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		f.Close()
		list, err := os.ReadDir(dir)
		if err != nil || len(list) != 1+Keep+len(others) {
			t.Errorf("%s: %d files, want %d: %v", name, len(list), 1+Keep+len(others), err)
		}
		for _, e := range list {
			if info, err := e.Info(); err != nil || (info.Size() == 0) != (e.Name() == others[0] || e.Name() == others[1]) || !strings.HasPrefix(e.Name(), "trail") {
				t.Errorf("%s: %s has %d bytes: %v", name, e.Name(), info.Size(), err)
			}
		}
	}
}
