package sighting

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"quell/internal/evidence"
	"quell/internal/outage"
)

// formatVersion begins each row. A reader skips rows of a version that it does not know: another
// version of quell wrote them.
const formatVersion = 2

// maxText bounds the texts in a sighting, in bytes.
const maxText = 200

// Seen is a sighting as it is kept: of its home only the hub is known, and of a Lost the supply
// point. Who reads it looks the rest up.
type Seen struct {
	evidence.Sighting
	MPAN string // of a Lost, if the alert has a valid one; personal data
}

// last is what the sighting before had, from which the next one differs little: an AD1 that passes takes
// 18 bytes in place of 33. At the beginning of a row it is zero.
type last struct {
	received int64 // in microseconds since 1970
	hub      uint64
}

// appendSighting appends a sighting: its kind; when it was received and the hub, as differences to the
// sighting before; then what its kind has. Numbers of fixed length have the highest byte first.
func appendSighting(b []byte, s *Seen, before *last) []byte {
	b = append(b, byte(s.Kind))
	received, hub := micros(s.Received), uint64(s.Home.Hub)
	b = binary.AppendVarint(b, received-before.received)
	b = binary.AppendUvarint(b, hub^before.hub) // hubs of one maker have most of their id in common
	*before = last{received, hub}
	switch s.Kind {
	case evidence.Ordered:
		b = binary.BigEndian.AppendUint64(b, uint64(s.Meter))
		b = appendRequest(b, s.Request)
		b = appendTime(b, s.Start, received)
		var flags byte
		if s.Form == outage.SignedPreCommand {
			flags |= 1
		}
		if s.Tracked {
			flags |= 2
		}
		b = append(b, flags)
		b = appendText(b, s.Firmware)
	case evidence.NotRun:
		b = binary.BigEndian.AppendUint64(b, uint64(s.Meter))
		b = appendRequest(b, s.Request)
		b = appendText(b, s.Why)
	case evidence.Lost:
		b = appendTime(b, s.Start, received)
		n := mpanNumber(s.MPAN) // 13 digits fit into 6 bytes
		b = append(b, byte(n>>40), byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	case evidence.Restored:
		b = binary.BigEndian.AppendUint64(b, uint64(s.Meter))
		b = appendTime(appendTime(b, s.Start, received), s.End, received)
	}
	return b
}

// micros is an instant in microseconds since 1970; 0 if it is the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

const second = int64(time.Second / time.Microsecond)

// appendTime appends how long an instant is before the second of receipt. Messages give whole seconds: of
// these the number is even, and has half as many bytes.
func appendTime(b []byte, t time.Time, received int64) []byte {
	d := received - received%second - micros(t)
	if d%second == 0 {
		return binary.AppendVarint(b, d/second*2)
	}
	return binary.AppendVarint(b, d*2+1)
}

func appendRequest(b []byte, r outage.RequestID) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(r.Originator))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Target))
	return binary.BigEndian.AppendUint64(b, r.Counter)
}

func appendText(b []byte, s string) []byte {
	s = s[:min(len(s), maxText)]
	return append(append(b, byte(len(s))), s...)
}

// usualSize is how many bytes an AD1 that passed has: most of a storm.
const usualSize = 18

var errRow = errors.New("a row of sightings is not whole")

// decode reads the sightings of a row. It returns none, without an error, if the row is of a
// version that it does not know.
func decode(row []byte) (list []Seen, err error) {
	if len(row) == 0 || row[0] != formatVersion {
		return nil, nil
	}
	d := decoder{b: row[1:]}
	list = make([]Seen, 0, len(row)/usualSize+1)
	for len(d.b) > 0 {
		kind := evidence.Kind(d.byte())
		d.before.received += d.varint()
		d.before.hub ^= d.uvarint()
		s := Seen{Sighting: evidence.Sighting{Kind: kind, Received: instant(d.before.received), Home: evidence.Home{Hub: outage.DeviceID(d.before.hub)}}}
		switch s.Kind {
		case evidence.Ordered:
			s.Meter, s.Request, s.Start = d.device(), d.request(), d.time()
			flags := d.byte()
			s.Form = outage.ServiceRequest
			if flags&1 != 0 {
				s.Form = outage.SignedPreCommand
			}
			s.Tracked = flags&2 != 0
			s.Firmware = d.text()
		case evidence.NotRun:
			s.Meter, s.Request, s.Why = d.device(), d.request(), d.text()
		case evidence.Lost:
			s.Start, s.MPAN = d.time(), mpanText(d.mpan())
		case evidence.Restored:
			s.Meter, s.Start, s.End = d.device(), d.time(), d.time()
		case evidence.Heard:
		default:
			return list, fmt.Errorf("%w: kind %d", errRow, s.Kind)
		}
		if d.short {
			return list, errRow
		}
		list = append(list, s)
	}
	return list, nil
}

type decoder struct {
	b      []byte
	short  bool
	before last
}

func (d *decoder) take(n int) []byte {
	if len(d.b) < n {
		d.b, d.short = nil, true
		return make([]byte, n)
	}
	t := d.b[:n]
	d.b = d.b[n:]
	return t
}

func (d *decoder) byte() byte              { return d.take(1)[0] }
func (d *decoder) uint64() uint64          { return binary.BigEndian.Uint64(d.take(8)) }
func (d *decoder) device() outage.DeviceID { return outage.DeviceID(d.uint64()) }
func (d *decoder) text() string            { return string(d.take(int(d.byte()))) }

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	d.skip(n)
	return v
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	d.skip(n)
	return v
}

// skip goes on after a number of n bytes; if n is not positive, there was none.
func (d *decoder) skip(n int) {
	if n <= 0 {
		d.b, d.short = nil, true
		return
	}
	d.b = d.b[n:]
}

func (d *decoder) mpan() uint64 {
	var eight [8]byte
	copy(eight[2:], d.take(6))
	return binary.BigEndian.Uint64(eight[:])
}

// time reads what appendTime has written.
func (d *decoder) time() time.Time {
	v, received := d.varint(), d.before.received
	if v&1 == 0 {
		v = v / 2 * second
	} else {
		v = (v - 1) / 2
	}
	return instant(received - received%second - v)
}

func instant(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

func (d *decoder) request() outage.RequestID {
	return outage.RequestID{Originator: d.device(), Target: d.device(), Counter: d.uint64()}
}

// Firmware returns the name of an image, by its hash, as a sighting has it.
func Firmware(hash [32]byte) string {
	if hash == ([32]byte{}) {
		return ""
	}
	return hex.EncodeToString(hash[:])
}

// mpanNumber returns a valid MPAN as a number; 0 for any other text.
func mpanNumber(mpan string) uint64 {
	if _, ok := outage.DistributorOf(mpan); !ok {
		return 0
	}
	n, _ := strconv.ParseUint(mpan, 10, 64) // 13 digits
	return n
}

func mpanText(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%013d", n)
}
