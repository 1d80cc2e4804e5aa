package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"quell/internal/remote/remotetest"
	"quell/internal/store/storetest"

	"github.com/rclone/rclone/fs/config/obscure"
)

// secrets are what a test has planted, by what they are for. What quell may show is searched
// for them in every form.
type secrets map[string]string

// plant makes a secret that looks like nothing else, and has characters that are written in other
// ways in URLs.
func (s secrets) plant(what string) string {
	s[what] = "s3cr3t/" + strings.ToUpper(what) + "+&=xyz"
	return s[what]
}

// forms returns how a secret may be written.
func forms(secret string) map[string]string {
	all := map[string]string{"plain": secret, "query": url.QueryEscape(secret), "path": url.PathEscape(secret), "hex": hex.EncodeToString([]byte(secret)),
		"URL": strings.TrimPrefix(url.UserPassword("", secret).String(), ":"), "quoted": strings.Trim(fmt.Sprintf("%q", secret), `"`)}
	for n := range 3 { // base64, wherever the secret begins in what is encoded
		for name, encoding := range map[string]*base64.Encoding{"base64": base64.StdEncoding, "base64url": base64.URLEncoding} {
			text := encoding.EncodeToString([]byte(strings.Repeat("x", n) + secret))
			all[fmt.Sprint(name, n)] = text[4 : len(text)-4]
		}
	}
	return all
}

// absent checks that no secret is in a text.
func (s secrets) absent(t *testing.T, where string, text []byte) {
	t.Helper()
	if len(text) == 0 {
		t.Logf("%s is empty", where)
	}
	for what, secret := range s {
		for form, f := range forms(secret) {
			if i := bytes.Index(bytes.ToLower(text), []byte(strings.ToLower(f))); i >= 0 {
				t.Errorf("%s has the secret of %s (%s): %.300q", where, what, form, text[max(0, i-100):])
			}
		}
	}
}

// inFiles checks all files of a folder.
func (s secrets) inFiles(t *testing.T, dir string) (n int) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		n++
		s.absent(t, path, text)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// shown checks all that a running quell shows: its log, its arguments, and what its console
// answers.
func (s secrets) shown(t *testing.T, p *process) {
	t.Helper()
	s.absent(t, "the log", []byte(p.log.String()))
	if arguments, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.Process.Pid)); err == nil {
		s.absent(t, "the process list", arguments)
	}
	for _, path := range []string{"/metrics", "/readyz", "/healthz", "/api/v1/status", "/api/v1/events", "/api/v1/reports", "/api/v1/reports/1", "/api/v1/windows", "/api/v1/none"} {
		res, err := http.Get(p.admin + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		s.absent(t, path, append(fmt.Appendf(nil, "%v", res.Header), body...))
	}
}

// command runs a command as a process, and checks what it prints.
func (s secrets) command(t *testing.T, environ []string, args ...string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), beQuell+"=1"), environ...)
	out, err := cmd.CombinedOutput()
	s.absent(t, fmt.Sprintf("quell %s (%v)", strings.Join(args, " "), err), out)
	return string(out)
}

// telltale is a WebDAV server that refuses everything, and repeats what it was sent: the
// credentials as they are, and in their other forms.
func telltale(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, pass, _ := r.BasicAuth()
		told := fmt.Sprintf("%s %s %s %s %s", user, pass, url.QueryEscape(pass), url.PathEscape(pass), r.Header.Get("Authorization"))
		w.Header().Set("X-Told", strings.ReplaceAll(told, "\n", " "))
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `<d:error xmlns:d="DAV:" xmlns:s="x"><s:message>%s</s:message></d:error>`, strings.NewReplacer("&", "&amp;", "<", "&lt;").Replace(told))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// No secret of a remote is in anything that quell shows or writes, whatever the remote says: in
// the configuration file of rclone, in variables, and in a target where it must not be.
func TestSecretsOfRemotes(t *testing.T) {
	s := secrets{}
	hop := accept(t)
	dir := t.TempDir()
	i := install(t, hop, hop, "")
	plain := string(read(t, i.config))
	conf := i.file("rclone.conf", fmt.Sprintf("[esi]\ntype = webdav\nurl = %s\nuser = me\npass = %s\n\n[token]\ntype = webdav\nurl = %s\nbearer_token = %s\n\n[gone]\ntype = webdav\nurl = http://127.0.0.1:1/\nuser = me\npass = %s\n",
		telltale(t), obscure.MustObscure(s.plant("conf")), telltale(t), s.plant("token"), obscure.MustObscure(s.plant("gone"))))
	report := func(more string) string {
		return plain + fmt.Sprintf("report:\n  every: 10000d\n  rclone_config: %s\n  remotes:\n  - {name: here, target: %q}\n  - {name: esi, target: \"esi:x\"}\n  - {name: token, target: \"token:x\"}\n  - {name: gone, target: \"gone:x\"}\n  - {name: env, target: \"envdav:x\"}\n  - {name: sftp, target: \"envsftp:x\"}\n%s", conf, dir, more)
	}
	environ := []string{"RCLONE_CONFIG_ENVDAV_TYPE=webdav", "RCLONE_CONFIG_ENVDAV_URL=" + telltale(t), "RCLONE_CONFIG_ENVDAV_USER=me",
		"RCLONE_CONFIG_ENVDAV_PASS=" + obscure.MustObscure(s.plant("env")),
		"RCLONE_CONFIG_ENVSFTP_TYPE=sftp", "RCLONE_CONFIG_ENVSFTP_HOST=127.0.0.1", "RCLONE_CONFIG_ENVSFTP_PORT=1", "RCLONE_CONFIG_ENVSFTP_KNOWN_HOSTS_FILE=" + conf,
		"RCLONE_CONFIG_ENVSFTP_PASS=" + obscure.MustObscure(s.plant("sftp")), "RCLONE_CONFIG_ENVSFTP_KEY_PEM=" + s.plant("pem"),
		"RCLONE_S3_SECRET_ACCESS_KEY=" + s.plant("s3"), "RCLONE_CONFIG_PASS=" + s.plant("pass"), "UNRELATED=" + s.plant("environment")}
	i.write(report(""))
	p := i.serve(environ...)
	post(t, p.south, preCommand(1))
	post(t, p.north, powerOutage(1, 1))
	post(t, p.north, []byte("<x/>"))
	q := func(args ...string) string {
		return s.command(t, append([]string{"QUELL_CONFIG=" + i.config}, environ...), args...)
	}
	q("report", "cut")
	for _, name := range []string{"esi", "token", "gone", "env", "sftp"} {
		storetest.Eventually(t, name+" fails", func() bool {
			return strings.Contains(q("report", "list"), "1") && strings.Contains(p.log.String(), "remote="+name)
		})
	}
	q("report", "show", "1")
	q("report", "send", "1", "--remote", "esi")
	q("report", "verify", dir)
	q("config", "check")

	// A secret where it must not be: the check, a reload and a start say so.
	for _, wrong := range []string{
		fmt.Sprintf("  - {name: bad, target: \":webdav,url='https://h/',pass='%s':x\"}\n", s.plant("target")),
		fmt.Sprintf("  - {name: bad, target: \":webdav,url='https://me:%s@h/':x\"}\n", url.QueryEscape(s.plant("userinfo"))),
		fmt.Sprintf("  - {name: bad, target: \":webdav,pass=%s\"}\n", s.plant("unclosed")),
		fmt.Sprintf("  - {name: bad, target: [%q]}\n", s.plant("list")),
		fmt.Sprintf("  - {name: bad, target: \"x:\", pass: %q}\n", s.plant("field")),
		fmt.Sprintf("  - {name: bad, target: %q: x}\n", s.plant("syntax")),
		fmt.Sprintf("  - %q\n", s.plant("scalar")),
	} {
		i.write(report(wrong))
		out := q("config", "check")
		if !strings.Contains(out, "report") && !strings.Contains(out, "line") {
			t.Errorf("%s is accepted: %s", wrong, out)
		}
		before := strings.Count(p.log.String(), "\n")
		p.Process.Signal(syscall.SIGHUP)
		storetest.Eventually(t, "the reload is logged", func() bool { return strings.Count(p.log.String(), "\n") > before })
		q("serve")
	}
	for _, wrong := range []string{
		strings.Replace(plain, "next_hop: \"http://", fmt.Sprintf("next_hop: \"http://me:%s@", url.QueryEscape(s.plant("hop"))), 1),
		strings.Replace(plain, "northbound: {", fmt.Sprintf("northbound: {password: %q, ", s.plant("unknown")), 1),
		plain + fmt.Sprintf("store: %q\n", "mysql://me:"+s.plant("mysql")+"@h/"),
		plain + fmt.Sprintf("store: [%q]\n", "postgres://me:"+s.plant("storelist")+"@h/"),
		plain + fmt.Sprintf("report: %q\n", s.plant("section")),
		plain + fmt.Sprintf("drain: %q\n", s.plant("duration")),
		plain + s.plant("line") + "\n",
	} {
		i.write(wrong)
		q("config", "check")
		before := strings.Count(p.log.String(), "\n")
		p.Process.Signal(syscall.SIGHUP)
		storetest.Eventually(t, "the reload is logged", func() bool { return strings.Count(p.log.String(), "\n") > before })
	}
	s.shown(t, p)
	if p.stop(syscall.SIGTERM); t.Failed() {
		return
	}
	s.shownAtTheEnd(t, p, i, dir)

	// A panic, with all of this in memory.
	i.write(report(""))
	p = i.serve(append(environ, panicAt+"=sending")...)
	q("report", "cut")
	select {
	case <-p.exited:
	case <-time.After(30 * time.Second):
		t.Fatal("no panic")
	}
	if !strings.Contains(p.log.String(), "as the test wants") {
		t.Errorf("no panic: %s", p.log)
	}
	s.shownAtTheEnd(t, p, i, dir)
}

// shownAtTheEnd checks what a quell leaves behind: its log, its data folder and its reports.
func (s secrets) shownAtTheEnd(t *testing.T, p *process, i *installation, dirs ...string) {
	t.Helper()
	s.absent(t, "the log", []byte(p.log.String()))
	if s.inFiles(t, filepath.Join(i.dir, "data")) == 0 {
		t.Error("there are no files")
	}
	for _, dir := range dirs {
		s.inFiles(t, dir)
	}
}

// No password of a database is in anything that quell shows, wherever it comes from: the
// address, a variable or a file; while the password is wrong, the database is away, and the
// configuration is changed.
func TestSecretsOfTheStore(t *testing.T) {
	server := storetest.Start(t)
	s := secrets{}
	right := s.plant("right")
	lockedDatabase(t, server, right)
	proxy := remotetest.NewProxy(t, server.Socket())
	address := func(password string) string {
		u := url.URL{Scheme: "postgres", User: url.UserPassword("locked", password), Host: proxy.Addr, Path: "/quell", RawQuery: "sslmode=disable"}
		if password == "" {
			u.User = url.User("locked")
		}
		return u.String()
	}
	hop := accept(t)
	for _, c := range []struct {
		name, address string
		environ       []string
		works         bool
	}{
		{"right address", address(right), nil, true},
		{"wrong address", address(s.plant("wrong")), nil, false},
		{"right variable", address(""), []string{"PGPASSWORD=" + right}, true},
		{"wrong variable", address(""), []string{"PGPASSWORD=" + s.plant("variable")}, false},
		{"right file", address(""), []string{"PGPASSFILE=" + passFile(t, right)}, true},
		{"wrong file", address(""), []string{"PGPASSFILE=" + passFile(t, s.plant("file"))}, false},
		{"malformed address", "postgres://locked:" + s.plant("malformed") + "@h:port/quell?x=%zz", nil, false},
		{"unknown setting", address(s.plant("setting")) + "&sslmode=what", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := install(t, hop, hop, fmt.Sprintf("store: %q\nstore_timeout: 1s\n", c.address))
			s.command(t, append([]string{"QUELL_CONFIG=" + i.config}, c.environ...), "config", "check")
			s.command(t, append([]string{"QUELL_CONFIG=" + i.config}, c.environ...), "report", "list")
			out := s.command(t, c.environ, "store", "copy", "--from", "sqlite:"+i.dir, "--to", strings.Replace(c.address, proxy.Addr, "127.0.0.1:1", 1))
			if u, err := url.Parse(c.address); err == nil {
				// The list of processes shows what is in the command line, so it is refused there.
				if _, has := u.User.Password(); has != strings.Contains(out, "list of processes") {
					t.Errorf("store copy with a password (%v): %s", has, out)
				}
			}
			p := i.begin(c.environ...)
			if strings.Contains(c.address, "sslmode=what") || strings.Contains(c.address, "%zz") {
				select {
				case <-p.exited:
					s.absent(t, "the log", []byte(p.log.String()))
					return
				case <-time.After(time.Second): // it started all the same
				}
			}
			storetest.Eventually(t, "it answers", func() bool { return p.status(t) != nil })
			if c.works {
				i.answers(p)
				storetest.Eventually(t, "the database is used", func() bool {
					st := p.status(t)
					return st != nil && !strings.Contains(fmt.Sprint(st.Degraded), "cannot be read") && st.Switch != ""
				})
			} else {
				storetest.Eventually(t, "the fault is said", func() bool {
					return strings.Contains(p.log.String(), "password authentication failed") || !strings.HasPrefix(c.name, "wrong")
				})
			}
			post(t, p.north, powerOutage(1, 1))
			s.shown(t, p)
			// Another address, which needs a restart, and says so.
			i.write(strings.Replace(string(read(t, i.config)), "store: ", "store: \"postgres://me:"+url.QueryEscape(s.plant("changed"))+"@h/\" # ", 1))
			before := strings.Count(p.log.String(), "\n")
			p.Process.Signal(syscall.SIGHUP)
			storetest.Eventually(t, "the reload is logged", func() bool { return strings.Count(p.log.String(), "\n") > before })
			s.shown(t, p)
			p.stop(syscall.SIGTERM)
			s.shownAtTheEnd(t, p, i)
		})
	}
}

// passFile writes a file of passwords.
func passFile(t *testing.T, password string) string {
	file := filepath.Join(t.TempDir(), "pgpass")
	if err := os.WriteFile(file, []byte("*:*:*:*:"+password+"\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	return file
}
