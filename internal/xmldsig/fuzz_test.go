package xmldsig

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"quell/internal/duis"
	"quell/internal/smki"
	"quell/internal/strictxml"
)

// javaSamples are the messages in testdata/java and the certificates that they verify with.
func javaSamples(t testing.TB) (map[string][]byte, *smki.Certificates) {
	t.Helper()
	dir := t.TempDir()
	text, err := os.ReadFile("testdata/java/certificate.pem")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "certificate.pem"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	certificates, err := smki.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/java/*.xml")
	if err != nil || len(files) != 6 {
		t.Fatalf("%q, %v", files, err)
	}
	all := map[string][]byte{}
	for _, file := range files {
		if all[file], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	return all, certificates
}

// FuzzVerify holds that a document that verifies is read as one of those that were signed.
func FuzzVerify(f *testing.F) {
	samples, certificates := javaSamples(f)
	var signed []duis.Message
	for _, b := range samples {
		m, err := duis.Read(b)
		if err != nil {
			f.Fatal(err)
		}
		signed = append(signed, m)
		f.Add(b)
	}
	for _, a := range rewrite(string(samples["testdata/java/precommand.xml"])) {
		f.Add([]byte(a.document))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := slices.Clone(b)
		_, err := Verify(b, certificates, noon)
		if !slices.Equal(b, before) {
			t.Fatal("Verify changes the document")
		}
		if err != nil {
			return
		}
		m, err := duis.Read(b)
		if err != nil || !slices.ContainsFunc(signed, func(s duis.Message) bool { return reflect.DeepEqual(s, m) }) {
			t.Fatalf("verifies, and is read as %+v, %v", m, err)
		}
	})
}

// FuzzCanonical holds that a canonical form is a document that says the same, and is its own
// canonical form.
func FuzzCanonical(f *testing.F) {
	samples, _ := javaSamples(f)
	for _, b := range samples {
		f.Add(b)
	}
	for _, s := range []string{
		"<a xmlns:p='urn:1' p:x='&#13;\t\r\n' xmlns=''><p:b xmlns='u' xml:lang=''/>&#13;\r\n]]&gt;<![CDATA[<>]]></a>",
		"\uFEFF<?xml version='1.0'?><!-- --><a><!-- --><b xmlns='u'><c xmlns=''/></b></a><!-- -->",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if !wellFormed(b) {
			return
		}
		for _, exclusive := range []bool{false, true} {
			once := canonicalize(t, string(b), "", exclusive)
			if !wellFormed([]byte(once)) {
				t.Fatalf("%q is not well-formed", once)
			}
			if twice := canonicalize(t, once, "", exclusive); twice != once {
				t.Fatalf("%q\nthen\n%q", once, twice)
			}
			if a, b := values(b), values([]byte(once)); !slices.Equal(a, b) {
				t.Fatalf("%q\nthen\n%q", a, b)
			}
		}
	})
}

func wellFormed(b []byte) bool {
	var s strictxml.Scanner
	s.Init(b, "")
	for {
		switch s.Next() {
		case strictxml.Fault:
			return false
		case strictxml.EOF:
			return true
		}
	}
}

// values is what a document says: names with their namespaces, and texts.
func values(b []byte) (all []string) {
	var s strictxml.Scanner
	s.Init(b, "")
	text := ""
	for {
		event := s.Next()
		if event != strictxml.CharData && text != "" {
			all, text = append(all, "text "+text), ""
		}
		switch event {
		case strictxml.StartElement:
			all = append(all, "start "+string(s.Namespace)+" "+string(s.Local))
		case strictxml.CharData:
			text += string(s.Text)
		case strictxml.EndElement:
			all = append(all, "end")
		default:
			return all
		}
	}
}
