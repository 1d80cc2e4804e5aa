package main

import (
	"context"
	"os"
	"slices"
	"sync"
	"syscall"
)

// rig is what candidates are measured on: a temporary folder, the next hop of all
// candidates, and the programs that run.
type rig struct {
	ctx   context.Context // ends the measurements
	quell string          // the program under test
	dir   string          // temporary
	up    *upstream

	next    int64 // the number of the next message
	mu      sync.Mutex
	started []*process
}

// open makes the folder and starts the next hop. Call close even if it fails.
func (r *rig) open(ctx context.Context) (err error) {
	r.ctx = ctx
	if r.dir, err = os.MkdirTemp("", "quell-bench-"); err != nil {
		return err
	}
	// The user of PostgreSQL must get into its folder below.
	if err := os.Chmod(r.dir, 0o711); err != nil {
		return err
	}
	if err := r.writeCertificates(); err != nil {
		return err
	}
	r.up, err = r.startUpstream()
	return err
}

// close ends all programs that still run, the last first, and removes the folder.
func (r *rig) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range slices.Backward(r.started) {
		p.stop(p.end)
	}
	r.started = nil
	if r.dir != "" {
		os.RemoveAll(r.dir)
	}
}

// folder makes a new folder within the temporary one.
func (r *rig) folder(name string) (string, error) {
	dir, err := os.MkdirTemp(r.dir, name+"-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

// start starts a program that ends with the rig.
func (r *rig) start(dir, name string, end syscall.Signal, as *syscall.Credential, program string, args ...string) (*process, error) {
	p, err := start(dir, name, end, as, program, args...)
	if err == nil {
		r.mu.Lock()
		r.started = append(r.started, p)
		r.mu.Unlock()
	}
	return p, err
}

// numbers returns the first of n numbers of messages that nobody else has. No message
// is sent twice.
func (r *rig) numbers(n int64) int64 {
	from := r.next
	r.next += n
	return from
}
