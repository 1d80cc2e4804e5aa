package load

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Every message is sent once. What a proxy's stall costs is in the latency of all
// messages that were due meanwhile, not of those alone that it held.
func TestOpenLoop(t *testing.T) {
	var mu sync.Mutex
	paths, stalled := map[string]int{}, false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock() // all wait for the one that stalls
		defer mu.Unlock()
		paths[r.URL.Path]++
		if len(paths) == 100 && !stalled {
			stalled = true
			time.Sleep(300 * time.Millisecond)
		}
		if len(paths)%2 == 0 {
			w.Header().Set("Quell-Decision", "suppressed")
		}
	}))
	defer server.Close()
	l := &Loop{Addrs: []string{server.Listener.Addr().String()}, Senders: 4, Messages: []*Message{PowerOutage(0, 10), DeviceAlert(3000)},
		Pick: func(i int64) int { return int(i % 2) }, From: 7, Total: 1000, Rate: 1000, Paths: true}
	if err := l.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(paths) != l.Total {
		t.Errorf("%d different messages came, want %d", len(paths), l.Total)
	}
	for path, n := range paths {
		if n != 1 {
			t.Errorf("%s came %d times", path, n)
		}
	}
	late, suppressed := 0, 0
	for i, d := range l.Latency {
		if d > 100*time.Millisecond {
			late++
		}
		if l.Suppressed[i] {
			suppressed++
		}
	}
	// Within the 300 ms 300 messages were due. A closed loop of four would see four.
	if late < 150 {
		t.Errorf("%d messages were late, want about 200", late)
	}
	if suppressed < 400 || suppressed > 600 {
		t.Errorf("%d answers said suppressed, want about 500", suppressed)
	}
}

// A message that fails is an error, not a quick answer.
func TestLoopFails(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	defer server.Close()
	l := &Loop{Addrs: []string{server.Listener.Addr().String()}, Senders: 4, Messages: []*Message{PowerOutage(0, 10)}, Total: 10}
	if err := l.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "502") {
		t.Errorf("the error is %v", err)
	}
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	l = &Loop{Addrs: []string{gone.Addr().String()}, Senders: 1, Messages: l.Messages, Total: 1}
	if err := l.Run(t.Context()); err == nil {
		t.Error("nothing listens, and there is no error")
	}
}

func TestAnswer(t *testing.T) {
	const whole = "HTTP/1.1 200 OK\r\nQuell-Decision: suppressed\r\nContent-Length: 5\r\n\r\ntaken"
	for i := range len(whole) {
		if n, _, err := answer([]byte(whole[:i])); n != 0 || err != nil {
			t.Fatalf("%d bytes of an answer are taken for %d: %v", i, n, err)
		}
	}
	if n, suppressed, err := answer([]byte(whole)); n != len(whole) || !suppressed || err != nil {
		t.Error(n, suppressed, err)
	}
	if _, _, err := answer([]byte("HTTP/1.1 502 Bad Gateway\r\n\r\n")); err == nil {
		t.Error("a failure is taken for an answer")
	}
}
