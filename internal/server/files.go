package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"quell/internal/devices"
)

// fileIdle bounds the wait for a file to be opened, and for each read.
const fileIdle = 30 * time.Second

// files opens files that may hang, such as those on a share whose server is away. The
// reader can give up, and the program can end.
type files struct {
	idle time.Duration

	mu      sync.Mutex      // guards hanging
	hanging map[string]bool // files that a reader gave up, and that still hang
}

// open opens a file. Reading ends with ctx. A read fails if it takes longer than idle; the
// first read includes the opening. While a file hangs, it is not opened again.
func (f *files) open(ctx context.Context, name string) (io.ReadCloser, error) {
	f.mu.Lock()
	hangs := f.hanging[name]
	f.mu.Unlock()
	if hangs {
		return nil, fmt.Errorf("%s: still hangs", name)
	}
	r, w := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		file, err := os.Open(name)
		if err == nil {
			_, err = io.Copy(w, file)
			file.Close()
		}
		w.CloseWithError(err) // io.EOF if err is nil
	}()
	t := &timedFile{PipeReader: r, idle: f.idle}
	t.timer = time.AfterFunc(f.idle, func() { w.CloseWithError(fmt.Errorf("%s hangs: nothing could be read for %v", name, f.idle)) })
	t.timer.Stop()
	stop := context.AfterFunc(ctx, func() { w.CloseWithError(context.Cause(ctx)) })
	t.close = func() {
		t.timer.Stop()
		stop()
		r.Close()
		select {
		case <-ended:
		case <-time.After(time.Second):
			f.abandon(name, ended)
		}
	}
	return t, nil
}

// abandon notes that a file hangs, until the goroutine that reads it ends.
func (f *files) abandon(name string, ended <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hanging == nil {
		f.hanging = map[string]bool{}
	}
	f.hanging[name] = true
	go func() {
		<-ended
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.hanging, name)
	}()
}

// timedFile is a file that is read with a time limit for each read.
type timedFile struct {
	*io.PipeReader
	idle  time.Duration
	timer *time.Timer
	close func()
}

func (t *timedFile) Read(b []byte) (int, error) {
	t.timer.Reset(t.idle)
	defer t.timer.Stop()
	return t.PipeReader.Read(b)
}

func (t *timedFile) Close() error {
	t.close()
	return nil
}

// each returns next, which opens one file after the other, and done, which closes the last.
func (f *files) each(ctx context.Context, names []string) (next func() (devices.File, error), done func()) {
	var current io.ReadCloser
	done = func() {
		if current != nil {
			current.Close()
			current = nil
		}
	}
	return func() (devices.File, error) {
		done()
		if len(names) == 0 {
			return devices.File{}, io.EOF
		}
		name := names[0]
		r, err := f.open(ctx, name)
		if err != nil {
			return devices.File{}, err
		}
		current, names = r, names[1:]
		return devices.File{Name: name, Reader: r}, nil
	}, done
}

// digest returns the SHA-256 of files, as an import of them has it.
func (f *files) digest(ctx context.Context, names []string) (string, error) {
	sum := sha256.New()
	next, done := f.each(ctx, names)
	defer done()
	for {
		file, err := next()
		if err == io.EOF {
			return hex.EncodeToString(sum.Sum(nil)), nil
		}
		if err == nil {
			_, err = io.Copy(sum, file)
		}
		if err != nil {
			return "", err
		}
	}
}
