// Package devca makes certificates for tests and demonstrations: an authority, and
// certificates of servers and clients. Real ones come from a real authority: this one
// keeps its key in memory only, and what it makes is valid for a short time.
package devca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Authority makes certificates.
type Authority struct {
	Cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// valid is how long a certificate is valid, unless Request says otherwise.
const valid = 365 * 24 * time.Hour

// New makes an authority with a new key.
func New(name string) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := serial()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	c := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(valid),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	return &Authority{c, key}, nil
}

func serial() (*big.Int, error) { return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) }

// PEM returns the authority's certificate.
func (a *Authority) PEM() []byte { return encode("CERTIFICATE", a.Cert.Raw) }

// Request says what a certificate is for. Zero fields have defaults.
type Request struct {
	Name   string             // the common name
	SANs   []string           // hosts, IP addresses and URIs
	Use    []x509.ExtKeyUsage // both servers and clients, if nil
	AnyUse bool               // say nothing of the use
	From   time.Time          // an hour ago
	Until  time.Time          // in a year
}

// Issue makes a certificate with a new key, both PEM.
func (a *Authority) Issue(r Request) (cert, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := serial()
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	c := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: r.Name}, NotBefore: r.From, NotAfter: r.Until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: r.Use, BasicConstraintsValid: true}
	if c.NotBefore.IsZero() {
		c.NotBefore = now.Add(-time.Hour)
	}
	if c.NotAfter.IsZero() {
		c.NotAfter = now.Add(valid)
	}
	if c.ExtKeyUsage == nil && !r.AnyUse {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	for _, s := range r.SANs {
		if ip := net.ParseIP(s); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else if u, err := url.Parse(s); err == nil && strings.Contains(s, "://") {
			c.URIs = append(c.URIs, u)
		} else {
			c.DNSNames = append(c.DNSNames, s)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.Cert, &k.PublicKey, a.key)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, nil, err
	}
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", keyDER), nil
}

// Pair is Issue for package tls.
func (a *Authority) Pair(r Request) (tls.Certificate, error) {
	cert, key, err := a.Issue(r)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
}

// Write makes a certificate and writes it into a folder, as NAME.crt and NAME.key. It
// replaces each file at once, the certificate first.
func (a *Authority) Write(dir, name string, r Request) error {
	cert, key, err := a.Issue(r)
	if err == nil {
		err = Replace(filepath.Join(dir, name+".crt"), cert)
	}
	if err == nil {
		err = Replace(filepath.Join(dir, name+".key"), key)
	}
	return err
}

// Replace writes a file that only its owner may read, by a name of its own first, so that
// a reader sees the old one or the new one.
func Replace(file string, text []byte) error {
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// Self returns the authority's own certificate for package tls, as one that nobody else has
// signed.
func (a *Authority) Self() (tls.Certificate, error) {
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(a.PEM(), encode("PRIVATE KEY", der))
}
