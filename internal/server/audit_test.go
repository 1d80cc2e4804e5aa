package server

import (
	"net"
	"strings"
	"testing"
	"time"

	"quell/internal/config"
	"quell/internal/store/storetest"
)

// The audit log goes to the receiver that the configuration names, and at a reload to another.
// While it is not delivered, "degraded" says so, and a metric.
func TestSyslog(t *testing.T) { storetest.EachEngine(t, testSyslog) }

func testSyslog(t *testing.T) {
	listen := func() (address string, next func(what string)) {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return "udp://" + c.LocalAddr().String(), func(what string) {
			t.Helper()
			b := make([]byte, 64<<10)
			for {
				c.SetReadDeadline(time.Now().Add(20 * time.Second))
				n, _, err := c.ReadFrom(b)
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				if strings.Contains(string(b[:n]), what) {
					return
				}
			}
		}
	}
	first, atFirst := listen()
	s, cfg := running(t, nil, func(c *config.Config) {
		c.Syslog = first
		c.Store = storetest.Database(t, c.DataDir)
		if c.Store == "" {
			c.Store = "sqlite"
		}
	})
	atFirst("first value, from the configuration")
	if _, err := s.store.Ledger.SetSwitch(t.Context(), "off", "alice", "CHG1", time.Now()); err != nil {
		t.Fatal(err)
	}
	atFirst("CHG1")

	second, atSecond := listen()
	cfg.Syslog = second
	s.Reload(cfg)
	if _, err := s.store.Ledger.SetSwitch(t.Context(), "on", "alice", "CHG2", time.Now()); err != nil {
		t.Fatal(err)
	}
	atSecond("CHG2")

	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	cfg.Syslog = "tcp://" + nobody.Addr().String()
	s.Reload(cfg)
	if _, err := s.store.Ledger.SetSwitch(t.Context(), "off", "alice", "CHG3", time.Now()); err != nil {
		t.Fatal(err)
	}
	wait(t, "degraded says so", func() bool {
		return strings.Contains(strings.Join(s.conditions(), "\n"), "syslog: records of the audit log are not delivered: ") && s.syslog.Failures() > 0
	})
	cfg.Syslog = ""
	s.Reload(cfg)
	wait(t, "nothing is wrong without a receiver", func() bool { return !strings.Contains(strings.Join(s.conditions(), "\n"), "syslog") })
}
