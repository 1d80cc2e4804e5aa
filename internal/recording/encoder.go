package recording

import (
	"io"

	"github.com/klauspost/compress/zstd"
)

// An Encoder writes a recording that no quell made, such as that of a simulation. The first line
// must have settings.
type Encoder struct {
	out   io.Writer
	zip   *zstd.Encoder
	plain []byte
	frame []byte
}

// frameSize is about how many bytes of lines a frame has.
const frameSize = 128 << 10

// NewEncoder returns an encoder. The caller must call Flush at the end.
func NewEncoder(out io.Writer) *Encoder {
	zip, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1)) // the options are valid
	return &Encoder{out: out, zip: zip}
}

// Write adds a line. The error is that of the output.
func (e *Encoder) Write(l *Line) error {
	e.plain = l.Append(e.plain)
	if len(e.plain) < frameSize {
		return nil
	}
	return e.Flush()
}

// Flush writes what is not written yet.
func (e *Encoder) Flush() error {
	if len(e.plain) == 0 {
		return nil
	}
	e.frame = e.zip.EncodeAll(e.plain, e.frame[:0])
	e.plain = e.plain[:0]
	_, err := e.out.Write(e.frame)
	return err
}
