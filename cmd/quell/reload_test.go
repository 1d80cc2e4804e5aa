package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"quell/internal/config"
	"quell/internal/console"
	"quell/internal/remote/remotetest"
)

// A setting that needs a restart says so for as long as it differs from the one in
// force, and not when it was changed back.
func TestReloadChangedBack(t *testing.T) {
	hop := accept(t)
	i := install(t, hop, hop, "")
	p := i.serve()
	text := string(read(t, i.config))
	for n, x := range []struct{ more, says string }{
		{"next_hop_idle: 3s\n", "taken_over=[] needs_restart=[next_hop_idle]"},
		{"next_hop_idle: 3s\nwindow: 10m\n", "taken_over=[window] needs_restart=[next_hop_idle]"},
		{"window: 10m\n", "taken_over=[] needs_restart=[]"},
		{"", "taken_over=[window] needs_restart=[]"},
	} {
		i.write(text + x.more)
		p.Process.Signal(syscall.SIGHUP)
		var lines []string
		wait(t, "the configuration is read again", func() bool {
			lines = nil
			for line := range strings.Lines(p.log.String()) {
				if strings.Contains(line, "the configuration was read again") {
					lines = append(lines, line)
				}
			}
			return len(lines) == n+1
		})
		if !strings.Contains(lines[n], x.says) {
			t.Errorf("with %q: %s, want %s", x.more, lines[n], x.says)
		}
	}
}

// A SIGHUP that changes no remote cuts off no delivery that is under way.
func TestReloadCutsOffNoDelivery(t *testing.T) {
	var begun atomic.Int32
	held := make(chan bool)
	url := remotetest.WebDAV(t, t.TempDir(), func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "PUT" {
				begun.Add(1)
				select {
				case <-held:
				case <-r.Context().Done():
				}
			}
			h.ServeHTTP(w, r)
		})
	})
	hop := accept(t)
	i := install(t, hop, hop, fmt.Sprintf("report: {remotes: [{name: esi, target: %q}]}\n", remotetest.WebDAVTarget(url, "in")))
	p := i.serve()
	if status, _, errs := i.quell("report", "cut"); status != 0 {
		t.Fatal(errs)
	}
	wait(t, "the delivery begins", func() bool { return begun.Load() == 1 })
	text := string(read(t, i.config))
	for n := range 3 {
		i.write(text + fmt.Sprintf("window: %dm\n", 10+n))
		p.Process.Signal(syscall.SIGHUP)
		wait(t, "the configuration is read again", func() bool {
			return strings.Count(p.log.String(), "the configuration was read again") == n+1
		})
	}
	close(held)
	wait(t, "the report is delivered", func() bool { return confirmed(&console.Client{Base: p.admin}, 1) })
	if n := begun.Load(); n != 1 {
		t.Errorf("the file was sent %d times", n)
	}
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// A quell whose listener fails by itself ends, also after a SIGHUP, so that its unit
// starts it again.
func TestListenerFailsAfterReload(t *testing.T) {
	cfg := config.Default()
	cfg.DataDir = t.TempDir()
	for _, addr := range []*string{&cfg.Southbound.Listen, &cfg.Northbound.Listen, &cfg.Console.Listen} {
		*addr = "127.0.0.1:0"
	}
	cfg.Southbound.NextHop = accept(t)
	cfg.Northbound.NextHop = cfg.Southbound.NextHop
	s, err := start(t.Context(), cfg, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	changed := cfg
	changed.Report.Remotes = []config.Remote{{Name: "esi", Target: t.TempDir()}}
	s.reload(changed)
	ended := make(chan error, 1)
	go func() { ended <- s.close() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it does not end")
	}
}
