package main

import (
	"io"
	"os"
	"strings"

	"quell/internal/screen"

	"golang.org/x/term"
)

// outlet is standard output. It remembers the first error, because commands print line by
// line and do not check errors.
type outlet struct {
	io.Writer
	err error
}

func (o *outlet) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// terminal returns the terminal that w writes to, nil if w is not one.
func terminal(w io.Writer) *os.File {
	if o, ok := w.(*outlet); ok {
		w = o.Writer
	}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// printable returns a text that came from outside as one line that a terminal shows and does
// not obey: what cannot be printed is escaped as in Go, a newline as \n.
func printable(text string) string { return screen.Printable(text) }

// printableLines is printable for a text of several lines.
func printableLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return strings.Join(lines, "\n")
}
