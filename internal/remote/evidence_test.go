package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"quell/internal/remote/remotetest"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"
	"github.com/rclone/rclone/fs"
	"github.com/rclone/rclone/fs/config/obscure"
)

// careless is a store that may change a byte of an object, or lose a copy.
type careless struct {
	gofakes3.Backend
	now   atomic.Bool // change a byte
	takes bool        // delete each copy at once, as a quick receiver does
}

func (b *careless) PutObject(ctx context.Context, bucket, key string, meta map[string]string, in io.Reader, size int64) (gofakes3.PutObjectResult, error) {
	text, err := io.ReadAll(in)
	if err != nil {
		return gofakes3.PutObjectResult{}, err
	}
	if b.now.Load() && len(text) > 777 {
		text[777] ^= 1
	}
	return b.Backend.PutObject(ctx, bucket, key, meta, bytes.NewReader(text), size)
}

// A hash that the store only repeats from the sender is not trusted. For an object
// sent in parts, S3 keeps such a hash in the metadata.
func TestHashIsTheirs(t *testing.T) {
	backend := &careless{Backend: s3mem.New()}
	if err := backend.CreateBucket(t.Context(), "poas"); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(srv.Close)
	for name, c := range map[string]struct {
		option string
		size   int
	}{
		"whole":    {"upload_cutoff=200Mi", 100_000},
		"in parts": {"upload_cutoff=5Mi", 6 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			f, content := aFile(t, c.size)
			target := fmt.Sprintf(":s3,provider=Other,access_key_id=key,endpoint=%q,force_path_style=true,%s:poas/%s", srv.URL, c.option, strings.ReplaceAll(name, " ", "-"))
			backend.now.Store(true)
			fails(t, target, f, content, "the file at the remote is not what was sent", func() { backend.now.Store(false) })
		})
	}
}

func (b *careless) CopyObject(ctx context.Context, srcBucket, srcKey, bucket, key string, meta map[string]string) (gofakes3.CopyObjectResult, error) {
	res, err := b.Backend.CopyObject(ctx, srcBucket, srcKey, bucket, key, meta)
	if err == nil && b.takes {
		_, err = b.Backend.DeleteObject(ctx, bucket, key)
	}
	return res, err
}

// A file that is taken as soon as it has its name leaves nothing behind, even where
// a copy gives it the name.
func TestTakenAwayFromStore(t *testing.T) {
	backend := &careless{Backend: s3mem.New(), takes: true}
	if err := backend.CreateBucket(t.Context(), "poas"); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(srv.Close)
	f, _ := aFile(t, 1000)
	target := fmt.Sprintf(":s3,provider=Other,access_key_id=key,endpoint=%q,force_path_style=true:poas/in", srv.URL)
	mustPut(t, target, f)
	if left := there(t, target); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// A file that is taken while it is read back was delivered.
func TestTakenWhileRead(t *testing.T) {
	dir := t.TempDir()
	var taken atomic.Int32
	url := remotetest.WebDAV(t, dir, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/"+fileName) {
				taken.Add(1)
				os.Remove(filepath.Join(dir, "in", fileName))
			}
			next.ServeHTTP(w, r)
		})
	})
	f, _ := aFile(t, 1000)
	if mustPut(t, remotetest.WebDAVTarget(url, "in"), f); taken.Load() != 1 {
		t.Errorf("taken %d times", taken.Load())
	}
}

// Another sender puts the same file there while ours is being sent.
func TestSameInBetween(t *testing.T) {
	each(t, func(t *testing.T, target string) {
		f, content := aFile(t, 1000)
		var steps []Step
		err := Put(t.Context(), target, f, func(s Step) {
			if steps = append(steps, s); s == Sent {
				place(t, target, fileName, content)
			}
		})
		if want := []Step{Sending, Uploaded, Sent, Confirmed}; err != nil || !slices.Equal(steps, want) {
			t.Errorf("%v, steps %v, want %v", err, steps, want)
		}
		only(t, target, content)
	})
}

// Only the listed keys are accepted, whatever type of key the host has. pin_host_key
// would accept a key of another type.
func TestHostKeys(t *testing.T) {
	s := remotetest.NewSSHD(t, false)
	other := filepath.Join(t.TempDir(), "other")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", other).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v: %s", err, out)
	}
	text, err := os.ReadFile(other + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	stranger := strings.Join(strings.Fields(string(text))[:2], " ")
	login, rest, ok := strings.Cut(s.Target(s.Addr, s.Dir), `,known_hosts_file="`)
	hosts, _, _ := strings.Cut(rest, `"`)
	if text, err = os.ReadFile(hosts); err != nil || !ok {
		t.Fatal(err)
	}
	right := strings.Join(strings.Fields(string(text))[1:3], " ")
	f, content := aFile(t, 1000)
	for i, c := range []struct{ options, says string }{
		{fmt.Sprintf("host_keys=%q", right), ""},
		{fmt.Sprintf("host_keys=%q", stranger), "no common algorithm"},
		{fmt.Sprintf("host_keys=%q,pin_host_key", stranger), "any host key"},
		{fmt.Sprintf("host_keys=%q,pin_host_key=t", right), "any host key"},
		{"pin_host_key=true", "any host key"},
		{"known_hosts_file=none", "any host key"},
		{fmt.Sprintf("host_keys=%q,known_hosts_file=none", right), "any host key"},
		{"use_fstat", "any host key"},
	} {
		dir := fmt.Sprintf("%s/%d", s.Dir, i)
		target := fmt.Sprintf("%s,%s:%s", login, c.options, dir)
		err := Put(t.Context(), target, f, func(Step) {})
		if c.says == "" {
			if err != nil {
				t.Errorf("%s: %v", c.options, err)
			}
			only(t, target, content)
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.options, err, c.says)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: something was sent", c.options)
		}
	}
}

// The session is killed or stopped in the middle of a file.
func TestSessionDies(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
	t.Parallel()
	f, content := aFile(t, 3_000_000)
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			s := remotetest.NewSSHD(t, false)
			p := remotetest.NewProxy(t, s.Addr)
			target := s.Target(p.Addr, fmt.Sprintf("%s/%d", s.Dir, sig))
			part := filepath.Join(s.Dir, fmt.Sprint(int(sig)), temporary(fileName, ""))
			ctx, cancel := context.WithCancelCause(t.Context())
			over := errors.New("over")
			go func() {
				for t.Context().Err() == nil {
					if i, err := os.Stat(part); err == nil && i.Size() > 0 {
						break
					}
					time.Sleep(time.Millisecond)
				}
				if s.Signal(sig) == 0 {
					t.Error("there is no session")
				}
				if sig == syscall.SIGSTOP {
					cancel(over)
				}
			}()
			err := Put(ctx, target, f, func(step Step) {
				if step == Sending {
					p.BreakAfter(200_000, true) // so that it is in the middle
				}
				if step == Sent {
					t.Error("sent")
				}
			})
			if err == nil || sig == syscall.SIGSTOP && !errors.Is(err, over) {
				t.Errorf("the error is %v", err)
			}
			s.Signal(syscall.SIGCONT)
			p.Repair()
			mustPut(t, target, f)
			only(t, target, content)
		})
	}
}

// There is no room in a folder of this machine.
func TestFolderFull(t *testing.T) {
	f, content := aFile(t, 1_000_000)
	dir := t.TempDir()
	full(t, dir)
	fails(t, dir, f, content, syscall.ENOSPC.Error(), func() { os.Remove(filepath.Join(dir, temporary(fileName, ""))) })
}

// No SSH connection outlives a try, whatever its result.
func TestConnectionsEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
	was := idleTimeout
	idleTimeout = time.Hour // connections must not end because of this
	defer func() { idleTimeout = was }()
	s := remotetest.NewSSHD(t, true)
	f, _ := aFile(t, 1000)
	mustPut(t, s.Target(s.Addr, s.Dir+"/in"), f)
	if err := os.WriteFile(s.Dir+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := remotetest.NewProxy(t, s.Addr)
	p.BreakAfter(5000, false)
	for _, target := range []string{s.Target(s.Addr, s.Dir+"/file/in"), s.TargetStranger(s.Dir), s.TargetWrongHost(s.Dir), s.Target(p.Addr, s.Dir+"/away")} {
		if err := Put(t.Context(), target, f, func(Step) {}); err == nil {
			t.Error("it was put")
		}
	}
	stacks := make([]byte, 1<<20)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		text := stacks[:runtime.Stack(stacks, true)]
		if !bytes.Contains(text, []byte("golang.org/x/crypto/ssh.")) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s", text)
		}
	}
}

// For every option that may be a secret we know whether it is one. A new option of
// rclone must be looked at.
func TestOptionsAreKnown(t *testing.T) {
	harmless := []string{
		"host", "user", "username", "account", "tenant", "client_id", "msi_object_id", "msi_client_id", "msi_mi_res_id", "drive_id", "root_folder_id",
		"access_key_id", "sse_kms_key_id", "sse_customer_key_md5", "sse_customer_algorithm", // they name something
		"key_file", "pubkey", "pubkey_file", "known_hosts_file", "shared_credentials_file", "bearer_token_command", // they say where it is
		"key_use_agent", "ask_password", "pin_host_key", "host_keys", "host_key_algorithms", "key_exchange", "token_url", "client_credentials",
		"use_unsigned_payload", "use_presigned_request", "client_certificate_path", "bypass_governance_retention",
	}
	for _, name := range []string{"local", "sftp", "webdav", "onedrive", "s3", "azureblob"} {
		info, err := fs.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range info.Options {
			suspect := o.Sensitive || o.IsPassword
			for _, word := range []string{"pass", "secret", "token", "key", "credential", "sas", "header"} {
				suspect = suspect || strings.Contains(o.Name, word) && !strings.Contains(o.Name, "bypass")
			}
			if suspect && !secret(info, o.Name) && !slices.Contains(harmless, o.Name) {
				t.Errorf("%s: is %s a secret?", name, o.Name)
			}
		}
	}
}

// A secret that the server repeats is not in our error.
func TestSecretsInErrors(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, pass, _ := r.BasicAuth()
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `<d:error xmlns:d="DAV:" xmlns:s="x"><s:message>not %s with %s, nor %s</s:message></d:error>`, user, pass, r.Header.Get("Authorization"))
	}))
	t.Cleanup(srv.Close)
	f, _ := aFile(t, 100)
	for i, c := range []map[string]string{
		{"type": "webdav", "url": srv.URL, "user": "me", "pass": obscure.MustObscure("hunter2")},
		{"type": "webdav", "url": srv.URL, "bearer_token": "hunter2"},
		{"type": "webdav", "url": "http://me:hunter2%zz@127.0.0.1:1/"},
		{"type": "webdav", "url": "http://me:hunter2@127.0.0.1:1/"},
		{"type": "sftp", "host": "127.0.0.1", "known_hosts_file": os.DevNull, "pass": "hunter2"},
		{"type": "sftp", "host": "127.0.0.1", "known_hosts_file": os.DevNull, "key_pem": "hunter2"},
		{"type": "azureblob", "connection_string": "AccountKey=hunter2"},
		{"type": "azureblob", "account": "a", "key": "hunter2"},
		{"type": "onedrive", "drive_id": "b!1", "drive_type": "documentLibrary", "token": "hunter2"},
	} {
		name := fmt.Sprintf("leak%d", i)
		for key, value := range c {
			t.Setenv(fs.ConfigToEnv(name, key), value)
		}
		err := Put(t.Context(), name+":x", f, func(Step) {})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v: %v", c, err)
		}
	}
}

// A try waits for an earlier one to the same target that was given up and hangs.
func TestOneTryAtATime(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lock(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	f, content := aFile(t, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Put(ctx, dir, f, func(s Step) { t.Errorf("reached %v", s) }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	unlock()
	mustPut(t, dir, f)
	only(t, dir, content)
}

// A secret that is wrongly in a target is not in the error either, even if nobody
// has checked the target.
func TestSecretsInTargets(t *testing.T) {
	f, _ := aFile(t, 100)
	for _, target := range []string{
		`:sftp,pass="hunter2:/x`,
		`:sftp,pass=hunter2`,
		`:sftp,host=h,known_hosts_file=/k,pass=1,hunter2:/x`,
		`:webdav,url="https://me:hunter2@dav.example":x`,
		`:webdav,url="https://me:hunter2%zz@dav.example":x`,
		`:webdav,url="https://dav.example",headers="Authorization,Basic hunter2":x`,
		`:sftp,host=h,known_hosts_file=/k,http_proxy="http://me:hunter2@proxy.example":x`,
		`:s3,ibm_api_key=hunter2:b`,
		`:sftp,host=h,known_hosts_file=/k,passwd=hunter2:/x`,
	} {
		for _, err := range []error{CheckTarget(target), Put(t.Context(), target, f, func(Step) {})} {
			if err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: %v", target, err)
			}
		}
	}
}
