package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quell/internal/config"
	"quell/internal/devca"
	"quell/internal/role"
)

// A client certificate counts at the console of a running quell, by HTTP/1.1 and by HTTP/2; one
// that has no role does not, and neither does one of another authority. All are over loopback, where those
// without credentials may look.
func TestClientRoles(t *testing.T) {
	dir := t.TempDir()
	own, other := authority(t), authority(t)
	if err := own.Write(dir, "quell", devca.Request{Name: "quell", SANs: []string{"127.0.0.1"}}); err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(dir, "ca.crt")
	if err := os.WriteFile(ca, own.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	hop := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(hop.Close)
	cfg := config.Default()
	cfg.DataDir, cfg.Southbound.NextHop, cfg.Northbound.NextHop = t.TempDir(), hop.URL, hop.URL
	cfg.Southbound.Listen, cfg.Northbound.Listen, cfg.Console.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.Console.TLS.Cert, cfg.Console.TLS.Key, cfg.Console.TLS.ClientCA = filepath.Join(dir, "quell.crt"), filepath.Join(dir, "quell.key"), ca
	cfg.Console.ClientRoles = map[string]role.Role{"CN=duty": role.Operator}
	s, err := Start(context.Background(), Options{Config: cfg, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	trusted := x509.NewCertPool()
	trusted.AddCert(own.Cert)
	for _, http2 := range []bool{false, true} {
		for _, x := range []struct {
			by     *devca.Authority
			name   string
			status int // of a change; 0: no answer
		}{{own, "duty", 200}, {own, "stranger", 403}, {other, "duty", 0}, {nil, "", 401}} {
			c := &tls.Config{RootCAs: trusted}
			if x.by != nil {
				pair, err := x.by.Pair(devca.Request{Name: x.name})
				if err != nil {
					t.Fatal(err)
				}
				c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
			}
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: http2}}
			req, _ := http.NewRequest(http.MethodPut, s.Console()+"/api/v1/switch", strings.NewReader(`{"switch":"on","why":"a test"}`))
			status, text := 0, []byte(nil)
			if res, err := client.Do(req); err == nil {
				text, _ = io.ReadAll(res.Body)
				res.Body.Close()
				status = res.StatusCode
			}
			client.CloseIdleConnections()
			if status != x.status {
				t.Errorf("HTTP/2 %v, %q: %d %s, want %d", http2, x.name, status, text, x.status)
			}
		}
	}
	page, err := s.store.Audit.Page(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	by := 0
	for _, r := range page.Records {
		if r.Who == "CN=duty" && r.What == "switch" && r.Role == "operator" {
			by++
		}
	}
	if by != 2 {
		t.Errorf("%d records of CN=duty: %+v", by, page.Records)
	}
}

func authority(t *testing.T) *devca.Authority {
	a, err := devca.New("authority")
	if err != nil {
		t.Fatal(err)
	}
	return a
}
