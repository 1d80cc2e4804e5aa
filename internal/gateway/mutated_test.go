package gateway

import (
	"bytes"
	"go/ast"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"testing"

	"quell/internal/duis"
	"quell/internal/gbcs"
	"quell/internal/outage"
)

// executions is the variable that says how many messages TestMutated reads. Fuzzing, which
// make fuzz does, is guided by what the code does, and slow. This is neither.
const executions = "QUELL_TEST_EXECUTIONS"

// TestMutated reads messages that were changed by chance: those of testdata/hostile, and their
// payloads. What is read is what was written: an alert that quell would decide on, and a
// command, are the same when they are written and read again. To read many:
//
//	QUELL_TEST_EXECUTIONS=100000000 go test ./internal/gateway -run '^TestMutated$' -timeout 0 -v
func TestMutated(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv(executions))
	if err != nil {
		n = 20_000
	}
	seed, err := strconv.ParseUint(os.Getenv("QUELL_TEST_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	m := mutator{Rand: r}
	attacks := readAttacks(t)
	for _, kind := range slices.Sorted(maps.Keys(attacks)) {
		for _, s := range strikes(t, attacks[kind]) {
			if s.from != nil && s.n%16 != 0 {
				continue
			}
			for _, e := range []ast.Expr{s.message, s.answer} {
				if e == nil {
					continue
				}
				text := []byte(s.text(e))
				if len(text) >= 4<<10 {
					continue
				}
				for range map[bool]int{true: 30, false: 1}[kind == "control"] { // these have no harm in them yet
					m.messages = append(m.messages, text)
				}
			}
			if s.meter == 1 {
				for _, name := range []string{"Payload", "FutureDatedPayload"} {
					m.payloads = append(m.payloads, []byte(s.named(name)))
				}
			}
		}
	}
	alerts, commands := 0, 0
	for i := range n {
		if i%8 == 0 {
			if b := m.change(m.payloads); checkPayload(t, b) {
				commands++
			}
			continue
		}
		b := m.change(m.messages)
		before := bytes.Clone(b)
		message, err := duis.Read(b)
		if !bytes.Equal(b, before) {
			t.Fatalf("the message %q was changed", before)
		}
		if err != nil && (message.Body != 0 || message.Payload != nil || message.Outage.CHF != 0) {
			t.Fatalf("%q cannot be read, and is %+v", b, message)
		}
		if message.Payload != nil {
			checkPayload(t, message.Payload)
		}
		if message.Body == duis.BodyPowerOutage {
			alerts++
			clear(b) // what was read must not be a part of it
			id := message.ResponseID
			if id == (outage.RequestID{}) {
				id = outage.RequestID{Counter: 1} // an id that is written must not be zero
			}
			again, err := duis.Read(duis.AppendPowerOutage(nil, id, attackTime, message.Outage))
			if err != nil || again.ResponseID != id || !reflect.DeepEqual(again.Outage, message.Outage) {
				t.Fatalf("%q is read as %+v, and that is written and read as %+v, %v", before, message, again, err)
			}
		}
	}
	t.Logf("%d executions: %d alerts and %d commands could be read", n, alerts, commands)
	if alerts == 0 || commands == 0 {
		t.Error("nothing could be read")
	}
}

// checkPayload reads a payload as each of what it may be, and reports whether it is a command.
func checkPayload(t *testing.T, b []byte) bool {
	c, err := gbcs.ReadCS06(b)
	if _, other := gbcs.ReadOutcome(b); err == nil && other == nil {
		t.Fatalf("%X is a command and an answer", b)
	}
	if err != nil {
		return false
	}
	if want := gbcs.AppendSigned(nil, gbcs.AppendCS06(nil, c), [64]byte(b[len(b)-64:])); !bytes.Equal(b, want) {
		t.Fatalf("%X is read as %+v, which is written %X", b, c, want)
	}
	return true
}

// mutator changes texts by chance.
type mutator struct {
	*rand.Rand
	messages, payloads [][]byte
}

// words are what a change may put anywhere.
var words = []string{"<", ">", "/>", "</", "&", ";", "&#", "&#x", "\"", "'", "=", " ", "\x00", "\xff", "\xc0\x80", "<!--", "-->", "<![CDATA[", "]]>", "<?", "?>", "<!DOCTYPE",
	"xmlns", "xmlns:sr", "sr:", ":", "-", "0", "9", "AD1", "11.3", "18446744073709551616", "\x80", "\x81", "\x84\xff\xff\xff\xff", "\x30", "\x02", "\x18\x0f", "\ufeff", "\r"}

// change returns one of some texts, changed in one to four places.
func (m mutator) change(all [][]byte) []byte {
	b := bytes.Clone(all[m.IntN(len(all))])
	for range 1 + m.IntN(4) {
		at := m.IntN(len(b) + 1)
		end := at + m.IntN(min(len(b)-at, 40)+1)
		switch m.IntN(8) {
		case 0:
			b = slices.Delete(b, at, end)
		case 1:
			b = slices.Insert(b, at, bytes.Clone(b[at:end])...)
		case 2:
			b = slices.Insert(b, at, []byte(words[m.IntN(len(words))])...)
		case 3:
			other := all[m.IntN(len(all))]
			from := m.IntN(len(other) + 1)
			b = slices.Insert(b, at, other[from:from+m.IntN(min(len(other)-from, 80)+1)]...)
		case 4:
			b = b[:at]
		case 5:
			if at < len(b) {
				b[at] = byte(m.Uint32())
			}
		case 6:
			if at < len(b) {
				b[at] ^= 1 << m.IntN(8)
			}
		case 7:
			if at < len(b) {
				b[at] += byte(m.IntN(3)) - 1
			}
		}
	}
	return b
}
