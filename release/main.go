// Command release makes the files of a release of quell in the folder dist: for
// each architecture a tarball, a .deb, an .rpm and an SBOM, and SHA256SUMS over
// all. Their bytes depend on the commit, the version, the device list to build
// in and the version of Go alone. It is a module of its own, so that quell's
// does not depend on what packs it.
//
// It runs in its own folder: "go run . VERSION"; "make release VERSION=1.2.3"
// does.
package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// root is the folder of the repository.
const root = ".."

var architectures = []string{"amd64", "arm64"}

// release is what is to be made.
type release struct {
	version string
	commit  string
	time    time.Time // of the commit; every file has it
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("say which version: make release VERSION=1.2.3")
	}
	if err := checkVersion(args[0]); err != nil {
		return err
	}
	r, err := readCommit(root, args[0])
	if err != nil {
		return err
	}
	out := filepath.Join(root, "dist")
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	if err := os.Mkdir(out, 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "quell-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	for _, arch := range architectures {
		if err := r.make(arch, work, out); err != nil {
			return fmt.Errorf("%s: %w", arch, err)
		}
	}
	return sums(out)
}

// checkVersion accepts versions such as 1.2.3 and 1.2.3-rc.1, which the order of
// versions in .deb and .rpm agrees on.
func checkVersion(v string) error {
	if !regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[a-z]+(\.\d+)?)?$`).MatchString(v) {
		return fmt.Errorf("%q is not a version such as 1.2.3 or 1.2.3-rc.1", v)
	}
	return nil
}

// readCommit says what a release of the commit in dir is. It refuses a work tree
// with anything in it that the commit does not have.
func readCommit(dir, version string) (*release, error) {
	git := func(args ...string) (string, error) {
		cmd := exec.Command("git", append([]string{"-C", dir}, args...)...)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err
	}
	changed, err := git("status", "--porcelain")
	if err != nil {
		return nil, fmt.Errorf("git status: %w", err)
	}
	if changed != "" {
		return nil, fmt.Errorf("commit these first, a release is of a commit:\n%s", changed)
	}
	commit, err := git("log", "-1", "--format=%H %ct")
	if err != nil {
		return nil, fmt.Errorf("git log: %w", err)
	}
	hash, seconds, _ := strings.Cut(commit, " ")
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("the time of commit %s: %w", hash, err)
	}
	return &release{version, hash, time.Unix(unix, 0).UTC()}, nil
}

// make builds quell for one architecture, and writes its files into out.
func (r *release) make(arch, work, out string) error {
	binary, err := r.build(arch, work)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("quell-%s-linux-%s", r.version, arch)
	bom, err := r.sbom(binary)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, name+".cdx.json"), bom, 0o644); err != nil {
		return err
	}
	list, err := readFiles(root, binary)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := tarball(&b, name, list, r.time); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, name+".tar.gz"), b.Bytes(), 0o644); err != nil {
		return err
	}
	return r.packages(arch, list, work, out)
}

// build builds quell, and returns where it is. What the environment says of how
// Go compiles counts for nothing.
func (r *release) build(arch, work string) (string, error) {
	binary := filepath.Join(work, "quell-"+arch)
	cmd := exec.Command("scripts/build.sh", binary, r.version)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOAMD64=v1", "GOARM64=v8.0",
		"GOFLAGS=-buildvcs=false", "GOEXPERIMENT=", "GOFIPS140=off", "GOWORK=off")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("scripts/build.sh: %w", err)
	}
	return binary, nil
}

// sums writes SHA256SUMS, as sha256sum -c reads it.
func sums(dir string) error {
	entries, err := os.ReadDir(dir) // by name
	if err != nil {
		return err
	}
	var lines []string
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		lines = append(lines, fmt.Sprintf("%x  %s\n", sha256.Sum256(data), e.Name()))
		fmt.Printf("dist/%s %d\n", e.Name(), len(data))
	}
	return os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(strings.Join(lines, "")), 0o644)
}
