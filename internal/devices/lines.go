package devices

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxFaults bounds the faults in a LineErrors.
const maxFaults = 20

// LineError is one fault of one line.
type LineError struct {
	Line int // from 1
	Err  error
}

func (e LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

func (e LineError) Unwrap() error { return e.Err }

// LineErrors are the faults of a file: the first of them, and how many more there are.
type LineErrors struct {
	Faults []LineError // at most 20
	More   int
}

// Error gives each fault a line.
func (e *LineErrors) Error() string {
	var b strings.Builder
	for i, f := range e.Faults {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(f.Error())
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "\nand %d more", e.More)
	}
	return b.String()
}

func (e *LineErrors) add(line int, err error) {
	if len(e.Faults) < maxFaults {
		e.Faults = append(e.Faults, LineError{line, err})
	} else {
		e.More++
	}
}

// err returns e, or nil if there is no fault.
func (e *LineErrors) err() error {
	if len(e.Faults) == 0 {
		return nil
	}
	return e
}

// maxLine is the longest line that is read, in bytes. Valid lines of these files are much
// shorter.
const maxLine = 4096

var errLongLine = fmt.Errorf("longer than %d bytes", maxLine)

// lineReader reads line by line. Its memory does not grow with the line.
type lineReader struct {
	r      *bufio.Reader // of maxLine bytes
	number int           // of the last line that was read, from 1
}

// next returns the next line with its newline; it is valid until the next call. The error
// is errLongLine for a line that was skipped, and io.EOF after the last line.
func (l *lineReader) next() ([]byte, error) {
	line, err := l.r.ReadSlice('\n')
	if len(line) == 0 && err != nil {
		return nil, err
	}
	l.number++
	if !errors.Is(err, bufio.ErrBufferFull) {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return line, err
	}
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = l.r.ReadSlice('\n')
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return nil, errLongLine
}

// skipBOM drops a byte order mark.
func skipBOM(r *bufio.Reader) error {
	b, err := r.Peek(3)
	if string(b) == "\ufeff" {
		_, err = r.Discard(3)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
