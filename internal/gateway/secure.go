package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/channel"
	"quell/internal/motorway"
	"quell/internal/outage"
)

// ListenerTLS is how a listener speaks TLS.
type ListenerTLS struct {
	Source *channel.Source // must have Keys
	Names  []channel.Name  // that clients need one of; any certificate of the authorities if empty
	Need   bool            // clients need a certificate, if there are authorities
	TLS12  bool            // TLS 1.2 is allowed
}

// HopTLS is how quell speaks TLS to a next hop.
type HopTLS struct {
	Source *channel.Source // nil: quell has no certificate, and the authorities are the system's
	TLS12  bool            // TLS 1.2 is allowed
}

func leastVersion(tls12 bool) uint16 {
	if tls12 {
		return tls.VersionTLS12
	}
	return tls.VersionTLS13
}

// SecureNextHop sets how messages of a direction go to a next hop of https from now on.
// Connections that are open take no further message.
func (g *Gateway) SecureNextHop(d outage.Direction, t HopTLS) {
	n := &g.south
	if d == outage.North {
		n = &g.north
	}
	n.tls.Store(&t)
	g.renewCarrier(n)
}

// renewCarrier makes the next messages of a direction use new connections.
func (g *Gateway) renewCarrier(n *nextHop) {
	t := n.tls.Load()
	secure := &tls.Config{MinVersion: leastVersion(t.TLS12)}
	var fault error
	if t.Source != nil {
		if k := t.Source.Keys(); k == nil {
			fault = &handshakeError{errors.New("quell has no certificates for it, /readyz says why")}
		} else {
			secure.RootCAs = k.Authorities
			if k.Cert != nil {
				secure.Certificates = []tls.Certificate{*k.Cert}
			}
		}
	}
	c := g.newCarrier(secure)
	c.fault = fault
	if was := n.carrier.Swap(c); was != nil {
		was.retire()
	}
}

// CheckFiles reads the files of certificates again. What has changed is in force at once,
// and no message under way is lost.
func (g *Gateway) CheckFiles() {
	for _, n := range []*nextHop{&g.south, &g.north} {
		if t := n.tls.Load(); t.Source != nil && t.Source.Check() {
			g.renewCarrier(n)
		}
	}
	g.mu.Lock()
	doors := g.doors
	g.mu.Unlock()
	for _, d := range doors {
		d.source.Check() // each handshake and each request asks the source
	}
}

// door lets clients of a listener with TLS in, or refuses them.
type door struct {
	name    string
	source  *channel.Source
	names   atomic.Pointer[[]channel.Name]
	need    bool
	least   uint16
	log     *slog.Logger
	metrics *motorway.Metrics

	mu     sync.Mutex // guards the fields below
	logged map[string]time.Time
	silent map[string]int // refusals since then
}

func (g *Gateway) newDoor(name string, t *ListenerTLS) *door {
	d := &door{name: name, source: t.Source, need: t.Need, least: leastVersion(t.TLS12), log: g.log, metrics: g.m.Metrics,
		logged: map[string]time.Time{}, silent: map[string]int{}}
	d.names.Store(&t.Names)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.doors = append(g.doors, d)
	return d
}

// Allow sets the names of clients that may speak from now on, also on open connections. It
// does nothing without TLS.
func (l *Listener) Allow(names []channel.Name) {
	if l.door != nil {
		l.door.names.Store(&names)
	}
}

// guest is what a door knows of a connection.
type guest struct {
	spoke   atomic.Bool            // TLS has begun
	refused atomic.Pointer[string] // the cause, if its certificate was refused
	pass    atomic.Pointer[pass]
}

// pass says that a certificate was accepted by these rules, and until when that counts.
type pass struct {
	keys  *channel.Keys
	names *[]channel.Name
	until time.Time
}

// config returns the settings for handshakes. Each uses the newest certificates. There are
// no session tickets: with one, a client would not have to show its certificate again.
func (d *door) config() *tls.Config {
	return &tls.Config{
		MinVersion: d.least,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			c, _ := hello.Conn.(*stallConn)
			if c == nil {
				return nil, fmt.Errorf("a connection of type %T", hello.Conn)
			}
			c.guest.spoke.Store(true)
			k := d.source.Keys()
			config := &tls.Config{MinVersion: d.least, Certificates: []tls.Certificate{*k.Cert}, NextProtos: []string{"h2", "http/1.1"}, SessionTicketsDisabled: true}
			if k.Authorities != nil {
				// The certificate itself is verified in admit, which knows the cause of a
				// refusal, and is asked again for each message.
				config.ClientAuth, config.ClientCAs = tls.RequestClientCert, k.Authorities
			}
			config.VerifyConnection = func(s tls.ConnectionState) error {
				err := d.admit(c, s.PeerCertificates)
				if err != nil {
					cause := causeOf(err)
					c.guest.refused.Store(&cause)
					d.refuse(cause, c.RemoteAddr(), err)
				}
				return err
			}
			return config, nil
		},
	}
}

// admit says whether a client may speak now.
func (d *door) admit(c *stallConn, chain []*x509.Certificate) error {
	k, names, now := d.source.Keys(), d.names.Load(), time.Now()
	if k.Authorities == nil {
		return nil
	}
	if p := c.guest.pass.Load(); p != nil && p.keys == k && p.names == names && now.Before(p.until) {
		return nil
	}
	until, err := k.VerifyClient(chain, *names, d.need, now)
	if err != nil {
		return err
	}
	c.guest.pass.Store(&pass{k, names, until})
	return nil
}

func causeOf(err error) string {
	var r *channel.Refusal
	if errors.As(err, &r) {
		return r.Cause
	}
	return "handshake"
}

// failed counts a handshake that did not come to its end.
func (d *door) failed(c *stallConn) {
	switch {
	case c.guest.refused.Load() != nil: // it was counted
	case c.guest.spoke.Load():
		d.refuse("handshake", c.RemoteAddr(), errors.New("the handshake failed, or the client did not accept the certificate"))
	default:
		d.refuse("no-tls", c.RemoteAddr(), errors.New("the client did not begin with TLS"))
	}
}

// refusalEvery is how often a refusal of one cause is logged.
const refusalEvery = time.Minute

// refuse counts a refusal, and logs it at times.
func (d *door) refuse(cause string, client net.Addr, err error) {
	d.metrics.TLSRefused.WithLabelValues(d.name, cause).Inc()
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if at, ok := d.logged[cause]; ok && now.Sub(at) < refusalEvery {
		d.silent[cause]++
		return
	}
	d.log.Warn("a client was refused", "listener", d.name, "cause", cause, "client", client, "error", err, "not_logged", d.silent[cause])
	d.logged[cause], d.silent[cause] = now, 0
}

type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c.(*tls.Conn).NetConn())
}

// handler asks admit again for each message. The client may have been let in long ago.
func (d *door) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := r.Context().Value(connKey{}).(*stallConn)
		if err := d.admit(c, r.TLS.PeerCertificates); err != nil {
			d.refuse(causeOf(err), c.RemoteAddr(), err)
			w.Header().Set("Connection", "close") // with HTTP/2, net/http ends the connection after the messages under way
			http.Error(w, "quell: the certificate of this connection is not accepted any more", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// limitStreams limits how long a client may take nothing of an answer, for HTTP/2. A
// connection can take bytes while a stream does not.
func limitStreams(next http.Handler, stall time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			next.ServeHTTP(w, r)
			return
		}
		s := &streamWriter{w, http.NewResponseController(w), stall}
		next.ServeHTTP(s, r)
		s.control.SetWriteDeadline(time.Now().Add(stall)) // net/http sends the rest
	})
}

// streamWriter writes an answer of HTTP/2.
type streamWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
}

// writePart is what a client must take within streamWriter.stall.
const writePart = 4 << 10

func (s *streamWriter) Write(b []byte) (written int, err error) {
	for written < len(b) && err == nil {
		part := b[written:min(written+writePart, len(b))]
		var n int
		err = s.limit(func() error {
			n, err = s.ResponseWriter.Write(part)
			return err
		})
		written += n
	}
	return written, err
}

// limit calls write, which must not take longer than stall.
func (s *streamWriter) limit(write func() error) error {
	s.control.SetWriteDeadline(time.Now().Add(s.stall))
	defer s.control.SetWriteDeadline(time.Time{}) // it would end the stream also while nothing is written
	return write()
}

// FlushError is for http.ResponseController.
func (s *streamWriter) FlushError() error { return s.limit(s.control.Flush) }

// Unwrap is for http.ResponseController.
func (s *streamWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
