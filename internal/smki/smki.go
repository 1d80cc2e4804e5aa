// Package smki reads the certificates of those who sign DUIS messages. They are
// Organisation Certificates of the Smart Metering Key Infrastructure (SMKI).
//
// What it relies on was seen in the certificates that the DCC publishes for tests:
//   - The subject has an x500UniqueIdentifier (2.5.4.45): a BIT STRING of 8 bytes, the EUI-64
//     of the organisation. RequestIDs have the same EUI-64. For this BIT STRING
//     crypto/x509 refuses the whole certificate, so this package reads it on its own.
//   - The subject's organizational unit is the role: 02 for a supplier, 87 for XML signatures,
//     89 for XML signatures of the DSP. The package does not look at it, nor at a common name.
//   - The issuer's name is two attributes, such as OU=07 and CN=Z1.
//   - The key is on P-256. The one key usage is digitalSignature, or keyAgreement in
//     certificates that no message is signed with: those do not serve here.
//   - Validity ends in the year 2118, or after ten years.
//
// RFC 5280 says the rest: the form of a certificate, and that the validity includes its last
// second.
//
// The package does not verify who issued a certificate, and knows nothing of revocation:
// those who may write into the folder say who is trusted. A certificate is revoked by
// removing its file.
package smki

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"quell/internal/outage"
)

// Limits of a folder. What is beyond them does not serve, and Load says so.
const (
	MaxFiles        = 10_000
	MaxFileSize     = 1 << 20
	MaxCertificates = 100_000
	maxFaults       = 20 // that an error lists
)

// Certificates are those that serve. Nil and the zero value have none. They do not change once
// they are made, so any number of goroutines may use them.
type Certificates struct {
	byKey map[string]*Certificate
}

// Len is how many serve.
func (c *Certificates) Len() int {
	if c == nil {
		return 0
	}
	return len(c.byKey)
}

// Find returns the certificate with the given issuer and serial number, or nil. The
// issuer is as RFC 4514 or RFC 2253 write it, the serial number is decimal: as in
// X509IssuerSerial of an XML signature. Blanks, case and the order of the issuer's
// attributes do not matter. It does not look at the validity.
func (c *Certificates) Find(issuer, serial string) *Certificate {
	name, err := normalName(issuer)
	if err != nil || c == nil {
		return nil
	}
	serial = strings.TrimLeft(strings.TrimSpace(serial), "0")
	return c.byKey[name+"\n\n"+serial]
}

// ValidUntil returns until when the certificates of an organisation are valid that are valid at
// an instant: the latest of them. It is zero if none is.
func (c *Certificates) ValidUntil(organisation outage.DeviceID, at time.Time) (until time.Time) {
	for _, one := range c.byKey {
		if one.Organisation == organisation && one.ValidAt(at) && one.NotAfter.After(until) {
			until = one.NotAfter
		}
	}
	return until
}

// key is that of byKey.
func (c *Certificate) key() string { return c.issuer + "\n\n" + c.Serial.String() }

// New collects certificates. If two have the same issuer and serial number, and are not the
// same, neither serves: nobody can say which is right. The error says so; the
// others serve all the same.
func New(all ...*Certificate) (*Certificates, error) {
	byKey := make(map[string]*Certificate, len(all))
	doubled := map[string]bool{}
	for _, c := range all {
		key := c.key()
		switch first := byKey[key]; {
		case first == nil:
			byKey[key] = c
		case !bytes.Equal(first.signed, c.signed):
			doubled[key] = true
		}
	}
	var faults faultList
	for _, c := range all {
		if key := c.key(); doubled[key] {
			delete(doubled, key)
			delete(byKey, key)
			faults.add(fmt.Errorf("different certificates have the serial number %s of one issuer: none of them serves", c.Serial))
		}
	}
	return &Certificates{byKey}, faults.err()
}

// Load reads the certificates in a folder. A file holds one in DER, or any number in PEM. It
// leaves out subfolders and names that begin with a dot, and follows links.
//
// The error lists everything that does not serve, and why. Certificates are nil only if the
// folder cannot be read at all.
func Load(dir string) (*Certificates, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var faults faultList
	var all []*Certificate
	files := 0
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		info, err := os.Stat(path)
		if err == nil && info.IsDir() {
			continue
		}
		if files++; files > MaxFiles {
			faults.add(fmt.Errorf("%s: more than %d files: this and the following are left out", dir, MaxFiles))
			break
		}
		if err == nil && !info.Mode().IsRegular() {
			err = errors.New("not a regular file")
		}
		var found []*Certificate
		if err == nil {
			found, err = readFile(path)
		}
		if err != nil {
			faults.add(fmt.Errorf("%s: %w", e.Name(), err))
		}
		if len(all)+len(found) > MaxCertificates {
			faults.add(fmt.Errorf("%s: more than %d certificates: this file and the following are left out", e.Name(), MaxCertificates))
			break
		}
		all = append(all, found...)
	}
	certificates, err := New(all...)
	faults.add(err)
	return certificates, faults.err()
}

// readFile reads a file. Some certificates may serve although there is an error.
func readFile(path string) ([]*Certificate, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxFileSize+1))
	if err != nil {
		return nil, err
	}
	if len(text) > MaxFileSize {
		return nil, fmt.Errorf("longer than %d bytes", MaxFileSize)
	}
	return parseFile(text)
}

// parseFile reads what is in a file.
func parseFile(text []byte) (all []*Certificate, err error) {
	if !bytes.Contains(text, []byte("-----BEGIN ")) {
		c, err := Parse(text)
		if err != nil {
			return nil, err
		}
		return []*Certificate{c}, nil
	}
	var faults faultList
	begun := bytes.Count(text, []byte("-----BEGIN "))
	n := 0
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		n++
		if block.Type != "CERTIFICATE" {
			faults.add(fmt.Errorf("block %d is a %s, not a CERTIFICATE", n, block.Type))
			continue
		}
		c, err := Parse(block.Bytes)
		if err != nil {
			faults.add(fmt.Errorf("block %d: %w", n, err))
			continue
		}
		all = append(all, c)
	}
	if n < begun { // Decode passes over what it cannot read
		faults.add(fmt.Errorf("%d of %d blocks are not PEM", begun-n, begun))
	}
	return all, faults.err()
}

// faultList collects errors, and keeps the first maxFaults.
type faultList struct {
	kept []error
	more int
}

func (l *faultList) add(err error) {
	switch {
	case err == nil:
	case len(l.kept) < maxFaults:
		l.kept = append(l.kept, err)
	default:
		l.more++
	}
}

func (l *faultList) err() error {
	if l.more == 0 {
		return errors.Join(l.kept...)
	}
	return errors.Join(append(l.kept, fmt.Errorf("and %d more", l.more))...)
}
