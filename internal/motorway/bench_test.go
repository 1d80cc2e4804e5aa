package motorway

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"quell/internal/duis"
	"quell/internal/outage"
	"quell/internal/store"
)

// passing are messages that pass, each in the form that most senders write. They are read
// and decided on without the store.
func passing(t testing.TB) (north, south map[string][]byte) {
	sample := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join("..", "duis", "testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	alert := outage.RequestID{Originator: theMeter, Target: supplier, Counter: 1801000000777}
	inventory := sample("inventory.xml")
	north = map[string][]byte{
		"device-alert": duis.AppendDeviceAlert(nil, alert, t0, "8F36", make([]byte, 90)),
		"dcc-alert":    duis.AppendDCCAlert(nil, alert, t0, "N16", "<sr:DSPScheduledMessageAlert><sr:Type>1</sr:Type></sr:DSPScheduledMessageAlert>"),
		"response":     bytes.ReplaceAll(inventory, []byte("8.2<"), []byte("4.8.1<")),
		"answer":       duis.AppendAnswer(nil, request(1), t0, "I99"),
	}
	south = map[string][]byte{
		"request": duis.AppendRequest(nil, request(1), 4, "4.8", "4.8.1", "<sr:ReadActiveImportProfileData><sr:ReadLogPeriod/></sr:ReadActiveImportProfileData>"),
		"empty":   nil,
	}
	return north, south
}

// newBusyMotorway is a motorway as the server makes it, by the clock of the machine.
func newBusyMotorway(t testing.TB) *system {
	s := newMotorwayOn(t, store.Options{})
	s.Now = s.st.Cluster.Now
	s.setSwitch(t, outage.SwitchOn)
	<-s.Ledger.Filled()
	return s
}

// BenchmarkNorthbound reads and decides messages that pass, and writes their lines of the
// trail, from one goroutine and from several.
func BenchmarkNorthbound(b *testing.B) {
	north, _ := passing(b)
	for _, name := range []string{"ad1.xml", "ad1-signed.xml"} {
		doc, err := os.ReadFile(filepath.Join("..", "duis", "testdata", name))
		if err != nil {
			b.Fatal(err)
		}
		north[name[:len(name)-len(".xml")]] = doc
	}
	for name, doc := range north {
		benchmark(b, name, doc, func(s *system, body Body) {
			p := s.Northbound(b.Context(), body)
			s.Passed(&p, 200)
		})
	}
}

func BenchmarkSouthbound(b *testing.B) {
	_, south := passing(b)
	for name, doc := range south {
		benchmark(b, name, doc, func(s *system, body Body) {
			p := s.Southbound(b.Context(), body)
			s.Passed(&p, 200)
		})
	}
}

func benchmark(b *testing.B, name string, doc []byte, pass func(*system, Body)) {
	b.Run(name, func(b *testing.B) {
		s := newBusyMotorway(b)
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			pass(s, whole(doc))
			s.keepUp(n)
		}
	})
	b.Run(name+"/parallel", func(b *testing.B) {
		s := newBusyMotorway(b)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for n := 0; pb.Next(); n++ {
				pass(s, whole(doc))
				s.keepUp(n)
			}
		})
	})
}

// BenchmarkPassed writes lines of the trail.
func BenchmarkPassed(b *testing.B) {
	s := newBusyMotorway(b)
	doc, err := os.ReadFile(filepath.Join("..", "duis", "testdata", "ad1.xml"))
	if err != nil {
		b.Fatal(err)
	}
	p := Passage{Direction: outage.North, Received: time.Now(), Decision: forward(outage.ReasonNoWindow)}
	if p.Message, err = duis.Read(doc); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		s.Passed(&p, 200)
		s.keepUp(n)
	}
}

// keepUp has the trail written now and then, since no motorway gets messages as fast as a
// benchmark makes them: else the queue would only grow, and drop lines.
func (s *system) keepUp(n int) {
	if n%2000 == 1999 {
		s.Trail.Flush(context.Background())
	}
}
