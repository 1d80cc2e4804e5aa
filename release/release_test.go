package main

import (
	"bytes"
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestCheckVersion(t *testing.T) {
	for version, ok := range map[string]bool{
		"1.2.3": true, "0.1.0": true, "10.20.30": true, "1.2.3-rc.1": true, "1.2.3-beta": true,
		"": false, "v1.2.3": false, "1.2": false, "1.2.3.4": false, "01.2.3": false, "1.2.3-": false, "1.2.3-rc-1": false,
		"1.2.3+x": false, "1.2.3 ": false, "1.2.3\n": false, "../1.2.3": false, "1.2.3-rc.1.2": false,
	} {
		if err := checkVersion(version); (err == nil) != ok {
			t.Errorf("%q: %v", version, err)
		}
	}
}

func TestReadCommit(t *testing.T) {
	dir := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=x", "-c", "user.email=x@example.invalid"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_COMMITTER_DATE=2026-03-01T13:00:00+0100", "GIT_AUTHOR_DATE=2020-01-01T00:00:00Z")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	git("init", "-q")
	write("a", "1")
	write(".gitignore", "ignored\n")
	git("add", "-A")
	git("commit", "-q", "-m", "x")
	write("ignored", "")
	r, err := readCommit(dir, "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	if !r.time.Equal(noon) || len(r.commit) != 40 || r.version != "1.2.3" {
		t.Errorf("%+v", r)
	}
	write("new", "")
	if _, err := readCommit(dir, "1.2.3"); err == nil || !strings.Contains(err.Error(), "new") {
		t.Errorf("with a new file: %v", err)
	}
	os.Remove(filepath.Join(dir, "new"))
	write("a", "2")
	if _, err := readCommit(dir, "1.2.3"); err == nil {
		t.Error("a changed file is not noticed")
	}
	git("add", "a")
	if _, err := readCommit(dir, "1.2.3"); err == nil {
		t.Error("a change that is added and not committed is not noticed")
	}
}

// What is shipped is all there, each thing in a place of its own.
func TestReadFiles(t *testing.T) {
	list, err := readFiles(root, os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	places := map[string][]byte{}
	for _, f := range list {
		for _, at := range []string{"tarball:" + f.tarball, "deb:" + f.deb, "rpm:" + f.rpm} {
			if strings.HasSuffix(at, ":") {
				continue
			}
			if _, twice := places[at]; twice {
				t.Errorf("two files are at %s", at)
			}
			places[at] = f.data
		}
	}
	for _, c := range []struct{ at, has, not string }{
		{"tarball:quell.service", "ExecStart=/usr/local/bin/quell ", "/usr/bin/"},
		{"deb:/usr/lib/systemd/system/quell.service", "ExecStart=/usr/bin/quell ", "/usr/local"},
		{"rpm:/usr/lib/systemd/system/quell.service", "ExecReload=/usr/bin/quell ", "/usr/local"},
		{"deb:/etc/quell/quell.yaml", "\ndata_dir: /var/lib/quell\n", "data_dir: data"},
		{"rpm:/usr/share/zsh/site-functions/_quell", "#compdef quell", ""},
		{"deb:/usr/share/doc/quell/docs/operations.md", "# Operations", ""},
		{"deb:/usr/share/doc/quell/prometheus/rules.yaml", "alert: QuellDown", ""},
		{"rpm:/usr/share/doc/quell/grafana/quell.json", `"uid": "quell-overview"`, ""},
		{"tarball:prometheus/rules_test.yaml", "rule_files:", ""},
	} {
		if data := string(places[c.at]); !strings.Contains(data, c.has) || c.not != "" && strings.Contains(data, c.not) {
			t.Errorf("%s: want %q, not %q, in\n%.300s", c.at, c.has, c.not, data)
		}
	}
	if _, err := replace([]byte("new"), "old", "new"); err == nil {
		t.Error("replacing what is not there is no error")
	}
}

// The SBOM says of a program what Go has written into it.
func TestSBOM(t *testing.T) {
	r := &release{version: "1.2.3", commit: "c0ffee", time: noon}
	text, err := r.sbom(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.sbom(os.Args[0])
	if err != nil || !bytes.Equal(text, again) {
		t.Errorf("made twice it differs: %v", err)
	}
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(text), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	if bom.SerialNumber != "" || bom.Metadata.Timestamp != "2026-03-01T12:00:00Z" || bom.Metadata.Component.Version != "1.2.3" {
		t.Errorf("serial number %q, metadata %+v", bom.SerialNumber, bom.Metadata)
	}
	info, err := buildinfo.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"stdlib": strings.TrimPrefix(info.GoVersion, "go")}
	for _, m := range info.Deps {
		want[m.Path] = m.Version
	}
	if len(want) < 10 {
		t.Fatalf("the test itself has %d modules: it shows nothing", len(want))
	}
	if len(*bom.Components) != len(want) || len(*(*bom.Dependencies)[0].Dependencies) != len(want) {
		t.Errorf("%d components and %v, want %d", len(*bom.Components), *bom.Dependencies, len(want))
	}
	for _, c := range *bom.Components {
		if want[c.Name] != c.Version || c.Version == "" {
			t.Errorf("%s: %q, want %q", c.Name, c.Version, want[c.Name])
		}
	}
	if url := library("example.org/a", "v1.0.0+incompatible").PackageURL; url != "pkg:golang/example.org/a@v1.0.0%2Bincompatible" {
		t.Error(url)
	}
}
