package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quell/internal/remote/remotetest"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"
	"github.com/rclone/rclone/fs"
	"github.com/rclone/rclone/fs/object"
)

func TestMain(m *testing.M) {
	if file := os.Getenv(beProcess); file != "" {
		process(file, os.Args[1], os.Args[2])
	}
	flag.Set("test.parallel", "8") // the tests wait more than they compute
	idleTimeout = 10 * time.Second // some tests wait for it; a busy machine takes seconds to start a command
	os.Setenv("RCLONE_S3_SECRET_ACCESS_KEY", "secret")
	if err := Configure(NoConfig); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

const fileName = "POAS_quell_1.csv"

// aFile makes a file of the given size, whose content compresses badly.
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

// open opens a target for as long as the test runs.
func open(t testing.TB, target string) fs.Fs {
	t.Helper()
	// Otherwise it would ask about the shell each time, and not every server accepts times.
	f, err := fs.NewFs(t.Context(), strings.Replace(target, ":sftp,", ":sftp,shell_type=none,set_modtime=false,", 1))
	if err != nil {
		t.Fatal(err)
	}
	if shutdown := f.Features().Shutdown; shutdown != nil {
		t.Cleanup(func() { shutdown(context.Background()) })
	}
	return f
}

// there returns the files at a target.
func there(t testing.TB, target string) map[string]string {
	t.Helper()
	f := open(t, target)
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

// place puts a file at a target as another sender would.
func place(t testing.TB, target, name string, content []byte) {
	t.Helper()
	f := open(t, target)
	if err := f.Mkdir(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Put(t.Context(), bytes.NewReader(content), object.NewStaticObjectInfo(name, time.Now(), int64(len(content)), true, nil, nil)); err != nil {
		t.Fatal(err)
	}
}

// only checks that the file is at the target, and nothing else.
func only(t testing.TB, target string, content []byte) {
	t.Helper()
	got := there(t, target)
	if len(got) != 1 || got[fileName] != string(content) {
		t.Errorf("the target has")
		for name, text := range got {
			t.Errorf("  %s of %d bytes, right: %v", name, len(text), text == string(content))
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

// s3 starts an S3 server in memory.
func s3(t testing.TB) string {
	backend := s3mem.New()
	if err := backend.CreateBucket(t.Context(), "poas"); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(srv.Close)
	return fmt.Sprintf(":s3,provider=Other,access_key_id=key,endpoint=%q,force_path_style=true:poas/inbound", srv.URL)
}

// each runs a test for each kind of remote that is available here.
func each(t *testing.T, test func(t *testing.T, target string)) {
	t.Parallel()
	for name, target := range map[string]func(t testing.TB) string{
		"folder": func(t testing.TB) string { return t.TempDir() },
		"sftp": func(t testing.TB) string {
			s := remotetest.NewSSHD(t, false)
			return s.Target(s.Addr, s.Dir+"/inbound")
		},
		"sftp without setstat": func(t testing.TB) string {
			s := remotetest.NewSSHD(t, false, "setstat", "fsetstat")
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
			if err := CheckTarget(target); err != nil {
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
	o, err := open(t, target).NewObject(t.Context(), name)
	if err == nil {
		err = o.Remove(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A file that already has the name is not overwritten.
func TestTaken(t *testing.T) {
	each(t, func(t *testing.T, target string) {
		f, content := aFile(t, 1000)
		other := bytes.Clone(content)
		other[500] ^= 1
		for _, before := range [][]byte{other, content[:999], append(other, 'x'), {}} {
			place(t, target, fileName, before)
			if err := Put(t.Context(), target, f, func(s Step) { t.Errorf("reached %v", s) }); !errors.Is(err, ErrTaken) {
				t.Errorf("%d bytes: %v", len(before), err)
			}
			only(t, target, before)
		}
	})
}

// What a killed try left behind is overwritten or removed.
func TestLeftOver(t *testing.T) {
	each(t, func(t *testing.T, target string) {
		f, content := aFile(t, 1000)
		place(t, target, temporary(fileName, ""), append(bytes.Clone(content), content...))
		mustPut(t, target, f)
		only(t, target, content)
		place(t, target, temporary(fileName, ""), content[:10])
		mustPut(t, target, f)
		only(t, target, content)
	})
}

// A file that gets the name while ours is being sent stays unchanged.
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

// The file on this machine is checked too.
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

func TestCheckTarget(t *testing.T) {
	t.Setenv("RCLONE_CONFIG_ESI_TYPE", "sftp")
	t.Setenv("RCLONE_CONFIG_ESI_HOST", "esi.example")
	t.Setenv("RCLONE_CONFIG_ESI_KNOWN_HOSTS_FILE", "/etc/ssh/ssh_known_hosts")
	t.Setenv("RCLONE_CONFIG_BAD_TYPE", "sftp")
	t.Setenv("RCLONE_CONFIG_PIN_TYPE", "sftp")
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
		"un-known:/x":                                                            "RCLONE_CONFIG_UN-KNOWN_TYPE",
		":drive:x":                                                               "the backends are local, sftp",
		":webdav,url=\"https://me:hunter2@dav.example\":poas":                    "RCLONE_WEBDAV_URL",
		":webdav,nosuch=1:poas":                                                  "no option nosuch",
		":webdav,override.ca_cert=/x.pem:poas":                                   "SSL_CERT_FILE",
		":sftp,ask_password,known_hosts_file=/k:poas":                            "on the terminal",
		"pin,pin_host_key:/inbound":                                              "without pin_host_key",
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
		err := CheckTarget(target)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", target, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error contains the secret: %v", err)
		}
	}
}

// The text of an error contains no secrets.
func TestRedact(t *testing.T) {
	err := redact(fmt.Errorf(`Put "https://a.blob.core.windows.net/c/f.part?sv=1&sig=hunter2": %w`, context.Canceled))
	if want := `Put "https://a.blob.core.windows.net/c/f.part?…": context canceled`; err.Error() != want || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %s", err, want)
	}
	if redact(nil) != nil {
		t.Error("no error becomes one")
	}
	const secret = "p/+&w?\xfb"
	for _, c := range []struct{ text, want string }{
		{"not " + secret, "not …"},
		{"not " + url.QueryEscape(secret) + " nor " + strings.ToLower(url.PathEscape(secret)), "not … nor …"},
		{"Basic " + base64.StdEncoding.EncodeToString([]byte("me:"+secret)) + ": 403", "Basic …: 403"},
		{"Basic " + base64.StdEncoding.EncodeToString([]byte("you:"+secret+":x")) + ": 403", "Basic …: 403"},
		{"Basic " + base64.URLEncoding.EncodeToString([]byte("they:"+secret)) + ": 403", "Basic …: 403"},
		{"Basic authentication failed", "Basic authentication failed"},
	} {
		if err := redact(errors.New(c.text), secret); err.Error() != c.want {
			t.Errorf("%q: %v", c.text, err)
		}
	}
}
