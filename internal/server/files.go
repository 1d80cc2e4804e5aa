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

// fileIdle is how long a file is waited for: to be opened, and for each of its bytes.
const fileIdle = 30 * time.Second

// files opens files that may hang, as one on a share whose server is away: the one who
// reads them can give up, and the program can end.
type files struct {
	idle time.Duration

	mu      sync.Mutex      // guards hanging
	hanging map[string]bool // those that somebody has given up and that still hang
}

// open opens a file. Reading it ends with ctx, and fails when nothing has come for
// idle; that includes its opening. A file that hangs is not opened a second time.
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
		w.CloseWithError(err) // io.EOF if there is none
	}()
	p := &patience{PipeReader: r, idle: f.idle}
	p.late = time.AfterFunc(f.idle, func() { w.CloseWithError(fmt.Errorf("%s hangs: nothing could be read for %v", name, f.idle)) })
	p.late.Stop()
	stop := context.AfterFunc(ctx, func() { w.CloseWithError(context.Cause(ctx)) })
	p.done = func() {
		p.late.Stop()
		stop()
		r.Close()
		select {
		case <-ended:
		case <-time.After(time.Second):
			f.leave(name, ended)
		}
	}
	return p, nil
}

// leave notes that a file may hang, until what reads it has ended.
func (f *files) leave(name string, ended <-chan struct{}) {
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

// patience is a file that is waited for so long.
type patience struct {
	*io.PipeReader
	idle time.Duration
	late *time.Timer
	done func()
}

func (p *patience) Read(b []byte) (int, error) {
	p.late.Reset(p.idle)
	defer p.late.Stop()
	return p.PipeReader.Read(b)
}

func (p *patience) Close() error {
	p.done()
	return nil
}

// each opens one file after the other; done closes the last.
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

// digest is the digest that an import of files has.
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
