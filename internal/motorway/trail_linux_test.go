package motorway

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"quell/internal/store/storetest"
)

// The disk is full. No message waits. Lines that do not fit are dropped and counted, and
// that is logged once. Afterwards no line is incomplete.
func TestTrailDiskFull(t *testing.T) {
	disk := smallDisk(t)
	x := newTrail(t, 40_000)
	x.file.Path = filepath.Join(disk, "audit", "trail.jsonl")
	x.path = x.file.Path
	filler := filepath.Join(disk, "filler")
	if err := os.WriteFile(filler, make([]byte, 1<<20-20_000), 0o600); err != nil {
		t.Fatal(err)
	}
	x.pass(2000)
	storetest.Eventually(t, "lines are dropped, and the disk is full", func() bool {
		return x.Dropped() > 0 && strings.Contains(x.Trouble(), syscall.ENOSPC.Error())
	})
	taken := 2000 - int(x.Dropped())
	if taken < 200 {
		t.Errorf("only %d lines were taken", taken)
	}
	// Only complete lines are on the disk.
	if n := len(lineNumbers(t, x.path)); n == 0 || n >= taken {
		t.Errorf("%d lines on the full disk", n)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := x.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	list := lineNumbers(t, x.path)
	if len(list) != taken || !slices.IsSorted(list) {
		t.Errorf("%d lines were taken, these are there: %v", taken, list)
	}
	storetest.Eventually(t, "it is logged", func() bool { return strings.Contains(x.log.String(), fmt.Sprintf("lines=%d", x.Dropped())) })
	if n := strings.Count(x.log.String(), "cannot be written"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, &x.log)
	}
	x.pass(1)
	if err := x.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if more := lineNumbers(t, x.path); len(more) != taken+1 {
		t.Errorf("%d lines after one more", len(more))
	}
}

// smallDisk returns a folder on a disk of one megabyte.
func smallDisk(t *testing.T) string {
	dir := t.TempDir()
	if err := syscall.Mount("quell-test", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("skip allowed: no disk can be mounted (%v); TestTrailDeviceFull has a full one all the same", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}
