// Package channel is what TLS needs on both sides of quell: certificates, keys and
// authorities from files, which are read again when they change, and the rule which
// clients may speak.
//
// What was read last stays in force until all files of a side can be read and fit
// together again. So a certificate and its key may be replaced one after the other.
package channel

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Files are the files of one side, each PEM. An empty name means that the side has none.
type Files struct {
	Cert, Key string // quell's own certificate with its chain, and its key
	CA        string // the authorities of the other side's certificates
}

// Keys is what was read from Files at one time. It does not change.
type Keys struct {
	Cert        *tls.Certificate // nil if there is none
	Authorities *x509.CertPool   // nil if there are none

	authorities []*x509.Certificate
}

// Source keeps the newest Keys that could be read. Its methods may be called by several
// goroutines.
type Source struct {
	name  string // the key of the configuration that names the files
	files Files
	log   *slog.Logger

	current atomic.Pointer[Keys]

	mu   sync.Mutex // guards the fields below, and is held while files are read
	read [3][]byte  // what was read last, whether it is good or not

	faultMu sync.Mutex // guards fault
	fault   error      // why what was read last is not in force; nil if it is
}

// Open reads the files for the first time. The name is the key of the configuration that
// names the files. If they cannot be used, it returns the error, and a Source without Keys
// that Check may still fill.
func Open(name string, files Files, log *slog.Logger) (*Source, error) {
	s := &Source{name: name, files: files, log: log}
	_, err := s.load()
	return s, err
}

// Keys returns what is in force; nil if nothing could be read yet.
func (s *Source) Keys() *Keys { return s.current.Load() }

// maxFile is the size of a file at most.
const maxFile = 4 << 20

// load reads the files, and puts them into force if they are good. It reports whether they
// have changed.
func (s *Source) load() (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var text [3][]byte
	for i, name := range []string{s.files.Cert, s.files.Key, s.files.CA} {
		if name == "" {
			continue
		}
		if text[i], err = readFile(name); err != nil {
			return s.setFault(err), err
		}
	}
	same := s.Fault() == nil && s.current.Load() != nil
	for i := range text {
		same = same && bytes.Equal(text[i], s.read[i])
	}
	if same {
		return false, nil
	}
	s.read = text
	k, err := s.parse(text)
	if err != nil {
		return s.setFault(err), err
	}
	s.setFault(nil)
	s.current.Store(k)
	return true, nil
}

// setFault sets the fault, and reports whether it is another one than before.
func (s *Source) setFault(err error) bool {
	s.faultMu.Lock()
	defer s.faultMu.Unlock()
	was := s.fault
	s.fault = err
	return (was == nil) != (err == nil) || err != nil && was.Error() != err.Error()
}

// Fault returns why what is in the files is not in force; nil if it is.
func (s *Source) Fault() error {
	s.faultMu.Lock()
	defer s.faultMu.Unlock()
	return s.fault
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s: is larger than %d bytes", name, maxFile)
	}
	return text, err
}

func (s *Source) parse(text [3][]byte) (*Keys, error) {
	k := &Keys{}
	if s.files.Cert != "" {
		pair, err := tls.X509KeyPair(text[0], text[1])
		if err != nil {
			return nil, fmt.Errorf("%s with the key in %s: %w", s.files.Cert, s.files.Key, err)
		}
		k.Cert = &pair
	}
	if s.files.CA != "" {
		k.Authorities = x509.NewCertPool()
		for rest := text[2]; ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			if block.Type != "CERTIFICATE" {
				continue
			}
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("%s: certificate %d: %w", s.files.CA, len(k.authorities)+1, err)
			}
			k.authorities = append(k.authorities, c)
			k.Authorities.AddCert(c)
		}
		if len(k.authorities) == 0 {
			return nil, fmt.Errorf("%s: has no certificate in PEM", s.files.CA)
		}
	}
	return k, nil
}

// Check reads the files again, and reports whether other Keys are in force now. It logs
// every change once.
func (s *Source) Check() bool {
	changed, err := s.load()
	switch {
	case !changed:
		return false
	case err != nil:
		s.log.Error("certificates cannot be read, the ones before stay in force", "setting", s.name, "error", err)
		return false
	}
	var attrs []any
	if c := s.Keys().Cert; c != nil {
		attrs = append(attrs, "certificate", Names(c.Leaf), "serial", c.Leaf.SerialNumber.Text(16), "until", c.Leaf.NotAfter.UTC())
	}
	s.log.Info("certificates were read again", append([]any{"setting", s.name, "authorities", len(s.Keys().authorities)}, attrs...)...)
	return true
}

// soon is how long before its end a certificate is in Conditions.
const soon = 14 * 24 * time.Hour

// Conditions says what is wrong; nil if nothing is.
func (s *Source) Conditions(now time.Time) (list []string) {
	k := s.Keys()
	if err := s.Fault(); err != nil {
		what := "the certificates before stay in force"
		if k == nil {
			what = "nothing can be sent or taken with them"
		}
		list = append(list, fmt.Sprintf("%s: %v; %s", s.name, err, what))
	}
	if k == nil {
		return list
	}
	for _, c := range k.own() {
		list = append(list, s.expiry("the certificate", c, now)...)
	}
	for _, c := range k.authorities {
		list = append(list, s.expiry("the authority", c, now)...)
	}
	return list
}

func (s *Source) expiry(what string, c *x509.Certificate, now time.Time) []string {
	until := c.NotAfter.UTC().Format(time.RFC3339)
	switch {
	case now.Before(c.NotBefore):
		return []string{fmt.Sprintf("%s: %s %s is not valid before %s", s.name, what, c.Subject, c.NotBefore.UTC().Format(time.RFC3339))}
	case now.After(c.NotAfter):
		return []string{fmt.Sprintf("%s: %s %s expired on %s", s.name, what, c.Subject, until)}
	case now.Add(soon).After(c.NotAfter):
		return []string{fmt.Sprintf("%s: %s %s expires on %s", s.name, what, c.Subject, until)}
	}
	return nil
}

// own returns quell's own certificate and its chain.
func (k *Keys) own() (list []*x509.Certificate) {
	if k.Cert == nil {
		return nil
	}
	for _, der := range k.Cert.Certificate {
		if c, err := x509.ParseCertificate(der); err == nil {
			list = append(list, c)
		}
	}
	return list
}

// VerifyClient says whether the client that has proved to have the first certificate of
// chain may speak; if not, the error is a *Refusal. A client needs a certificate of one of
// the authorities that is valid now, made for clients or for any use, with one of the names,
// if there are any. If need is false, a client without a certificate may speak as well.
//
// verified are the chains from its certificate to an authority. until is the first time at which
// the answer may be another one for the same Keys.
func (k *Keys) VerifyClient(chain []*x509.Certificate, names []Name, need bool, now time.Time) (verified [][]*x509.Certificate, until time.Time, _ error) {
	if len(chain) == 0 {
		if need {
			return nil, now, &Refusal{"no-certificate", errNoCertificate}
		}
		return nil, now.Add(24 * time.Hour), nil
	}
	o := x509.VerifyOptions{Roots: k.Authorities, Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	found, err := chain[0].Verify(o)
	if err != nil {
		return nil, now, &Refusal{cause(err), err}
	}
	for _, n := range names {
		if n.isNameOf(chain[0]) {
			return found, end(found), nil
		}
	}
	if len(names) > 0 {
		return nil, now, &Refusal{"not-allowed", fmt.Errorf("%w: %q", errNotAllowed, Names(chain[0]))}
	}
	return found, end(found), nil
}

// end returns when the first certificate of all chains expires.
func end(chains [][]*x509.Certificate) time.Time {
	first := chains[0][0].NotAfter
	for _, chain := range chains {
		for _, c := range chain {
			if c.NotAfter.Before(first) {
				first = c.NotAfter
			}
		}
	}
	return first
}

// cause classifies why a certificate was not accepted.
func cause(err error) string {
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &unknown):
		return "unknown-authority"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "expired"
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return "wrong-use"
	}
	return "invalid"
}

// Causes are the causes of a Refusal.
var Causes = []string{"no-certificate", "unknown-authority", "expired", "wrong-use", "invalid", "not-allowed"}
