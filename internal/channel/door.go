package channel

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Door lets clients of a listener in, or refuses them. Its fields are set before it is
// used.
type Door struct {
	Listener string  // its name, for the log
	Source   *Source // must have Keys
	Need     bool    // clients need a certificate, if there are authorities
	TLS12    bool    // TLS 1.2 is allowed
	Log      *slog.Logger
	Count    func(cause string) // called for each client that is refused
	GuestOf  func(net.Conn) *Guest

	names atomic.Pointer[[]Name]

	mu     sync.Mutex // guards the fields below
	logged map[string]time.Time
	silent map[string]int // refusals since then
}

// Guest is what a door knows of a connection.
type Guest struct {
	spoke   atomic.Bool // TLS has begun
	refused atomic.Bool // its certificate was refused, and that was counted
	pass    atomic.Pointer[pass]
}

// pass says that a certificate was accepted by these rules, and until when that counts.
type pass struct {
	keys     *Keys
	names    *[]Name
	verified [][]*x509.Certificate
	until    time.Time
}

// Allow sets the names of clients that may speak from now on, also on open connections.
// If there are none, any client with a certificate of the authorities may.
func (d *Door) Allow(names []Name) { d.names.Store(&names) }

// LeastVersion returns the oldest version of TLS that is allowed.
func LeastVersion(tls12 bool) uint16 {
	if tls12 {
		return tls.VersionTLS12
	}
	return tls.VersionTLS13
}

// Config returns the settings for handshakes. Each uses the newest certificates. There are
// no session tickets: with one, a client would not have to show its certificate again.
func (d *Door) Config() *tls.Config {
	return &tls.Config{
		MinVersion: LeastVersion(d.TLS12),
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			guest := d.GuestOf(hello.Conn)
			guest.spoke.Store(true)
			k := d.Source.Keys()
			c := &tls.Config{MinVersion: LeastVersion(d.TLS12), Certificates: []tls.Certificate{*k.Cert}, NextProtos: []string{"h2", "http/1.1"}, SessionTicketsDisabled: true}
			if k.Authorities != nil {
				// The certificate itself is verified in Admit, which knows the cause of a
				// refusal, and is asked again for each message.
				c.ClientAuth, c.ClientCAs = tls.RequestClientCert, k.Authorities
			}
			c.VerifyConnection = func(s tls.ConnectionState) error {
				_, err := d.Admit(hello.Conn, s.PeerCertificates)
				guest.refused.Store(err != nil)
				return err
			}
			return c, nil
		},
	}
}

// Admit says whether a client may speak now; if not, it counts and logs that, and returns a
// *Refusal. It returns the chains by which the client's certificate is good; nil if it has none,
// or if none is asked for. Call it for each message: the client may have been let in long ago.
func (d *Door) Admit(c net.Conn, chain []*x509.Certificate) (verified [][]*x509.Certificate, err error) {
	verified, err = d.verify(c, chain)
	if r := (*Refusal)(nil); errors.As(err, &r) {
		d.refuse(r.Cause, c.RemoteAddr(), err)
	}
	return verified, err
}

// Admits reports whether a client may speak now. It counts no refusal: who asks leaves that to Admit.
func (d *Door) Admits(c net.Conn, chain []*x509.Certificate) bool {
	_, err := d.verify(c, chain)
	return err == nil
}

func (d *Door) verify(c net.Conn, chain []*x509.Certificate) (verified [][]*x509.Certificate, _ error) {
	guest, k, names, now := d.GuestOf(c), d.Source.Keys(), d.names.Load(), time.Now()
	if k.Authorities == nil {
		return nil, nil
	}
	if p := guest.pass.Load(); p != nil && p.keys == k && p.names == names && now.Before(p.until) {
		return p.verified, nil
	}
	verified, until, err := k.VerifyClient(chain, *names, d.Need, now)
	if err != nil {
		return nil, err
	}
	guest.pass.Store(&pass{k, names, verified, until})
	return verified, nil
}

// Failed counts and logs a connection whose handshake did not come to its end.
func (d *Door) Failed(c net.Conn) {
	switch guest := d.GuestOf(c); {
	case guest.refused.Load(): // Admit has counted it
	case guest.spoke.Load():
		d.refuse("handshake", c.RemoteAddr(), errors.New("the handshake failed, or the client did not accept the certificate"))
	default:
		d.refuse("no-tls", c.RemoteAddr(), errors.New("the client did not begin with TLS"))
	}
}

// refusalEvery is how often a refusal of one cause is logged.
const refusalEvery = time.Minute

// refuse counts a refusal, and logs it at times.
func (d *Door) refuse(cause string, client net.Addr, err error) {
	d.Count(cause)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.logged == nil {
		d.logged, d.silent = map[string]time.Time{}, map[string]int{}
	}
	now := time.Now()
	if at, ok := d.logged[cause]; ok && now.Sub(at) < refusalEvery {
		d.silent[cause]++
		return
	}
	d.Log.Warn("a client was refused", "listener", d.Listener, "cause", cause, "client", client.String(), "error", err, "not_logged", d.silent[cause])
	d.logged[cause], d.silent[cause] = now, 0
}
