package smki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"quell/internal/outage"
)

const organisation outage.DeviceID = 0x90B3D51F30010007

var from, to = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2126, 1, 1, 0, 0, 0, 0, time.UTC)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// identifier is the attribute with the EUI-64.
func identifier(value any) []pkix.AttributeTypeAndValue {
	return []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 45}, Value: value}}
}

var eui = asn1.BitString{Bytes: []byte{0x90, 0xB3, 0xD5, 0x1F, 0x30, 0x01, 0x00, 0x07}, BitLength: 64}

// issue makes a certificate, changed by change.
func issue(t testing.TB, public any, change func(subject, issuer *x509.Certificate)) []byte {
	t.Helper()
	subject := &x509.Certificate{
		SerialNumber: big.NewInt(77),
		Subject:      pkix.Name{CommonName: "SUPPLIER", OrganizationalUnit: []string{"87"}, ExtraNames: identifier(eui)},
		NotBefore:    from, NotAfter: to,
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	issuer := &x509.Certificate{Subject: pkix.Name{OrganizationalUnit: []string{"07"}, CommonName: "Z9"}}
	if change != nil {
		change(subject, issuer)
	}
	der, err := x509.CreateCertificate(rand.Reader, subject, issuer, public, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestParse(t *testing.T) {
	key := newKey(t)
	der, err := Create(organisation, XMLSign, &key.PublicKey, from, to, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x509.ParseCertificate(der); err == nil {
		t.Error("crypto/x509 reads it: then this package need not")
	}
	c, err := Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	if c.Organisation != organisation || !c.NotBefore.Equal(from) || !c.NotAfter.Equal(to) || !c.Key.Equal(&key.PublicKey) || c.Serial.Sign() <= 0 {
		t.Errorf("%+v", c)
	}
	for at, want := range map[time.Time]bool{from.Add(-1): false, from: true, to: true, to.Add(1): false} {
		if c.ValidAt(at) != want {
			t.Errorf("valid at %v: %t", at, !want)
		}
	}
	// Read from bytes that change afterwards:
	der2 := bytes.Clone(der)
	c2, _ := Parse(der2)
	clear(der2)
	if both, err := New(c, c2); err != nil || both.Len() != 1 {
		t.Errorf("the same twice: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	key := newKey(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edwards, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := issue(t, &key.PublicKey, nil)
	if _, err := Parse(good); err != nil {
		t.Fatal(err)
	}
	subject := func(change func(*x509.Certificate)) []byte {
		return issue(t, &key.PublicKey, func(s, _ *x509.Certificate) { change(s) })
	}
	replace := func(old, new string) []byte {
		if bytes.Count(good, []byte(old)) != 1 {
			t.Fatalf("%q is not once in the certificate", old)
		}
		return bytes.Replace(good, []byte(old), []byte(new), 1)
	}
	for name, der := range map[string][]byte{
		"version 2":       replace("\xa0\x03\x02\x01\x02", "\xa0\x03\x02\x01\x01"),
		"version 4":       replace("\xa0\x03\x02\x01\x02", "\xa0\x03\x02\x01\x03"),
		"serial 0":        replace("\x02\x01\x4d", "\x02\x01\x00"),
		"serial -1":       replace("\x02\x01\x4d", "\x02\x01\xff"),
		"more":            extended(t, good),
		"reversed":        subject(func(c *x509.Certificate) { c.NotBefore, c.NotAfter = to, from }),
		"another's usage": subject(func(c *x509.Certificate) { c.KeyUsage, c.SubjectKeyId = 0, []byte{1} }),
		"empty":           nil,
		"trailing byte":   append(bytes.Clone(good), 0),
		"twice":           append(bytes.Clone(good), good...),
		"P-384":           issue(t, &p384.PublicKey, nil),
		"Ed25519":         issue(t, edwards, nil),
		"RSA":             issue(t, &rsaKey.PublicKey, nil),
		"key agreement":   subject(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }),
		"no key usage":    subject(func(c *x509.Certificate) { c.KeyUsage = 0 }),
		"authority":       subject(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign }),
		"no EUI-64":       subject(func(c *x509.Certificate) { c.Subject.ExtraNames = nil }),
		"EUI-64 of zeros": subject(func(c *x509.Certificate) {
			c.Subject.ExtraNames = identifier(asn1.BitString{Bytes: make([]byte, 8), BitLength: 64})
		}),
		"EUI-64 as text": subject(func(c *x509.Certificate) { c.Subject.ExtraNames = identifier("90B3D51F30010007") }),
		"EUI-64 of 7": subject(func(c *x509.Certificate) {
			c.Subject.ExtraNames = identifier(asn1.BitString{Bytes: eui.Bytes[:7], BitLength: 56})
		}),
		"EUI-64 of 63": subject(func(c *x509.Certificate) {
			c.Subject.ExtraNames = identifier(asn1.BitString{Bytes: eui.Bytes[:8], BitLength: 63})
		}),
		"EUI-64 twice":     subject(func(c *x509.Certificate) { c.Subject.ExtraNames = append(identifier(eui), identifier(eui)...) }),
		"nobody's":         issue(t, &key.PublicKey, func(_, i *x509.Certificate) { i.Subject = pkix.Name{} }),
		"of another bytes": bytes.Replace(good, []byte("SUPPLIER"), []byte("SUPP"), 1),
	} {
		if c, err := Parse(der); err == nil || c != nil {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	for n := range good {
		if _, err := Parse(good[:n]); err == nil {
			t.Errorf("the first %d bytes are a certificate", n)
		}
	}
}

// extended returns a certificate with a NULL after its signature.
func extended(t *testing.T, der []byte) []byte {
	t.Helper()
	var outer asn1.RawValue
	if _, err := asn1.Unmarshal(der, &outer); err != nil {
		t.Fatal(err)
	}
	longer, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: append(bytes.Clone(outer.Bytes), 5, 0)})
	if err != nil {
		t.Fatal(err)
	}
	return longer
}

func TestNormalName(t *testing.T) {
	for _, same := range [][]string{
		{"CN=Z1,OU=07", "CN=Z1, OU=07", "OU=07, CN=Z1", " cn = z1 ; ou=07 ", "CN=Z1+OU=07", "2.5.4.3=Z1,OID.2.5.4.11=07", `CN="Z1",OU="07"`, `CN=\5A1,OU=0\37`,
			"CN=#0c025a31,OU=#13023037", "CN=Z1\n,\n OU=07"},
		{`CN=A\, B,OU=07`, `CN="A, B",OU=07`, `CN=A\2C B,OU=07`, `CN=A\,  B , OU=07`},
		{`CN=a=b`, `CN=a\=b`, `CN="a=b"`},
		{`CN=\"`, `CN="\""`, `CN=\22`},
		{"2.5.4.45=#03090090b3d51f30010007", "X500UniqueIdentifier=#03090090B3D51F30010007"},
		{"CN="}, {`CN=\#41`}, {"CN=Z1"}, {"CN=Z1,OU=07,OU=07"}, {"CN=07,OU=Z1"}, {"O=Z1,OU=07"}, {"CN=Z 1,OU=07"}, {"CN=é"},
	} {
		first, err := normalName(same[0])
		if err != nil {
			t.Errorf("%q: %v", same[0], err)
		}
		for _, s := range same {
			if got, err := normalName(s); err != nil || got != first {
				t.Errorf("%q: %q, %v; want %q", s, got, err, first)
			}
		}
		for _, other := range []string{"CN=Z2,OU=07", "CN=Z1,OU=7"} {
			if got, _ := normalName(other); got == first {
				t.Errorf("%q is %q", other, same[0])
			}
		}
	}
	for _, bad := range []string{"", " ", "Z1", "CN", "CN=Z1,", "CN=Z1,,OU=07", ",CN=Z1", "XX=Z1", "=Z1", `CN="Z1`, `CN="Z1"x`, `CN=Z"1`, `CN=Z1\`, "CN=#", "CN=#0", "CN=#zz", "CN=#0c03", "CN=#0c00ff", "OID.=x"} {
		if got, err := normalName(bad); err == nil {
			t.Errorf("%q is %q", bad, got)
		}
	}
}

func TestFind(t *testing.T) {
	c, err := Parse(issue(t, &newKey(t).PublicKey, nil))
	if err != nil {
		t.Fatal(err)
	}
	all, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []struct {
		issuer, serial string
		found          bool
	}{
		{"CN=Z9,OU=07", "77", true}, {"OU=07, CN=Z9", " 077\n", true},
		{"CN=Z9,OU=07", "78", false}, {"CN=Z9,OU=07", "-77", false}, {"CN=Z9,OU=07", "+77", false}, {"CN=Z9,OU=07", "0x4d", false}, {"CN=Z9,OU=07", "", false}, {"CN=Z9,OU=07", "7 7", false},
		{"CN=Z9", "77", false}, {"", "77", false}, {"CN=Z9,OU=07,O=x", "77", false}, {"CN=Z9,OU=07\n\n7", "7", false},
	} {
		if got := all.Find(f.issuer, f.serial); (got == c) != f.found || got != nil && got != c {
			t.Errorf("%q, %q: %v", f.issuer, f.serial, got)
		}
	}
	for _, none := range []*Certificates{nil, {}} {
		if none.Find("CN=Z9,OU=07", "77") != nil || none.Len() != 0 {
			t.Error("found where there is none")
		}
	}
}

// TestDoubles holds that of two certificates with one name neither serves, in whatever order they come.
func TestDoubles(t *testing.T) {
	parse := func(der []byte) *Certificate {
		c, err := Parse(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	key := newKey(t)
	first := parse(issue(t, &key.PublicKey, nil))
	again := parse(issue(t, &key.PublicKey, nil)) // signed once more
	other := parse(issue(t, &newKey(t).PublicKey, nil))
	anotherOwner := parse(issue(t, &key.PublicKey, func(s, _ *x509.Certificate) {
		s.Subject.ExtraNames = identifier(asn1.BitString{Bytes: []byte{0x90, 0xB3, 0xD5, 0x1F, 0x30, 0x01, 0x00, 0x08}, BitLength: 64})
	}))
	good := parse(issue(t, &key.PublicKey, func(s, _ *x509.Certificate) { s.SerialNumber = big.NewInt(78) }))
	for name, c := range map[string]struct {
		all    []*Certificate
		serves int
	}{
		"the same":        {[]*Certificate{first, good, again}, 2},
		"another key":     {[]*Certificate{first, good, other}, 1},
		"another key 2":   {[]*Certificate{other, first, good}, 1},
		"another owner":   {[]*Certificate{first, anotherOwner, good}, 1},
		"three":           {[]*Certificate{first, other, first, good}, 1},
		"three, twice":    {[]*Certificate{first, other, again, other, good, anotherOwner}, 1},
		"only good":       {[]*Certificate{good}, 1},
		"none":            {nil, 0},
		"the same thrice": {[]*Certificate{first, first, first}, 1},
	} {
		got, err := New(c.all...)
		wrong := strings.Contains(name, "another") || strings.Contains(name, "three")
		if got.Len() != c.serves || (err != nil) != wrong {
			t.Errorf("%s: %d, %v", name, got.Len(), err)
		}
		if wrong && (got.Find("CN=Z9,OU=07", "77") != nil || got.Find("CN=Z9,OU=07", "78") != good) {
			t.Errorf("%s: the wrong one serves", name)
		}
	}
}

func encode(ders ...[]byte) (text []byte) {
	for _, der := range ders {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return text
}

// TestLoad holds that what is faulty in a folder is reported, and what is not serves.
func TestLoad(t *testing.T) {
	serial := int64(100)
	next := func() []byte {
		serial++
		n := serial
		return issue(t, &newKey(t).PublicKey, func(s, _ *x509.Certificate) { s.SerialNumber = big.NewInt(n) })
	}
	dir := t.TempDir()
	write := func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Good: 8 certificates.
	double := next()
	write("one.pem", encode(next()))
	write("one.der", next())
	write("several.pem", append([]byte("text before\n"), encode(next(), next(), next())...))
	write("again.pem", encode(double))
	write("again.der", double)
	write("crlf.crt", bytes.ReplaceAll(encode(next()), []byte("\n"), []byte("\r\n")))
	write(".hidden", []byte("x"))
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "linked")
	if err := os.WriteFile(outside, encode(next()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link.pem")); err != nil {
		t.Fatal(err)
	}
	good, err := Load(dir)
	if err != nil || good.Len() != 8 {
		t.Fatalf("%d, %v", good.Len(), err)
	}

	// Faulty, with 3 more that are good.
	faulty := encode(next())
	block := encode(next())
	write("empty", nil)
	write("text", []byte("nothing"))
	write("cut.pem", faulty[:len(faulty)/2])
	write("second-cut.pem", append(encode(next()), faulty[:len(faulty)-40]...))
	write("broken-between.pem", append(append(encode(next()), bytes.Replace(block, []byte("MII"), []byte("M!I"), 1)...), encode(next())...))
	write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}))
	write("long", append(encode(next()), bytes.Repeat([]byte{'\n'}, MaxFileSize)...))
	write("agreement.der", issue(t, &newKey(t).PublicKey, func(s, _ *x509.Certificate) { s.KeyUsage = x509.KeyUsageKeyAgreement }))
	write("double.der", issue(t, &newKey(t).PublicKey, func(s, _ *x509.Certificate) { s.SerialNumber = big.NewInt(101) })) // of again.pem
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "nowhere"), filepath.Join(dir, "dangling")); err != nil {
		t.Fatal(err)
	}
	got, err := Load(dir)
	if err == nil || got.Len() != 8+3-1 {
		t.Fatalf("%d, %v", got.Len(), err)
	}
	for _, name := range []string{"empty", "text", "cut.pem", "second-cut.pem", "broken-between.pem", "key.pem", "long", "agreement.der", "fifo", "dangling", "serial number 101"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not reported: %v", name, err)
		}
	}
	if lines := strings.Count(err.Error(), "\n") + 1; lines != 11 {
		t.Errorf("%d faults: %v", lines, err)
	}
	if got.Find("CN=Z9,OU=07", "101") != nil || got.Find("CN=Z9,OU=07", "102") == nil {
		t.Error("the wrong ones serve")
	}
	if good.Len() != 8 || good.Find("CN=Z9,OU=07", "101") == nil {
		t.Error("what was loaded before has changed")
	}

	for i := range 100 {
		write(fmt.Sprintf("x%d", i), []byte("x"))
	}
	if got, err := Load(dir); got.Len() != 10 || strings.Count(err.Error(), "\n") > maxFaults || !strings.HasSuffix(err.Error(), " more") {
		t.Errorf("many faults: %d, %v", got.Len(), err)
	}
	if got, err := Load(filepath.Join(dir, "nowhere")); got != nil || err == nil {
		t.Errorf("no folder: %v, %v", got, err)
	}
	if got, err := Load(t.TempDir()); err != nil || got.Len() != 0 {
		t.Errorf("empty folder: %v, %v", got, err)
	}
}

// FuzzParse holds that whatever is in a file, it is read or refused, and what is read can be found.
func FuzzParse(f *testing.F) {
	key := newKey(f)
	der := issue(f, &key.PublicKey, nil)
	f.Add(der)
	f.Add(encode(der))
	f.Add(encode(der, der))
	f.Add(append(encode(der), "-----BEGIN CERTIFICATE-----\n"...))
	f.Fuzz(func(t *testing.T, text []byte) {
		found, err := parseFile(text)
		if err == nil && len(found) == 0 {
			t.Fatal("no certificate, and no fault")
		}
		all, _ := New(found...)
		for _, c := range found {
			if c.Organisation == 0 || c.Key == nil || c.Key.Curve != elliptic.P256() || c.Serial.Sign() <= 0 || c.NotAfter.Before(c.NotBefore) || c.issuer == "" {
				t.Fatalf("%+v", c)
			}
			if kept := all.byKey[c.key()]; kept != nil && !bytes.Equal(kept.signed, c.signed) {
				t.Fatal("one of two serves")
			}
		}
	})
}

// FuzzName holds that the normal form of a name is one.
func FuzzName(f *testing.F) {
	for _, s := range []string{"CN=Z1,OU=07", `CN="A, B"; 2.5.4.3 = \5A\,1+OU=#13023037`, "x", `CN=\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := normalName(s)
		if err != nil {
			return
		}
		if name == "" || strings.Contains(name, "\n\n") || strings.HasSuffix(name, "\n") {
			t.Fatalf("%q: %q", s, name)
		}
		if again, err := normalName(" " + s + " "); strings.HasSuffix(s, `\`) == false && (err != nil || again != name) {
			t.Fatalf("%q: %q, with blanks %q, %v", s, name, again, err)
		}
	})
}
