package rig

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// root is the folder of the repository. The program runs in the folder bench.
const root = ".."

// Figures are what a Go benchmark printed, by the unit: "ns/op" and others.
type Figures map[string]float64

// result is one line that a Go benchmark printed.
type result struct {
	Name string // without "Benchmark" and the number of processors
	Figures
}

// GoTests compiles the tests of a package of quell, and returns the program.
func (r *Rig) GoTests(pkg string) (string, error) {
	program := filepath.Join(r.Dir, filepath.Base(pkg)+".test")
	cmd := exec.CommandContext(r.Ctx, "go", "test", "-c", "-o", program, "./"+pkg)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go test -c ./%s: %w: %s", pkg, err, out)
	}
	return program, nil
}

// GoBench runs benchmarks of a package's tests, each count times.
func (r *Rig) GoBench(ctx context.Context, program, pkg, pattern, times string, count int, env ...string) ([]result, error) {
	cmd := exec.CommandContext(ctx, program, "-test.run", "^$", "-test.bench", pattern, "-test.benchtime", times, "-test.count", strconv.Itoa(count), "-test.timeout", "30m")
	cmd.Dir = filepath.Join(root, pkg)
	cmd.Env = append(append(os.Environ(), "TMPDIR="+r.Dir), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("the benchmarks %s of %s: %w: %s", pattern, pkg, err, out)
	}
	return parseBench(out), nil
}

// parseBench reads what Go benchmarks print.
func parseBench(out []byte) (results []result) {
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimSuffix(strings.TrimPrefix(fields[0], "Benchmark"), fmt.Sprintf("-%d", runtime.GOMAXPROCS(0)))
		r := result{name, Figures{}}
		for i := 2; i+1 < len(fields); i += 2 {
			if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
				r.Figures[fields[i+1]] = v
			}
		}
		results = append(results, r)
	}
	return results
}
