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

// formatVersion begins each row. A reader skips rows of a version that it does not know: a later
// node wrote them.
const formatVersion = 1

// maxText bounds the texts in a sighting, in bytes.
const maxText = 200

// Seen is a sighting as it is kept: of its home only the hub is known, and of a Lost the supply
// point. Who reads it looks the rest up.
type Seen struct {
	evidence.Sighting
	MPAN string // of a Lost, if the alert has a valid one; personal data
}

// appendSighting appends a sighting: its kind, when it was received and the hub; then what its kind
// has. Numbers have the highest byte first, instants are in microseconds since 1970.
func appendSighting(b []byte, s *Seen) []byte {
	b = append(b, byte(s.Kind))
	b = appendTime(b, s.Received)
	b = binary.BigEndian.AppendUint64(b, uint64(s.Home.Hub))
	switch s.Kind {
	case evidence.Ordered:
		b = binary.BigEndian.AppendUint64(b, uint64(s.Meter))
		b = appendRequest(b, s.Request)
		b = appendTime(b, s.Start)
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
		b = appendTime(b, s.Start)
		b = binary.BigEndian.AppendUint64(b, mpanNumber(s.MPAN))
	case evidence.Restored:
		b = binary.BigEndian.AppendUint64(b, uint64(s.Meter))
		b = appendTime(appendTime(b, s.Start), s.End)
	}
	return b
}

func appendTime(b []byte, t time.Time) []byte {
	us := int64(0)
	if !t.IsZero() {
		us = t.UnixMicro()
	}
	return binary.BigEndian.AppendUint64(b, uint64(us))
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

var errRow = errors.New("a row of sightings is not whole")

// decode reads the sightings of a row. It returns none, without an error, if the row is of a
// version that it does not know.
func decode(row []byte) (list []Seen, err error) {
	if len(row) == 0 || row[0] != formatVersion {
		return nil, nil
	}
	d := decoder{b: row[1:]}
	for len(d.b) > 0 {
		s := Seen{Sighting: evidence.Sighting{Kind: evidence.Kind(d.byte()), Received: d.time(), Home: evidence.Home{Hub: d.device()}}}
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
			s.Start, s.MPAN = d.time(), mpanText(d.uint64())
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
	b     []byte
	short bool
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

func (d *decoder) time() time.Time {
	us := int64(d.uint64())
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
