package gateway

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/motorway"
)

// incoming is the body of a message, read from its sender. The request keeps its own
// body: net/http looks at that after the handler, and without it would read the rest of
// the message as the next one.
type incoming struct {
	body    io.ReadCloser // of net/http
	request *http.Request // of net/http, which puts the trailers there
	control *http.ResponseController
	idle    time.Duration // the longest wait for a byte
	trailer http.Header   // where to copy trailers at the end; may be nil
	copied  io.Writer     // gets what is read from now on; may be nil
	ended   atomic.Bool   // the whole body was read
	failed  atomic.Pointer[error]

	// Closed when the body may be read. nil unless the sender wants the next hop to
	// be asked first (Expect: 100-continue).
	asked   chan struct{}
	allowed sync.Once // closes asked

	reading sync.Mutex // held by Read
	mu      sync.Mutex // guards closed, and the deadline against a late Read
	closed  bool
}

// continueWait is how long a next hop may take to reply to a sender's Expect.
const continueWait = time.Second

// waitForNextHop makes the first Read wait until the next hop allows it, or says
// nothing for continueWait.
func (b *incoming) waitForNextHop() { b.asked = make(chan struct{}) }

// allow lets Read start. Call it when the next hop has asked for the body.
func (b *incoming) allow() {
	if b.asked != nil {
		b.allowed.Do(func() { close(b.asked) })
	}
}

// answerStarted says that the next hop has started its answer. If it did not ask for
// the body, the sender is not asked either.
func (b *incoming) answerStarted() {
	if b != nil && b.asked != nil {
		b.allowed.Do(func() {
			b.stop()
			close(b.asked)
		})
	}
}

// newIncoming returns the body of a message; nil if it has none.
func newIncoming(w http.ResponseWriter, r *http.Request, idle time.Duration) *incoming {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	return &incoming{body: r.Body, request: r, control: http.NewResponseController(w), idle: idle}
}

// setDeadline limits the wait for the next byte, and returns until when. It returns
// false if the body was closed.
func (b *incoming) setDeadline() (deadline time.Time, open bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	deadline = time.Now().Add(b.idle)
	if !b.closed {
		b.control.SetReadDeadline(deadline)
	}
	return deadline, !b.closed
}

// clearDeadline ends the wait for a byte. A stream of HTTP/2 is lost for good when its
// deadline passes, even while nobody reads from it.
func (b *incoming) clearDeadline() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.request.ProtoMajor == 2 && !b.closed {
		b.control.SetReadDeadline(time.Time{})
	}
}

func (b *incoming) Read(p []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	if b.ended.Load() {
		return 0, io.EOF
	}
	if b.asked != nil {
		select {
		case <-b.asked:
		case <-time.After(continueWait):
			b.allow()
		}
	}
	deadline, open := b.setDeadline()
	if !open {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.body.Read(p)
	b.clearDeadline()
	if b.copied != nil {
		b.copied.Write(p[:n])
	}
	switch {
	case err == io.EOF:
		if b.trailer != nil {
			maps.Copy(b.trailer, b.request.Trailer)
		}
		b.end()
	case err != nil && (b.open() || timedOut(err) && !time.Now().Before(deadline)):
		// net/http gives up the message before this Read returns, so a sender that
		// stalled may have been stopped as well by now.
		b.failed.Store(&err)
	case err != nil:
		err = http.ErrBodyReadAfterClose
	}
	return n, err
}

// end records that the whole body was read. From now on net/http reads from the
// connection, to see whether the sender hangs up.
func (b *incoming) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended.Store(true)
	b.control.SetReadDeadline(time.Time{})
}

func (b *incoming) open() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.closed
}

// err returns why the message could not be read to its end; nil if it could, or if
// reading is not over.
func (b *incoming) err() error {
	if b == nil || b.failed.Load() == nil {
		return nil
	}
	return *b.failed.Load()
}

// waitForRead waits until the current Read has ended, if there is one.
func (b *incoming) waitForRead() {
	if b != nil {
		b.reading.Lock()
		defer b.reading.Unlock()
	}
}

// isComplete reports whether the whole message was read.
func (b *incoming) isComplete() bool { return b == nil || b.ended.Load() }

// linger is how long net/http may still read after the answer. It discards a small rest
// of the body, so that a sender that is still sending does not lose the answer.
const linger = time.Second

// Close ends the current Read, if there is one, and returns when it has ended. Nobody
// may read a request after its handler has returned.
func (b *incoming) Close() error {
	if b == nil || b.ended.Load() {
		return nil
	}
	b.stop()
	b.allow()
	b.reading.Lock()
	defer b.reading.Unlock()
	if !b.ended.Load() {
		b.control.SetReadDeadline(time.Now().Add(min(linger, b.idle)))
	}
	return nil
}

// stop makes the current Read and all later ones fail. It does not wait.
func (b *incoming) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed && !b.ended.Load() {
		b.closed = true
		b.control.SetReadDeadline(time.Unix(1, 0))
	}
}

// headSize is how many bytes are read of a message that is known to be too large:
// enough for its header, which the audit trail quotes.
const headSize = 4 << 10

// peek reads a body up to one byte more than a DUIS message may have, or only headSize
// if the body is known to be longer. length is the announced length, or -1.
func peek(body io.Reader, length int64) ([]byte, error) {
	limit := int64(motorway.MaxHead)
	if length >= limit {
		limit = headSize
	}
	capacity := int64(2 << 10)
	if length >= 0 {
		capacity = min(length, limit) + bytes.MinRead
	}
	head := bytes.NewBuffer(make([]byte, 0, capacity))
	_, err := head.ReadFrom(io.LimitReader(body, limit))
	return head.Bytes(), err
}

// rejoined is a body whose start was already read.
type rejoined struct {
	io.Reader
	io.Closer
}

// rejoin returns a body with the part that was already read in front of it again.
func rejoin(head []byte, body io.ReadCloser) io.ReadCloser {
	return rejoined{io.MultiReader(bytes.NewReader(head), body), body}
}

// decompress returns the start of an answer without its compression. After an error it
// is unknown whether the next hop took the message.
func decompress(head []byte, encoding string) ([]byte, error) {
	switch strings.ToLower(encoding) {
	case "", "identity":
		return head, nil
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(bytes.NewReader(head))
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(io.LimitReader(z, motorway.MaxHead))
		if errors.Is(err, io.ErrUnexpectedEOF) && len(text) > 0 {
			err = nil // only the start was read
		}
		return text, err
	}
	return nil, fmt.Errorf("an answer in content encoding %q cannot be read", encoding)
}
