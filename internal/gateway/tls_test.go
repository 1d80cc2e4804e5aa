package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"quell/internal/channel"
	"quell/internal/devca"
	"quell/internal/outage"
)

// authority is an authority whose certificates are in files.
type authority struct {
	*testing.T
	*devca.Authority
	dir string
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	ca, err := devca.New(name)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t, ca, t.TempDir()}
	a.write("ca.crt", ca.PEM())
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) write(name string, text []byte) {
	a.Helper()
	if err := devca.Replace(a.file(name), text); err != nil {
		a.Fatal(err)
	}
}

// issue writes a certificate and its key, and returns the names of the files.
func (a *authority) issue(name string, r devca.Request) (cert, key string) {
	a.Helper()
	if err := a.Write(a.dir, name, r); err != nil {
		a.Fatal(err)
	}
	return a.file(name + ".crt"), a.file(name + ".key")
}

func (a *authority) pair(r devca.Request) *tls.Certificate {
	a.Helper()
	pair, err := a.Pair(r)
	if err != nil {
		a.Fatal(err)
	}
	return &pair
}

// pool returns the authority as one that is trusted.
func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.Cert)
	return p
}

// source opens a source of quell's own certificate for 127.0.0.1, and of this authority.
func (a *authority) source(name string) *channel.Source {
	a.Helper()
	cert, key := a.issue(name, devca.Request{Name: name, SANs: []string{"127.0.0.1", "localhost"}})
	s, err := channel.Open(name, channel.Files{Cert: cert, Key: key, CA: a.file("ca.crt")}, slog.New(slog.DiscardHandler))
	if err != nil {
		a.Fatal(err)
	}
	return s
}

// listenTLS opens a listener that wants certificates of an authority.
func (w *world) listenTLS(d outage.Direction, secure *ListenerTLS) *Listener {
	w.Helper()
	h := w.gw.Southbound()
	if d == outage.North {
		h = w.gw.Northbound()
	}
	l, err := w.gw.ListenTLS(string(d), "127.0.0.1:0", h, secure)
	if err != nil {
		w.Fatal(err)
	}
	go l.Serve()
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		l.Shutdown(ctx) // so that all that is under way has ended
		l.Close()
	})
	return l
}

func (l *Listener) addr() string {
	_, addr, _ := strings.Cut(l.URL, "://")
	return addr
}

// clientConfig returns the settings of a client with a certificate; none if cert is nil.
func (a *authority) clientConfig(cert *tls.Certificate, protocols ...string) *tls.Config {
	c := &tls.Config{RootCAs: a.pool(), ServerName: "127.0.0.1", NextProtos: protocols}
	if cert != nil {
		// Whatever authorities the server names.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	return c
}

// client returns a client over HTTP/1.1 or HTTP/2.
func (a *authority) client(cert *tls.Certificate, version int) *http.Client {
	t := &http.Transport{TLSClientConfig: a.clientConfig(cert), Protocols: new(http.Protocols)}
	t.Protocols.SetHTTP1(version == 1)
	t.Protocols.SetHTTP2(version == 2)
	a.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, Timeout: long}
}

// secureHop is a next hop with TLS.
func (a *authority) secureListener(config *tls.Config) net.Listener {
	a.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		a.Fatal(err)
	}
	a.Cleanup(func() { l.Close() })
	return tls.NewListener(l, config)
}

// never is a time that has passed.
var never = time.Now().Add(-time.Minute)

// TestRenewedTogether: if a direction gets another next hop at the moment when its certificates are
// read again, the next messages go where it is told, with what it is told.
func TestRenewedTogether(t *testing.T) {
	w := startedWorld(t)
	n := &w.gw.south
	for i := range 20_000 {
		u := &url.URL{Scheme: "http", Host: "127.0.0.1:9", Path: fmt.Sprintf("/%d", i)}
		var both sync.WaitGroup
		both.Go(func() { w.gw.SetNextHops(u, u) })
		both.Go(func() { w.gw.renewCarrier(n) })
		both.Wait()
		if got := n.hops.Load().Prefix; got != u.Path {
			t.Fatalf("after %d times, messages go to %s, not to %s", i+1, got, u.Path)
		}
	}
}
