package motorway

import (
	"quell/internal/rotated"

	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"quell/internal/duis"
	"quell/internal/outage"
	"quell/internal/store/storetest"
)

// testTrail is a trail, and its log.
type testTrail struct {
	*Trail
	t    *testing.T
	path string
	log  buffer
	sent int
}

type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func newTrail(t *testing.T, limit int) *testTrail {
	x := &testTrail{t: t}
	dir := t.TempDir()
	x.path = filepath.Join(dir, "audit", "trail.jsonl")
	x.Trail = openTrail(dir, slog.New(slog.NewTextHandler(&x.log, nil)), limit)
	x.Enable(true)
	t.Cleanup(func() { x.Close() })
	return x
}

// pass writes the lines of n messages, which are numbered. It does not wait.
func (x *testTrail) pass(n int) {
	for range n {
		x.sent++
		p := &Passage{Direction: outage.North, Message: duis.Message{AlertCode: "N12", RequestID: request(uint64(x.sent))}, Decision: forward(outage.ReasonNotAD1)}
		x.write(t0, p, 200)
	}
}

// has checks that a file holds the lines of the given messages and no others.
func (x *testTrail) has(name string, from, to int) {
	x.t.Helper()
	if err := x.Flush(x.t.Context()); err != nil {
		x.t.Fatal(err)
	}
	got := lineNumbers(x.t, name)
	var want []uint64
	for n := from; n <= to; n++ {
		want = append(want, uint64(n))
	}
	if !slices.Equal(got, want) {
		x.t.Errorf("%s has the messages %v, want %d to %d", filepath.Base(name), got, from, to)
	}
}

func lineNumbers(t *testing.T, name string) (list []uint64) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var l TrailLine
		if err := json.Unmarshal(line, &l); err != nil || line[len(line)-1] != '\n' {
			t.Fatalf("%s: %q: %v", name, line, err)
		}
		id, err := outage.ParseRequestID(l.RequestID)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, id.Counter)
	}
	return list
}

// The trail notices that its file was moved or deleted, even with its folder.
func TestTrailMoved(t *testing.T) {
	x := newTrail(t, trailLimit)
	x.pass(3)
	x.has(x.path, 1, 3)
	moved := x.path + ".moved"
	if err := os.Rename(x.path, moved); err != nil {
		t.Fatal(err)
	}
	x.pass(2)
	x.has(moved, 1, 3)
	x.has(x.path, 4, 5)
	// Moved, and another put in its place, as logrotate does.
	if err := os.Rename(x.path, moved); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(x.path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	x.pass(2)
	x.has(moved, 4, 5)
	x.has(x.path, 6, 7)
	if err := os.RemoveAll(filepath.Dir(x.path)); err != nil {
		t.Fatal(err)
	}
	x.pass(2)
	x.has(x.path, 8, 9)
	// Emptied in its place.
	if err := os.Truncate(x.path, 0); err != nil {
		t.Fatal(err)
	}
	x.pass(1)
	x.has(x.path, 10, 10)
	if n := strings.Count(x.log.String(), "was moved or deleted"); n != 3 {
		t.Errorf("noticed %d times:\n%s", n, &x.log)
	}
}

// Reopen starts a new file at once after the file was moved, and logs no warning.
func TestTrailReopen(t *testing.T) {
	x := newTrail(t, trailLimit)
	x.Reopen()
	x.pass(3)
	x.has(x.path, 1, 3)
	moved := x.path + ".moved"
	if err := os.Rename(x.path, moved); err != nil {
		t.Fatal(err)
	}
	x.Reopen()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(x.path); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("not opened again")
		}
	}
	x.pass(1)
	x.has(x.path, 4, 4)
	if x.log.String() != "" {
		t.Errorf("logged:\n%s", &x.log)
	}
}

// A trail that is not enabled creates no file.
func TestTrailOff(t *testing.T) {
	x := newTrail(t, trailLimit)
	x.Enable(false)
	x.pass(1)
	x.Reopen()
	if err := x.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(x.path); err == nil {
		t.Error("there is a file")
	}
}

// The size and the number of files are bounded. Each line is in exactly one file.
func TestTrailRotates(t *testing.T) {
	x := newTrail(t, trailLimit)
	x.file.Max = 2000
	x.pass(1)
	lineSize := 0
	x.has(x.path, 1, 1)
	if info, err := os.Stat(x.path); err != nil {
		t.Fatal(err)
	} else {
		lineSize = int(info.Size())
	}
	perFile := 2000 / (lineSize + 2) // numbers grow
	for range (rotated.Keep + 5) * perFile {
		x.pass(1)
		if err := x.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(x.path), "trail-*.jsonl"))
	if err != nil || len(files) != rotated.Keep {
		t.Fatalf("%d old files, %v", len(files), err)
	}
	var all []uint64
	for _, name := range append(files, x.path) { // Glob sorts
		all = append(all, lineNumbers(t, name)...)
		if info, err := os.Stat(name); err != nil || info.Size() > 2000 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	for i, n := range all {
		if want := uint64(x.sent - len(all) + 1 + i); n != want {
			t.Fatalf("message %d where %d is due", n, want)
		}
	}
	if len(all) < rotated.Keep*perFile/2 {
		t.Errorf("%d lines are kept", len(all))
	}
}

// Files that were named by a clock that was ahead are older than the next one all the same.
func TestTrailRotatesAfterClockChange(t *testing.T) {
	x := newTrail(t, trailLimit)
	x.file.Max = 1
	dir := filepath.Dir(x.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	ahead := time.Now().UTC().AddDate(1, 0, 0)
	for n := range rotated.Keep {
		name := filepath.Join(dir, "trail-"+ahead.Add(time.Duration(n)*time.Hour).Format(rotated.Time)+".jsonl")
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		x.pass(1)
		if err := x.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "trail-*.jsonl"))
	if err != nil || len(files) != rotated.Keep {
		t.Fatalf("%d old files, %v", len(files), err)
	}
	for n, name := range append(files[rotated.Keep-2:], x.path) {
		if got := lineNumbers(t, name); !slices.Equal(got, []uint64{uint64(n + 1)}) {
			t.Errorf("%s has the messages %d", filepath.Base(name), got)
		}
	}
}

// The trail's file is a device that is always full.
func TestTrailDeviceFull(t *testing.T) {
	x := newTrail(t, 5000)
	if err := os.MkdirAll(filepath.Dir(x.path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/full", x.path); err != nil {
		t.Fatal(err)
	}
	x.pass(100)
	storetest.Eventually(t, "it is said", func() bool {
		return x.Dropped() > 0 && strings.Contains(x.Trouble(), syscall.ENOSPC.Error()+"; ")
	})
	if err := x.Close(); err == nil {
		t.Error("closed as if all were written")
	}
}

// The trail's file is a FIFO that nobody reads.
func TestTrailHangs(t *testing.T) {
	x := newTrail(t, 5000)
	if err := os.MkdirAll(filepath.Dir(x.path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(x.path, 0o600); err != nil {
		t.Fatal(err)
	}
	x.pass(100)
	taken := 100 - int(x.Dropped())
	if taken < 5 || taken > 50 {
		t.Errorf("%d of 100 lines are kept", taken)
	}
	r, err := os.Open(x.path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := x.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<16)
	n, err := r.Read(buf)
	if got := bytes.Count(buf[:n], []byte("\n")); err != nil || got != taken {
		t.Errorf("%d lines read, want %d, %v", got, taken, err)
	}
}

// However long the texts in a message are, its line is bounded, and shows what was cut.
func TestTrailFieldsAreCut(t *testing.T) {
	x := newTrail(t, trailLimit)
	for _, text := range []string{strings.Repeat("x", 64<<10), strings.Repeat("&€", 20000), strings.Repeat("\x01\xff", 30000)} {
		x.write(t0, &Passage{Direction: outage.North, Message: duis.Message{AlertCode: text, ServiceReferenceVariant: text, RequestID: request(1)},
			Decision: outage.Decision{Reason: outage.Reason(text)}}, 200)
	}
	if err := x.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(x.path)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for line := range bytes.Lines(text) {
		count++
		var l TrailLine
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatal(err)
		}
		if len(line) > 3000 || !strings.HasSuffix(l.AlertCode, " bytes)") || !strings.HasSuffix(l.SRV, " bytes)") || !utf8.Valid(line) {
			t.Errorf("%d bytes: %s", len(line), line)
		}
		if l.RequestID != request(1).String() {
			t.Errorf("an id was changed: %s", l.RequestID)
		}
	}
	if count != 3 {
		t.Errorf("%d lines", count)
	}
}
