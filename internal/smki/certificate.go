package smki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	encoding "encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"quell/internal/outage"
)

// Certificate says whose a key is. Callers only read it.
type Certificate struct {
	Organisation        outage.DeviceID  // the EUI-64 in the subject
	Serial              *big.Int         // positive
	NotBefore, NotAfter time.Time        // both included
	Key                 *ecdsa.PublicKey // on P-256

	issuer string // its name in normal form
	signed []byte // what the issuer has signed: all of the certificate but the signature
}

// ValidAt reports whether at is in the certificate's validity.
func (c *Certificate) ValidAt(at time.Time) bool {
	return !at.Before(c.NotBefore) && !at.After(c.NotAfter)
}

// The attribute of a subject that has the EUI-64, and the extension for the use of the key.
const (
	uniqueIdentifier = "2.5.4.45"
	keyUsage         = "2.5.29.15"
)

// Parse reads one certificate in DER. It refuses one that cannot serve to verify signatures
// of an organisation: see the package's comment. It does not verify the issuer's signature.
func Parse(der []byte) (*Certificate, error) {
	in := cryptobyte.String(der)
	var outer, tbs, body, algorithm, issuer, validity, subject, key cryptobyte.String
	var signature encoding.BitString
	c := &Certificate{Serial: new(big.Int)}
	var version int64
	switch {
	case !in.ReadASN1(&outer, asn1.SEQUENCE) || !in.Empty(),
		!outer.ReadASN1Element(&tbs, asn1.SEQUENCE),
		!outer.SkipASN1(asn1.SEQUENCE) || !outer.ReadASN1BitString(&signature) || !outer.Empty():
		return nil, errors.New("not a certificate in DER")
	}
	c.signed = bytes.Clone(tbs)
	tag0 := asn1.Tag(0).Constructed().ContextSpecific()
	switch {
	case !tbs.ReadASN1(&body, asn1.SEQUENCE),
		!body.ReadOptionalASN1Integer(&version, tag0, int64(0)),
		!body.ReadASN1Integer(c.Serial),
		!body.ReadASN1(&algorithm, asn1.SEQUENCE),
		!body.ReadASN1(&issuer, asn1.SEQUENCE),
		!body.ReadASN1(&validity, asn1.SEQUENCE),
		!body.ReadASN1(&subject, asn1.SEQUENCE),
		!body.ReadASN1Element(&key, asn1.SEQUENCE):
		return nil, errors.New("malformed certificate")
	case version != 2:
		return nil, errors.New("not a certificate of version 3")
	case c.Serial.Sign() <= 0 || c.Serial.BitLen() > 20*8: // RFC 5280, 4.1.2.2
		return nil, errors.New("serial number is not positive, or longer than 20 bytes")
	}
	var err error
	if c.issuer, err = nameOf(issuer); err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	if c.Organisation, err = organisationOf(subject); err != nil {
		return nil, fmt.Errorf("subject: %w", err)
	}
	if !readTime(&validity, &c.NotBefore) || !readTime(&validity, &c.NotAfter) || !validity.Empty() || c.NotAfter.Before(c.NotBefore) {
		return nil, errors.New("malformed validity")
	}
	if c.Key, err = keyOf(key); err != nil {
		return nil, err
	}
	if err := maySign(body); err != nil {
		return nil, err
	}
	return c, nil
}

// nameOf returns the normal form of a Name.
func nameOf(name cryptobyte.String) (string, error) {
	var lines []string
	err := attributes(name, func(kind string, der cryptobyte.String) error {
		value, err := attributeValue(der)
		lines = append(lines, kind+"="+value)
		return err
	})
	if err == nil && lines == nil {
		err = errName
	}
	return joinLines(lines), err
}

// organisationOf returns the EUI-64 of a subject.
func organisationOf(name cryptobyte.String) (id outage.DeviceID, err error) {
	n := 0
	err = attributes(name, func(kind string, der cryptobyte.String) error {
		if kind != uniqueIdentifier {
			return nil
		}
		n++
		var bits []byte
		if !der.ReadASN1BitStringAsBytes(&bits) || !der.Empty() || len(bits) != 8 {
			return errors.New("x500UniqueIdentifier is not a bit string of 8 bytes")
		}
		id = outage.DeviceID(binary.BigEndian.Uint64(bits))
		return nil
	})
	if err == nil && (n != 1 || id == 0) {
		err = errors.New("not one x500UniqueIdentifier with an EUI-64")
	}
	return id, err
}

func keyOf(info cryptobyte.String) (*ecdsa.PublicKey, error) {
	parsed, err := x509.ParsePKIXPublicKey(info)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("public key is not on P-256")
	}
	return key, nil
}

// maySign reads what comes after the public key. It fails if the key usage is missing, or has
// no digitalSignature.
func maySign(rest cryptobyte.String) error {
	errExtensions := errors.New("malformed extensions")
	tag := func(n uint8) asn1.Tag { return asn1.Tag(n).ContextSpecific() }
	var all, list cryptobyte.String
	if !rest.SkipOptionalASN1(tag(1)) || !rest.SkipOptionalASN1(tag(2)) ||
		!rest.ReadASN1(&all, tag(3).Constructed()) || !rest.Empty() || !all.ReadASN1(&list, asn1.SEQUENCE) || !all.Empty() {
		return errExtensions
	}
	n, signs := 0, false
	for !list.Empty() {
		var extension, kind, value cryptobyte.String
		var critical bool
		if !list.ReadASN1(&extension, asn1.SEQUENCE) || !extension.ReadASN1Element(&kind, asn1.OBJECT_IDENTIFIER) ||
			extension.PeekASN1Tag(asn1.BOOLEAN) && !extension.ReadASN1Boolean(&critical) ||
			!extension.ReadASN1(&value, asn1.OCTET_STRING) || !extension.Empty() {
			return errExtensions
		}
		id, err := objectIdentifier(kind)
		if err != nil {
			return errExtensions
		}
		if id != keyUsage {
			continue
		}
		var usage encoding.BitString
		if n++; !value.ReadASN1BitString(&usage) || !value.Empty() {
			return errExtensions
		}
		signs = usage.At(0) == 1
	}
	if n != 1 || !signs {
		return errors.New("key usage has no digitalSignature")
	}
	return nil
}

func readTime(in *cryptobyte.String, t *time.Time) bool {
	if in.PeekASN1Tag(asn1.UTCTime) {
		return in.ReadASN1UTCTime(t)
	}
	return in.ReadASN1GeneralizedTime(t)
}

// objectIdentifier returns an object identifier in dotted decimal.
func objectIdentifier(der cryptobyte.String) (string, error) {
	var id encoding.ObjectIdentifier
	if !der.ReadASN1ObjectIdentifier(&id) {
		return "", errors.New("malformed object identifier")
	}
	return id.String(), nil
}
