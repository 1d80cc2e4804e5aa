// Command bench measures quell beside what somebody would use instead, and writes the
// tables of docs/performance.md. It is a module of its own, so that quell's does not
// depend on what compares benchmarks.
//
// It runs in its own folder; "make bench" does. All that it starts listens on the
// loopback interface, works in a temporary folder, and ends with it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"quell/bench/page"
	"quell/bench/rig"
)

// root is the folder of the repository.
const root = ".."

// harness is one run of the program.
type harness struct {
	*rig.Rig
	quick   bool
	rounds  int
	each    time.Duration // how long a candidate is measured in a round
	scale   float64       // what the sizes of rows 6 and 7 are multiplied by
	profile string        // a folder for profiles of quell, or empty

	doc   *page.Document
	stamp string // when, and which quell
	cost
}

// row is a row of the table of aims, or several that are measured together.
type row struct {
	name string
	what string
	run  func(*harness) error
}

var rows = []row{
	{"1", "processor time per passed message", (*harness).passed},
	{"2", "latency at a fixed rate", (*harness).latency},
	{"3", "processor time per suppressed AD1", (*harness).suppressed},
	{"4", "bytes at rest", (*harness).atRest},
	{"5", "the set of hubs", (*harness).index},
	{"6", "memory and start", (*harness).restart},
	{"7", "a campaign", (*harness).campaign},
	{"8", "a national day", (*harness).national},
	{"9", "TLS on both sides, and signatures", (*harness).secure},
}

// quickRows are measured by -quick.
var quickRows = []string{"1", "3", "5", "9"}

func main() {
	runtime.LockOSThread() // processes that it starts end with this thread: see start
	err := run(os.Args[1:])
	if errors.Is(err, context.Canceled) {
		err = errors.New("stopped")
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) (err error) {
	if len(args) == 3 && args[0] == "reverse-proxy" {
		return rig.ServeReverseProxy(args[1], args[2])
	}
	h := &harness{Rig: &rig.Rig{}}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), "bench [FLAGS] [ROW...] measures rows of the table of aims, all of them without an argument.")
		fs.PrintDefaults()
	}
	fs.BoolVar(&h.quick, "quick", false, "measure fewer and shorter rounds")
	fs.IntVar(&h.rounds, "rounds", 0, "how many rounds; 5 by default, 3 with -quick")
	fs.DurationVar(&h.each, "each", 0, "how long each candidate is measured in a round; 3s by default, 1s with -quick")
	fs.Float64Var(&h.scale, "scale", 1, "make rows 6 and 7 smaller: 0.1 is a tenth")
	fs.StringVar(&h.profile, "profile", "", "the folder to keep processor profiles of quell in, as perf writes them")
	fs.StringVar(&h.Quell, "quell", "../bin/quell", "the program under test")
	write := fs.Bool("write", false, "write docs/performance.md even if fewer than five rounds were measured, or sizes were smaller")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if h.rounds == 0 {
		h.rounds = map[bool]int{false: 5, true: 3}[h.quick]
	}
	if h.each == 0 {
		h.each = map[bool]time.Duration{false: 3 * time.Second, true: time.Second}[h.quick]
	}
	chosen, err := choose(fs.Args(), h.quick)
	if err != nil {
		return err
	}
	if h.Quell, err = filepath.Abs(h.Quell); err != nil {
		return err
	}
	others := busy()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	defer h.Close()
	if err := h.Open(ctx); err != nil {
		return err
	}
	path := filepath.Join(root, "docs", "performance.md")
	if h.doc, err = page.ReadDocument(path); err != nil {
		return err
	}
	h.stamp = fmt.Sprintf("Measured on %s with quell %s.", time.Now().UTC().Format("2006-01-02"), commit()) + others
	machine := h.machine()
	fmt.Println(h.stamp, machine)
	h.doc.Set("machine", machine)
	var failed []error
	for _, r := range chosen {
		began := time.Now()
		fmt.Printf("\n== row %s: %s\n", r.name, r.what)
		err := r.run(h)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil { // the others are measured all the same
			failed = append(failed, fmt.Errorf("row %s: %w", r.name, err))
			fmt.Println(failed[len(failed)-1])
		}
		fmt.Printf("(%s)\n", time.Since(began).Round(time.Second))
	}
	h.paper()
	fmt.Printf("\n== aims\n%s\n", h.doc.Aims())
	defer func() { err = errors.Join(append(failed, err)...) }()
	if (h.quick || h.rounds < 5 || h.scale != 1) && !*write {
		return nil
	}
	if h.svg != "" {
		if err := os.WriteFile(filepath.Join(root, "docs", "performance.svg"), []byte(h.svg), 0o644); err != nil {
			return err
		}
	}
	return h.doc.Write(path)
}

// choose returns the rows that were asked for.
func choose(names []string, quick bool) ([]row, error) {
	if len(names) == 0 && quick {
		names = quickRows
	}
	if len(names) == 0 {
		return rows, nil
	}
	var chosen []row
	for _, name := range names {
		i := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no row %q", name)
		}
		chosen = append(chosen, rows[i])
	}
	return chosen, nil
}

// machine says on what this was measured, and with which programs.
func (h *harness) machine() string {
	model := "an unknown processor"
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	version := func(text, after string) string {
		_, v, ok := strings.Cut(text, after)
		if !ok {
			return "?"
		}
		v, _, _ = strings.Cut(v, " ")
		return strings.TrimRight(v, ",")
	}
	parts := map[string]string{
		"nginx":   version(first("nginx", "-v"), "nginx/"),
		"HAProxy": version(first("haproxy", "-v"), "version "),
		"wrk":     strings.TrimPrefix(version(first("wrk", "-v"), "wrk "), "debian/"),
	}
	var versions []string
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		versions = append(versions, name+" "+parts[name])
	}
	return fmt.Sprintf("The machine has %d cores of %s and Linux %s; %s, %s. Each candidate had %d rounds of %v.",
		runtime.NumCPU(), model, first("uname", "-r"), runtime.Version(), strings.Join(versions, ", "), h.rounds, h.each)
}

// set replaces a part of the document, and says below it when it was measured.
func (h *harness) set(part, text string) {
	if text != "" {
		h.doc.Set(part, text+"\n"+h.stamp)
	}
}

// first returns the first line that a command prints.
func first(command string, args ...string) string {
	out, _ := exec.Command(command, args...).CombinedOutput()
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

// busy says whether the machine has other work, which makes the spread large.
func busy() string {
	text, _ := os.ReadFile("/proc/loadavg")
	load, _, _ := strings.Cut(string(text), " ")
	if v, err := strconv.ParseFloat(load, 64); err != nil || v < 1.5 {
		return ""
	}
	return " Others used the machine too: its load was " + load + " before."
}

// commit says which quell is measured.
func commit() string {
	commit := first("git", "-C", root, "rev-parse", "--short", "HEAD")
	if first("git", "-C", root, "status", "--porcelain", "--", "cmd", "internal", "go.mod") != "" {
		commit += ", changed"
	}
	return commit
}
