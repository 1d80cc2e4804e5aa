package sim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"quell/internal/outage"
	"quell/internal/smki"
	"quell/internal/xmldsig"
)

// organisation is one that signs messages.
type organisation struct {
	id     outage.DeviceID
	key    *ecdsa.PrivateKey
	der    []byte // its certificate
	serial *big.Int
}

// organisations are those that sign the town's messages. Their keys are new each time.
var organisations = []outage.DeviceID{supplier, otherSupplier, dsp}

// newOrganisation makes an organisation with a key, and with a certificate that is valid now.
func newOrganisation(id outage.DeviceID) *organisation {
	o := &organisation{id: id, key: newKey()}
	from := now().Add(-time.Hour)
	der, err := smki.Create(id, smki.XMLSign, &o.key.PublicKey, from, from.AddDate(1, 0, 0), newKey())
	if err != nil {
		panic(err) // nothing in it comes from outside
	}
	c, err := smki.Parse(der)
	if err != nil {
		panic(err)
	}
	o.der, o.serial = der, c.Serial
	return o
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

// sign returns a message with the signature of an organisation.
func (t *Town) sign(by outage.DeviceID, message []byte) []byte {
	o := t.organisations[by]
	signed, err := xmldsig.Sign(message, o.key, smki.Issuer, o.serial)
	if err != nil {
		panic(err)
	}
	return signed
}

// Suppliers returns the EUI-64s of the town's suppliers.
func (t *Town) Suppliers() []string { return []string{supplier.String(), otherSupplier.String()} }

// WriteCertificates writes the certificates of those who sign the town's messages into a
// folder, in PEM.
func (t *Town) WriteCertificates(dir string) error {
	for id, o := range t.organisations {
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: o.der})
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s.pem", id)), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}
