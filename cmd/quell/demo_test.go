package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
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
