package console

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"quell/internal/access"
	"quell/internal/role"
)

// issue makes a certificate that an authority signs; one of its own if that is nil.
func issue(t *testing.T, by *tls.Certificate, c x509.Certificate) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	if c.NotAfter.IsZero() {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent, signer := &c, any(key)
	if by != nil {
		parent, signer = by.Leaf, by.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, &c, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// TestClientCertificates: over real TLS, a certificate of the authority counts by its names. One of
// another authority, one that has expired and one that is for servers get no connection.
func TestClientCertificates(t *testing.T) {
	c, h, audit := filled(t)
	c.Guard.Access.Set(access.Settings{Clients: map[string]role.Role{"CN=grafana": role.Viewer, "DNS:desk.example": role.Operator}})
	authority := func() *tls.Certificate {
		return issue(t, nil, x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	}
	own, other := authority(), authority()
	pool := x509.NewCertPool()
	pool.AddCert(own.Leaf)
	srv := httptest.NewUnstartedServer(h)
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	client := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	named := func(cn string, dns ...string) x509.Certificate {
		return x509.Certificate{Subject: pkix.Name{CommonName: cn}, DNSNames: dns, ExtKeyUsage: client}
	}
	old := named("grafana")
	old.NotBefore, old.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	forServers := named("grafana")
	forServers.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, x := range []struct {
		what          string
		certificate   *tls.Certificate
		read, change  int // the status; 0: no connection
		who, inRecord string
	}{
		{"none", nil, 200, 401, "", ""}, // over loopback
		{"a viewer", issue(t, own, named("grafana")), 200, 403, "", "CN=grafana"},
		{"an operator", issue(t, own, named("grafana", "desk.example")), 200, 200, "DNS:desk.example", ""},
		{"a stranger", issue(t, own, named("stranger")), 403, 403, "", "CN=stranger"},
		{"another authority", issue(t, other, named("grafana")), 0, 0, "", ""},
		{"its own authority", issue(t, nil, named("grafana")), 0, 0, "", ""},
		{"expired", issue(t, own, old), 0, 0, "", ""},
		{"for servers", issue(t, own, forServers), 0, 0, "", ""},
	} {
		tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
		if x.certificate != nil {
			// Whatever authorities the server names: a hostile client does not care either.
			tr.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return x.certificate, nil }
		}
		send := func(method, path, body string) int {
			req, err := http.NewRequest(method, srv.URL+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			res, err := (&http.Client{Transport: tr}).Do(req)
			if err != nil {
				return 0
			}
			defer res.Body.Close()
			io.Copy(io.Discard, res.Body)
			return res.StatusCode
		}
		audit.take()
		if read, change := send("GET", "/api/v1/events", ""), send("PUT", "/api/v1/switch", `{"switch":"off","why":"x"}`); read != x.read || change != x.change {
			t.Errorf("%s: %d and %d, want %d and %d", x.what, read, change, x.read, x.change)
		}
		for _, a := range audit.take() {
			if a.Who != x.inRecord || a.Outcome != refused {
				t.Errorf("%s: %+v", x.what, a)
			}
		}
		if x.who != "" {
			if text := ask(h, "socket, uid 0", "", "GET", "/api/v1/events?limit=1", "").Body.String(); !strings.Contains(text, `"who": "`+x.who+`"`) {
				t.Errorf("%s: %s", x.what, text)
			}
		}
		tr.CloseIdleConnections()
	}
}
