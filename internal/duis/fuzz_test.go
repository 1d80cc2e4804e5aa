package duis

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"quell/internal/strictxml"
)

func samples(t testing.TB) map[string][]byte {
	files, err := filepath.Glob(filepath.Join("testdata", "*.xml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	all := make(map[string][]byte)
	for _, file := range files {
		if all[filepath.Base(file)], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// FuzzRead holds Read against the scanner, and the messages that it accepts
// against encoding/xml.
func FuzzRead(f *testing.F) {
	for _, b := range samples(f) {
		f.Add(b)
	}
	for _, s := range []string{
		`<a/>`,
		`<?xml version='1.0' encoding='utf-8' standalone='yes'?><!-- x --><a:b xmlns:a="u" a:c="&lt;"/>`,
		"\uFEFF<a>]] > &#13;\r\n\r<![CDATA[]]\r]]>&amp;<b xmlns=''>é</b></a>",
		`<a xmlns="u" xmlns:p="v"><p:b xmlns:p="w" p:c="" d=""><xml:e xml:lang=""/></p:b></a>`,
		`<a 1b=""/>`,
		`<a><?pi?></a>`,
		`<!DOCTYPE a><a/>`,
		`<a></a><b/>`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, readErr := Read(b)
		if err := scan(b); err != nil && readErr == nil {
			t.Fatalf("the scanner says %v, Read does not", err)
		}
		if readErr == nil {
			checkByXML(t, b, &m)
		}
	})
}

// scan returns what the scanner finds wrong with a document.
func scan(b []byte) error {
	var s strictxml.Scanner
	s.Init(b, Namespace)
	for {
		switch s.Next() {
		case strictxml.EOF:
			return nil
		case strictxml.Fault:
			return s.Err
		}
	}
}

// checkByXML compares a message with what encoding/xml reads from the same document.
func checkByXML(t *testing.T, b []byte, m *Message) {
	type alert struct {
		Code  string `xml:"http://www.dccinterface.co.uk/ServiceUserGateway DCCAlertCode"`
		Alert struct {
			Event *struct {
				CHF   string `xml:"http://www.dccinterface.co.uk/ServiceUserGateway CommsHubDeviceID"`
				Start string `xml:"http://www.dccinterface.co.uk/ServiceUserGateway StartDateTime"`
				MPxN  string `xml:"http://www.dccinterface.co.uk/ServiceUserGateway MPxN"`
			} `xml:"http://www.dccinterface.co.uk/ServiceUserGateway PowerOutageEvent"`
		} `xml:"http://www.dccinterface.co.uk/ServiceUserGateway DCCAlert"`
	}
	var x struct {
		XMLName xml.Name
		Version string `xml:"schemaVersion,attr"`
		Header  struct {
			Code       string `xml:"http://www.dccinterface.co.uk/ServiceUserGateway ResponseCode"`
			Time       string `xml:"http://www.dccinterface.co.uk/ServiceUserGateway ResponseDateTime"`
			ResponseID string `xml:"http://www.dccinterface.co.uk/ServiceUserGateway ResponseID"`
			Variant    string `xml:"http://www.dccinterface.co.uk/ServiceUserGateway ServiceReferenceVariant"`
		} `xml:"http://www.dccinterface.co.uk/ServiceUserGateway Header"`
		Body struct {
			Alert *alert `xml:"http://www.dccinterface.co.uk/ServiceUserGateway DCCAlertMessage"`
		} `xml:"http://www.dccinterface.co.uk/ServiceUserGateway Body"`
	}
	if err := xml.Unmarshal(b, &x); err != nil {
		t.Fatalf("encoding/xml: %v", err)
	}
	trim := func(s string) string { return strings.Trim(s, " \t\r\n") }
	root := RootOther
	switch x.XMLName {
	case xml.Name{Space: Namespace, Local: "Request"}:
		root = RootRequest
		if v := trim(x.Header.Variant); v != m.ServiceReferenceVariant && len(v) <= maxCode {
			t.Fatalf("ServiceReferenceVariant %q, encoding/xml: %q", m.ServiceReferenceVariant, v)
		}
	case xml.Name{Space: Namespace, Local: "Response"}:
		root = RootResponse
	}
	if root != m.Root {
		t.Fatalf("root %d, encoding/xml: %v", m.Root, x.XMLName)
	}
	a := x.Body.Alert
	if want := root == RootResponse && a != nil && trim(a.Code) == "AD1"; want != (m.Body == BodyPowerOutage) {
		t.Fatalf("body %d, encoding/xml: %+v", m.Body, a)
	} else if !want {
		return
	}
	if _, err := ParseTime([]byte(trim(x.Header.Time))); err != nil || !isResponseCode([]byte(x.Header.Code)) || !isDecimal([]byte(trim(x.Version))) || a.Code != "AD1" {
		t.Fatalf("an AD1, encoding/xml: %+v", x)
	}
	e := a.Alert.Event
	if n := utf8.RuneCountInString(e.MPxN); n < 1 || n > 13 {
		t.Fatalf("an AD1 with the MPxN %q", e.MPxN)
	}
	chf := strings.ToUpper(trim(e.CHF))
	if chf != m.Outage.CHF.String() || trim(e.MPxN) != m.Outage.MPxN || trim(e.Start) == "" {
		t.Fatalf("got %+v, encoding/xml: %+v", m.Outage, e)
	}
	if id := trim(x.Header.ResponseID); !strings.EqualFold(id, m.ResponseID.String()) {
		t.Fatalf("got %v, encoding/xml: %s", m.ResponseID, id)
	}
}
