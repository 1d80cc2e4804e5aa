package gateway

import (
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"
)

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
func (f readerFunc) Close() error               { return nil }

// A sender stalls, and net/http gives up the message before the read of its body has
// returned. So the transport stops the body meanwhile. The sender is still one that
// stalled. A body that is stopped earlier says nothing about its sender.
func TestStalledAndStopped(t *testing.T) {
	for _, idle := range []time.Duration{time.Millisecond, time.Hour} {
		var in *incoming
		body := readerFunc(func([]byte) (int, error) {
			time.Sleep(2 * time.Millisecond)
			in.stop()
			return 0, os.ErrDeadlineExceeded
		})
		r := httptest.NewRequest(http.MethodPost, "/", body)
		in = newIncoming(httptest.NewRecorder(), r, idle)
		in.Read(make([]byte, 1))
		if stalled := in.err() != nil; stalled != (idle < time.Second) {
			t.Errorf("with %v for a byte, the sender stalled: %v", idle, stalled)
		}
	}
}
