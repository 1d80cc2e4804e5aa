package listener

import (
	"net/http"
	"time"
)

// LimitStreams limits how long a client may take nothing of an answer, for HTTP/2. A
// connection can take bytes while a stream does not.
func LimitStreams(next http.Handler, stall time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			next.ServeHTTP(w, r)
			return
		}
		s := &streamWriter{w, http.NewResponseController(w), stall}
		next.ServeHTTP(s, r)
		s.control.SetWriteDeadline(time.Now().Add(stall)) // net/http sends the rest
	})
}

// streamWriter writes an answer of HTTP/2.
type streamWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
}

// writePart is what a client must take within streamWriter.stall.
const writePart = 4 << 10

func (s *streamWriter) Write(b []byte) (written int, err error) {
	for written < len(b) && err == nil {
		part := b[written:min(written+writePart, len(b))]
		var n int
		err = s.limit(func() error {
			n, err = s.ResponseWriter.Write(part)
			return err
		})
		written += n
	}
	return written, err
}

// limit calls write, which must not take longer than stall.
func (s *streamWriter) limit(write func() error) error {
	s.control.SetWriteDeadline(time.Now().Add(s.stall))
	defer s.control.SetWriteDeadline(time.Time{}) // it would end the stream also while nothing is written
	return write()
}

// FlushError is for http.ResponseController.
func (s *streamWriter) FlushError() error { return s.limit(s.control.Flush) }

// Unwrap is for http.ResponseController.
func (s *streamWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
