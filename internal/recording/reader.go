package recording

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

// ErrCutOff says that a recording ends in the middle of a line or of a frame: its writer was
// killed, or the file was not copied completely. What was read before is right.
var ErrCutOff = errors.New("the recording is cut off here")

// maxLine is the length of the longest line: a document of 64 KiB, each character in six bytes.
const maxLine = 1 << 20

// A Reader reads a recording, compressed or not.
type Reader struct {
	name   string
	in     *bufio.Reader
	zip    *zstd.Decoder // nil if it is not compressed
	parser Parser
	line   int
}

// NewReader reads a recording. name is for errors.
func NewReader(name string, in io.Reader) (*Reader, error) {
	r := &Reader{name: name, in: bufio.NewReaderSize(in, maxLine)}
	magic, _ := r.in.Peek(4)
	if bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}) {
		var err error
		if r.zip, err = zstd.NewReader(r.in, zstd.WithDecoderMaxMemory(64<<20), zstd.WithDecoderMaxWindow(32<<20)); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		r.in = bufio.NewReaderSize(r.zip, maxLine)
	}
	return r, nil
}

// Close frees what the reader uses. It does not close its input.
func (r *Reader) Close() {
	if r.zip != nil {
		r.zip.Close()
	}
}

// Next reads the next line into l. The document of l is the caller's until the next call with
// the same l. At the end the error is io.EOF. Other errors name the file and the line. If one wraps
// ErrCutOff, only the end is missing. After any other, lines that were read before may be wrong
// too: the checksum of a frame is at its end.
func (r *Reader) Next(l *Line) error {
	for {
		b, err := r.in.ReadSlice('\n')
		switch {
		case err == nil:
		case errors.Is(err, io.EOF) && len(b) == 0:
			return io.EOF
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return r.fault(1, ErrCutOff)
		case errors.Is(err, bufio.ErrBufferFull):
			return r.fault(1, fmt.Errorf("the line is longer than %d bytes", maxLine))
		default:
			var file *os.PathError
			if !errors.As(err, &file) {
				err = fmt.Errorf("the file is damaged: %w", err)
			}
			return r.fault(1, err)
		}
		r.line++
		if len(bytes.TrimSpace(b)) == 0 {
			continue
		}
		if err := r.parser.Parse(b, l); err != nil {
			return r.fault(0, err)
		}
		return nil
	}
}

// Line returns the number of the last line that was read, counted from 1.
func (r *Reader) Line() int { return r.line }

func (r *Reader) fault(more int, err error) error {
	return fmt.Errorf("%s: line %d: %w", r.name, r.line+more, err)
}
