// Package load makes messages and sends them: wrk does in a closed loop, and Loop in an
// open one.
package load

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"quell/internal/duis"
	"quell/internal/outage"
	"quell/internal/smki"
	"quell/internal/xmldsig"
)

// Who sends and receives.
const (
	Supplier    outage.DeviceID = 0x90B3D51F30010000
	distributor outage.DeviceID = 0x90B3D51F30020000
	dsp         outage.DeviceID = 0x90B3D51F30000002
)

// Hubs and meters are counted from these. The 32 bits at the end are the number.
const (
	Hubs   outage.DeviceID = 0x8873845700000000
	Meters outage.DeviceID = 0x00DB123400000000

	// Elsewhere is the number of the first hub that has no window.
	Elsewhere = 0x10000000
)

const MPxN = "1200023305967"

// What is replaced in a message by its own number and that of its hub or meter.
const (
	markNumber = 987654321
	markDevice = 0xDEADBEEF
)

// Message is a kind of messages, which differ in their number and in their hub or
// meter. All of a kind are equally long.
type Message struct {
	name  string
	text  []byte // with the marks
	first uint32 // the number of the first hub or meter
	count uint32 // of how many
}

// Size returns the length of each message of the kind.
func (m *Message) Size() int { return len(m.text) }

// Number is the counter in the id of message i. All have nine digits.
func Number(i int64) int64 { return 100_000_000 + i%800_000_000 }

// device is the number of the hub or meter of message i.
func (m *Message) device(i int64) uint32 { return m.first + uint32(uint64(i)%uint64(m.count)) }

// slot is a place in a message: where, and whether it is a device, or else the number.
type slot struct {
	at     int
	device bool
}

func (m *Message) slots() (slots []slot) {
	number, device := []byte(strconv.Itoa(markNumber)), deviceText(markDevice)
	for at := range m.text {
		if bytes.HasPrefix(m.text[at:], number) {
			slots = append(slots, slot{at, false})
		} else if bytes.HasPrefix(m.text[at:], device) {
			slots = append(slots, slot{at, true})
		}
	}
	return slots
}

// deviceText returns the second half of an EUI-64.
func deviceText(n uint32) []byte { return []byte(outage.DeviceID(n).String()[12:]) }

// fill writes message i over text, which is a copy of the kind's text.
func (m *Message) fill(text []byte, slots []slot, i int64) {
	const digits = "0123456789ABCDEF"
	for _, s := range slots {
		if !s.device {
			strconv.AppendInt(text[s.at:s.at], Number(i), 10)
			continue
		}
		device := m.device(i)
		for k := range 4 {
			b := byte(device >> (24 - 8*k))
			text[s.at+3*k], text[s.at+3*k+1] = digits[b>>4], digits[b&15]
		}
	}
}

// At returns message i.
func (m *Message) At(i int64) []byte {
	text := bytes.Clone(m.text)
	m.fill(text, m.slots(), i)
	return text
}

func alertID(from outage.DeviceID) outage.RequestID {
	return outage.RequestID{Originator: from, Target: distributor, Counter: markNumber}
}

// PowerOutage is an AD1 of hubs from first on. The outages began now.
func PowerOutage(first, count uint32) *Message {
	now := time.Now().Truncate(time.Second)
	text := duis.AppendPowerOutage(nil, alertID(dsp), now, duis.PowerOutage{CHF: Hubs | markDevice, Start: now, MPxN: MPxN})
	return &Message{"AD1", text, first, count}
}

// Activation is an 11.3 on demand for meters from first on.
func Activation(first, count uint32) *Message {
	id := outage.RequestID{Originator: Supplier, Target: Meters | markDevice, Counter: markNumber}
	text := duis.AppendActivateFirmware(nil, id, outage.Order{Kind: outage.OnDemand}, sha256.Sum256([]byte("firmware image")))
	return &Message{"11.3", text, first, count}
}

// DeviceAlert is an alert of a meter that quell has nothing to do with. It is about size
// bytes long, most of it in base64.
func DeviceAlert(size int) *Message {
	with := func(n int) []byte {
		payload := bytes.Repeat([]byte("GBCS"), n/4+1)[:n]
		return duis.AppendDeviceAlert(nil, alertID(Meters|markDevice), time.Now(), "8F3F", payload)
	}
	text := with(max(0, size-len(with(0))) / 4 * 3)
	return &Message{"device alert", text, 0, 1_000_000}
}

// Response is the answer of a device to a request, about size bytes long.
func Response(size int) *Message {
	with := func(n int) []byte {
		id := outage.RequestID{Originator: Supplier, Target: Meters | markDevice, Counter: markNumber}
		const end = "</sr:ResponseMessage>"
		payload := "<sr:GBCSPayload>" + string(bytes.Repeat([]byte("R0JD"), n/4)) + "</sr:GBCSPayload>"
		return bytes.Replace(duis.AppendAnswer(nil, id, time.Now(), "I0"), []byte(end), []byte(payload+end), 1)
	}
	return &Message{"response", with(max(0, size-len(with(0)))), 0, 1_000_000}
}

// DCCAlert is the DCC alert N12, a command that was not delivered.
func DCCAlert(size int) *Message {
	with := func(n int) []byte {
		return duis.AppendDCCAlert(nil, alertID(dsp), time.Now(), "N12", fmt.Sprintf(
			"<sr:CommandFailure><sr:CommandRequestID>%s:%s:%d</sr:CommandRequestID><sr:DeviceID>%s</sr:DeviceID></sr:CommandFailure>%s",
			Supplier, Meters|markDevice, markNumber, Meters|markDevice, bytes.Repeat([]byte(" "), n)))
	}
	return &Message{"DCC alert", with(max(0, size-len(with(0)))), 0, 1_000_000}
}

// Signer signs messages, and has the certificate that verifies them.
type Signer struct {
	key    *ecdsa.PrivateKey
	der    []byte
	serial *big.Int
}

func NewSigner() (*Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	from := time.Now().Add(-time.Hour)
	der, err := smki.Create(dsp, smki.XMLSign, &key.PublicKey, from, from.AddDate(1, 0, 0), key)
	if err != nil {
		return nil, err
	}
	c, err := smki.Parse(der)
	if err != nil {
		return nil, err
	}
	return &Signer{key, der, c.Serial}, nil
}

// Write writes the certificate into a folder, in PEM.
func (s *Signer) Write(dir string) error {
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.der})
	return os.WriteFile(filepath.Join(dir, "dsp.pem"), text, 0o644)
}

// Sign returns a kind of messages with a signature. It has the form of a right one, but
// is right for the text with the marks only: it is for messages whose signature nobody
// verifies.
func (s *Signer) Sign(m *Message) (*Message, error) {
	text, err := xmldsig.Sign(m.text, s.key, smki.Issuer, s.serial)
	if err != nil {
		return nil, err
	}
	signed := *m
	signed.name, signed.text = m.name+", signed", text
	return &signed, nil
}

// SignEach returns n messages of a kind, each with its own right signature, from number
// from on, one after the other. All are equally long.
func (s *Signer) SignEach(m *Message, from int64, n int) ([]byte, int, error) {
	var all []byte
	size := 0
	for i := range int64(n) {
		text, err := xmldsig.Sign(m.At(from+i), s.key, smki.Issuer, s.serial)
		if err != nil {
			return nil, 0, err
		}
		if size == 0 {
			size = len(text)
		}
		if len(text) != size {
			return nil, 0, fmt.Errorf("signed messages of %d and %d bytes", size, len(text))
		}
		all = append(all, text...)
	}
	return all, size, nil
}
