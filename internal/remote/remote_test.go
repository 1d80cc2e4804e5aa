package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/remote/remotetest"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"
	"github.com/rclone/rclone/fs"
	"github.com/rclone/rclone/fs/object"
)

func TestMain(m *testing.M) {
	os.Setenv("RCLONE_S3_SECRET_ACCESS_KEY", "secret")
	if err := Configure(NoConfig); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

const fileName = "POAS_quell_1.csv"

// aFile is a file of some size, with content that compresses badly.
func aFile(t testing.TB, size int) (File, []byte) {
	t.Helper()
	content := make([]byte, 0, size+32)
	for sum := sha256.Sum256(nil); len(content) < size; sum = sha256.Sum256(sum[:]) {
		content = append(content, sum[:]...)
	}
	content = content[:size]
	f := File{Name: fileName, Path: filepath.Join(t.TempDir(), "local"), Size: int64(size)}
	if err := os.WriteFile(f.Path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	f.SHA256 = hex.EncodeToString(sum[:])
	return f, content
}

// there returns what stands at a target.
func there(t testing.TB, target string) map[string]string {
	t.Helper()
	f, err := fs.NewFs(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	if shutdown := f.Features().Shutdown; shutdown != nil {
		defer shutdown(t.Context())
	}
	list, err := f.List(t.Context(), "")
	if errors.Is(err, fs.ErrorDirNotFound) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range list {
		o, ok := e.(fs.Object)
		if !ok {
			files[e.Remote()] = "a folder"
			continue
		}
		in, err := o.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		in.Close()
		files[e.Remote()] = string(text)
	}
	return files
}

// place puts a file there that we did not.
func place(t testing.TB, target, name string, content []byte) {
	t.Helper()
	f, err := fs.NewFs(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Mkdir(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Put(t.Context(), bytes.NewReader(content), object.NewStaticObjectInfo(name, time.Now(), int64(len(content)), true, nil, nil)); err != nil {
		t.Fatal(err)
	}
}

func only(t testing.TB, target string, content []byte) {
	t.Helper()
	got := there(t, target)
	if len(got) != 1 || got[fileName] != string(content) {
		t.Errorf("there are")
		for name, text := range got {
			t.Errorf("  %s of %d octets, right: %v", name, len(text), text == string(content))
		}
	}
}

func mustPut(t testing.TB, target string, f File) (steps []Step) {
	t.Helper()
	if err := Put(t.Context(), target, f, func(s Step) { steps = append(steps, s) }); err != nil {
		t.Fatal(err)
	}
	return steps
}

// s3 is an S3 server in memory.
func s3(t testing.TB) string {
	backend := s3mem.New()
	if err := backend.CreateBucket(t.Context(), "poas"); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(srv.Close)
	return fmt.Sprintf(":s3,provider=Other,access_key_id=key,endpoint=%q,force_path_style=true:poas/inbound", srv.URL)
}

// each runs a test for each kind of remote that can be had here.
func each(t *testing.T, test func(t *testing.T, target string)) {
	for name, target := range map[string]func(t testing.TB) string{
		"folder": func(t testing.TB) string { return filepath.Join(t.TempDir(), "in", "bound") },
		"sftp": func(t testing.TB) string {
			s := remotetest.NewSSHD(t, false)
			return s.Target(s.Addr, s.Dir+"/inbound")
		},
		"sftp with shell": func(t testing.TB) string { s := remotetest.NewSSHD(t, true); return s.Target(s.Addr, s.Dir+"/inbound") },
		"webdav": func(t testing.TB) string {
			return remotetest.WebDAVTarget(remotetest.WebDAV(t, t.TempDir(), nil), "inbound")
		},
		"s3": s3,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := target(t)
			if err := Check(target); err != nil {
				t.Fatal(err)
			}
			test(t, target)
		})
	}
}

func TestPut(t *testing.T) {
	all := []Step{Sending, Uploaded, Sent, Renamed, Confirmed}
	each(t, func(t *testing.T, target string) {
		for _, size := range []int{300_000, 1, 0} {
			f, content := aFile(t, size)
			if steps := mustPut(t, target, f); !slices.Equal(steps, all) {
				t.Errorf("steps %v", steps)
			}
			only(t, target, content)
			if steps := mustPut(t, target, f); !slices.Equal(steps, []Step{Confirmed}) {
				t.Errorf("steps of the second time: %v", steps)
			}
			only(t, target, content)
			mustRemove(t, target, fileName)
		}
	})
}

func mustRemove(t testing.TB, target, name string) {
	t.Helper()
	f, err := fs.NewFs(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	o, err := f.NewObject(t.Context(), name)
	if err == nil {
		err = o.Remove(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What has the name already is not overwritten.
func TestTaken(t *testing.T) {
	each(t, func(t *testing.T, target string) {
		f, content := aFile(t, 1000)
		other := bytes.Clone(content)
		other[500] ^= 1
		for _, stands := range [][]byte{other, content[:999], append(other, 'x'), {}} {
			place(t, target, fileName, stands)
			if err := Put(t.Context(), target, f, func(s Step) { t.Errorf("reached %v", s) }); !errors.Is(err, ErrTaken) {
				t.Errorf("%d octets: %v", len(stands), err)
			}
			only(t, target, stands)
		}
	})
}

// What a try that was killed has left is overwritten or removed.
func TestLeftOver(t *testing.T) {
	each(t, func(t *testing.T, target string) {
		f, content := aFile(t, 1000)
		place(t, target, temporary(fileName), append(bytes.Clone(content), content...))
		mustPut(t, target, f)
		only(t, target, content)
		place(t, target, temporary(fileName), content[:10])
		mustPut(t, target, f)
		only(t, target, content)
	})
}

// A file that comes to be under the name while ours is sent stays as it is.
func TestTakenInBetween(t *testing.T) {
	each(t, func(t *testing.T, target string) {
		f, _ := aFile(t, 1000)
		err := Put(t.Context(), target, f, func(s Step) {
			if s == Sent {
				place(t, target, fileName, []byte("another"))
			}
		})
		if !errors.Is(err, ErrTaken) {
			t.Error(err)
		}
		only(t, target, []byte("another"))
	})
}

// The file here is looked at too.
func TestChangedHere(t *testing.T) {
	f, content := aFile(t, 1000)
	content[0] ^= 1
	if err := os.WriteFile(f.Path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	target := t.TempDir()
	if err := Put(t.Context(), target, f, func(Step) {}); !errors.Is(err, ErrChanged) {
		t.Error(err)
	}
	if got := there(t, target); len(got) != 0 {
		t.Errorf("there is %v", got)
	}
}

// fails checks that a try fails, for a reason, and that the remote is right
// after the next one.
func fails(t *testing.T, target string, f File, content []byte, says string, mend func()) {
	t.Helper()
	err := Put(t.Context(), target, f, func(s Step) {
		if s == Confirmed {
			t.Error("confirmed")
		}
	})
	if err == nil || !strings.Contains(err.Error(), says) || errors.Is(err, ErrTaken) {
		t.Errorf("the error is %v, want one that says %q", err, says)
	}
	mend()
	mustPut(t, target, f)
	only(t, target, content)
}

func quick(t *testing.T) {
	was := idleTimeout
	idleTimeout = 500 * time.Millisecond
	t.Cleanup(func() { idleTimeout = was })
}

func TestSFTPFaults(t *testing.T) {
	quick(t)
	f, content := aFile(t, 3_000_000)
	s := remotetest.NewSSHD(t, false)
	n := 0
	dir := func() string { n++; return fmt.Sprintf("%s/%d", s.Dir, n) }
	t.Run("away", func(t *testing.T) {
		s.Stop()
		fails(t, s.Target(s.Addr, dir()), f, content, "refused", s.Start)
	})
	t.Run("wrong host key", func(t *testing.T) {
		d := dir()
		if err := Put(t.Context(), s.TargetWrongHost(d), f, func(Step) {}); err == nil || !strings.Contains(err.Error(), "key mismatch") {
			t.Error(err)
		}
		if _, err := os.Stat(d); err == nil {
			t.Error("something was sent to a host with a wrong key")
		}
	})
	t.Run("refuses", func(t *testing.T) {
		if err := Put(t.Context(), s.TargetStranger(dir()), f, func(Step) {}); err == nil || !strings.Contains(err.Error(), "unable to authenticate") {
			t.Error(err)
		}
	})
	for _, at := range []int64{1, 3000, 100_000, 2_000_000} {
		for _, stall := range []bool{false, true} {
			t.Run(fmt.Sprintf("breaks at %d, stalls %v", at, stall), func(t *testing.T) {
				p := remotetest.NewProxy(t, s.Addr)
				p.BreakAfter(at, stall)
				fails(t, s.Target(p.Addr, dir()), f, content, "", func() { p.BreakAfter(-1, false) })
			})
		}
	}
	t.Run("disk full", func(t *testing.T) {
		d := dir()
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
		full(t, d)
		fails(t, s.Target(s.Addr, d), f, content, "send: ", func() { os.Remove(filepath.Join(d, temporary(fileName))) })
	})
	t.Run("no right to write", func(t *testing.T) {
		d := dir()
		if err := os.WriteFile(d, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		fails(t, s.Target(s.Addr, d+"/in"), f, content, "", func() { os.Remove(d) })
	})
}

// full makes a folder in which there is no room for our file: the file that it
// would be written to is the device that is always full.
func full(t testing.TB, dir string) {
	t.Helper()
	if err := os.Symlink("/dev/full", filepath.Join(dir, temporary(fileName))); err != nil {
		t.Fatal(err)
	}
}

func TestWebDAVFaults(t *testing.T) {
	quick(t)
	f, content := aFile(t, 1_000_000)
	dir := t.TempDir()
	type fault func(next http.Handler, w http.ResponseWriter, r *http.Request)
	var now atomic.Pointer[fault]
	url := remotetest.WebDAV(t, dir, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if f := now.Load(); f != nil {
				(*f)(next, w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	// on has a fault in requests of one method, and the others pass.
	on := func(method string, do fault) fault {
		return func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			if r.Method == method {
				do(next, w, r)
				return
			}
			next.ServeHTTP(w, r)
		}
	}
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
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
		"an octet changed": {on("PUT", func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			text, _ := os.ReadFile(path(r))
			text[777] ^= 1
			os.WriteFile(path(r), text, 0o600)
		}), "what was sent does not stand there"},
		"cut short": {on("PUT", func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			os.Truncate(path(r), 1000)
		}), ""},
		"hangs": {on("PUT", func(_ http.Handler, w http.ResponseWriter, r *http.Request) {
			io.CopyN(io.Discard, r.Body, 1000)
			<-over
		}), "send: "},
	} {
		t.Run(name, func(t *testing.T) {
			now.Store(&c.fault)
			target := remotetest.WebDAVTarget(url, strings.ReplaceAll(name, " ", "-"))
			fails(t, target, f, content, c.says, func() { now.Store(nil) })
		})
	}
}

// A folder that there is no room in, and one that is a file.
func TestFolderFaults(t *testing.T) {
	f, content := aFile(t, 1_000_000)
	dir := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(dir, []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	fails(t, dir, f, content, "is a file", func() { os.Remove(dir) })
}

// Put returns when its time is over, whatever hangs; the next try waits for the
// one that was given up.
func TestGivenUp(t *testing.T) {
	quick(t)
	s := remotetest.NewSSHD(t, false)
	p := remotetest.NewProxy(t, s.Addr)
	p.BreakAfter(20_000, true)
	f, content := aFile(t, 3_000_000)
	target := s.Target(p.Addr, s.Dir)
	was := idleTimeout
	idleTimeout = 2 * time.Second
	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("over")
	late := atomic.Bool{}
	err := Put(ctx, target, f, func(s Step) {
		if late.Load() {
			t.Errorf("reached %v after Put returned", s)
		}
		if s == Sending {
			time.AfterFunc(100*time.Millisecond, func() { cancel(over) })
		}
	})
	late.Store(true)
	if !errors.Is(err, over) {
		t.Fatal(err)
	}
	idleTimeout = was
	p.BreakAfter(-1, false)
	mustPut(t, target, f)
	only(t, target, content)
}

func TestCheck(t *testing.T) {
	t.Setenv("RCLONE_CONFIG_ESI_TYPE", "sftp")
	t.Setenv("RCLONE_CONFIG_ESI_HOST", "esi.example")
	t.Setenv("RCLONE_CONFIG_ESI_KNOWN_HOSTS_FILE", "/etc/ssh/ssh_known_hosts")
	t.Setenv("RCLONE_CONFIG_BAD_TYPE", "sftp")
	t.Setenv("RCLONE_CONFIG_PIN_TYPE", "sftp")
	t.Setenv("RCLONE_CONFIG_PIN_PIN_HOST_KEY", "true")
	t.Setenv("RCLONE_CONFIG_PIN_HOST_KEYS", "ssh-ed25519 AAAA")
	for target, want := range map[string]string{
		"/srv/poas":         "",
		"poas":              "",
		"esi:/inbound/poas": "",
		"pin:/inbound":      "",
		":sftp,host=esi.example,known_hosts_file=/etc/known:/inbound":            "",
		":webdav,url=\"https://dav.example\":poas":                               "",
		":onedrive,drive_id=b!1,drive_type=documentLibrary:poas":                 "",
		":s3,provider=AWS,env_auth:bucket/poas":                                  "",
		":azureblob,account=a:container":                                         "",
		"unknown:/x":                                                             "RCLONE_CONFIG_UNKNOWN_TYPE",
		":drive:x":                                                               "built in are local, sftp",
		"bad:/inbound":                                                           "known_hosts_file",
		"bad,known_hosts_file=none:/inbound":                                     "known_hosts_file",
		":sftp,host=h,known_hosts_file=/k,pass=hunter2:/x":                       "RCLONE_SFTP_PASS",
		"esi,pass=hunter2:/x":                                                    "RCLONE_CONFIG_ESI_PASS",
		":sftp,host=h,known_hosts_file=/k,key_pem=hunter2:/x":                    "RCLONE_SFTP_KEY_PEM",
		":webdav,url=\"https://dav.example\",bearer_token=hunter2:x":             "RCLONE_WEBDAV_BEARER_TOKEN",
		":s3,access_key_id=a,secret_access_key=hunter2:b":                        "RCLONE_S3_SECRET_ACCESS_KEY",
		":azureblob,account=a,key=hunter2:c":                                     "RCLONE_AZUREBLOB_KEY",
		":azureblob,sas_url=\"https://a.blob.core.windows.net/c?sig=hunter2\":c": "RCLONE_AZUREBLOB_SAS_URL",
		":onedrive,client_secret=hunter2:x":                                      "RCLONE_ONEDRIVE_CLIENT_SECRET",
		":onedrive,token='{\"access_token\":\"hunter2\"}':x":                     "RCLONE_ONEDRIVE_TOKEN",
		":sftp,pass=\"hunter2:/x":                                                "not a target",
	} {
		err := Check(target)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", target, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error tells the secret: %v", err)
		}
	}
}

// What lets others in is not in an error's text.
func TestRedact(t *testing.T) {
	err := redact(fmt.Errorf(`Put "https://a.blob.core.windows.net/c/f.part?sv=1&sig=hunter2": %w`, context.Canceled))
	if want := `Put "https://a.blob.core.windows.net/c/f.part?…": context canceled`; err.Error() != want || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %s", err, want)
	}
	if redact(nil) != nil {
		t.Error("no error becomes one")
	}
}
