package xmldsig

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"time"

	"quell/internal/smki"
	"quell/internal/strictxml"
)

// Why a document does not count as signed. Verify wraps them; ask with errors.Is.
var (
	ErrMissing       = errors.New("the signature is missing")
	ErrInvalid       = errors.New("the signature is invalid")
	ErrForged        = fmt.Errorf("%w, and forged", ErrInvalid) // is ErrInvalid too
	ErrSignerUnknown = errors.New("the signer is unknown")
	ErrUnreadable    = errors.New("the document cannot be read") // not well-formed, or longer than MaxSize
)

// MaxSize is the length in bytes of the longest document that Verify reads.
const MaxSize = 64 << 10

const namespace = "http://www.w3.org/2000/09/xmldsig#"

// Verify returns the certificate that a document was signed with. It must be valid at the given
// time. Whether its organisation may send such a message is for the caller to ask.
//
// The error is one of those above. ErrForged means that the document was changed, or that another
// key signed it. ErrInvalid alone means that the signature has another form than the package's
// comment says: somebody may have signed it so in good faith.
// ErrSignerUnknown means that nothing of that was found, but no certificate has the issuer and serial
// number that the signature names, or it is not valid at that time. A document that is
// both is invalid.
//
// Verify keeps no reference to the document.
func Verify(document []byte, certificates *smki.Certificates, at time.Time) (*smki.Certificate, error) {
	if len(document) > MaxSize {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrUnreadable, MaxSize)
	}
	r := reader{signedInfo: canonicalizer{exclusive: true}}
	r.whole.out = make([]byte, 0, len(document)+len(document)/16)
	r.signedInfo.out = make([]byte, 0, 1024)
	if err := r.read(document); err != nil {
		return nil, err
	}
	digest, err := decode(r.digest, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("%w: DigestValue: %w", ErrInvalid, err)
	}
	signature, err := decode(r.signature, signatureSize)
	if err != nil {
		return nil, fmt.Errorf("%w: SignatureValue: %w", ErrInvalid, err)
	}
	if fits := r.whole.fits(func(hash [32]byte) bool { return bytes.Equal(hash[:], digest) }); !fits {
		return nil, fmt.Errorf("%w: the document was changed", ErrForged)
	}
	signer := certificates.Find(string(r.issuer), string(r.serial))
	if signer == nil {
		return nil, fmt.Errorf("%w: no certificate of issuer %.100q with serial number %.60q", ErrSignerUnknown, r.issuer, r.serial)
	}
	if fits := r.signedInfo.fits(func(hash [32]byte) bool { return verify(signer.Key, hash, signature) }); !fits {
		return nil, fmt.Errorf("%w: not signed by %s with serial number %s", ErrForged, signer.Organisation, signer.Serial)
	}
	if !signer.ValidAt(at) {
		return nil, fmt.Errorf("%w: the certificate of %s with serial number %s is valid from %s to %s", ErrSignerUnknown,
			signer.Organisation, signer.Serial, signer.NotBefore.Format(time.RFC3339), signer.NotAfter.Format(time.RFC3339))
	}
	return signer, nil
}

// fits reports whether a digest of what was written fits, as it is or without the white space
// between elements.
func (c *canonicalizer) fits(fits func([32]byte) bool) bool {
	all, n := c.digests()
	return fits(all[0]) || n == 2 && fits(all[1])
}

// signatureSize is the length of a signature on P-256: r and s, 32 bytes each, the first byte
// the most significant (RFC 4050, 3.3).
const signatureSize = 64

// verify reports whether r and s in signature, of signatureSize bytes, are a signature of hash.
func verify(key *ecdsa.PublicKey, hash [32]byte, signature []byte) bool {
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	return ecdsa.Verify(key, hash[:], r, s)
}

// decode reads base64 of exactly size bytes. White space in it does not matter.
func decode(text []byte, size int) ([]byte, error) {
	if strictxml.ContainsSpace(text) {
		text = bytes.Join(bytes.FieldsFunc(text, isSpace), nil)
	}
	b, err := base64.StdEncoding.Strict().AppendDecode(nil, text)
	if err != nil {
		return nil, errors.New("not base64")
	}
	if len(b) != size {
		return nil, fmt.Errorf("%d bytes, not %d", len(b), size)
	}
	return b, nil
}

func isSpace(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\n' }
