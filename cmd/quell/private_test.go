package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"quell/internal/store/storetest"
)

// No other user can read a file in the data folder, whatever the umask and the mode of the
// folder are. That includes a store that an earlier version left readable.
func TestFilesArePrivate(t *testing.T) {
	hop := accept(t)
	i := install(t, hop, hop, "")
	i.program = i.file("quell.sh", fmt.Sprintf("#!/bin/sh\numask 000\nexec %q \"$@\"\n", os.Args[0]))
	data := filepath.Join(i.dir, "data")
	if err := os.Chmod(i.program, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{data, filepath.Join(data, "audit"), filepath.Join(data, "reports")} {
		mode := fs.FileMode(0o777)
		if dir == data {
			mode = 0o755 // in a folder where everyone can write there is no socket, see socket.txtar
		}
		if err := os.Mkdir(dir, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	check := func(wants ...string) {
		t.Helper()
		seen := map[string]bool{}
		if err := filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			seen[d.Name()] = true
			if strings.HasPrefix(d.Name(), "POAS_") {
				seen["a report"] = true
			}
			want := fs.FileMode(0o600)
			if d.Name() == "console.sock" {
				want = fs.ModeSocket | 0o660 // whose group the owner chooses
			}
			if info.Mode() != want {
				t.Errorf("%s: %v", path, info.Mode())
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for _, name := range wants {
			if !seen[name] {
				t.Errorf("there is no %s: %v", name, seen)
			}
		}
	}
	p := i.serve()
	written := func(size int64) (now int64) {
		post(t, p.north, []byte("<x/>"))
		storetest.Eventually(t, "the trail is written", func() bool {
			info, err := os.Stat(filepath.Join(data, "audit", "trail.jsonl"))
			if err == nil {
				now = info.Size()
			}
			return now > size
		})
		return now
	}
	size := written(0)
	body, first := &heldBody{more: make(chan bool)}, make(chan error, 1)
	go func() {
		res, err := i.bySocket().Post("http://localhost/api/v1/devices", "multipart/form-data; boundary=b", body)
		if err == nil {
			res.Body.Close()
		}
		first <- err
	}()
	storetest.Eventually(t, "an import is under way", func() bool {
		_, err := os.Stat(filepath.Join(data, "import.tmp"))
		return err == nil
	})
	if status, _, errs := i.quell("report", "cut"); status != 0 {
		t.Error(errs)
	}
	check("quell.db", "quell.db-wal", "quell.db-shm", "lock", "pending", "trail.jsonl", "import.tmp", "a report")
	close(body.more)
	<-first
	if err := p.stop(syscall.SIGKILL); err == nil {
		t.Error("a killed process ended with status 0")
	}
	for _, name := range []string{"quell.db", "quell.db-wal", "quell.db-shm", "lock", "pending", "audit/trail.jsonl"} {
		if err := os.Chmod(filepath.Join(data, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p = i.serve()
	written(size)
	check("quell.db", "quell.db-wal", "quell.db-shm", "lock", "pending", "trail.jsonl")
}

// heldBody is the body of an import that pauses until it is released.
type heldBody struct {
	more  chan bool
	begun bool
}

func (b *heldBody) Read(p []byte) (int, error) {
	if !b.begun {
		b.begun = true
		return copy(p, "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"l\"\r\n\r\n"+someMeter+"\n"), nil
	}
	<-b.more
	return 0, fmt.Errorf("the sender gave up")
}
