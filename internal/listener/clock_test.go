package listener

import (
	"io"
	"log/slog"
	"net"
	"testing"
	"time"
	"unsafe"

	"quell/internal/motorway"

	"github.com/prometheus/client_golang/prometheus"
)

// now returns the time as it is after the clock was set forward by some seconds, or back. Package
// time still knows how much time has passed really.
func now(t *testing.T, seconds int64) time.Time {
	t.Helper()
	real := time.Now()
	set := real
	*(*uint64)(unsafe.Pointer(&set)) += uint64(seconds) << 30 // its wall clock: package time has no function for that
	if set.Unix() != real.Unix()+seconds || set.Sub(real) != 0 {
		t.Fatal("package time has another form of a Time now")
	}
	return set
}

// TestClockSet: if the clock is set while a connection is open, what is written to it still arrives.
// A client would not hear what became of its message, and would send it again.
func TestClockSet(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, seconds := range []int64{0, -3600, 3600} {
		out, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		in, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		go io.Copy(io.Discard, in)
		const stall = 40 * time.Millisecond
		c := NewConn(out, stall)
		if _, err := c.Write([]byte("before")); err != nil {
			t.Fatal(err)
		}
		c.now = func() time.Time { return now(t, seconds) }
		for range 4 {
			time.Sleep(stall)
			if _, err := c.Write([]byte("after")); err != nil {
				t.Errorf("the clock was set by %d s: %v", seconds, err)
			}
		}
	}
}

// TestIdleClockSet: if the clock was set, the connection to close for others is still that which has
// been idle longest, and none that had a message just now.
func TestIdleClockSet(t *testing.T) {
	for _, seconds := range []int64{0, -3600, 3600} {
		d := New(nil, "test", 3, time.Second, slog.New(slog.DiscardHandler), motorway.NewMetrics(prometheus.NewRegistry()))
		for i, idle := range []time.Duration{3 * minIdle, 2 * minIdle, 0} {
			c, other := net.Pipe()
			defer other.Close()
			s := NewConn(c, time.Second)
			s.closed = func() { delete(d.open, s); t.Logf("%d closed", i) }
			s.SetIdle(time.Now().Add(-idle))
			d.open[s] = true
		}
		for left := 2; left > 0; left-- {
			d.closeIdle(now(t, seconds))
			if len(d.open) != left {
				t.Fatalf("the clock was set by %d s: %d connections are open, want %d", seconds, len(d.open), left)
			}
		}
		if d.closeIdle(now(t, seconds)); len(d.open) != 1 {
			t.Errorf("the clock was set by %d s: a connection that had a message just now was closed", seconds)
		}
	}
}

// TestRecentClockSet: what happened long ago is not shown as if it happened now, though the clock was set.
func TestRecentClockSet(t *testing.T) {
	for _, seconds := range []int64{0, -3600, 3600} {
		var r lastTime
		if !r.record(time.Now()) || r.record(now(t, seconds)) || r.isRecent(now(t, seconds).Add(2*recent)) || !r.isRecent(now(t, seconds).Add(recent/2)) {
			t.Errorf("the clock was set by %d s: what happens is not recent, or remains so", seconds)
		}
	}
}
