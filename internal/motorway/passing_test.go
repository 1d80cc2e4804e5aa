package motorway

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"quell/internal/duis"
	"quell/internal/gbcs"
	"quell/internal/outage"
	"quell/internal/store"
)

// sample is a message of the samples of duis.
func sample(t testing.TB, name string) []byte {
	b, err := os.ReadFile(filepath.Join("..", "duis", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// passing are messages that pass without a question to the store, in the form that most
// senders write; but for AD1s.
func passing(t testing.TB) (north, south map[string][]byte) {
	alert := outage.RequestID{Originator: theMeter, Target: supplier, Counter: 1801000000777}
	payload := bytes.Repeat([]byte("payload "), 20)
	north = map[string][]byte{
		"device-alert": duis.AppendDeviceAlert(nil, alert, t0, "8F36", payload),
		"restoration": duis.AppendDeviceAlert(nil, alert, t0, "8F36", gbcs.AppendSigned(nil, gbcs.AppendRestoration(nil,
			gbcs.Restoration{Meter: theMeter, Code: 0x8F36, Start: t0.Add(-time.Hour), End: t0}, supplier, 7), [64]byte{})),
		"dcc-alert": duis.AppendDCCAlert(nil, alert, t0, "N16", "<sr:DSPScheduledMessageAlert><sr:Type>1</sr:Type></sr:DSPScheduledMessageAlert>"),
		"response":  bytes.ReplaceAll(sample(t, "inventory.xml"), []byte("8.2<"), []byte("4.8.1<")),
		"answer":    duis.AppendAnswer(nil, request(1), t0, "I99"),
	}
	signed := duis.AppendSignedPreCommand(nil, request(1), 5, outage.Order{Kind: outage.OnDemand}, payload)
	south = map[string][]byte{
		"request":     duis.AppendRequest(nil, request(1), 4, "4.8", "4.8.1", "<sr:ReadActiveImportProfileData><sr:ReadLogPeriod/></sr:ReadActiveImportProfileData>"),
		"pre-command": bytes.ReplaceAll(signed, []byte(">11.3<"), []byte(">6.5<")),
	}
	return north, south
}

// newBusyMotorway is a motorway by the clock of the machine. It has read what its store has.
func newBusyMotorway(t testing.TB) *system {
	s := newMotorwayOn(t, store.Options{})
	s.Now = s.st.Cluster.Now
	s.setSwitch(t, outage.SwitchOn)
	<-s.Ledger.Filled()
	s.Sightings.Watch(theMeter, theHub, t0) // it is heard once
	return s
}

// pass reads and decides a message as the gateway does, and writes its line of the trail.
func (s *system) pass(direction outage.Direction, b Body) Passage {
	var p Passage
	if direction == outage.North {
		p = s.Northbound(context.Background(), b)
	} else {
		p = s.Southbound(context.Background(), b)
	}
	s.Passed(&p, 200)
	return p
}

// Messages that pass allocate nothing, from the body to the line of the trail.
func TestPassingAllocates(t *testing.T) {
	s := newBusyMotorway(t)
	north, south := passing(t)
	for direction, all := range map[outage.Direction]map[string][]byte{outage.North: north, outage.South: south} {
		for name, doc := range all {
			if p := s.pass(direction, whole(doc)); p.Decision.Reason != outage.ReasonNotAD1 && p.Decision.Reason != outage.ReasonNotActivation {
				t.Errorf("%s: %+v, %v", name, p.Decision, p.fault)
			}
			if n := testing.AllocsPerRun(1000, func() { s.pass(direction, whole(doc)) }); n != 0 {
				t.Errorf("%s: %v allocations", name, n)
			}
		}
	}
}

// A passage keeps nothing of the body, whose bytes belong to the caller, who uses them again.
func TestPassageKeepsNothing(t *testing.T) {
	s := newMotorway(t) // its clock stands still
	north, south := passing(t)
	north["ad1"], north["ad1-signed"] = sample(t, "ad1.xml"), sample(t, "ad1-signed.xml")
	north["unknown texts"] = bytes.ReplaceAll(bytes.ReplaceAll(north["response"], []byte(">4.8.1<"), []byte(">4.99<")), []byte(">I0<"), []byte(">X1<"))
	north["unknown alert"] = bytes.ReplaceAll(north["device-alert"], []byte(">8F36<"), []byte(">abcd<"))
	south["activation"] = sample(t, "precommand.xml")
	for direction, all := range map[outage.Direction]map[string][]byte{outage.North: north, outage.South: south} {
		for name, doc := range all {
			for _, doc := range [][]byte{doc, doc[:len(doc)-3], bytes.Replace(doc, []byte("ResponseCode>"), []byte("&bad;"), 1)} {
				own := bytes.Clone(doc)
				p := s.pass(direction, whole(own))
				for i := range own {
					own[i] = 'Z'
				}
				want := s.pass(direction, whole(doc))
				line, _ := appendTrailLine(nil, t0, &p, 200)
				wantLine, _ := appendTrailLine(nil, t0, &want, 200)
				if !reflect.DeepEqual(p, want) || !bytes.Equal(line, wantLine) {
					t.Errorf("%s: %+v\nwant %+v", name, p, want)
				}
			}
		}
	}
}

// BenchmarkNorthbound reads and decides messages that pass, and writes their lines of the
// trail, from one goroutine and from several. AD1s have their notes besides.
func BenchmarkNorthbound(b *testing.B) {
	north, _ := passing(b)
	north["ad1"], north["ad1-signed"] = sample(b, "ad1.xml"), sample(b, "ad1-signed.xml")
	for name, doc := range north {
		benchmark(b, name, outage.North, doc)
	}
}

func BenchmarkSouthbound(b *testing.B) {
	_, south := passing(b)
	for name, doc := range south {
		benchmark(b, name, outage.South, doc)
	}
}

func benchmark(b *testing.B, name string, direction outage.Direction, doc []byte) {
	b.Run(name, func(b *testing.B) {
		s := newBusyMotorway(b)
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			s.pass(direction, whole(doc))
			s.keepUp(n)
		}
	})
	b.Run(name+"/parallel", func(b *testing.B) {
		s := newBusyMotorway(b)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for n := 0; pb.Next(); n++ {
				s.pass(direction, whole(doc))
				s.keepUp(n)
			}
		})
	})
}

// keepUp has the trail written now and then, since no motorway gets messages as fast as a
// benchmark makes them: else the queue would only grow, and drop lines.
func (s *system) keepUp(n int) {
	if n%2000 == 1999 {
		s.Trail.Flush(context.Background())
	}
}

// BenchmarkPassed writes lines of the trail.
func BenchmarkPassed(b *testing.B) {
	s := newBusyMotorway(b)
	p := Passage{Direction: outage.North, Received: t0, Decision: forward(outage.ReasonNoWindow)}
	var err error
	if p.Message, err = duis.Read(sample(b, "ad1.xml")); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		s.Passed(&p, 200)
		s.keepUp(n)
	}
}
