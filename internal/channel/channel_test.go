package channel

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quell/internal/devca"
)

func TestParseName(t *testing.T) {
	for in, want := range map[string]string{
		"CN=supplier-1": "CN=supplier-1", "CN=a=b": "CN=a=b", "CN=a, O=b": "CN=a, O=b", "DNS:gw.example": "DNS:gw.example",
		"URI:spiffe://a/b": "URI:spiffe://a/b", "IP:192.0.2.1": "IP:192.0.2.1", "IP:::ffff:192.0.2.1": "IP:192.0.2.1", "IP:2001:db8:0::1": "IP:2001:db8::1",
	} {
		if n, err := ParseName(in); err != nil || n.String() != want {
			t.Errorf("%q: %v %v", in, n, err)
		}
	}
	for _, in := range []string{"", "supplier-1", "CN", "CN=", "CN= a", "CN:a", "DNS=a", "DNS:*.example", "dns:a", "IP:a", "IP:1.2.3.4/8", "O=a", "email:a@b", ":", "=a"} {
		if n, err := ParseName(in); err == nil {
			t.Errorf("%q is %v", in, n)
		}
	}
}

// files writes a certificate, its key and its authority.
func files(t *testing.T, r devca.Request) (Files, *devca.Authority) {
	t.Helper()
	dir := t.TempDir()
	ca, err := devca.New("authority")
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.Write(dir, "own", r); err != nil {
		t.Fatal(err)
	}
	f := Files{Cert: filepath.Join(dir, "own.crt"), Key: filepath.Join(dir, "own.key"), CA: filepath.Join(dir, "ca.crt")}
	if err := devca.Replace(f.CA, ca.PEM()); err != nil {
		t.Fatal(err)
	}
	return f, ca
}

// TestConditions: a certificate that ends soon, has ended or has not begun is said, with the
// time on both sides of each boundary.
func TestConditions(t *testing.T) {
	from, until := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	f, _ := files(t, devca.Request{Name: "own", From: from, Until: until})
	f.CA = ""
	s, err := Open("southbound.tls", f, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	const fortnight = 14 * 24 * time.Hour
	for _, x := range []struct {
		now  time.Time
		want string
	}{
		{from.Add(-time.Second), "southbound.tls: the certificate CN=own is not valid before 2026-01-01T00:00:00Z"},
		{from, ""},
		{until.Add(-fortnight), ""},
		{until.Add(-fortnight + time.Second), "southbound.tls: the certificate CN=own expires on 2026-03-01T00:00:00Z"},
		{until, "southbound.tls: the certificate CN=own expires on 2026-03-01T00:00:00Z"},
		{until.Add(time.Second), "southbound.tls: the certificate CN=own expired on 2026-03-01T00:00:00Z"},
	} {
		if have := strings.Join(s.Conditions(x.now), "\n"); have != x.want {
			t.Errorf("%v: %q, want %q", x.now, have, x.want)
		}
	}
}

// TestCheck: what cannot be used leaves what was there in force, is logged once, and counts
// as soon as it can be used.
func TestCheck(t *testing.T) {
	f, ca := files(t, devca.Request{Name: "own"})
	var log bytes.Buffer
	s, err := Open("southbound.tls", f, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	first := s.Keys()
	if s.Check() || s.Keys() != first || log.Len() > 0 {
		t.Errorf("nothing has changed: %s", &log)
	}
	good, err := os.ReadFile(f.CA)
	if err != nil {
		t.Fatal(err)
	}
	broken := func(what string, do func() error, want string) {
		t.Helper()
		if err := do(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if s.Check() || s.Keys() != first {
				t.Errorf("%s: it is in force", what)
			}
		}
		if n := strings.Count(log.String(), "certificates cannot be read, the ones before stay in force"); n != 1 || !strings.Contains(log.String(), want) {
			t.Errorf("%s: logged %d times: %s", what, n, &log)
		}
		if c := s.Conditions(time.Now()); len(c) != 1 || !strings.Contains(c[0], want) {
			t.Errorf("%s: %q", what, c)
		}
		log.Reset()
	}
	broken("missing", func() error { return os.Remove(f.CA) }, "no such file")
	broken("empty", func() error { return os.WriteFile(f.CA, nil, 0o600) }, "has no certificate in PEM")
	broken("damaged", func() error {
		return os.WriteFile(f.CA, append(good[:len(good):len(good)], []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")...), 0o600)
	}, "certificate 2")
	broken("a key", func() error {
		return os.WriteFile(f.CA, []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), 0o600)
	}, "ca.crt: has no certificate in PEM")
	broken("large", func() error { return os.WriteFile(f.CA, bytes.Repeat([]byte("\n"), maxFile+1), 0o600) }, "is larger than")
	broken("a folder", func() error {
		os.Remove(f.CA)
		return os.Mkdir(f.CA, 0o700)
	}, "is a directory")
	os.Remove(f.CA)
	if err := os.WriteFile(f.CA, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if !s.Check() || s.Keys() == first || len(s.Conditions(time.Now())) > 0 {
		t.Errorf("it is good again: %q", s.Conditions(time.Now()))
	}
	log.Reset()
	second := s.Keys()
	cert, key, err := ca.Issue(devca.Request{Name: "own"})
	if err != nil {
		t.Fatal(err)
	}
	// In place, with the same length or not: what counts is what is in the file.
	os.WriteFile(f.Cert, cert, 0o600)
	if s.Check() || s.Keys() != second {
		t.Error("half a pair is in force")
	}
	os.WriteFile(f.Key, key, 0o600)
	if !s.Check() || s.Keys() == second || s.Fault() != nil {
		t.Errorf("the pair is not in force: %v", s.Fault())
	}
	if strings.Contains(log.String(), "PRIVATE") || !strings.Contains(log.String(), "certificates were read again") {
		t.Error(&log)
	}
}

// TestOpenFails: without files there are no Keys, until they can be read.
func TestOpenFails(t *testing.T) {
	f, _ := files(t, devca.Request{Name: "own"})
	os.Rename(f.Key, f.Key+".x")
	s, err := Open("northbound.next_hop_tls", f, slog.New(slog.DiscardHandler))
	if err == nil || s.Keys() != nil || s.Check() {
		t.Errorf("%v %v", err, s.Keys())
	}
	if c := s.Conditions(time.Now()); len(c) != 1 || !strings.HasSuffix(c[0], "nothing can be sent or taken with them") {
		t.Error(c)
	}
	os.Rename(f.Key+".x", f.Key)
	if !s.Check() || s.Keys() == nil {
		t.Error(s.Fault())
	}
}
