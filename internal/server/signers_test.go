package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quell/internal/config"
	"quell/internal/outage"
	"quell/internal/smki"
)

// certificate returns a certificate of an organisation in DER.
func certificate(t *testing.T, id outage.DeviceID) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := smki.Create(id, smki.XMLSign, &key.PublicKey, time.Now(), time.Now().Add(time.Hour), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// quell starts whatever the folder of certificates is like, and says what is wrong with it. What
// is put into the folder, or taken out of it, counts after a reload. A file that is no
// certificate does not take the others out of force.
func TestSigners(t *testing.T) {
	hop := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(hop.Close)
	cfg := config.Default()
	cfg.DataDir, cfg.Southbound.NextHop, cfg.Northbound.NextHop = t.TempDir(), hop.URL, hop.URL
	cfg.Southbound.Listen, cfg.Northbound.Listen, cfg.Console.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.Southbound.Signatures, cfg.Certificates = outage.SignaturesRequire, filepath.Join(t.TempDir(), "signers")
	s, err := Start(t.Context(), Options{Config: cfg, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	write := func(name string, text []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(cfg.Certificates, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(what string, certificates int, trouble string) {
		t.Helper()
		s.Reload(cfg)
		wait(t, what, func() bool {
			have := strings.Join(s.signers.conditions(), "\n")
			return s.m.Signers() == certificates && (have == "") == (trouble == "") && strings.Contains(have, trouble)
		})
	}
	expect("the folder is missing", 0, "no such file")
	if err := os.Mkdir(cfg.Certificates, 0o700); err != nil {
		t.Fatal(err)
	}
	expect("the folder is empty", 0, "no certificate")
	write("a.der", certificate(t, 1))
	write("b.der", certificate(t, 2))
	expect("there are two", 2, "")
	write("c.pem", []byte("nonsense"))
	expect("one of three is none", 2, "c.pem")
	os.Remove(filepath.Join(cfg.Certificates, "c.pem"))
	os.Remove(filepath.Join(cfg.Certificates, "a.der"))
	expect("one was taken out", 1, "")
	cfg.Suppliers = []string{outage.DeviceID(2).String(), outage.DeviceID(3).String()}
	expect("it is of a supplier, and expires soon", 1, "the last one of supplier "+cfg.Suppliers[0]+" expires at")
	expect("another supplier has none", 1, "no valid one of supplier "+cfg.Suppliers[1])
	cfg.Suppliers = nil
	expect("nobody says who the suppliers are", 1, "")
	if err := os.Rename(cfg.Certificates, cfg.Certificates+".away"); err != nil {
		t.Fatal(err)
	}
	expect("the folder is away for a moment", 1, "no such file")
	if err := os.Rename(cfg.Certificates+".away", cfg.Certificates); err != nil {
		t.Fatal(err)
	}
	expect("it is back", 1, "")
	cfg.Certificates += ".other"
	expect("it is another folder, which is missing", 0, "no such file")
	// Each change of who is believed is in the audit log.
	var have []string
	wait(t, "the changes are recorded", func() bool {
		page, err := s.store.Audit.Page(t.Context(), 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		have = nil
		for _, r := range page.Records {
			if r.What == "certificates" || r.What == "configuration" {
				have = append(have, r.What+" "+r.Object)
			}
		}
		slices.Sort(have)
		return len(have) == 8
	})
	want := []string{"certificates 0", "certificates 0", "certificates 1", "certificates 2", "certificates 2", "configuration certificates", "configuration suppliers", "configuration suppliers"}
	if !slices.Equal(have, want) {
		t.Errorf("recorded: %q", have)
	}
}
