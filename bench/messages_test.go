package main

import (
	"bytes"
	"testing"
	"time"

	"quell/internal/duis"
	"quell/internal/outage"
	"quell/internal/smki"
	"quell/internal/xmldsig"
)

// Messages of a kind are what quell reads: each with its own id, and hubs in turn.
func TestMessages(t *testing.T) {
	s, err := newSigner()
	if err != nil {
		t.Fatal(err)
	}
	ad1 := powerOutage(elsewhere, 1000)
	signed, err := s.sign(ad1)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*message{ad1, signed} {
		seen := map[outage.RequestID]bool{}
		for i := range int64(2000) {
			text := m.at(i)
			if len(text) != m.size() {
				t.Fatalf("%s %d has %d bytes, want %d", m.name, i, len(text), m.size())
			}
			got, err := duis.Read(text)
			if want := hubs | outage.DeviceID(elsewhere+i%1000); err != nil || got.Body != duis.BodyPowerOutage || got.Outage.CHF != want {
				t.Fatalf("%s %d is of hub %s, want %s: %v", m.name, i, got.Outage.CHF, want, err)
			}
			if seen[got.ResponseID] {
				t.Fatalf("%s %d has the id of another", m.name, i)
			}
			seen[got.ResponseID] = true
		}
	}
	for _, m := range []*message{deviceAlert(700), deviceAlert(64_000), response(600), response(60_000), dccAlert(700), dccAlert(70_000), activation(0, 10)} {
		if got, err := duis.Read(m.at(5)); err != nil && len(m.text) <= duis.MaxSize || got.Body == duis.BodyPowerOutage {
			t.Errorf("%s of %d bytes: %v", m.name, m.size(), err)
		}
	}
}

// Messages that are signed one by one have right signatures.
func TestSignEach(t *testing.T) {
	s, err := newSigner()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := s.write(dir); err != nil {
		t.Fatal(err)
	}
	certificates, err := smki.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	all, size, err := s.signEach(powerOutage(0, 10), 5, 3)
	if err != nil || len(all) != 3*size {
		t.Fatalf("%d bytes of messages of %d: %v", len(all), size, err)
	}
	for i := range 3 {
		text := all[i*size : (i+1)*size]
		if _, err := xmldsig.Verify(text, certificates, time.Now()); err != nil {
			t.Errorf("message %d: %v", i, err)
		}
		if i > 0 && bytes.Equal(text, all[:size]) {
			t.Errorf("message %d is the first again", i)
		}
	}
}
