package xmldsig

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"os"
	"slices"
	"testing"
)

// wycheproof names a file of test vectors, if it is set: Project Wycheproof's for raw signatures on
// P-256 with SHA-256, which is not a part of quell.
//
//	QUELL_WYCHEPROOF=.../ecdsa_secp256r1_sha256_p1363_test.json go test ./internal/xmldsig -run TestVectors -v
//
// Of commit dac1dd4 (18 August 2026) it has 262 vectors: 173 are valid, 89 are not, and all 262 are
// judged so.
const wycheproof = "QUELL_WYCHEPROOF"

// verifies is the check of a SignatureValue.
func verifies(key *ecdsa.PublicKey, hash [32]byte, signature []byte) bool {
	raw, err := decode([]byte(base64.StdEncoding.EncodeToString(signature)), signatureSize)
	return err == nil && verify(key, hash, raw)
}

// TestVectors tries signatures of each class that implementations were seen to get wrong.
func TestVectors(t *testing.T) {
	t.Run("own", ownVectors)
	if path := os.Getenv(wycheproof); path != "" {
		t.Run("wycheproof", func(t *testing.T) { wycheproofVectors(t, path) })
	}
}

// vector is a signature of hash by key.
type vector struct {
	key  *ecdsa.PrivateKey
	hash [32]byte
	r, s *big.Int
}

// ownVector makes a signature with the given s: of all hashes it takes the one that fits. So s may be
// a number that no signature has by chance.
func ownVector(t *testing.T, s *big.Int) vector {
	t.Helper()
	n := elliptic.P256().Params().N
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	nonce, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	d, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	r := new(big.Int).SetBytes(nonce.PublicKey().Bytes()[1:33])
	r.Mod(r, n)
	h := new(big.Int).Mul(s, new(big.Int).SetBytes(nonce.Bytes()))
	h.Sub(h, new(big.Int).Mul(r, new(big.Int).SetBytes(d)))
	h.Mod(h, n)
	v := vector{key: key, r: r, s: s}
	h.FillBytes(v.hash[:])
	return v
}

// raw is r and s, each in size bytes or, if it needs more, in as many as it needs.
func raw(r, s *big.Int, size int) []byte {
	pad := func(x *big.Int) []byte { return x.FillBytes(make([]byte, max(size, len(x.Bytes())))) }
	return slices.Concat(pad(r), pad(s))
}

func ownVectors(t *testing.T) {
	n := elliptic.P256().Params().N
	p := elliptic.P256().Params().P
	zero, one := new(big.Int), big.NewInt(1)
	add := func(a, b *big.Int) *big.Int { return new(big.Int).Add(a, b) }
	minus := func(a *big.Int) *big.Int { return new(big.Int).Sub(n, a) }
	for name, s := range map[string]*big.Int{
		"s=1": one, "s=5": big.NewInt(5), "s=n-1": minus(one), "s=n/2": new(big.Int).Rsh(n, 1), "s=n/2+1": add(new(big.Int).Rsh(n, 1), one), "s=2^200": new(big.Int).Lsh(one, 200),
	} {
		v := ownVector(t, s)
		other := ownVector(t, s)
		der, err := ecdsa.SignASN1(rand.Reader, v.key, v.hash[:])
		if err != nil {
			t.Fatal(err)
		}
		good := raw(v.r, v.s, 32)
		for _, c := range []struct {
			name      string
			signature []byte
			want      bool
		}{
			{"good", good, true},
			{"the other s", raw(v.r, minus(v.s), 32), true}, // r and n-s are a signature too: ECDSA allows it, and so do we
			{"s+n", raw(v.r, add(v.s, n), 32), false},
			{"r+n", raw(add(v.r, n), v.s, 32), false},
			{"r=0", raw(zero, v.s, 32), false},
			{"s=0", raw(v.r, zero, 32), false},
			{"r=s=0", raw(zero, zero, 32), false},
			{"r=n", raw(n, v.s, 32), false},
			{"s=n", raw(v.r, n, 32), false},
			{"r=s=n", raw(n, n, 32), false},
			{"r=p", raw(p, v.s, 32), false},
			{"r=1, s=1", raw(one, one, 32), false},
			{"r=0, s=1", raw(zero, one, 32), false},
			{"r=n-r", raw(minus(v.r), v.s, 32), false},
			{"r=n-r, s=n-s", raw(minus(v.r), minus(v.s), 32), false},
			{"r+1", raw(add(v.r, one), v.s, 32), false},
			{"swapped", raw(v.s, v.r, 32), false},
			{"r twice", raw(v.r, v.r, 32), false},
			{"all bits", slices.Repeat([]byte{0xFF}, 64), false},
			{"empty", nil, false},
			{"r only", good[:32], false},
			{"one byte short", good[:63], false},
			{"one byte too long", append(slices.Clone(good), 0), false},
			{"zero before it", append([]byte{0}, good...), false},
			{"33 bytes each", raw(v.r, v.s, 33), false},
			{"66 bytes each", raw(v.r, v.s, 66), false},
			{"twice", slices.Concat(good, good), false},
			{"DER", der, false},
			{"DER cut to 64 bytes", der[:64], false},
			{"of another key and hash", raw(other.r, other.s, 32), false},
		} {
			if len(c.signature) == 64 && string(c.signature) == string(good) {
				c.want = true // such as s=s for n/2 and the like
			}
			if got := verifies(&v.key.PublicKey, v.hash, c.signature); got != c.want {
				t.Errorf("%s, %s: %t", name, c.name, got)
			}
		}
		if verifies(&other.key.PublicKey, v.hash, good) {
			t.Errorf("%s: another key verifies", name)
		}
		for i := range 256 {
			hash, changed := v.hash, slices.Clone(good)
			hash[i/8] ^= 1 << (i % 8)
			if verifies(&v.key.PublicKey, hash, good) {
				t.Errorf("%s: bit %d of the hash does not matter", name, i)
			}
			changed[i/4] ^= 1 << (i % 8)
			if verifies(&v.key.PublicKey, v.hash, changed) {
				t.Errorf("%s: bit %d of byte %d does not matter", name, i%8, i/4)
			}
		}
	}
}

// wycheproofVectors tries the vectors of a file in Wycheproof's form.
func wycheproofVectors(t *testing.T, path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		NumberOfTests int
		TestGroups    []struct {
			PublicKeyDER string
			Tests        []struct {
				TcID                      int
				Comment, Msg, Sig, Result string
			}
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	judged := map[string]int{}
	for _, group := range file.TestGroups {
		parsed, err := x509.ParsePKIXPublicKey(unhex(group.PublicKeyDER))
		if err != nil {
			t.Fatal(err)
		}
		key := parsed.(*ecdsa.PublicKey)
		for _, c := range group.Tests {
			got := verifies(key, sha256.Sum256(unhex(c.Msg)), unhex(c.Sig))
			if c.Result != "valid" && c.Result != "invalid" || got != (c.Result == "valid") {
				t.Errorf("%d, %s: %t, want %s", c.TcID, c.Comment, got, c.Result)
				continue
			}
			judged[c.Result]++
		}
	}
	t.Logf("%d vectors: judged as they should be %v", file.NumberOfTests, judged)
	if judged["valid"]+judged["invalid"] != file.NumberOfTests {
		t.Errorf("of %d vectors %v are judged as they should be", file.NumberOfTests, judged)
	}
}
