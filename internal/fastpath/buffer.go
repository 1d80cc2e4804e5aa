package fastpath

import "sync"

// Buffers have two sizes: one for nearly all messages and for all answers, and one for the
// longest message with its head.
const (
	usualBuffer = 26 << 10 // not a power of two: then all buffers would meet in the same lines of the cache
	largeBuffer = 96 << 10
)

var (
	usualBuffers = sync.Pool{New: func() any { return &buffer{make([]byte, usualBuffer)} }}
	largeBuffers = sync.Pool{New: func() any { return &buffer{make([]byte, largeBuffer)} }}
)

type buffer struct{ b []byte }

// newBuffer returns a buffer for n bytes, largeBuffer at most.
func newBuffer(n int) *buffer {
	if n > usualBuffer {
		return largeBuffers.Get().(*buffer)
	}
	return usualBuffers.Get().(*buffer)
}

// free gives a buffer back; nil is none.
func (b *buffer) free() {
	switch {
	case b == nil:
	case len(b.b) == largeBuffer:
		largeBuffers.Put(b)
	default:
		usualBuffers.Put(b)
	}
}
