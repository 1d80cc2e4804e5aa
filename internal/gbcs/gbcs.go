// Package gbcs reads and writes the messages of one use case of the GB
// Companion Specification: CS06, Activate Firmware. These are the command, which
// tells a meter when to activate, and the meter's answers to it: see Outcome.
//
// A service user signs the pre-command that the DCC made for it. The Signed
// Pre-Command goes south in a DUIS request as base64:
//
//	DF                            general-signing
//	09 01 counter(8)              transaction id: CRA flag 01 (command), originator counter
//	08 originator(8)
//	08 target(8)
//	00                            no date-time
//	02 0012                       other information: the message code
//	len                           length of the content
//	30 len                        SEQUENCE
//	  04 20 hash(32)                OCTET STRING, of the manufacturer's image
//	  02 len counter                INTEGER, the originator counter again
//	  18 0F YYYYMMDDhhmmssZ         GeneralizedTime; absent: now; 99991231235959Z: cancel
//	40 signature(64)
//
// The DCC then sends the meter the same bytes, with a MAC header, which begins with
// DD, before them and a MAC after them. That is not a Signed Pre-Command, and
// neither is a pre-command without a signature.
//
// Integers and lengths are encoded as in DER, in as few bytes as possible. Every
// length in these messages is less than 128, so each is a single byte.
package gbcs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"quell/internal/outage"
)

var (
	// ErrNotCS06 says that a message is not a CS06 command: it is a response
	// or an alert, or has another message code.
	ErrNotCS06 = errors.New("gbcs: not a CS06 command")

	// ErrNotSigned says that a message is not a Signed Pre-Command: it is a
	// pre-command without a signature, or a command with a MAC.
	ErrNotSigned = errors.New("gbcs: not a Signed Pre-Command")

	// ErrMalformed says that a message does not have the form that GBCS requires.
	ErrMalformed = errors.New("gbcs: malformed message")
)

// CS06 is what an Activate Firmware command says.
type CS06 struct {
	Originator outage.DeviceID
	Target     outage.DeviceID // the meter
	Counter    uint64          // the originator's
	ImageHash  [32]byte
	Order      outage.Order // At is in UTC, to the second
}

const (
	messageCode   = 0x0012
	alertCode     = 0x00CA // of the alert on the execution of a future-dated command
	craCommand    = 1
	craResponse   = 2
	craAlert      = 3
	signatureSize = 64

	tagMAC             = 0xDD
	tagSigned          = 0xDF
	tagSequence        = 0x30
	tagByteString      = 0x04
	tagInteger         = 0x02
	tagNull            = 0x05
	tagGeneralizedTime = 0x18
)

// Execution times have the layout timeLayout. A command that cancels has cancelTime
// in their place.
const (
	timeLayout = "20060102150405Z"
	cancelTime = "99991231235959Z"
)

// ReadCS06 reads a Signed Pre-Command of CS06. It does not verify the
// signature. The error wraps ErrNotCS06, ErrNotSigned or ErrMalformed.
func ReadCS06(payload []byte) (CS06, error) {
	if len(payload) > 0 && payload[0] == tagMAC {
		return CS06{}, fmt.Errorf("%w: it has a MAC header", ErrNotSigned)
	}
	d := decoder{b: payload}
	h := d.header(ErrNotCS06, header{cra: craCommand, code: messageCode})
	c := CS06{Originator: h.originator, Target: h.target, Counter: h.counter}
	content := decoder{b: d.take("content", d.length())}
	if d.err != nil {
		return CS06{}, d.err
	}
	c.ImageHash, c.Order = content.activation(c.Counter)
	if d.err = content.err; d.err != nil {
		return CS06{}, d.err
	}
	if len(d.b) == 0 {
		return CS06{}, fmt.Errorf("%w: it has no signature", ErrNotSigned)
	}
	d.constant("signature's length", signatureSize)
	d.take("signature", signatureSize)
	d.end("message")
	if d.err != nil {
		return CS06{}, d.err
	}
	return c, nil
}

// A decoder takes the fields of a message from the front. After its first error
// every field is zero.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) malformed(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrMalformed, what)
		d.b = nil
	}
}

// take returns the next n bytes; nil if there are fewer.
func (d *decoder) take(what string, n int) []byte {
	if d.err != nil || n > len(d.b) {
		d.malformed(what)
		return nil
	}
	t := d.b[:n]
	d.b = d.b[n:]
	return t
}

// constant takes bytes, which must equal want.
func (d *decoder) constant(what string, want ...byte) {
	if !bytes.Equal(d.take(what, len(want)), want) {
		d.malformed(what)
	}
}

func (d *decoder) uint64(what string) uint64 {
	if b := d.take(what, 8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) end(what string) {
	if len(d.b) > 0 {
		d.malformed("bytes after " + what)
	}
}

// length takes a length of less than 128.
func (d *decoder) length() int {
	n := d.take("length", 1)
	if n == nil {
		return 0
	}
	if n[0] >= 0x80 {
		d.malformed("length")
		return 0
	}
	return int(n[0])
}

// A header comes before the content of every message.
type header struct {
	cra        byte
	counter    uint64
	originator outage.DeviceID
	target     outage.DeviceID
	code       uint16
}

// header takes everything before the content. The CRA flag and the message code in
// it say which kind of message it is. If no header in wanted has that pair, the
// error is other; then only the bytes before the pair have been checked.
func (d *decoder) header(other error, wanted ...header) (h header) {
	d.constant("tag", tagSigned)
	d.constant("transaction id", 9)
	if cra := d.take("transaction id", 1); cra != nil {
		h.cra = cra[0]
	}
	if d.err == nil && !slices.ContainsFunc(wanted, func(w header) bool { return w.cra == h.cra }) {
		d.err = fmt.Errorf("%w: CRA flag %02X", other, h.cra)
		return h
	}
	h.counter = d.uint64("transaction id")
	d.constant("originator", 8)
	h.originator = outage.DeviceID(d.uint64("originator"))
	d.constant("target", 8)
	h.target = outage.DeviceID(d.uint64("target"))
	if n := d.length(); h.cra == craResponse {
		d.take("date-time", n)
	} else if n != 0 {
		d.malformed("date-time")
	}
	info := d.take("other information", d.length())
	if d.err != nil {
		return h
	}
	if len(info) >= 2 {
		h.code = binary.BigEndian.Uint16(info)
		if !slices.ContainsFunc(wanted, func(w header) bool { return w.cra == h.cra && w.code == h.code }) {
			d.err = fmt.Errorf("%w: message code %04X", other, h.code)
			return h
		}
	}
	if len(info) != 2 {
		d.malformed("other information")
	}
	return h
}

// sequence takes the head of a SEQUENCE, which must be all that is left.
func (d *decoder) sequence() {
	d.constant("SEQUENCE", tagSequence)
	if n := d.length(); d.err == nil && n != len(d.b) {
		d.malformed("SEQUENCE")
	}
}

// time takes a GeneralizedTime to the second in UTC. It is zero, without an error,
// for the time that means cancellation.
func (d *decoder) time(what string) time.Time {
	d.constant(what, tagGeneralizedTime, byte(len(cancelTime)))
	at := string(d.take(what, len(cancelTime)))
	if at == cancelTime {
		return time.Time{}
	}
	// Parse accepts more than the layout, but not in 15 bytes. It also accepts the
	// year 0000, which does not exist.
	t, err := time.Parse(timeLayout, at)
	if err != nil || t.Year() < 1 || t.IsZero() {
		d.malformed(what)
	}
	return t
}

// counter takes an INTEGER in the form that appendCounter writes.
func (d *decoder) counter(what string) (n uint64) {
	b := d.b
	d.constant(what, tagInteger)
	for _, c := range d.take(what, d.length()) {
		n = n<<8 | uint64(c)
	}
	if d.err == nil && !bytes.Equal(b[:len(b)-len(d.b)], appendCounter(nil, n)) {
		d.malformed(what)
	}
	return n
}

// activation takes the content of a command. The counter is the one in the header,
// which the content must repeat.
func (d *decoder) activation(counter uint64) (hash [32]byte, order outage.Order) {
	d.sequence()
	d.constant("image hash", tagByteString, byte(len(hash)))
	copy(hash[:], d.take("image hash", len(hash)))
	d.constant("originator counter", appendCounter(nil, counter)...)
	if len(d.b) == 0 {
		return hash, outage.Order{Kind: outage.OnDemand}
	}
	t := d.time("execution time")
	d.end("execution time")
	if t.IsZero() {
		return hash, outage.Order{Kind: outage.Cancellation}
	}
	return hash, outage.Order{Kind: outage.FutureDated, At: t}
}

// AppendCS06 appends the pre-command for c. Fractions of a second of the execution
// time are cut off. Its year must have four digits. It cannot be the last second of
// 9999, which means cancellation.
func AppendCS06(b []byte, c CS06) []byte {
	b = appendHeader(b, header{cra: craCommand, counter: c.Counter, originator: c.Originator, target: c.Target, code: messageCode})

	fields := append(make([]byte, 0, 64), tagByteString, byte(len(c.ImageHash)))
	fields = append(fields, c.ImageHash[:]...)
	fields = appendCounter(fields, c.Counter)
	switch c.Order.Kind {
	case outage.FutureDated:
		fields = append(fields, tagGeneralizedTime, byte(len(timeLayout)))
		fields = c.Order.At.UTC().AppendFormat(fields, timeLayout)
	case outage.Cancellation:
		fields = append(fields, tagGeneralizedTime, byte(len(cancelTime)))
		fields = append(fields, cancelTime...)
	}
	// At most 62 bytes, so both lengths are single bytes.
	b = append(b, byte(len(fields)+2), tagSequence, byte(len(fields)))
	return append(b, fields...)
}

func appendHeader(b []byte, h header) []byte {
	b = append(b, tagSigned, 9, h.cra)
	b = binary.BigEndian.AppendUint64(b, h.counter)
	b = append(b, 8)
	b = binary.BigEndian.AppendUint64(b, uint64(h.originator))
	b = append(b, 8)
	b = binary.BigEndian.AppendUint64(b, uint64(h.target))
	b = append(b, 0, 2) // no date-time; other information of two bytes
	return binary.BigEndian.AppendUint16(b, h.code)
}

// AppendSigned appends an unsigned message, such as a pre-command, and its
// signature: r and s of 32 bytes each.
func AppendSigned(b, unsigned []byte, signature [64]byte) []byte {
	b = append(b, unsigned...)
	b = append(b, signatureSize)
	return append(b, signature[:]...)
}

// appendCounter appends n as an INTEGER of as few bytes as possible. It has a leading
// zero byte where n would otherwise be read as negative.
func appendCounter(b []byte, n uint64) []byte {
	var all [9]byte
	binary.BigEndian.PutUint64(all[1:], n)
	i := 0
	for i < 8 && all[i] == 0 && all[i+1] < 0x80 {
		i++
	}
	b = append(b, tagInteger, byte(9-i))
	return append(b, all[i:]...)
}
