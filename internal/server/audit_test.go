package server

import (
	"net"
	"slices"
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

// TestReloadRecords: the audit log has a record of each configuration that differs from the one before, with
// what differs; also where that waits for a restart, and where it was changed back.
func TestReloadRecords(t *testing.T) {
	s, cfg := running(t, nil, func(*config.Config) {})
	records := func() (objects []string) {
		p, err := s.store.Audit.Page(t.Context(), 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range p.Records {
			if r.What == "configuration" {
				objects = append(objects, r.Object)
			}
		}
		return objects
	}
	idle := cfg.NextHopIdle // which needs a restart
	var want []string
	for _, x := range []struct {
		idle, window config.Duration
		object       string
	}{
		{idle + 1, cfg.Window, "next_hop_idle"},
		{idle + 1, cfg.Window, ""},
		{idle + 1, cfg.Window + 1, "window"},
		{idle, cfg.Window, "window, next_hop_idle"},
	} {
		changed := cfg
		changed.NextHopIdle, changed.Window = x.idle, x.window
		s.Reload(changed)
		if x.object != "" {
			want = append(want, x.object)
		}
		// One more change, so that a record that is too many is there when this one is.
		changed.MaxActivationsPerHour++
		s.Reload(changed)
		want = append(want, "max_activations_per_hour")
		cfg.MaxActivationsPerHour++
		storetest.Eventually(t, "the record", func() bool { return len(records()) >= len(want) })
		have := records()
		slices.Sort(have) // they are written in the background
		if expected := slices.Sorted(slices.Values(want)); !slices.Equal(have, expected) {
			t.Fatalf("records of %q, want %q", have, expected)
		}
	}
}
