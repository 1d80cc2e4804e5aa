package gateway

import (
	"crypto/tls"
	"errors"
	"net"

	"quell/internal/channel"
	"quell/internal/listener"
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
	g.renewing.Lock()
	defer g.renewing.Unlock()
	t := n.tls.Load()
	secure := &tls.Config{MinVersion: channel.LeastVersion(t.TLS12)}
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
	g.renewHops(n)
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
		d.Source.Check() // each handshake and each request asks the source
	}
}

// newDoor returns what lets clients of a listener in.
func (g *Gateway) newDoor(name string, t *ListenerTLS) *channel.Door {
	d := &channel.Door{Listener: name, Source: t.Source, Need: t.Need, TLS12: t.TLS12, Log: g.log,
		Count:   func(cause string) { g.m.Metrics.TLSRefused.WithLabelValues(name, cause).Inc() },
		GuestOf: func(c net.Conn) *channel.Guest { return &c.(*listener.Conn).Guest }}
	d.Allow(t.Names)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.doors = append(g.doors, d)
	return d
}

// Allow sets the names of clients that may speak from now on, also on open connections. It
// does nothing without TLS.
func (l *Listener) Allow(names []channel.Name) {
	if l.door != nil {
		l.door.Allow(names)
	}
}
