package config

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// parsePort reads a TCP port. 0 is not valid: nobody would know which port it is.
func parsePort(s string) (uint16, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && n > 0
}

// isHost reports whether s is an IP address, or may be a host name.
func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	for _, r := range s {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-._", r) {
			return false
		}
	}
	return s != ""
}

func checkAddress(s string) error {
	host, p, err := net.SplitHostPort(s)
	if _, ok := parsePort(p); err != nil || !ok || host != "" && !isHost(host) {
		return fmt.Errorf("%q is not an address of the form host:port, with a port from 1 to 65535", s)
	}
	return nil
}

// isLoopback reports whether only this machine can reach the address, which is valid.
// An empty host means every interface.
func isLoopback(addr string) bool {
	host, _, _ := net.SplitHostPort(addr)
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}

// checkNextHop does not repeat the value in its error: it may contain a password.
func checkNextHop(s string) error {
	if s == "" {
		return errors.New("is required: the URL to forward messages to, such as https://dsp.example/")
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || strings.ContainsAny(s, "?#") ||
		strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) || !isHost(u.Hostname()) {
		return errors.New("must be an absolute http or https URL without user, query, fragment and blanks")
	}
	if _, ok := parsePort(u.Port()); !ok && (u.Port() != "" || strings.HasSuffix(u.Host, ":")) {
		return errors.New("must have a port from 1 to 65535, or none")
	}
	return nil
}

// lookupTimeout limits the wait for one name. There are only a few names.
const lookupTimeout = 2 * time.Second

// ownListeners finds next hops that are listeners of quell itself: a message would go
// round until no descriptors are left. It looks up names, since they may mean this
// machine. A name that cannot be looked up is not a fault. Values that are not valid
// are left to faults.
func (c *Config) ownListeners(check func(key string, err error)) {
	for _, hop := range []struct{ key, url string }{{"southbound.next_hop", c.Southbound.NextHop}, {"northbound.next_hop", c.Northbound.NextHop}} {
		if checkNextHop(hop.url) != nil {
			continue
		}
		u, _ := url.Parse(hop.url)
		to, ok := parsePort(u.Port())
		if !ok {
			to = map[string]uint16{"http": 80, "https": 443}[u.Scheme]
		}
		for _, l := range []struct{ key, addr string }{
			{"southbound.listen", c.Southbound.Listen}, {"northbound.listen", c.Northbound.Listen}, {"console.listen", c.Console.Listen},
		} {
			host, p, err := net.SplitHostPort(l.addr)
			if at, _ := parsePort(p); err == nil && at == to && reaches(u.Hostname(), host) {
				check(hop.key, fmt.Errorf("leads to quell itself, to %s: %s", l.key, l.addr))
				break
			}
		}
	}
}

// sameListeners finds listeners that have the address of another.
func (c *Config) sameListeners(check func(key string, err error)) {
	type listener struct{ key, addr string }
	list := []listener{{"southbound.listen", c.Southbound.Listen}, {"northbound.listen", c.Northbound.Listen}, {"console.listen", c.Console.Listen}}
	for i, l := range list {
		for _, before := range list[:i] {
			if checkAddress(l.addr) == nil && checkAddress(before.addr) == nil && collide(l.addr, before.addr) {
				check(l.key, fmt.Errorf("%q is the address of %s, %q", l.addr, before.key, before.addr))
				break
			}
		}
	}
}

// collide reports whether no two listeners can have these addresses, which are valid.
func collide(a, b string) bool {
	hostA, portA, _ := net.SplitHostPort(a)
	hostB, portB, _ := net.SplitHostPort(b)
	x, _ := parsePort(portA)
	y, _ := parsePort(portB)
	if x != y {
		return false
	}
	all := func(host string) bool { return host == "" || host == "::" } // IPv4 and IPv6
	if strings.EqualFold(hostA, hostB) || all(hostA) || all(hostB) {
		return true
	}
	for _, p := range addresses(hostA) {
		for _, q := range addresses(hostB) {
			if p == q || p.Is4() == q.Is4() && (p.IsUnspecified() || q.IsUnspecified()) {
				return true
			}
		}
	}
	return false
}

// reaches reports whether a connection to the host to may arrive at a listener of this
// machine on the host at, if the port is the same.
func reaches(to, at string) bool {
	if strings.EqualFold(to, at) {
		return true
	}
	listens, everywhere := addresses(at), at == ""
	for _, ip := range listens {
		everywhere = everywhere || ip.IsUnspecified()
	}
	own := interfaces()
	for _, ip := range addresses(to) {
		switch {
		case ip.IsUnspecified(): // means loopback
			for _, l := range listens {
				if l.IsLoopback() {
					return true
				}
			}
			if everywhere {
				return true
			}
		case everywhere && (ip.IsLoopback() || own[ip]):
			return true
		}
		for _, l := range listens {
			if l == ip {
				return true
			}
		}
	}
	return false
}

// addresses returns the addresses of a host; none if it cannot be looked up.
func addresses(host string) (list []netip.Addr) {
	if host == "" {
		return nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap().WithZone("")}
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil
	}
	for _, ip := range found {
		list = append(list, ip.Unmap().WithZone(""))
	}
	return list
}

// interfaces returns the addresses of this machine.
func interfaces() map[netip.Addr]bool {
	own := map[netip.Addr]bool{}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return own
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				own[ip.Unmap()] = true
			}
		}
	}
	return own
}
