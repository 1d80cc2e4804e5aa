package xmldsig

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"strings"
	"testing"
)

// resign signs the first SignedInfo of a document as it is, whatever is in it. The result is ""
// if the document is not well-formed.
func (s signer) resign(t testing.TB, document string) string {
	t.Helper()
	if !wellFormed([]byte(document)) {
		return ""
	}
	hash := sha256.Sum256([]byte(canonicalize(t, document, "SignedInfo", true)))
	a, b, err := ecdsa.Sign(rand.Reader, s.key, hash[:])
	if err != nil {
		t.Fatal(err)
	}
	value := base64.StdEncoding.EncodeToString(raw(a, b, 32))
	return regexp.MustCompile(`(?s)<ds:SignatureValue>.*</ds:SignatureValue>`).ReplaceAllLiteralString(document, "<ds:SignatureValue>"+value+"</ds:SignatureValue>")
}

// TestForm holds that only one form of signature counts, even if the signer has made another: of a
// part of a document, of what a transform makes of it, or by another method. Such a signature
// says nothing about what duis reads.
func TestForm(t *testing.T) {
	s := newSigner(t, supplier)
	certificates := known(t, s)
	signed := string(s.sign(t, unsigned()["precommand"]))
	info := regexp.MustCompile(`<ds:SignedInfo>.*</ds:SignedInfo>`)
	refused := 0
	for _, a := range rewrite(signed) {
		if info.FindString(a.document) == info.FindString(signed) && !strings.HasPrefix(a.name, "fragment") {
			continue // it does not change SignedInfo
		}
		document := s.resign(t, a.document)
		if document == "" {
			continue
		}
		// White space that the signer has put there does not matter.
		want := a.same || a.name == "blank in DigestValue" || a.name == "white space in a method"
		_, err := Verify([]byte(document), certificates, noon)
		if (err == nil) != want {
			t.Errorf("%s: %v\n%s", a.name, err, document)
		}
		if !want {
			refused++
			if err != nil && strings.Contains(err.Error(), "not signed by") {
				t.Errorf("%s: refused only since the signature is wrong, but it is right: %v", a.name, err)
			}
		}
	}
	t.Logf("%d forms are refused", refused)
	if refused < 30 {
		t.Errorf("only %d forms are refused", refused)
	}
}
