package backup

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"quell/internal/store/storetest"
)

// TestNameWhenComplete: while a backup is made no file has its name, so that a process that is killed
// leaves none; and a file that gets the name meanwhile stays as it is.
func TestNameWhenComplete(t *testing.T) {
	dir := t.TempDir()
	storetest.Open(t, dir)
	part, file := filepath.Join(t.TempDir(), "part"), filepath.Join(t.TempDir(), "backup.db")
	for _, name := range []string{part, file} {
		if err := os.WriteFile(name, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := name(part, file); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v", err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != file {
		t.Errorf("it is %q now, %v", text, err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Join(t.TempDir(), "nowhere"), link); err != nil {
		t.Fatal(err)
	}
	if _, err := Make(t.Context(), dir, link); !errors.Is(err, fs.ErrExist) {
		t.Errorf("to a link: %v", err)
	}
	ctx := &watched{Context: t.Context(), look: func() {
		// database/sql asks once more when all is done, from a goroutine of its own.
		if text, err := os.ReadFile(file); err == nil && !isWhole(text) || err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("it has its name already, and %d bytes: %v", len(text), err)
		}
	}}
	os.Remove(file)
	if _, err := Make(ctx, dir, file); err != nil || ctx.looked.Load() == 0 {
		t.Errorf("%v, looked %d times", err, ctx.looked.Load())
	}
	if list, _ := filepath.Glob(file + "*"); len(list) != 1 {
		t.Errorf("%q", list)
	}
}

// isWhole reports whether a database has as many pages as its header says.
func isWhole(text []byte) bool {
	return len(text) >= 100 && int(binary.BigEndian.Uint16(text[16:]))*int(binary.BigEndian.Uint32(text[28:])) == len(text)
}

// watched is a context that calls look whenever somebody asks whether it has ended.
type watched struct {
	context.Context
	look   func()
	looked atomic.Int64 // any goroutine may ask
}

func (w *watched) Err() error {
	w.looked.Add(1)
	w.look()
	return w.Context.Err()
}

// TestRestoreNoFile: what is no file is refused at once. A pipe would otherwise be waited for, in a way
// that nothing ends.
func TestRestoreNoFile(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{pipe, t.TempDir(), "/dev/zero"} {
		done := make(chan error, 1)
		go func() { _, err := Restore(t.Context(), Options{File: file, Dir: t.TempDir(), Now: t0}); done <- err }()
		select {
		case err := <-done:
			if !errors.Is(err, errNoFile) {
				t.Errorf("%s: %v", file, err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: it waits", file)
		}
	}
}

// TestRestoreByRoot: root, who puts back a backup for quell's user, gives that user nothing else, and
// writes nowhere else, whatever links the user has put into the data folder.
func TestRestoreByRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("for root")
	}
	from, dir := t.TempDir(), t.TempDir()
	storetest.Open(t, from)
	file, secret := filepath.Join(t.TempDir(), "backup.db"), filepath.Join(t.TempDir(), "shadow")
	if _, err := Make(t.Context(), from, file); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(secret, []byte("root's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Symlink(secret, filepath.Join(dir, "lock")), os.Lchown(dir, 54321, 54321)); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), Options{File: file, Dir: dir, Now: t0}); err == nil {
		t.Error("it followed a link")
	}
	info, err := os.Stat(secret)
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(secret); info.Sys().(*syscall.Stat_t).Uid != 0 || string(text) != "root's" {
		t.Errorf("the user has got root's file: %q, uid %d", text, info.Sys().(*syscall.Stat_t).Uid)
	}
	if err := give(filepath.Join(dir, "lock"), dir); err != nil {
		t.Error(err)
	}
	if info, _ = os.Stat(secret); info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Error("the user has got root's file")
	}
}
