package smki

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"math/big"
	"time"

	"quell/internal/outage"
)

// XMLSign is the role of a certificate for XML signatures, in a subject's organizational unit.
const XMLSign = "87"

// Issuer is the issuer of certificates that Create makes, as RFC 4514 writes it.
const Issuer = "CN=Z9,OU=07"

// Create makes a certificate in DER in the form of SMKI's, for tests and demonstrations. The
// key of Issuer is issuerKey. The serial number is random.
func Create(organisation outage.DeviceID, role string, key *ecdsa.PublicKey, notBefore, notAfter time.Time, issuerKey *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126))
	if err != nil {
		return nil, err
	}
	id := binary.BigEndian.AppendUint64(nil, uint64(organisation))
	template := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject: pkix.Name{
			OrganizationalUnit: []string{role},
			ExtraNames:         []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 45}, Value: asn1.BitString{Bytes: id, BitLength: 64}}},
		},
		NotBefore: notBefore,
		NotAfter:  notAfter,
		KeyUsage:  x509.KeyUsageDigitalSignature,
	}
	issuer := &x509.Certificate{Subject: pkix.Name{OrganizationalUnit: []string{"07"}, CommonName: "Z9"}}
	return x509.CreateCertificate(rand.Reader, template, issuer, key, issuerKey)
}
