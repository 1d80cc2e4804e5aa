// Package rig runs what is measured: proxies, quell, their next hop, PostgreSQL and
// benchmarks of Go, and measures what they cost.
package rig

import (
	"context"
	"os"
	"slices"
	"sync"
	"syscall"
)

// Rig is what candidates are measured on: a temporary folder, the next hop of all
// candidates, and the programs that run.
type Rig struct {
	Ctx   context.Context // ends the measurements
	Quell string          // the program under test
	Dir   string          // temporary
	Up    *upstream

	Next    int64 // the number of the next message
	mu      sync.Mutex
	started []*Process
}

// Open makes the folder and starts the next hop. Call Close even if it fails.
func (r *Rig) Open(ctx context.Context) (err error) {
	r.Ctx = ctx
	if r.Dir, err = os.MkdirTemp("", "quell-bench-"); err != nil {
		return err
	}
	// The user of PostgreSQL must get into its folder below.
	if err := os.Chmod(r.Dir, 0o711); err != nil {
		return err
	}
	if err := r.writeCertificates(); err != nil {
		return err
	}
	r.Up, err = r.startUpstream()
	return err
}

// Close ends all programs that still run, the last first, and removes the folder.
func (r *Rig) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range slices.Backward(r.started) {
		p.Stop(p.End)
	}
	r.started = nil
	if r.Dir != "" {
		os.RemoveAll(r.Dir)
	}
}

// folder makes a new folder within the temporary one.
func (r *Rig) folder(name string) (string, error) {
	dir, err := os.MkdirTemp(r.Dir, name+"-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

// Start starts a program that ends with the rig.
func (r *Rig) Start(dir, name string, end syscall.Signal, as *syscall.Credential, program string, args ...string) (*Process, error) {
	p, err := start(dir, name, end, as, program, args...)
	if err == nil {
		r.mu.Lock()
		r.started = append(r.started, p)
		r.mu.Unlock()
	}
	return p, err
}

// Numbers returns the first of n numbers of messages that nobody else has. No message
// is sent twice.
func (r *Rig) Numbers(n int64) int64 {
	from := r.Next
	r.Next += n
	return from
}
