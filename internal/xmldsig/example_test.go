package xmldsig_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"time"

	"quell/internal/duis"
	"quell/internal/outage"
	"quell/internal/smki"
	"quell/internal/xmldsig"
)

func ExampleVerify() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	now := time.Now()
	der, err := smki.Create(0x90B3D51F30010007, smki.XMLSign, &key.PublicKey, now, now.AddDate(1, 0, 0), key)
	if err != nil {
		log.Fatal(err)
	}
	certificate, err := smki.Parse(der)
	if err != nil {
		log.Fatal(err)
	}
	certificates, err := smki.New(certificate)
	if err != nil {
		log.Fatal(err)
	}

	id := outage.RequestID{Originator: 0x90B3D51F30010007, Target: 0x001BC502B0004C2E, Counter: 1}
	document := duis.AppendSignedPreCommand(nil, id, 5, outage.Order{Kind: outage.OnDemand}, []byte("payload"))
	signed, err := xmldsig.Sign(document, key, smki.Issuer, certificate.Serial)
	if err != nil {
		log.Fatal(err)
	}

	signer, err := xmldsig.Verify(signed, certificates, now.Add(time.Hour))
	fmt.Println(signer.Organisation == id.Originator, err)
	_, err = xmldsig.Verify(document, certificates, now)
	fmt.Println(errors.Is(err, xmldsig.ErrMissing))
	_, err = xmldsig.Verify(signed, certificates, now.AddDate(2, 0, 0))
	fmt.Println(errors.Is(err, xmldsig.ErrSignerUnknown))
	// Output:
	// true <nil>
	// true
	// true
}
