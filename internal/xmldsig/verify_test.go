package xmldsig

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"quell/internal/duis"
	"quell/internal/smki"
)

func TestSignAndVerify(t *testing.T) {
	s, other := newSigner(t, supplier), newSigner(t, provider)
	certificates := known(t, s, other)
	for name, document := range unsigned() {
		if _, err := Verify(document, certificates, noon); !errors.Is(err, ErrMissing) {
			t.Errorf("%s, unsigned: %v", name, err)
		}
		signed := s.sign(t, document)
		if got, err := Verify(signed, certificates, noon); err != nil || got != s.certificate || got.Organisation != supplier {
			t.Errorf("%s: %+v, %v\n%s", name, got, err, signed)
		}
		if _, err := Sign(signed, s.key, smki.Issuer, s.certificate.Serial); err == nil {
			t.Errorf("%s: signed twice", name)
		}
	}
}

// TestRotation holds that the certificate that a signature names must be there, and be valid at
// the time that is asked for.
func TestRotation(t *testing.T) {
	from, to := noon, noon.AddDate(1, 0, 0)
	old := newSignerFor(t, supplier, from.AddDate(-1, 0, 0), from.Add(time.Hour))
	current := newSignerFor(t, supplier, from, to)
	next := newSignerFor(t, supplier, to, to.AddDate(1, 0, 0))
	document := unsigned()["precommand"]
	for _, c := range []struct {
		name   string
		signer signer
		known  *smki.Certificates
		at     time.Time
		want   error
	}{
		{"the old one", old, known(t, old, current, next), from.Add(-time.Second), nil},
		{"both serve while they overlap", old, known(t, old, current, next), from, nil},
		{"both serve while they overlap", current, known(t, old, current, next), from, nil},
		{"not yet valid", current, known(t, old, current, next), from.Add(-time.Nanosecond), ErrSignerUnknown},
		{"last second", old, known(t, old, current, next), from.Add(time.Hour), nil},
		{"expired", old, known(t, old, current, next), from.Add(time.Hour + time.Nanosecond), ErrSignerUnknown},
		{"the one to come", next, known(t, old, current, next), from, ErrSignerUnknown},
		{"not there yet", next, known(t, old, current), to, ErrSignerUnknown},
		{"removed", old, known(t, current, next), from, ErrSignerUnknown},
		{"nobody is known", current, known(t), from, ErrSignerUnknown},
		{"nobody is known", current, &smki.Certificates{}, from, ErrSignerUnknown},
	} {
		got, err := Verify(c.signer.sign(t, document), c.known, c.at)
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) || (err == nil) != (got == c.signer.certificate) {
			t.Errorf("%s at %v: %v, %v; want %v", c.name, c.at, got, err, c.want)
		}
	}
}

// TestInvalidFirst holds that what is provably forged is invalid, even where the signer's
// certificate is unknown or has expired.
func TestInvalidFirst(t *testing.T) {
	s := newSigner(t, supplier)
	signed := string(s.sign(t, unsigned()["precommand"]))
	changed := strings.Replace(signed, ":70001<", ":70002<", 1)
	if _, err := Verify([]byte(changed), known(t), noon); !errors.Is(err, ErrInvalid) {
		t.Errorf("changed, signer unknown: %v", err)
	}
	swapped := newSigner(t, supplier)
	swapped.certificate = s.certificate // the right name, but the wrong key
	if _, err := Verify(swapped.sign(t, unsigned()["precommand"]), known(t, s), noon.AddDate(9, 0, 0)); !errors.Is(err, ErrInvalid) {
		t.Errorf("wrong key, and expired: %v", err)
	}
}

// TestSizes holds that what duis reads Verify reads, and no more.
func TestSizes(t *testing.T) {
	if MaxSize != duis.MaxSize {
		t.Errorf("%d, not %d", MaxSize, duis.MaxSize)
	}
	s := newSigner(t, supplier)
	signed := string(s.sign(t, unsigned()["precommand"]))
	for _, size := range []int{MaxSize, MaxSize + 1} {
		document := signed + strings.Repeat("\n", size-len(signed))
		_, err := Verify([]byte(document), known(t, s), noon)
		if (err == nil) != (size == MaxSize) || err != nil && !errors.Is(err, ErrUnreadable) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	for n := range signed {
		if _, err := Verify([]byte(signed[:n]), known(t, s), noon); !errors.Is(err, ErrUnreadable) {
			t.Errorf("the first %d bytes: %v", n, err)
		}
	}
}

func TestDecode(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for text, want := range map[string]bool{
		good: true, good[:9] + " \t\r\n" + good[9:]: true, "\n" + good + "\n": true,
		"": false, good + "A": false, good + good: false, good[1:]: false, good[:42]: false, good[:43]: false, good + "=": false,
		good[:42] + "B=": false, // the last bits are not zero
		base64.StdEncoding.EncodeToString(make([]byte, 31)): false, base64.StdEncoding.EncodeToString(make([]byte, 33)): false,
		good[:9] + "\v" + good[10:]: false, good[:9] + "\u00a0" + good[9:]: false, good[:9] + "-" + good[10:]: false, good[:9] + "_" + good[10:]: false, good[:9] + "=" + good[10:]: false,
	} {
		if b, err := decode([]byte(text), 32); (err == nil) != want || err == nil && len(b) != 32 {
			t.Errorf("%q: %d bytes, %v", text, len(b), err)
		}
	}
}

// BenchmarkVerify measures a message as DUIS has it, one that was indented after it was signed, and
// the largest there is, made of what takes longest.
func BenchmarkVerify(b *testing.B) {
	s := newSigner(b, supplier)
	certificates := known(b, s)
	document := string(unsigned()["precommand"])
	signed := string(s.sign(b, []byte(document)))
	filled := strings.Replace(document, "<sr:Body>", "<sr:Body>"+strings.Repeat("<x>&#13;</x>", 5100), 1)
	for name, signed := range map[string]string{
		"compact":  signed,
		"indented": strings.ReplaceAll(signed, "><", ">\n  <"),
		"largest":  string(s.sign(b, []byte(filled))),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Verify([]byte(signed), certificates, noon); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSign(b *testing.B) {
	s := newSigner(b, supplier)
	document := unsigned()["precommand"]
	for b.Loop() {
		s.sign(b, document)
	}
}

// TestJava holds that messages verify that Java's own XML signatures (OpenJDK 17) signed, in the way of the
// DCC's tool: with a certificate of smki.Create, and in testdata/java/indented-by-schema.xml with
// the DUIS schema, by which Java removed the white space.
func TestJava(t *testing.T) {
	samples, certificates := javaSamples(t)
	for file, signed := range samples {
		signer, err := Verify(signed, certificates, noon)
		if err != nil || signer.Organisation != supplier {
			t.Errorf("%s: %v", file, err)
		}
		// A message that was compact when it was signed may be indented.
		indented := strings.ReplaceAll(string(signed), "><", ">\n  <")
		if _, err := Verify([]byte(indented), certificates, noon); (err == nil) == strings.HasSuffix(file, "indented.xml") {
			t.Errorf("%s, indented: %v", file, err)
		}
		changed := strings.Replace(string(signed), "00-4C-2", "00-4D-2", 1)
		if _, err := Verify([]byte(changed), certificates, noon); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s, changed: %v", file, err)
		}
	}
}
