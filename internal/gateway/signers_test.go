package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"
	"time"

	"quell/internal/outage"
	"quell/internal/smki"
	"quell/internal/xmldsig"
)

// signers are the organisations of a timeline that sign messages, each with its key and its
// certificate.
type signers struct {
	t  *testing.T
	of map[string]*signer
}

type signer struct {
	key         *ecdsa.PrivateKey
	certificate *smki.Certificate
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// find returns a signer, and makes it if it is new.
func (s *signers) find(name string, id outage.DeviceID, from, to time.Time) *signer {
	if have := s.of[name]; have != nil {
		return have
	}
	one := &signer{key: newKey(s.t)}
	der, err := smki.Create(id, smki.XMLSign, &one.key.PublicKey, from, to, newKey(s.t))
	if err == nil {
		one.certificate, err = smki.Parse(der)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	if s.of == nil {
		s.of = map[string]*signer{}
	}
	s.of[name] = one
	return one
}

// sign signs a message.
func (s *signer) sign(t *testing.T, document []byte) []byte {
	signed, err := xmldsig.Sign(document, s.key, smki.Issuer, s.certificate.Serial)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}
