package datadir

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// A file that cannot be written to its end is removed. A link stays, as /dev/stdout is one, and so does what it
// leads to: for root that may be /dev/null.
func TestWriteWhole(t *testing.T) {
	dir := t.TempDir()
	broken := func(w io.Writer) error {
		io.WriteString(w, "half")
		return errors.New("it breaks off")
	}
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "stdout")
	if err := os.Symlink("/dev/null", link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link} {
		if err := WriteWhole(path, broken); err == nil {
			t.Errorf("%s: no error", path)
		}
	}
	if _, err := os.Lstat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("half a file is there: %v", err)
	}
	if _, err := os.Lstat(link); err != nil {
		t.Errorf("what is no file was removed: %v", err)
	}
	if err := WriteWhole(file, func(w io.Writer) error { _, err := io.WriteString(w, "all"); return err }); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "all" {
		t.Errorf("%q, %v", text, err)
	}
}
