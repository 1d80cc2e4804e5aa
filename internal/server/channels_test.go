package server

import (
	"bytes"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"quell/internal/config"
	"quell/internal/devca"
)

// safeLog is a log that several goroutines write.
type safeLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *safeLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *safeLog) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

// TestNextHopFiles: files of a next hop's TLS that are missing at the start stop its messages
// only, until they are there. A changed configuration that names missing files is refused.
func TestNextHopFiles(t *testing.T) {
	ca, err := devca.New("authority")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Pair(devca.Request{SANs: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	hop := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	hop.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	hop.StartTLS()
	t.Cleanup(hop.Close)
	file := filepath.Join(t.TempDir(), "ca.crt")
	cfg := config.Default()
	cfg.DataDir = t.TempDir()
	for _, addr := range []*string{&cfg.Southbound.Listen, &cfg.Northbound.Listen, &cfg.Console.Listen} {
		*addr = "127.0.0.1:0"
	}
	cfg.Southbound.NextHop, cfg.Northbound.NextHop = hop.URL, hop.URL
	cfg.Southbound.NextHopTLS.CA, cfg.Northbound.NextHopTLS.CA = file, file
	var log safeLog
	s, err := Start(t.Context(), Options{Config: cfg, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	status := func() int {
		res, err := http.Post(s.Southbound(), "text/plain", strings.NewReader("abc"))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	if got := status(); got != http.StatusBadGateway || !log.has("certificates cannot be read, so messages cannot go to their next hop") {
		t.Errorf("without the file: %d", got)
	}
	if err := devca.Replace(file, ca.PEM()); err != nil {
		t.Fatal(err)
	}
	wait(t, "messages pass", func() bool { return status() == 200 })
	changed := cfg
	changed.Southbound.NextHopTLS.CA = file + ".missing"
	s.Reload(changed)
	if got := status(); got != 200 || !log.has("the configuration is not valid, the one before stays in force") {
		t.Errorf("after a change to a missing file: %d", got)
	}
	other, err := devca.New("another authority")
	if err != nil {
		t.Fatal(err)
	}
	if err := devca.Replace(file+".missing", other.PEM()); err != nil {
		t.Fatal(err)
	}
	s.Reload(changed)
	if got := status(); got != http.StatusBadGateway {
		t.Errorf("with another authority: %d", got)
	}
}
