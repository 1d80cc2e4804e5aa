package motorway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"math/big"
	"sync"
	"testing"
	"time"

	"quell/internal/smki"
	"quell/internal/xmldsig"
)

// A second supplier, and the one meter that it does not supply according to the inventory.
const (
	secondSupplier = supplier + 1
	suppliedMeter  = theMeter
)

// signer is one who signs messages, with the certificates that quell knows.
type signer struct {
	key    *ecdsa.PrivateKey
	serial *big.Int
	known  *smki.Certificates
}

// secondSigner signs for secondSupplier. Its certificate is the only one.
var secondSigner = sync.OnceValue(func() *signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		panic(err)
	}
	der, err := smki.Create(secondSupplier, smki.XMLSign, &key.PublicKey, t0.Add(-time.Hour), t0.AddDate(1, 0, 0), key)
	if err != nil {
		panic(err)
	}
	c, err := smki.Parse(der)
	if err != nil {
		panic(err)
	}
	known, err := smki.New(c)
	if err != nil {
		panic(err)
	}
	return &signer{key, c.Serial, known}
})

func (s *signer) sign(t *testing.T, document []byte) []byte {
	text, err := xmldsig.Sign(document, s.key, smki.Issuer, s.serial)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
