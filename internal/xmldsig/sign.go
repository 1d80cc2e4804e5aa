package xmldsig

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// signatureForm is a signature with gaps for DigestValue, SignatureValue, X509IssuerName and
// X509SerialNumber.
const signatureForm = `<ds:Signature xmlns:ds="` + namespace + `"><ds:SignedInfo>` +
	`<ds:CanonicalizationMethod Algorithm="` + exclusiveC14N + `"/><ds:SignatureMethod Algorithm="` + ecdsaSHA256 + `"/>` +
	`<ds:Reference URI=""><ds:Transforms><ds:Transform Algorithm="` + envelopedSignature + `"/></ds:Transforms>` +
	`<ds:DigestMethod Algorithm="` + sha256Digest + `"/><ds:DigestValue>%s</ds:DigestValue></ds:Reference></ds:SignedInfo>` +
	`<ds:SignatureValue>%s</ds:SignatureValue>` +
	`<ds:KeyInfo><ds:X509Data><ds:X509IssuerSerial><ds:X509IssuerName>%s</ds:X509IssuerName><ds:X509SerialNumber>%s</ds:X509SerialNumber>` +
	`</ds:X509IssuerSerial></ds:X509Data></ds:KeyInfo></ds:Signature>`

// Sign returns a document with a signature at its end, in the form that Verify reads and, but
// for what the document itself has, without white space. It is for tests, demonstrations
// and the simulator: quell itself signs nothing.
//
// The document must be unsigned, and its root must have an end tag. The key is on P-256. The
// issuer is as RFC 4514 writes it, such as CN=Z9,OU=07. The signature is also over white space
// between the elements of the document.
func Sign(document []byte, key *ecdsa.PrivateKey, issuer string, serial *big.Int) ([]byte, error) {
	if key.Curve != elliptic.P256() {
		return nil, errors.New("the key is not on P-256")
	}
	var unsigned, signed reader
	switch err := unsigned.read(document); {
	case err == nil:
		return nil, errors.New("the document has a signature")
	case !errors.Is(err, ErrMissing):
		return nil, err
	}
	end := unsigned.rootEnd
	if document[end+1] != '/' {
		return nil, errors.New("the root is empty")
	}
	digest := sha256.Sum256(unsigned.whole.out)
	with := func(signatureValue string) []byte {
		var name canonicalizer
		name.escaped([]byte(issuer), "&<>\r")
		signature := fmt.Appendf(nil, signatureForm, base64.StdEncoding.EncodeToString(digest[:]), signatureValue, name.out, serial)
		return slices.Concat(document[:end], signature, document[end:])
	}
	signed.signedInfo.exclusive = true
	if err := signed.read(with("")); err != nil {
		return nil, err
	}
	hash := sha256.Sum256(signed.signedInfo.out)
	r, s, err := ecdsa.Sign(rand.Reader, key, hash[:])
	if err != nil {
		return nil, err
	}
	var raw [signatureSize]byte
	r.FillBytes(raw[:signatureSize/2])
	s.FillBytes(raw[signatureSize/2:])
	value := base64.StdEncoding.EncodeToString(raw[:])
	return with(value[:76] + "&#13;\n" + value[76:]), nil // the line ends that Java writes
}
