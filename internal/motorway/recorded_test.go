package motorway

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quell/internal/duis"
	"quell/internal/outage"
	"quell/internal/recording"
)

// No MPxN is in a recording, whatever was decided on its AD1, and whether it can be read or not.
func TestRecordingHasNoMPxN(t *testing.T) {
	s := newMotorway(t)
	s.importDevices(t)
	s.Recording = recording.Open(s.dir, slog.New(slog.DiscardHandler))
	s.Recording.Configure(recording.Limits{Enabled: true, MaxBytes: 1 << 30, Keep: time.Hour})
	p := s.Southbound(t.Context(), whole(duis.AppendActivateFirmware(nil, request(1), outage.Order{Kind: outage.OnDemand}, [32]byte{})))
	s.Answered(t.Context(), &p, Delivered, duis.AppendAnswer(nil, request(1), t0, "I99"))
	s.now = t0.Add(5 * time.Minute)
	n := uint64(1)
	sent := 0
	for _, sw := range []outage.Switch{outage.SwitchOn, outage.SwitchShadow, outage.SwitchOff} {
		s.setSwitch(t, sw)
		for _, hub := range []outage.DeviceID{theHub, theHub + 1} {
			n++
			text := ad1(n, hub, s.now.Add(-3*time.Minute))
			forms := []Body{whole(text), {XML: true, Head: text, Rest: true}, {Head: text}, whole(append(text[:len(text):len(text)], "<"...)),
				whole(bytes.ReplaceAll(text, []byte("AD1"), []byte("AD2"))), whole(bytes.ReplaceAll(text, []byte("PowerOutage"), []byte("PowerCut")))}
			for cut := 1; cut < len(text); cut += 7 {
				forms = append(forms, whole(text[:len(text)-cut]))
			}
			for _, b := range forms {
				s.now = s.now.Add(time.Millisecond)
				s.Northbound(t.Context(), b)
				s.Northbound(t.Context(), b) // its retry
				sent += 2
			}
		}
	}
	if err := s.Recording.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(s.dir, "recordings", "*"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	alerts := 0
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r, err := recording.NewReader(name, f)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var l recording.Line
		for err = r.Next(&l); err == nil; err = r.Next(&l) {
			if strings.Contains(string(l.Append(nil)), theMPAN) {
				t.Errorf("the MPxN is in %s", l.Append(nil))
			}
			if l.Kind == recording.Northbound {
				alerts++
			}
		}
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	if alerts < 12 {
		t.Errorf("of %d messages only %d are recorded", sent, alerts)
	}
}
