package channel

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Name is a name that a client's certificate may have.
type Name struct {
	kind  string // CN, DNS, URI or IP
	value string
}

func (n Name) String() string {
	if n.kind == "CN" {
		return "CN=" + n.value
	}
	return n.kind + ":" + n.value
}

// ParseName reads CN=name (the subject's common name), or one of the subject's
// alternative names: DNS:host, URI:uri, IP:address. A name is meant literally: * is no
// pattern.
func ParseName(s string) (Name, error) {
	fault := fmt.Errorf("%q is not a name: write CN=name, DNS:host, URI:uri or IP:address", s)
	at := strings.IndexAny(s, "=:")
	if at < 0 {
		return Name{}, fault
	}
	n := Name{kind: s[:at], value: s[at+1:]}
	switch prefix := s[:at+1]; {
	case n.value == "" || strings.TrimSpace(n.value) != n.value:
		return Name{}, fault
	case prefix == "IP:":
		ip, err := netip.ParseAddr(n.value)
		if err != nil {
			return Name{}, fmt.Errorf("%q has no IP address behind its colon", s)
		}
		n.value = ip.Unmap().String()
	case prefix == "DNS:" && strings.Contains(n.value, "*"):
		return Name{}, fmt.Errorf("%q is a pattern: name each host", s)
	case prefix != "CN=" && prefix != "DNS:" && prefix != "URI:":
		return Name{}, fault
	}
	return n, nil
}

// ParseNames reads a list of names.
func ParseNames(list []string) (names []Name, err error) {
	for i, s := range list {
		n, err := ParseName(s)
		if err != nil {
			return nil, fmt.Errorf("item %d: %w", i+1, err)
		}
		names = append(names, n)
	}
	return names, nil
}

// isNameOf reports whether a certificate has the name. It says nothing about who made the
// certificate.
func (n Name) isNameOf(c *x509.Certificate) bool {
	switch n.kind {
	case "CN":
		return c.Subject.CommonName == n.value
	case "DNS":
		return slices.ContainsFunc(c.DNSNames, func(d string) bool { return strings.EqualFold(d, n.value) })
	case "URI":
		for _, u := range c.URIs {
			if u.String() == n.value {
				return true
			}
		}
	case "IP":
		for _, b := range c.IPAddresses {
			if ip, ok := netip.AddrFromSlice(b); ok && ip.Unmap().String() == n.value {
				return true
			}
		}
	}
	return false
}

// Names returns the names of a certificate in the form of ParseName, for logs.
func Names(c *x509.Certificate) (list []string) {
	if c.Subject.CommonName != "" {
		list = append(list, "CN="+c.Subject.CommonName)
	}
	for _, d := range c.DNSNames {
		list = append(list, "DNS:"+d)
	}
	for _, u := range c.URIs {
		list = append(list, "URI:"+u.String())
	}
	for _, ip := range c.IPAddresses {
		list = append(list, "IP:"+ip.String())
	}
	return list
}

// errNoCertificate and the others say why a client is refused.
var (
	errNoCertificate = errors.New("the client has no certificate")
	errNotAllowed    = errors.New("the client's certificate has no name that is allowed")
)

// Refusal says why a client is refused.
type Refusal struct {
	Cause string // for a metric
	Err   error
}

func (r *Refusal) Error() string { return r.Err.Error() }

func (r *Refusal) Unwrap() error { return r.Err }
