package main

import (
	"io"
	"os"

	"golang.org/x/term"
)

// outlet is standard output. It keeps the first error, since commands print a line
// at a time and look at none.
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

// terminal is the terminal that a writer writes to, nil if it is none.
func terminal(w io.Writer) *os.File {
	if o, ok := w.(*outlet); ok {
		w = o.Writer
	}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}
