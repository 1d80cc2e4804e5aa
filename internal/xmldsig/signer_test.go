package xmldsig

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"
	"time"

	"quell/internal/duis"
	"quell/internal/outage"
	"quell/internal/smki"
)

// A signer of tests.
type signer struct {
	key         *ecdsa.PrivateKey
	certificate *smki.Certificate
}

const (
	supplier outage.DeviceID = 0x90B3D51F30010007
	provider outage.DeviceID = 0x90B3D51F30000002
	meter    outage.DeviceID = 0x001BC502B0004C2E
	hub      outage.DeviceID = 0x001BC502B0004C2D
)

var noon = time.Date(2027, 2, 1, 12, 0, 0, 0, time.UTC)

// newSigner makes a signer with a certificate that is valid for a year around noon.
func newSigner(t testing.TB, organisation outage.DeviceID) signer {
	t.Helper()
	return newSignerFor(t, organisation, noon.AddDate(0, -6, 0), noon.AddDate(0, 6, 0))
}

func newSignerFor(t testing.TB, organisation outage.DeviceID, from, to time.Time) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := smki.Create(organisation, smki.XMLSign, &key.PublicKey, from, to, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := smki.Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	return signer{key, certificate}
}

func (s signer) sign(t testing.TB, document []byte) []byte {
	t.Helper()
	signed, err := Sign(document, s.key, smki.Issuer, s.certificate.Serial)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// known are the certificates of the given signers.
func known(t testing.TB, signers ...signer) *smki.Certificates {
	t.Helper()
	var all []*smki.Certificate
	for _, s := range signers {
		all = append(all, s.certificate)
	}
	certificates, err := smki.New(all...)
	if err != nil {
		t.Fatal(err)
	}
	return certificates
}

// unsigned are messages that quell decides on.
func unsigned() map[string][]byte {
	id := outage.RequestID{Originator: supplier, Target: meter, Counter: 70001}
	order := outage.Order{Kind: outage.FutureDated, At: noon.Add(time.Hour)}
	sequence, count := uint32(7), uint32(3)
	return map[string][]byte{
		"activation":   duis.AppendActivateFirmware(nil, id, order, [32]byte{1, 2, 3}),
		"precommand":   duis.AppendSignedPreCommand(nil, id, 5, order, []byte("the payload of a Signed Pre-Command")),
		"cancellation": duis.AppendSignedPreCommand(nil, id, 5, outage.Order{Kind: outage.Cancellation}, []byte{1}),
		"AD1": duis.AppendPowerOutage(nil, outage.RequestID{Originator: provider, Target: supplier, Counter: 1}, noon,
			duis.PowerOutage{CHF: hub, Start: noon.Add(-3 * time.Minute), MPxN: "12<3&4>5", Throttled: outage.Throttled{SequenceID: &sequence, Count: &count}}),
	}
}
