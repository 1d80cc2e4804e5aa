package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// perf writes two files: PATH.data for "perf report", and PATH.txt with the functions
// that took most of the time.
func (h *harness) perf(ctx context.Context, c *candidate, path string, m *message) error {
	record := exec.CommandContext(ctx, "perf", "record", "-q", "-g", "-F", "999", "-o", path+".data", "-p", strconv.Itoa(c.cmd.Process.Pid), "--", "sleep", "5")
	var out bytes.Buffer
	record.Stdout, record.Stderr = &out, &out
	if err := record.Start(); err != nil {
		return fmt.Errorf("perf: %w", err)
	}
	if _, _, err := h.measure(c, m, 6*time.Second); err != nil {
		return err
	}
	if err := record.Wait(); err != nil {
		return fmt.Errorf("perf: %w: %s", err, out.String())
	}
	text, err := exec.CommandContext(ctx, "perf", "report", "--no-children", "-g", "none", "--stdio", "--percent-limit", "0.3", "-i", path+".data").Output()
	if err != nil {
		return fmt.Errorf("perf report: %w", err)
	}
	return os.WriteFile(path+".txt", text, 0o644)
}
