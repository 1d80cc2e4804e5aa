package main

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
	supplier    outage.DeviceID = 0x90B3D51F30010000
	distributor outage.DeviceID = 0x90B3D51F30020000
	dsp         outage.DeviceID = 0x90B3D51F30000002
)

// Hubs and meters are counted from these. The 32 bits at the end are the number.
const (
	hubs   outage.DeviceID = 0x8873845700000000
	meters outage.DeviceID = 0x00DB123400000000

	// elsewhere is the number of the first hub that has no window.
	elsewhere = 0x10000000
)

const mpxn = "1200023305967"

// What is replaced in a message by its own number and that of its hub or meter.
const (
	markNumber = 987654321
	markDevice = 0xDEADBEEF
)

// message is a kind of messages, which differ in their number and in their hub or
// meter. All of a kind are equally long.
type message struct {
	name  string
	text  []byte // with the marks
	first uint32 // the number of the first hub or meter
	count uint32 // of how many
}

// size returns the length of each message of the kind.
func (m *message) size() int { return len(m.text) }

// number is the counter in the id of message i. All have nine digits.
func number9(i int64) int64 { return 100_000_000 + i%800_000_000 }

// device is the number of the hub or meter of message i.
func (m *message) device(i int64) uint32 { return m.first + uint32(uint64(i)%uint64(m.count)) }

// slot is a place in a message: where, and whether it is a device, or else the number.
type slot struct {
	at     int
	device bool
}

func (m *message) slots() (slots []slot) {
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
func (m *message) fill(text []byte, slots []slot, i int64) {
	const digits = "0123456789ABCDEF"
	for _, s := range slots {
		if !s.device {
			strconv.AppendInt(text[s.at:s.at], number9(i), 10)
			continue
		}
		device := m.device(i)
		for k := range 4 {
			b := byte(device >> (24 - 8*k))
			text[s.at+3*k], text[s.at+3*k+1] = digits[b>>4], digits[b&15]
		}
	}
}

// at returns message i.
func (m *message) at(i int64) []byte {
	text := bytes.Clone(m.text)
	m.fill(text, m.slots(), i)
	return text
}

func alertID(from outage.DeviceID) outage.RequestID {
	return outage.RequestID{Originator: from, Target: distributor, Counter: markNumber}
}

// powerOutage is an AD1 of hubs from first on. The outages began now.
func powerOutage(first, count uint32) *message {
	now := time.Now().Truncate(time.Second)
	text := duis.AppendPowerOutage(nil, alertID(dsp), now, duis.PowerOutage{CHF: hubs | markDevice, Start: now, MPxN: mpxn})
	return &message{"AD1", text, first, count}
}

// activation is an 11.3 on demand for meters from first on.
func activation(first, count uint32) *message {
	id := outage.RequestID{Originator: supplier, Target: meters | markDevice, Counter: markNumber}
	text := duis.AppendActivateFirmware(nil, id, outage.Order{Kind: outage.OnDemand}, sha256.Sum256([]byte("firmware image")))
	return &message{"11.3", text, first, count}
}

// deviceAlert is an alert of a meter that quell has nothing to do with. It is about size
// bytes long, most of it in base64.
func deviceAlert(size int) *message {
	make := func(n int) []byte {
		payload := bytes.Repeat([]byte("GBCS"), n/4+1)[:n]
		return duis.AppendDeviceAlert(nil, alertID(meters|markDevice), time.Now(), "8F3F", payload)
	}
	text := make(max(0, size-len(make(0))) / 4 * 3)
	return &message{"device alert", text, 0, 1_000_000}
}

// response is the answer of a device to a request, about size bytes long.
func response(size int) *message {
	make := func(n int) []byte {
		id := outage.RequestID{Originator: supplier, Target: meters | markDevice, Counter: markNumber}
		const end = "</sr:ResponseMessage>"
		payload := "<sr:GBCSPayload>" + string(bytes.Repeat([]byte("R0JD"), n/4)) + "</sr:GBCSPayload>"
		return bytes.Replace(duis.AppendAnswer(nil, id, time.Now(), "I0"), []byte(end), []byte(payload+end), 1)
	}
	return &message{"response", make(max(0, size-len(make(0)))), 0, 1_000_000}
}

// dccAlert is the DCC alert N12, a command that was not delivered.
func dccAlert(size int) *message {
	make := func(n int) []byte {
		return duis.AppendDCCAlert(nil, alertID(dsp), time.Now(), "N12", fmt.Sprintf(
			"<sr:CommandFailure><sr:CommandRequestID>%s:%s:%d</sr:CommandRequestID><sr:DeviceID>%s</sr:DeviceID></sr:CommandFailure>%s",
			supplier, meters|markDevice, markNumber, meters|markDevice, bytes.Repeat([]byte(" "), n)))
	}
	return &message{"DCC alert", make(max(0, size-len(make(0)))), 0, 1_000_000}
}

// signer signs messages, and has the certificate that verifies them.
type signer struct {
	key    *ecdsa.PrivateKey
	der    []byte
	serial *big.Int
}

func newSigner() (*signer, error) {
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
	return &signer{key, der, c.Serial}, nil
}

// write writes the certificate into a folder, in PEM.
func (s *signer) write(dir string) error {
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.der})
	return os.WriteFile(filepath.Join(dir, "dsp.pem"), text, 0o644)
}

// sign returns a kind of messages with a signature. It has the form of a right one, but
// is right for the text with the marks only: it is for messages whose signature nobody
// verifies.
func (s *signer) sign(m *message) (*message, error) {
	text, err := xmldsig.Sign(m.text, s.key, smki.Issuer, s.serial)
	if err != nil {
		return nil, err
	}
	signed := *m
	signed.name, signed.text = m.name+", signed", text
	return &signed, nil
}

// signEach returns n messages of a kind, each with its own right signature, from number
// from on, one after the other. All are equally long.
func (s *signer) signEach(m *message, from int64, n int) ([]byte, int, error) {
	var all []byte
	size := 0
	for i := range int64(n) {
		text, err := xmldsig.Sign(m.at(from+i), s.key, smki.Issuer, s.serial)
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
