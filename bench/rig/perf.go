package rig

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"quell/bench/load"
	"quell/bench/page"
)

// part is a part of quell's work that a profile is divided into.
type part struct {
	name string
	// A sample counts for the first part that has a pattern in the name of one of its
	// functions. "kernel" is any function of the kernel.
	patterns []string
}

var parts = []part{
	{"SQLite, and the writer in front of it", []string{"modernc.org/", "quell/internal/sqldb."}},
	{"the collector", []string{"runtime.gcBgMarkWorker", "runtime.gcAssist", "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcStart", "runtime.gcMark", "runtime.wbBufFlush", "runtime.sweepone"}},
	{"allocating", []string{"runtime.mallocgc", "runtime.newobject", "runtime.makeslice", "runtime.growslice", "runtime.(*mcache)"}},
	{"scheduling: who runs next, and waiting for connections", []string{"runtime.schedule", "runtime.findRunnable", "runtime.park_m", "runtime.goready", "runtime.ready", "runtime.netpoll", "runtime.futex", "runtime.notewakeup", "runtime.sysmon", "runtime.mstart", "runtime.goexit0"}},
	{"TLS and other cryptography", []string{"crypto/"}},
	{"the audit trail", []string{"motorway.(*Trail", "motorway.(*trail", "quell/internal/lines."}},
	{"reading XML and signatures", []string{"quell/internal/duis.", "quell/internal/strictxml.", "quell/internal/xmldsig."}},
	{"sockets: the kernel and package net", []string{"kernel", "internal/poll.", "net.(*"}},
	{"the decision: ledger, hubs, notes, metrics", []string{"quell/internal/ledger.", "quell/internal/hubs.", "quell/internal/passed.", "quell/internal/motorway.", "quell/internal/windows.", "prometheus."}},
	{"net/http's client and ReverseProxy", []string{"net/http.(*Transport)", "net/http.(*persistConn)", "net/http/httputil.", "net/http.(*Request).write", "net/http.ReadResponse"}},
	{"the fast path", []string{"quell/internal/fastpath."}},
	{"net/http's server, and the gateway", []string{"net/http.", "quell/internal/gateway."}},
	{"anything else", []string{""}},
}

// partOf returns the part that a stack of functions counts for. The innermost is the
// first.
func partOf(stack []string) string {
	for _, p := range parts {
		for _, pattern := range p.patterns {
			if slices.ContainsFunc(stack, func(f string) bool { return strings.Contains(f, pattern) }) {
				return p.name
			}
		}
	}
	return "" // not reached: the last part has all
}

// Where says how the processor time of a message is divided, as perf sees it: quell has
// no profiler of its own. It returns "" without perf. The profile is kept in the
// folder dir, if it is not empty.
func (r *Rig) Where(c *Candidate, dir, name string, m *load.Message, micros page.Sample) (string, error) {
	if _, err := exec.LookPath("perf"); err != nil {
		return "", nil
	}
	if dir == "" {
		dir = r.Dir
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(r.Ctx, 2*time.Minute)
	defer cancel()
	data := filepath.Join(dir, name+".data")
	record := exec.CommandContext(ctx, "perf", "record", "-q", "-g", "-F", "999", "-o", data, "-p", strconv.Itoa(c.cmd.Process.Pid), "--", "sleep", "4")
	var out bytes.Buffer
	record.Stdout, record.Stderr = &out, &out
	if err := record.Start(); err != nil {
		return "", fmt.Errorf("perf: %w", err)
	}
	if _, _, err := r.Measure(c, m, 5*time.Second); err != nil {
		return "", err
	}
	if err := record.Wait(); err != nil {
		return "", fmt.Errorf("perf record: %w: %s", err, out.String())
	}
	script, err := exec.CommandContext(ctx, "perf", "script", "-i", data, "-F", "comm,ip,sym,dso").Output()
	if err != nil {
		return "", fmt.Errorf("perf script: %w", err)
	}
	counts, all := divide(bytes.NewReader(script))
	if all == 0 {
		fmt.Println("perf saw nothing: this machine does not let it")
		return "", nil
	}
	names := make([]string, 0, len(counts))
	for name := range counts {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(counts[b], counts[a]) })
	lines := [][]string{{"part", "share", "µs of " + page.Number(micros.Median())}}
	for _, name := range names {
		share := float64(counts[name]) / float64(all)
		lines = append(lines, []string{name, fmt.Sprintf("%.0f %%", 100*share), page.Number(share * micros.Median())})
	}
	return page.Table(lines...), nil
}

// divide reads what "perf script" prints, and counts the samples of each part.
func divide(r io.Reader) (counts map[string]int, all int) {
	counts = map[string]int{}
	var stack []string
	end := func() {
		if len(stack) > 0 {
			counts[partOf(stack)]++
			all++
		}
		stack = nil
	}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if !strings.HasPrefix(line, "\t") { // between the samples, or the name of the program
			end()
			continue
		}
		_, function, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasSuffix(function, "([kernel.kallsyms])") {
			function = "kernel"
		}
		stack = append(stack, function)
	}
	end()
	return counts, all
}
