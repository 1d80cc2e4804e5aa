package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/remote/remotetest"
)

// fails checks that a try fails with an error that says why, and that the remote is
// right after the next try.
func fails(t *testing.T, target string, f File, content []byte, says string, repair func()) {
	t.Helper()
	err := Put(t.Context(), target, f, func(s Step) {
		if s == Confirmed {
			t.Error("confirmed")
		}
	})
	if err == nil || !strings.Contains(err.Error(), says) || errors.Is(err, ErrTaken) {
		t.Errorf("the error is %v, want one that says %q", err, says)
	}
	repair()
	mustPut(t, target, f)
	only(t, target, content)
}

func TestSFTPFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
	f, content := aFile(t, 3_000_000)
	s := remotetest.NewSSHD(t, false)
	var n atomic.Int32
	dir := func() string { return fmt.Sprintf("%s/%d", s.Dir, n.Add(1)) }
	t.Run("away", func(t *testing.T) {
		s.Stop()
		fails(t, s.Target(s.Addr, dir()), f, content, "refused", s.Start)
	})
	t.Parallel() // only from here on: a test in parallel could get the port
	t.Run("wrong host key", func(t *testing.T) {
		t.Parallel()
		d := dir()
		if err := Put(t.Context(), s.TargetWrongHost(d), f, func(Step) {}); err == nil || !strings.Contains(err.Error(), "key mismatch") {
			t.Error(err)
		}
		if _, err := os.Stat(d); err == nil {
			t.Error("something was sent to a host with a wrong key")
		}
	})
	t.Run("refuses", func(t *testing.T) {
		t.Parallel()
		if err := Put(t.Context(), s.TargetStranger(dir()), f, func(Step) {}); err == nil || !strings.Contains(err.Error(), "unable to authenticate") {
			t.Error(err)
		}
	})
	for _, at := range []int64{1, 3000, 100_000, 2_000_000} {
		for _, stall := range []bool{false, true} {
			t.Run(fmt.Sprintf("breaks at %d, stalls %v", at, stall), func(t *testing.T) {
				t.Parallel()
				p := remotetest.NewProxy(t, s.Addr)
				p.BreakAfter(at, stall)
				fails(t, s.Target(p.Addr, dir()), f, content, "", p.Repair)
			})
		}
	}
	t.Run("disk full", func(t *testing.T) {
		t.Parallel()
		d := dir()
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
		full(t, d)
		fails(t, s.Target(s.Addr, d), f, content, "send: ", func() { os.Remove(filepath.Join(d, temporary(fileName, ""))) })
	})
	t.Run("no right to write", func(t *testing.T) {
		t.Parallel()
		d := dir()
		if err := os.WriteFile(d, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		fails(t, s.Target(s.Addr, d+"/in"), f, content, "", func() { os.Remove(d) })
	})
}

// full leaves no room for our file in a folder: the temporary file is a link to the
// device that is always full.
func full(t testing.TB, dir string) {
	t.Helper()
	if err := os.Symlink("/dev/full", filepath.Join(dir, temporary(fileName, ""))); err != nil {
		t.Fatal(err)
	}
}

func TestWebDAVFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
	t.Parallel()
	f, content := aFile(t, 1_000_000)
	dir := t.TempDir()
	type fault func(next http.Handler, w http.ResponseWriter, r *http.Request)
	// on makes the requests of one method fail. Other requests pass.
	on := func(method string, do fault) fault {
		return func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			if r.Method == method {
				do(next, w, r)
				return
			}
			next.ServeHTTP(w, r)
		}
	}
	path := func(r *http.Request) string { return filepath.Join(dir, filepath.FromSlash(r.URL.Path)) }
	for name, c := range map[string]struct {
		fault fault
		says  string
	}{
		"refuses": {func(_ http.Handler, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, "401"},
		"breaks":  {func(_ http.Handler, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "500"},
		"disk full": {on("PUT", func(_ http.Handler, w http.ResponseWriter, r *http.Request) {
			io.CopyN(io.Discard, r.Body, 1000)
			w.WriteHeader(http.StatusInsufficientStorage)
		}), "507"},
		"dies in the middle of the file": {on("PUT", func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			r.Body = io.NopCloser(io.LimitReader(r.Body, 300_000))
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}), "send: "},
		"reply lost after the file": {on("PUT", func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}), "send: "},
		"reply lost after the rename": {on("MOVE", func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}), "rename: "},
		"rename refused": {on("MOVE", func(_ http.Handler, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(423) }), "rename: "},
		"a byte changed": {on("PUT", func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			text, _ := os.ReadFile(path(r))
			text[777] ^= 1
			os.WriteFile(path(r), text, 0o600)
		}), "the file at the remote is not what was sent"},
		"cut short": {on("PUT", func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			os.Truncate(path(r), 1000)
		}), ""},
		"hangs": {on("PUT", func(_ http.Handler, w http.ResponseWriter, r *http.Request) {
			io.CopyN(io.Discard, r.Body, 1000)
			time.Sleep(2 * idleTimeout)
		}), "send: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var repaired atomic.Bool
			url := remotetest.WebDAV(t, dir, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if repaired.Load() {
						next.ServeHTTP(w, r)
						return
					}
					c.fault(next, w, r)
				})
			})
			target := remotetest.WebDAVTarget(url, strings.ReplaceAll(name, " ", "-"))
			fails(t, target, f, content, c.says, func() { repaired.Store(true) })
		})
	}
}

// A receiver that takes a file away as soon as it has its name gets it once.
func TestTakenAway(t *testing.T) {
	dir, taken := t.TempDir(), 0
	url := remotetest.WebDAV(t, dir, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			if r.Method == "MOVE" {
				taken++
				os.Remove(filepath.Join(dir, "in", fileName))
			}
		})
	})
	f, _ := aFile(t, 1000)
	if err := Put(t.Context(), remotetest.WebDAVTarget(url, "in"), f, func(Step) {}); err != nil || taken != 1 {
		t.Errorf("taken %d times, %v", taken, err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "in")); err != nil || len(left) != 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

// A folder that is a file, and one that is missing.
func TestFolderFaults(t *testing.T) {
	f, content := aFile(t, 1_000_000)
	dir := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(dir, []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	makeFolder := func() {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	fails(t, dir, f, content, "is a file", func() {
		os.Remove(dir)
		makeFolder()
	})
	// A missing folder is not created: if it is a share that is not mounted, nobody
	// would see the files.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	fails(t, dir, f, content, "there is no folder "+dir, func() {
		if _, err := os.Stat(dir); err == nil {
			t.Error("it was created")
		}
		makeFolder()
	})
}

// Put returns when its time is over, whatever hangs, and reports no step after that.
// The next try waits for the one that was given up.
func TestGivenUp(t *testing.T) {
	s := remotetest.NewSSHD(t, false)
	f, content := aFile(t, 3_000_000)
	for _, at := range []Step{Sending, Sent} {
		t.Run(at.String(), func(t *testing.T) {
			p := remotetest.NewProxy(t, s.Addr)
			target := s.Target(p.Addr, filepath.Join(s.Dir, at.String()))
			ctx, cancel := context.WithCancelCause(t.Context())
			over := errors.New("over")
			late := atomic.Bool{}
			err := Put(ctx, target, f, func(s Step) {
				if late.Load() {
					t.Errorf("reached %v after Put returned", s)
				}
				if s == at {
					p.BreakAfter(20_000*int64(Sent-at), true)
					time.AfterFunc(100*time.Millisecond, func() { cancel(over) })
				}
			})
			late.Store(true)
			if !errors.Is(err, over) {
				t.Fatal(err)
			}
			beside, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer stop()
			if err := Put(beside, target, f, func(s Step) { t.Errorf("reached %v beside the first", s) }); err == nil || !strings.Contains(err.Error(), "an earlier try is still hanging") {
				t.Errorf("beside the first: %v", err)
			}
			p.Repair()
			mustPut(t, target, f)
			only(t, target, content)
		})
	}
}
