package load

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
	s, err := NewSigner()
	if err != nil {
		t.Fatal(err)
	}
	ad1 := PowerOutage(Elsewhere, 1000)
	signed, err := s.Sign(ad1)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*Message{ad1, signed} {
		seen := map[outage.RequestID]bool{}
		for i := range int64(2000) {
			text := m.At(i)
			if len(text) != m.Size() {
				t.Fatalf("%s %d has %d bytes, want %d", m.name, i, len(text), m.Size())
			}
			got, err := duis.Read(text)
			if want := Hubs | outage.DeviceID(Elsewhere+i%1000); err != nil || got.Body != duis.BodyPowerOutage || got.Outage.CHF != want {
				t.Fatalf("%s %d is of hub %s, want %s: %v", m.name, i, got.Outage.CHF, want, err)
			}
			if seen[got.ResponseID] {
				t.Fatalf("%s %d has the id of another", m.name, i)
			}
			seen[got.ResponseID] = true
		}
	}
	for _, m := range []*Message{DeviceAlert(700), DeviceAlert(64_000), Response(600), Response(60_000), DCCAlert(700), DCCAlert(70_000), Activation(0, 10)} {
		if got, err := duis.Read(m.At(5)); err != nil && len(m.text) <= duis.MaxSize || got.Body == duis.BodyPowerOutage {
			t.Errorf("%s of %d bytes: %v", m.name, m.Size(), err)
		}
	}
}

// Messages that are signed one by one have right signatures.
func TestSignEach(t *testing.T) {
	s, err := NewSigner()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := s.Write(dir); err != nil {
		t.Fatal(err)
	}
	certificates, err := smki.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	all, size, err := s.SignEach(PowerOutage(0, 10), 5, 3)
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
