package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/channel"
	"quell/internal/devca"
	"quell/internal/outage"
	"quell/internal/windows"
)

func names(t *testing.T, list ...string) []channel.Name {
	t.Helper()
	n, err := channel.ParseNames(list)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// get sends a message without a body, and returns the status and the version of HTTP.
func get(c *http.Client, url string) (status, version int, err error) {
	res, err := c.Get(url)
	if err != nil {
		return 0, 0, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, res.ProtoMajor, err
}

// post sends a message of the common form, which takes the fast path.
func post(c *http.Client, url string) (status, version int, err error) {
	res, err := c.Post(url, "application/xml", strings.NewReader("<a/>"))
	if err != nil {
		return 0, 0, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, res.ProtoMajor, err
}

// TestClientCertificates: only a client with a certificate of the authority, valid now, for
// clients and with a name that is allowed, sends a message. Each refusal is counted.
func TestClientCertificates(t *testing.T) {
	w := startedWorld(t)
	ca, other := newAuthority(t, "authority"), newAuthority(t, "authority") // with the same name
	l := w.listenTLS(outage.South, &ListenerTLS{Source: ca.source("quell"), Need: true,
		Names: names(t, "CN=supplier-1", "DNS:gw.supplier.example", "URI:urn://supplier/2", "IP:192.0.2.7")})
	client := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	self, err := devca.New("supplier-1") // it signs itself
	if err != nil {
		t.Fatal(err)
	}
	selfSigned, err := self.Self()
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		cert  *tls.Certificate
		cause string // "" if it may speak
	}{
		"by common name":     {ca.pair(devca.Request{Name: "supplier-1", Use: client}), ""},
		"by host":            {ca.pair(devca.Request{Name: "x", SANs: []string{"GW.supplier.example"}, Use: client}), ""},
		"by URI":             {ca.pair(devca.Request{SANs: []string{"urn://supplier/2"}, Use: client}), ""},
		"by IP address":      {ca.pair(devca.Request{SANs: []string{"192.0.2.7"}, Use: client}), ""},
		"for any use":        {ca.pair(devca.Request{Name: "supplier-1", AnyUse: true}), ""},
		"none":               {nil, "no-certificate"},
		"other authority":    {other.pair(devca.Request{Name: "supplier-1", Use: client}), "unknown-authority"},
		"self-signed":        {&selfSigned, "unknown-authority"},
		"expired":            {ca.pair(devca.Request{Name: "supplier-1", Use: client, From: never.Add(-time.Hour), Until: never}), "expired"},
		"not yet valid":      {ca.pair(devca.Request{Name: "supplier-1", Use: client, From: time.Now().Add(time.Hour)}), "expired"},
		"for servers":        {ca.pair(devca.Request{Name: "supplier-1", Use: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}), "wrong-use"},
		"other name":         {ca.pair(devca.Request{Name: "supplier-2", Use: client}), "not-allowed"},
		"name in other case": {ca.pair(devca.Request{Name: "Supplier-1", Use: client}), "not-allowed"},
		"host as name":       {ca.pair(devca.Request{Name: "gw.supplier.example", SANs: []string{"supplier-1"}, Use: client}), "not-allowed"},
		"wildcard":           {ca.pair(devca.Request{Name: "x", SANs: []string{"*.supplier.example"}, Use: client}), "not-allowed"},
	} {
		for _, version := range []int{1, 2} {
			before := w.metric("quell_tls_refused_total", "listener=southbound", "cause="+x.cause)
			status, got, err := get(ca.client(x.cert, version), l.URL)
			if x.cause == "" {
				if err != nil || status != 200 || got != version {
					t.Errorf("%s, HTTP/%d: %d by HTTP/%d, %v", name, version, status, got, err)
				}
				continue
			}
			if err == nil {
				t.Errorf("%s, HTTP/%d: it may speak: %d", name, version, status)
			}
			w.eventually(name+" is counted as "+x.cause, func() bool {
				return w.metric("quell_tls_refused_total", "listener=southbound", "cause="+x.cause) == before+1
			})
		}
	}
	if n := len(w.hops[outage.South].seen(0)); n != 10 {
		t.Errorf("%d messages passed, want 10", n)
	}
}

// TestVersions: TLS 1.2 is only by choice, older ones never.
func TestVersions(t *testing.T) {
	w := startedWorld(t)
	ca := newAuthority(t, "authority")
	source, cert := ca.source("quell"), ca.pair(devca.Request{Name: "a"})
	for tls12, l := range map[bool]*Listener{
		false: w.listenTLS(outage.South, &ListenerTLS{Source: source, Need: true}),
		true:  w.listenTLS(outage.North, &ListenerTLS{Source: source, Need: true, TLS12: true}),
	} {
		for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: tls12, tls.VersionTLS13: true} {
			config := ca.clientConfig(cert)
			config.MinVersion, config.MaxVersion = version, version
			status, _, err := get(&http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}, Timeout: long}, l.URL)
			if (err == nil) != want || want && status != 200 {
				t.Errorf("%s, with TLS 1.2 allowed %t: %d %v", tls.VersionName(version), tls12, status, err)
			}
		}
	}
}

// TestProtocolConfusion: what a client says in TLS and what it speaks then must be the same,
// and nothing but a message gets in.
func TestProtocolConfusion(t *testing.T) {
	w := startedWorld(t)
	ca := newAuthority(t, "authority")
	cert := ca.pair(devca.Request{Name: "a"})
	l := w.listenTLS(outage.South, &ListenerTLS{Source: ca.source("quell"), Need: true})
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	const message = "POST / HTTP/1.1\r\nHost: quell\r\nContent-Type: application/xml\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
	say := func(protocols []string, text string) (answer string, err error) {
		c, err := tls.Dial("tcp", l.addr(), ca.clientConfig(cert, protocols...))
		if err != nil {
			return "", err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(long))
		io.WriteString(c, text)
		all, err := io.ReadAll(c)
		if err, ok := err.(net.Error); ok && err.Timeout() {
			t.Errorf("%q, %.10q: the connection stays open", protocols, text)
		}
		return string(all), err
	}
	for _, x := range []struct {
		protocols []string
		text      string
		starts    string // of the answer; "refused": no handshake
		passes    int
	}{
		{nil, message, "HTTP/1.1 200 ", 1},
		{[]string{"http/1.1"}, message, "HTTP/1.1 200 ", 1},
		{[]string{"http/1.0", "http/1.1"}, message, "HTTP/1.1 200 ", 1},
		{[]string{"smtp", "http/1.1"}, message, "HTTP/1.1 200 ", 1},
		{[]string{"smtp"}, message, "refused", 0},
		{[]string{"h2c", "spdy/3"}, message, "refused", 0},
		{[]string{"h2"}, message, "", 0},                   // frames: the settings, and goodbye
		{[]string{"http/1.1"}, preface, "HTTP/1.1 505", 0}, // not let in by the way of HTTP/1.1
		{nil, preface, "HTTP/1.1 505", 0},
		{nil, "EHLO quell\r\n", "HTTP/1.1 400", 0},
	} {
		before := len(w.hops[outage.South].seen(0))
		answer, err := say(x.protocols, x.text)
		switch {
		case x.starts == "refused":
			if err == nil {
				t.Errorf("%q: there was a handshake: %q", x.protocols, answer)
			}
		case !strings.HasPrefix(answer, x.starts):
			t.Errorf("%q, %.10q: %.50q %v, want %q", x.protocols, x.text, answer, err, x.starts)
		}
		if n := len(w.hops[outage.South].seen(before)); n != x.passes {
			t.Errorf("%q, %.10q: %d messages passed, want %d", x.protocols, x.text, n, x.passes)
		}
	}
	// Plain HTTP where TLS is spoken, and the other way round.
	c := (&Listener{URL: "http://" + l.addr()}).dial(t)
	io.WriteString(c, message)
	if answer, _ := io.ReadAll(c); !strings.HasPrefix(string(answer), "HTTP/1.0 400 ") {
		t.Errorf("plain HTTP: %q", answer)
	}
	w.eventually("it is counted", func() bool { return w.metric("quell_tls_refused_total", "cause=no-tls") == 1 })
	plain := w.listen("northbound", w.gw.Northbound())
	p := plain.dial(t)
	io.WriteString(p, preface)
	if answer, _, _ := bufio.NewReader(p).ReadLine(); !strings.HasPrefix(string(answer), "HTTP/1.1 505 ") {
		t.Errorf("HTTP/2 without TLS: %q", answer)
	}
}

// TestRenegotiation: a client cannot begin TLS anew on its connection, with openssl's word.
func TestRenegotiation(t *testing.T) {
	w := startedWorld(t)
	ca := newAuthority(t, "authority")
	cert, key := ca.issue("client", devca.Request{Name: "a"})
	l := w.listenTLS(outage.South, &ListenerTLS{Source: ca.source("quell"), Need: true, TLS12: true})
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	cmd := exec.CommandContext(ctx, "openssl", "s_client", "-connect", l.addr(), "-tls1_2", "-CAfile", ca.file("ca.crt"), "-cert", cert, "-key", key)
	cmd.Stdin = strings.NewReader("R\nGET / HTTP/1.1\r\nHost: quell\r\n\r\n")
	out, err := cmd.CombinedOutput()
	text := string(out)
	if err == nil || !strings.Contains(text, "Verify return code: 0 (ok)") || !strings.Contains(text, "RENEGOTIATING") || !strings.Contains(text, "alert unexpected message") {
		t.Errorf("%v\n%s", err, text)
	}
	if n := len(w.hops[outage.South].seen(0)); n != 0 {
		t.Errorf("%d messages passed", n)
	}
}

// TestRevoked: a client whose name or authority was removed sends no further message, also
// on a connection that is open.
func TestRevoked(t *testing.T) {
	for i, send := range []func(*http.Client, string) (int, int, error){get, post, get} {
		version := 1 + i/2
		for what, revoke := range map[string]func(w *world, l *Listener, ca *authority){
			"name": func(_ *world, l *Listener, ca *authority) { l.Allow(names(ca.T, "CN=b")) },
			"authority": func(w *world, _ *Listener, ca *authority) {
				ca.write("ca.crt", newAuthority(ca.T, "next").PEM())
				w.gw.CheckFiles()
			},
		} {
			w := startedWorld(t)
			ca := newAuthority(t, "authority")
			l := w.listenTLS(outage.South, &ListenerTLS{Source: ca.source("quell"), Need: true, Names: names(t, "CN=a", "CN=b")})
			c := ca.client(ca.pair(devca.Request{Name: "a"}), version)
			if status, _, err := send(c, l.URL); status != 200 {
				t.Fatalf("%d %v", status, err)
			}
			revoke(w, l, ca)
			if status, _, err := send(c, l.URL); status != http.StatusForbidden {
				t.Errorf("HTTP/%d, %s revoked: %d %v", version, what, status, err)
			}
			if n := w.metric("quell_tls_refused_total", "listener=southbound"); n != 1 {
				t.Errorf("way %d, HTTP/%d, %s revoked: one message was refused, %v are counted", i, version, what, n)
			}
			w.eventually("the connection is closed", func() bool { return w.metric("quell_connections", "listener=southbound") == 0 })
			if status, _, err := send(c, l.URL); err == nil {
				t.Errorf("HTTP/%d, %s revoked: it may come back: %d", version, what, status)
			}
			if n := len(w.hops[outage.South].seen(0)); n != 1 {
				t.Errorf("%d messages passed, want 1", n)
			}
		}
	}
}

// TestExpiresMeanwhile: a certificate that has expired on an open connection counts no more.
func TestExpiresMeanwhile(t *testing.T) {
	w := startedWorld(t)
	ca := newAuthority(t, "authority")
	l := w.listenTLS(outage.South, &ListenerTLS{Source: ca.source("quell"), Need: true})
	until := time.Now().Add(3 * time.Second).Truncate(time.Second)
	ways := []func(*http.Client, string) (int, int, error){get, post}
	var clients []*http.Client
	for _, send := range ways {
		c := ca.client(ca.pair(devca.Request{Name: "a", Until: until}), 1)
		if status, _, err := send(c, l.URL); status != 200 {
			t.Fatalf("%d %v", status, err)
		}
		clients = append(clients, c)
	}
	time.Sleep(time.Until(until.Add(time.Second)))
	for i, send := range ways {
		if status, _, err := send(clients[i], l.URL); status != http.StatusForbidden {
			t.Errorf("way %d: %d %v", i, status, err)
		}
	}
}

// TestRotation: while messages pass, all certificates and authorities are replaced, in files
// that do not fit together in between. No message fails, and each new connection has the new
// ones.
func TestRotation(t *testing.T) {
	w := startedWorld(t)
	ca := newAuthority(t, "authority")
	shown := make(chan string, 1000) // by quell to the next hop
	var hopCert atomic.Pointer[tls.Certificate]
	hopCert.Store(ca.pair(devca.Request{Name: "hop", SANs: []string{"127.0.0.1"}}))
	hop := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		select {
		case shown <- r.TLS.PeerCertificates[0].SerialNumber.String():
		default:
		}
	})}
	hop.TLSConfig = &tls.Config{ClientAuth: tls.RequireAnyClientCert, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return hopCert.Load(), nil }}
	hl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go hop.ServeTLS(hl, "", "")
	t.Cleanup(func() { hop.Close() })
	source := ca.source("quell")
	l := w.listenTLS(outage.South, &ListenerTLS{Source: source, Need: true})
	w.gw.SecureNextHop(outage.South, HopTLS{Source: source})
	u := &url.URL{Scheme: "https", Host: hl.Addr().String()}
	w.gw.SetNextHops(u, u)

	var clientCert atomic.Pointer[tls.Certificate]
	clientCert.Store(ca.pair(devca.Request{Name: "a"}))
	var roots atomic.Pointer[x509.CertPool]
	roots.Store(ca.pool())
	stop := make(chan struct{})
	var rounds [4]atomic.Int64 // of each sender
	var senders sync.WaitGroup
	for n := range rounds {
		senders.Go(func() {
			for ; ; rounds[n].Add(1) {
				// Each connection has some messages.
				config := &tls.Config{RootCAs: roots.Load(), ServerName: "127.0.0.1", Certificates: []tls.Certificate{*clientCert.Load()}}
				tr := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: n%2 == 0}
				for range 5 {
					res, err := (&http.Client{Transport: tr, Timeout: long}).Post(l.URL, "application/xml", strings.NewReader("abc"))
					if err != nil {
						t.Error(err)
						return
					}
					text, _ := io.ReadAll(res.Body)
					res.Body.Close()
					if res.StatusCode != 200 {
						t.Errorf("status %d: %s", res.StatusCode, text)
						return
					}
				}
				tr.CloseIdleConnections()
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	some := func() { // until each sender has what is there now, and has used it
		for n := range rounds {
			at := rounds[n].Load()
			w.eventually("messages pass", func() bool { return rounds[n].Load() > at+1 || t.Failed() })
		}
	}
	some()
	var serial string
	old := ca
	for range 3 {
		// First both authorities, then the certificates, then the old authority goes.
		next := newAuthority(t, "next")
		both := append(old.PEM(), next.PEM()...)
		ca.write("ca.crt", both)
		w.gw.CheckFiles()
		pool := old.pool()
		pool.AddCert(next.Cert)
		roots.Store(pool)
		some()
		cert, key, err := next.Issue(devca.Request{Name: "quell", SANs: []string{"127.0.0.1"}})
		if err != nil {
			t.Fatal(err)
		}
		ca.write("quell.crt", cert)
		w.gw.CheckFiles() // the key is still the old one
		if source.Fault() == nil || len(w.gw.Conditions()) == 0 || !strings.Contains(w.gw.Conditions()[0], "the certificates before stay in force") {
			t.Errorf("half a pair: %v %q", source.Fault(), w.gw.Conditions())
		}
		some()
		ca.write("quell.key", key)
		w.gw.CheckFiles()
		if source.Fault() != nil || len(w.gw.Conditions()) > 0 {
			t.Errorf("the whole pair: %v %q", source.Fault(), w.gw.Conditions())
		}
		clientCert.Store(next.pair(devca.Request{Name: "a"}))
		hopCert.Store(next.pair(devca.Request{Name: "hop", SANs: []string{"127.0.0.1"}}))
		some()
		old = next
		serial = source.Keys().Cert.Leaf.SerialNumber.String()
	}
	close(stop)
	senders.Wait()
	ca.write("ca.crt", old.PEM())
	w.gw.CheckFiles()
	for len(shown) > 0 {
		<-shown
	}
	c, err := tls.Dial("tcp", l.addr(), &tls.Config{RootCAs: old.pool(), ServerName: "127.0.0.1", Certificates: []tls.Certificate{*clientCert.Load()}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.ConnectionState().PeerCertificates[0].SerialNumber.String(); got != serial {
		t.Errorf("a new connection shows %s, want %s", got, serial)
	}
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: quell\r\n\r\n")
	if got := <-shown; got != serial {
		t.Errorf("the next hop is shown %s, want %s", got, serial)
	}
}

// TestTLSNextHop: a next hop gets messages only over TLS that can be trusted, by HTTP/1.1
// or HTTP/2, as it chooses. What was sent in part is answered with 502.
func TestTLSNextHop(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		w := startedWorld(t)
		ca := newAuthority(t, "authority")
		var protocol atomic.Pointer[string]
		next := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			protocol.Store(&r.Proto)
			io.CopyN(io.Discard, r.Body, 3)
			if r.ContentLength > 1000 {
				c, _, err := http.NewResponseController(rw).Hijack()
				if err != nil {
					panic(http.ErrAbortHandler) // it resets the stream
				}
				c.Close()
			}
		}))
		next.EnableHTTP2 = http2
		next.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
		next.TLS = &tls.Config{Certificates: []tls.Certificate{*ca.pair(devca.Request{Name: "hop", SANs: []string{"127.0.0.1"}})}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool()}
		next.StartTLS()
		t.Cleanup(next.Close)
		source := ca.source("quell")
		w.gw.SecureNextHop(outage.South, HopTLS{Source: source})
		w.gw.SecureNextHop(outage.North, HopTLS{Source: source})
		u, _ := url.Parse(next.URL)
		w.gw.SetNextHops(u, u)
		want := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[http2]
		for d, front := range w.serveReal() {
			for range 3 {
				c := front.dial(t)
				io.WriteString(c, "POST / HTTP/1.1\r\nHost: quell\r\nContent-Type: application/xml\r\nContent-Length: 3\r\n\r\nabc")
				if text, status, err := readAnswer(bufio.NewReader(c)); err != nil || status != 200 || *protocol.Load() != want {
					t.Fatalf("%s: status %d, %q, %v, by %v, want %s", d, status, text, err, protocol.Load(), want)
				}
				// The next hop ends the connection in the middle of a message. Its sender waits.
				io.WriteString(c, "PUT / HTTP/1.1\r\nHost: quell\r\nContent-Length: 2000\r\n\r\nabc")
				if text, status, err := readAnswer(bufio.NewReader(c)); err != nil || status != 502 {
					t.Fatalf("%s, broken off: status %d, %q, %v", d, status, text, err)
				}
			}
		}
	}
}

// TestNextHopCertificates: a next hop that cannot be trusted gets no byte of a message, and
// an 11.3 to it leaves no window.
func TestNextHopCertificates(t *testing.T) {
	ca, other := newAuthority(t, "authority"), newAuthority(t, "authority")
	good := devca.Request{Name: "hop", SANs: []string{"127.0.0.1"}}
	with := func(change func(*devca.Request)) *tls.Certificate {
		r := good
		change(&r)
		return ca.pair(r)
	}
	for name, x := range map[string]struct {
		cert   *tls.Certificate
		config *tls.Config
		tls12  bool
		status int
	}{
		"good":             {ca.pair(good), &tls.Config{}, false, 200},
		"other name":       {with(func(r *devca.Request) { r.SANs = []string{"dsp.example", "192.0.2.1"} }), &tls.Config{}, false, 502},
		"name in CN only":  {with(func(r *devca.Request) { r.SANs, r.Name = nil, "127.0.0.1" }), &tls.Config{}, false, 502},
		"other authority":  {other.pair(good), &tls.Config{}, false, 502},
		"expired":          {with(func(r *devca.Request) { r.From, r.Until = never.Add(-time.Hour), never }), &tls.Config{}, false, 502},
		"for clients":      {with(func(r *devca.Request) { r.Use = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), &tls.Config{}, false, 502},
		"old":              {ca.pair(good), &tls.Config{MaxVersion: tls.VersionTLS12}, false, 502},
		"old, by choice":   {ca.pair(good), &tls.Config{MaxVersion: tls.VersionTLS12}, true, 200},
		"another protocol": {ca.pair(good), &tls.Config{NextProtos: []string{"smtp"}}, false, 502},
		"trusts another":   {ca.pair(good), &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: other.pool()}, false, 502},
	} {
		t.Run(name, func(t *testing.T) {
			w := startedWorld(t)
			x.config.Certificates = []tls.Certificate{*x.cert}
			l := ca.secureListener(x.config)
			var messages atomic.Int64
			hop := &http.Server{ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0), Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				messages.Add(1)
				io.Copy(rw, strings.NewReader(""))
			})}
			go hop.Serve(l)
			t.Cleanup(func() { hop.Close() })
			w.gw.SecureNextHop(outage.South, HopTLS{Source: ca.source("quell"), TLS12: x.tls12})
			u := &url.URL{Scheme: "https", Host: l.Addr().String()}
			w.gw.SetNextHops(u, u)
			r := w.mustSend(outage.South, activateNow(1, 1))
			if r.status != x.status || (messages.Load() > 0) != (x.status == 200) {
				t.Errorf("status %d, %d messages: %s", r.status, messages.Load(), r.body)
			}
			if x.status == 200 {
				return
			}
			list, err := w.store.Windows.Activations(t.Context(), windows.Filter{ESME: meterID(1)}, 10)
			if err != nil || len(list) != 1 || list[0].Standing {
				t.Errorf("the 11.3 is %+v %v", list, err)
			}
			if name != "trusts another" && w.metric("quell_next_hop_errors_total", "cause=tls") != 1 { // that shows after the handshake only
				t.Errorf("%d counted", int(w.metric("quell_next_hop_errors_total", "cause=tls")))
			}
		})
	}
}

// TestNoNextHopCertificates: files that cannot be read at the start stop only the messages of
// that direction, until they can be read.
func TestNoNextHopCertificates(t *testing.T) {
	w := startedWorld(t)
	ca := newAuthority(t, "authority")
	l := ca.secureListener(&tls.Config{Certificates: []tls.Certificate{*ca.pair(devca.Request{SANs: []string{"127.0.0.1"}})}})
	hop := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	go hop.Serve(l)
	t.Cleanup(func() { hop.Close() })
	source, err := channel.Open("southbound.next_hop_tls", channel.Files{CA: ca.file("missing.crt")}, slog.New(slog.DiscardHandler))
	if err == nil {
		t.Fatal("a missing file was read")
	}
	w.gw.SecureNextHop(outage.South, HopTLS{Source: source})
	u := &url.URL{Scheme: "https", Host: l.Addr().String()}
	w.gw.SetNextHops(u, w.hops[outage.North].live)
	if r := w.mustSend(outage.South, activateNow(1, 1)); r.status != 502 {
		t.Errorf("status %d: %s", r.status, r.body)
	}
	if r := w.mustSend(outage.North, alertOf(1, 1, w.now())); r.status != 200 {
		t.Errorf("northbound: status %d: %s", r.status, r.body)
	}
	if c := fmt.Sprint(w.gw.Conditions()); !strings.Contains(c, "southbound.next_hop_tls: open ") || !strings.Contains(c, "nothing can be sent") {
		t.Error(c)
	}
	ca.write("missing.crt", ca.PEM())
	w.gw.CheckFiles()
	if r := w.mustSend(outage.South, activateNow(1, 2)); r.status != 200 {
		t.Errorf("with the file: status %d: %s", r.status, r.body)
	}
	if c := w.gw.Conditions(); len(c) > 0 {
		t.Error(c)
	}
}

// TestHandshakesCount: a client that does not finish TLS has a connection, and for no longer
// than one that does not finish its header.
func TestHandshakesCount(t *testing.T) {
	w := startedWorldWith(t, Limits{Header: 300 * time.Millisecond, Connections: 2})
	ca := newAuthority(t, "authority")
	l := w.listenTLS(outage.South, &ListenerTLS{Source: ca.source("quell"), Need: true})
	var list []net.Conn
	for range 3 {
		c := (&Listener{URL: "http://" + l.addr()}).dial(t)
		io.WriteString(c, "\x16\x03\x01\x02\x00\x01") // the start of a handshake
		list = append(list, c)
	}
	w.eventually("two have all places", func() bool { return w.metric("quell_connections", "listener=southbound") == 2 })
	if status, _, err := get(ca.client(ca.pair(devca.Request{Name: "a"}), 1), l.URL); status != 200 {
		t.Errorf("afterwards: %d %v", status, err)
	}
	for _, c := range list {
		if _, err := io.ReadAll(c); errors.Is(err, context.DeadlineExceeded) {
			t.Error("it stays open")
		}
	}
}

// TestSenderHangsUpTLS: with TLS, the end of a sender's connection begins with a message of TLS.
func TestSenderHangsUpTLS(t *testing.T) {
	w := startedWorld(t)
	ca := newAuthority(t, "authority")
	here, gone := make(chan struct{}), make(chan struct{})
	next := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		close(here)
		<-r.Context().Done()
		close(gone)
	}))
	t.Cleanup(next.Close)
	u, _ := url.Parse(next.URL)
	w.gw.SetNextHops(u, u)
	l := w.listenTLS(outage.North, &ListenerTLS{Source: ca.source("quell"), Need: true})
	c, err := tls.Dial("tcp", l.addr(), ca.clientConfig(ca.pair(devca.Request{Name: "a"})))
	if err != nil {
		t.Fatal(err)
	}
	alertOf(1, 1, w.now()).write(c)
	<-here
	c.Close()
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("the next hop still works for a sender that is gone")
		next.CloseClientConnections()
	}
}

// TestNextMessageEarly: with TLS, the next message comes while the first one waits for its answer,
// in pieces. Both pass, in order.
func TestNextMessageEarly(t *testing.T) {
	w := startedWorld(t)
	ca := newAuthority(t, "authority")
	hop := w.hops[outage.North]
	hop.set(answer{hold: true}, false)
	l := w.listenTLS(outage.North, &ListenerTLS{Source: ca.source("quell"), Need: true})
	c, err := tls.Dial("tcp", l.addr(), ca.clientConfig(ca.pair(devca.Request{Name: "a"})))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	alertOf(1, 1, w.now()).write(c)
	w.eventually("the first message is at the next hop", func() bool { return len(hop.seen(0)) == 1 })
	var second bytes.Buffer
	alertOf(2, 2, w.now()).write(&second)
	c.Write(second.Next(1))
	time.Sleep(2500 * time.Millisecond) // until the fast path has looked at the sender
	c.Write(second.Next(9))
	hop.set(answer{status: 201}, false)
	hop.releaseAll()
	c.Write(second.Bytes())
	in := bufio.NewReader(c)
	for _, want := range []int{503, 201} {
		res, err := http.ReadResponse(in, nil)
		if err != nil || res.StatusCode != want {
			t.Fatalf("got %+v, %v; want %d", res, err, want)
		}
		io.Copy(io.Discard, res.Body)
	}
	if list := hop.seen(0); len(list) != 2 || list[1].message.Outage.CHF != hubID(2) {
		t.Errorf("the next hop got %+v", list)
	}
}
