package passed

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"time"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

// A Note is the note that an alert went forward, and why.
type Note struct {
	AlertID     string          `json:"alert_id"`
	CHF         outage.DeviceID `json:"chf_id"`
	OutageStart time.Time       `json:"outage_start,omitzero"` // zero in notes of an earlier version
	Received    time.Time       `json:"received_at"`
	Reason      outage.Reason   `json:"reason"`
}

// NoteOf returns the note of an alert.
func NoteOf(a *outage.Alert, reason outage.Reason) Note {
	return Note{a.ID, a.CHF, a.OutageStart, a.Received, reason}
}

// Key returns the note's key.
func (n *Note) Key() uint64 { return Key(n.AlertID, n.CHF, n.OutageStart) }

// Key returns what is kept of an alert: a hash of its id, its hub and the start of its outage. The
// database has keys, so the function never changes. It is not secret, and need not be: who finds
// two alerts with one key gets the second one forwarded.
func Key[T string | []byte](id T, chf outage.DeviceID, start time.Time) uint64 {
	h := mix(uint64(chf)^0x9e3779b97f4a7c15, uint64(sqldb.Micros(start))^0xd1b54a32d192ed03)
	h ^= uint64(len(id))
	for len(id) >= 8 {
		h = mix(h^word(id, 8), 0xa0761d6478bd642f)
		id = id[8:]
	}
	h = mix(h^word(id, len(id)), 0xe7037ed1a0b428db)
	return mix(h^0x8ebc6af09c88c6e3, 0x589965cc75374cc3)
}

// word returns the first n bytes of an id, 8 at most, as a number.
func word[T string | []byte](id T, n int) (w uint64) {
	for i := range n {
		w |= uint64(id[i]) << (8 * i)
	}
	return w
}

// mix multiplies, and folds the product, whose upper half depends on all bits.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo ^ bits.RotateLeft64(a, 32)
}

// fact is what is kept besides the key: the number of the reason in the upper 5 bits, and below
// when the alert was received, in minutes since 1970.
type fact uint32

const minuteBits = 27 // until the year 2225

// reasons are the reasons that have a number. The numbers are in the database: append only. A
// reason without a number counts as the first.
var reasons = []outage.Reason{
	outage.ReasonNoWindow, outage.ReasonSwitchedOff, outage.ReasonStoreUnavailable, outage.ReasonClockUnsure, outage.ReasonOutageInFuture,
	outage.ReasonWindowNotBegun, outage.ReasonWindowOver, outage.ReasonWindowWithdrawn, outage.ReasonInShadow,
	outage.ReasonSignatureMissing, outage.ReasonSignatureInvalid, outage.ReasonSignerUnknown, outage.ReasonSignerMismatch,
	outage.ReasonReleased,
}

func newFact(received time.Time, reason outage.Reason) fact {
	return fact(max(slices.Index(reasons, reason), 0))<<minuteBits | minuteOf(received)
}

// minuteOf returns an instant as a fact without a reason.
func minuteOf(t time.Time) fact { return fact(min(max(t.Unix()/60, 0), 1<<minuteBits-1)) }

func (f fact) minute() fact { return f & (1<<minuteBits - 1) }

func (f fact) reason() outage.Reason {
	if n := int(f >> minuteBits); n < len(reasons) {
		return reasons[n]
	}
	return reasons[0] // of a later version
}

// noteSize is the length of a note in a row: the key, then the fact, both with the lowest byte
// first.
const noteSize = 12

// Append appends a note in the form that Insert takes.
func Append(b []byte, n *Note) []byte { return appendNote(b, n.Key(), newFact(n.Received, n.Reason)) }

func appendNote(b []byte, key uint64, f fact) []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64(b, key), uint32(f))
}

// noteAt returns the i-th note of a row.
func noteAt(row []byte, i int) (key uint64, f fact) {
	b := row[i*noteSize:]
	return binary.LittleEndian.Uint64(b), fact(binary.LittleEndian.Uint32(b[8:]))
}
