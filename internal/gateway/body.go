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

// incoming is the body of a message as its sender sends it. The body of the
// request itself is left in place: net/http looks at it after the handler, and
// without it would take what is left of a message for the next one.
type incoming struct {
	body    io.ReadCloser // net/http's own
	request *http.Request // net/http's own, which gets the trailers
	control *http.ResponseController
	idle    time.Duration // the longest wait for a byte
	trailer http.Header   // where trailers are copied to at the end; may be nil
	ended   atomic.Bool   // all of it was read
	failed  atomic.Pointer[error]

	// What the next hop, which the sender wants asked first, has not answered yet;
	// nil if it need not be asked.
	asked   chan struct{}
	allowed sync.Once // closes asked

	reading sync.Mutex // held by Read
	mu      sync.Mutex // guards closed, and the deadline against a late Read
	closed  bool
}

// unasked is how long a next hop may think about a sender's Expect.
const unasked = time.Second

// ask makes the first Read wait until the next hop allows it, or says nothing for
// a while.
func (b *incoming) ask() { b.asked = make(chan struct{}) }

// allow is for when the next hop has said that it wants the body.
func (b *incoming) allow() {
	if b.asked != nil {
		b.allowed.Do(func() { close(b.asked) })
	}
}

// answered is for when the next hop has begun its answer. If it did not ask for
// the body, the sender is not asked either.
func (b *incoming) answered() {
	if b != nil && b.asked != nil {
		b.allowed.Do(func() {
			b.stop()
			close(b.asked)
		})
	}
}

// receive returns the body of a message; nil if it has none.
func receive(w http.ResponseWriter, r *http.Request, idle time.Duration) *incoming {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	return &incoming{body: r.Body, request: r, control: http.NewResponseController(w), idle: idle}
}

// await sets how long the next byte is waited for, unless the body was closed.
func (b *incoming) await() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.control.SetReadDeadline(time.Now().Add(b.idle))
	}
	return !b.closed
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
		case <-time.After(unasked):
			b.allow()
		}
	}
	if !b.await() {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.body.Read(p)
	switch {
	case err == io.EOF:
		if b.trailer != nil {
			maps.Copy(b.trailer, b.request.Trailer)
		}
		b.end()
	case err != nil && b.open():
		b.failed.Store(&err)
	case err != nil:
		err = http.ErrBodyReadAfterClose
	}
	return n, err
}

// end notes that all was read. From now on net/http reads, to see whether the
// sender hangs up.
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

// err is why the sender's message could not be read to its end; nil if it could,
// or was not yet.
func (b *incoming) err() error {
	if b == nil || b.failed.Load() == nil {
		return nil
	}
	return *b.failed.Load()
}

// settle waits until a Read that is under way has ended.
func (b *incoming) settle() {
	if b != nil {
		b.reading.Lock()
		defer b.reading.Unlock()
	}
}

// whole reports whether nothing of the message is left to be read.
func (b *incoming) whole() bool { return b == nil || b.ended.Load() }

// linger is how long net/http, which throws a small rest of a body away, waits
// for it once the answer is given, so that the answer is not lost to a sender
// that still sends.
const linger = time.Second

// Close ends a Read that is under way, and returns when it has ended. Nobody may
// read a request after its handler.
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

// stop makes a Read that is under way, and all others, fail. It does not wait.
func (b *incoming) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed && !b.ended.Load() {
		b.closed = true
		b.control.SetReadDeadline(time.Unix(1, 0))
	}
}

// headSize is what is read of a message that is known to be too large: enough
// for its header, which the audit trail quotes.
const headSize = 4 << 10

// peek reads a body up to one byte more than a DUIS message may have, or only
// its beginning if it is known to be longer. length is what was announced, or -1.
func peek(body io.Reader, length int64) ([]byte, error) {
	limit := int64(motorway.Look)
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

// rejoined is a body whose beginning was read already.
type rejoined struct {
	io.Reader
	io.Closer
}

// putBack is a body with what was read of it before it again.
func putBack(head []byte, body io.ReadCloser) io.ReadCloser {
	return rejoined{io.MultiReader(bytes.NewReader(head), body), body}
}

// plain is the beginning of an answer without its compression. The error says
// that it cannot be read: whether the next hop took the message is then unknown.
func plain(head []byte, encoding string) ([]byte, error) {
	switch strings.ToLower(encoding) {
	case "", "identity":
		return head, nil
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(bytes.NewReader(head))
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(io.LimitReader(z, motorway.Look))
		if errors.Is(err, io.ErrUnexpectedEOF) && len(text) > 0 {
			err = nil // it is longer than was looked at
		}
		return text, err
	}
	return nil, fmt.Errorf("an answer in content encoding %q cannot be read", encoding)
}
