package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
)

// A progress is a line on a terminal that says how far something is, such as
// "importing  45% of 30 MB, 5.1 MB/s, 3s left". It has no colours, and is shown only on a
// terminal. It is safe for concurrent use.
type progress struct {
	out   io.Writer // nil: not shown
	what  string
	unit  func(n int64) string // returns an amount with its unit
	began time.Time

	mu          sync.Mutex // guards the fields below, and out
	done, total int64
	drawn       time.Time
}

// Units of a progress.
func inBytes(n int64) string { return humanize.Bytes(uint64(n)) }
func inRows(n int64) string  { return humanize.Comma(n) + " rows" }

// newProgress starts a progress. It is shown if standard error is a terminal, as soon as
// the total is not 0.
func newProgress(e *env, what string, total int64, unit func(n int64) string) *progress {
	p := &progress{what: what, total: total, unit: unit, began: time.Now()}
	if f := terminal(e.stderr); f != nil {
		p.out = f
	}
	return p
}

// add adds what has been done since the last call.
func (p *progress) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += int64(n)
	p.draw(time.Now())
}

// Write adds the bytes of b.
func (p *progress) Write(b []byte) (int, error) {
	p.add(len(b))
	return len(b), nil
}

// set sets how much is done, and the total.
func (p *progress) set(done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done, p.total = done, total
	p.draw(time.Now())
}

// end removes the line. Nothing is shown afterwards.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out != nil && !p.drawn.IsZero() {
		fmt.Fprintf(p.out, "\r%*s\r", progressColumns, "")
	}
	p.out = nil
}

// progressColumns is the width of the longest line.
const progressColumns = 75

// draw draws the line, at most ten times a second. The caller holds p.mu.
func (p *progress) draw(now time.Time) {
	if p.out == nil || p.total <= 0 || now.Sub(p.drawn) < time.Second/10 {
		return
	}
	p.drawn = now
	line := fmt.Sprintf("%s %3.0f%% of %s", p.what, 100*float64(p.done)/float64(p.total), p.unit(p.total))
	if rate := float64(p.done) / now.Sub(p.began).Seconds(); rate >= 1 {
		left := time.Duration(float64(p.total-p.done) / rate * float64(time.Second))
		line += fmt.Sprintf(", %s/s, %v left", p.unit(int64(rate)), left.Round(time.Second))
	}
	fmt.Fprintf(p.out, "\r%-*s", progressColumns, line)
}
