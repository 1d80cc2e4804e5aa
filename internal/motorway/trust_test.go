package motorway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"math/big"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"quell/internal/outage"
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

// However its 11.3s are spread, an originator never has more of them tracked within an hour than
// it may, and one that stays below is never stopped. Hours are counted in whole minutes.
func TestSenders(t *testing.T) {
	const most = 50
	rnd := rand.New(rand.NewPCG(1, 2))
	var s senders
	tracked := map[outage.DeviceID][]int64{} // minutes of those that were tracked
	at := t0
	for range 20_000 {
		at = at.Add(time.Duration(rnd.IntN(20)*rnd.IntN(20)) * time.Second)
		if rnd.IntN(500) == 0 {
			at = at.Add(time.Duration(rnd.IntN(100)) * time.Minute)
		}
		id, minute := outage.DeviceID(rnd.IntN(3)+1), at.Unix()/60
		within := 0
		for _, m := range tracked[id] {
			if minute-m < 60 {
				within++
			}
		}
		over, first := s.count(id, at, most)
		if over != (within >= most) || first && !over {
			t.Fatalf("%s: %d of %d within the hour, over %v, first %v", at, within, most, over, first)
		}
		if !over {
			tracked[id] = append(tracked[id], minute)
		}
	}
	if over, _ := s.count(9, at, 0); over {
		t.Error("without a limit there is one")
	}
}

// Invented originators do not fill the memory, and do not share the count of those that are
// known.
func TestManySenders(t *testing.T) {
	var s senders
	s.count(1, t0, 10)
	for i := range 3 * maxSenders {
		s.count(outage.DeviceID(1000+i), t0, 10)
	}
	if len(s.of) > maxSenders+1 {
		t.Errorf("%d originators are counted", len(s.of))
	}
	if over, _ := s.count(1, t0, 10); over {
		t.Error("an originator is over its limit because of others")
	}
	if over, _ := s.count(5, t0, 10); !over {
		t.Error("those beyond have no limit")
	}
	s.count(2, t0.Add(2*time.Hour), 10)
	if len(s.of) > 10 {
		t.Errorf("%d originators are still counted after two hours", len(s.of))
	}
}
