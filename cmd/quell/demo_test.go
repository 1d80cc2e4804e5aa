package main

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"quell/internal/operator"
)

// The demo says how to remove what it wrote, even if it was interrupted.
func TestDemoSaysWhatItLeaves(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	status := run(ctx, &env{stdout: &out, stderr: &errs}, []string{"demo"})
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Fatalf("left: %v %v", left, err)
	}
	if want := "rm -r " + filepath.Join(dir, left[0].Name()) + "\n"; status != 1 || !strings.HasSuffix(out.String(), want) {
		t.Errorf("status %d, want %q at the end of\n%s%s", status, want, &out, &errs)
	}
}

// The demo succeeds, up to and including its report.
func TestDemo(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "demo")
	cmd.Env = append(os.Environ(), beQuell+"=1", "TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Error(err)
	}
	for _, want := range []string{"kinds are as expected.\n", "started before activation", "to folder: confirmed", "All sound"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q", want)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}

// The way into the demo's console that it prints lets a browser in, once, and so does the command
// that it names for another.
func TestDemoWayIn(t *testing.T) {
	d, err := startDemo(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	var out bytes.Buffer
	if err := d.wayIn(t.Context(), &env{stdout: &out}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{d.sys.Console() + "/\n", "quell login --config " + d.configFile, " as admin,", "The browser warns of the certificate"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	var another, errs bytes.Buffer
	if status := run(t.Context(), &env{stdout: &another, stderr: &errs}, []string{"login", "--config", d.configFile}); status != 0 {
		t.Fatalf("%d %s", status, &errs)
	}
	link := regexp.MustCompile(`(https://127\.0\.0\.1:\d+/login/link)#([A-Z2-7]+)\n`)
	browser := &http.Client{Transport: &http.Transport{TLSClientConfig: d.sender}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer browser.CloseIdleConnections()
	for _, text := range []string{out.String(), another.String()} {
		m := link.FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("no link in\n%s", text)
		}
		for _, code := range []int{http.StatusSeeOther, http.StatusUnauthorized} {
			res, err := browser.PostForm(m[1], url.Values{"code": {m[2]}})
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != code || (len(res.Cookies()) == 1) != (code == http.StatusSeeOther) {
				t.Errorf("%d, want %d; cookies %v", res.StatusCode, code, res.Cookies())
			}
		}
	}
}

func TestBrowserURL(t *testing.T) {
	for base, want := range map[string]string{
		"https://quell.example:8443": "https://quell.example:8443", "http://127.0.0.1:8080": "http://127.0.0.1:8080", "http://localhost:8080": "http://localhost:8080",
		"http://[::1]:8080": "http://[::1]:8080", "http://:8080": "http://localhost:8080", "http://0.0.0.0:8080": "http://localhost:8080", "http://192.0.2.1:8080": "", "http://quell.example": "",
	} {
		if have, err := browserURL(&operator.Client{Base: base}, nil); have != want || (err != nil) != (want == "") {
			t.Errorf("%s: %q %v, want %q", base, have, err, want)
		}
	}
	if have, err := browserURL(&operator.Client{Base: "https://[::]:8443"}, nil); err != nil || strings.Contains(have, "[::]") {
		t.Errorf("%q %v", have, err)
	}
}
