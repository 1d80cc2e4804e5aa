package gateway

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf16"

	"quell/internal/duis"
	"quell/internal/gbcs"
	"quell/internal/outage"
	"quell/internal/windows"
)

// An attack is one file of testdata/hostile: see 00-how-to-read.txt there.
type attack struct {
	file      string
	direction outage.Direction
	message   ast.Expr
	headers   [][2]string
	answer    ast.Expr // of the next hop; nil if it is the usual one
	encoding  string   // of the answer
	from, to  ast.Expr // of N; nil if there is no N
	then      []string // the parts of "then"
}

// readAttacks returns all attacks, by their kind: the first word of the file's name.
func readAttacks(t *testing.T) map[string][]*attack {
	t.Helper()
	files, err := filepath.Glob("testdata/hostile/*.txt")
	if err != nil || len(files) < 100 {
		t.Fatalf("%d attacks, %v", len(files), err)
	}
	all := map[string][]*attack{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		kind, _, ok := strings.Cut(name, "-")
		if kind == "00" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil || !ok {
			t.Fatalf("%s: needs a name such as KIND-OF-WHAT.txt, %v", file, err)
		}
		all[kind] = append(all[kind], parseAttack(t, file, string(text)))
	}
	return all
}

func parseAttack(t *testing.T, file, text string) *attack {
	t.Helper()
	a := &attack{file: file}
	expr := func(s string) ast.Expr {
		e, err := parser.ParseExpr(s)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		return e
	}
	if !strings.HasPrefix(text, "# ") {
		t.Fatalf("%s: needs a comment at its beginning, which says what the attack is", file)
	}
	text = strings.ReplaceAll(text, "\n  ", " ") // a line goes on where the next one is indented
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "south", "north":
			a.direction, a.message = outage.Direction(key+"bound"), expr(value)
		case "header":
			name, text, _ := strings.Cut(value, ": ")
			a.headers = append(a.headers, [2]string{name, text})
		case "answer":
			a.answer = expr(value)
		case "answer encoding":
			a.encoding = value
		case "N":
			from, to, ok := strings.Cut(value, " to ")
			if !ok {
				t.Fatalf("%s: N needs FROM to TO", file)
			}
			a.from, a.to = expr(from), expr(to)
		case "then":
			a.then = strings.Split(value, ", ")
		default:
			t.Fatalf("%s: not understood: %s", file, line)
		}
	}
	if a.message == nil || len(a.then) != 2 {
		t.Fatalf("%s: needs a message, and what must happen then", file)
	}
	return a
}

// A strike is an attack with its N, on a meter of its own.
type strike struct {
	*testing.T
	*attack
	n     int // N
	meter int
}

// strikes returns those of the attacks. Their meters are counted from 1.
func strikes(t *testing.T, attacks []*attack) (list []*strike) {
	for _, a := range attacks {
		s := &strike{T: t, attack: a}
		from, to := 0, 0
		if a.from != nil {
			from, to = s.number(a.from), s.number(a.to)
		}
		for n := from; n <= to; n++ {
			list = append(list, &strike{T: t, attack: a, n: n, meter: len(list) + 1})
		}
	}
	return list
}

func (s *strike) fail(format string, args ...any) {
	s.Helper()
	s.Fatalf("%s, N = %d: %s", s.file, s.n, fmt.Sprintf(format, args...))
}

func (s *strike) number(e ast.Expr) int {
	n, ok := s.value(e).(int)
	if !ok {
		s.fail("not a number")
	}
	return n
}

func (s *strike) text(e ast.Expr) string {
	text, ok := s.value(e).(string)
	if !ok {
		s.fail("not a text")
	}
	return text
}

// value returns the value of an expression: a string or an int.
func (s *strike) value(e ast.Expr) any {
	switch e := e.(type) {
	case *ast.BasicLit:
		if n, err := strconv.Atoi(e.Value); err == nil {
			return n
		}
		text, err := strconv.Unquote(e.Value)
		if err != nil {
			s.fail("%s: %v", e.Value, err)
		}
		return text
	case *ast.Ident:
		if e.Name == "N" {
			return s.n
		}
		return s.named(e.Name)
	case *ast.BinaryExpr:
		switch x := s.value(e.X).(type) {
		case string:
			if e.Op == token.ADD {
				return x + s.text(e.Y)
			}
		case int:
			switch y := s.number(e.Y); e.Op {
			case token.ADD:
				return x + y
			case token.SUB:
				return x - y
			}
		}
	case *ast.CallExpr:
		if f, ok := e.Fun.(*ast.Ident); ok {
			return s.call(f.Name, e.Args)
		}
	}
	s.fail("not understood: %T", e)
	return nil
}

// The counters of the requests that prepare a strike, and of its own.
const prepared, own = 1, 2

func (s *strike) requestID(counter uint64) outage.RequestID {
	return outage.RequestID{Originator: deviceBase["USER"], Target: meterID(s.meter), Counter: counter}
}

// payload returns the Signed Pre-Command of a request.
func (s *strike) payload(counter uint64, order outage.Order) []byte {
	id := s.requestID(counter)
	return gbcs.AppendSigned(nil, gbcs.AppendCS06(nil, gbcs.CS06{Originator: id.Originator, Target: id.Target, Counter: counter, ImageHash: [32]byte{1}, Order: order}), [64]byte{7})
}

func (s *strike) signed(counter uint64, order outage.Order) string {
	return string(duis.AppendSignedPreCommand(nil, s.requestID(counter), 5, order, s.payload(counter, order)))
}

// alert returns an AD1 of the strike's hub.
func (s *strike) alert(counter uint64) string {
	return string(alertOf(s.meter, counter, attackTime.Add(-time.Minute)).body)
}

var (
	prepareTime = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	attackTime  = prepareTime.Add(5 * time.Minute)
	later       = outage.Order{Kind: outage.FutureDated, At: prepareTime.Add(10 * time.Hour)}
)

func (s *strike) named(name string) string {
	switch name {
	case "AD1":
		return s.alert(own)
	case "OnDemand":
		return s.signed(own, outage.Order{Kind: outage.OnDemand})
	case "FutureDated":
		return s.signed(own, outage.Order{Kind: outage.FutureDated, At: later.At.Add(time.Hour)})
	case "Cancellation":
		return s.signed(own, outage.Order{Kind: outage.Cancellation})
	case "ServiceRequest":
		return string(duis.AppendActivateFirmware(nil, s.requestID(own), outage.Order{Kind: outage.OnDemand}, [32]byte{1}))
	case "OtherRequest":
		return string(duis.AppendRequest(nil, s.requestID(own), 1, "4.6", "4.6.1", "<sr:ReadInventory/>"))
	case "Accepted":
		return string(duis.AppendAnswer(nil, s.requestID(own), attackTime, "I99"))
	case "Payload":
		return string(s.payload(own, outage.Order{Kind: outage.OnDemand}))
	case "FutureDatedPayload":
		return string(s.payload(own, outage.Order{Kind: outage.FutureDated, At: later.At.Add(time.Hour)}))
	case "Namespace":
		return duis.Namespace
	case "Meter":
		return meterID(s.meter).String()
	case "OtherMeter":
		return meterID(s.meter + 5000).String()
	case "Hub":
		return hubID(s.meter).String()
	case "User":
		return deviceBase["USER"].String()
	}
	s.fail("there is no %s", name)
	return ""
}

func (s *strike) call(name string, args []ast.Expr) any {
	want := map[string]int{"replace": 3, "replaceAll": 3, "repeat": 2, "numbered": 2, "cut": 2, "put": 3, "insert": 3, "len": 1,
		"base64": 1, "base64url": 1, "byte": 1, "gzip": 1, "lower": 1, "utf16be": 1, "utf16le": 1, "withPayload": 2}[name]
	if len(args) != want || want == 0 {
		s.fail("there is no %s of %d values", name, len(args))
	}
	text := func(i int) string { return s.text(args[i]) }
	number := func(i int) int { return s.number(args[i]) }
	switch name {
	case "replace", "replaceAll":
		from, old := text(0), text(1)
		if !strings.Contains(from, old) {
			s.fail("%q does not occur", old)
		}
		return strings.Replace(from, old, text(2), map[string]int{"replace": 1, "replaceAll": -1}[name])
	case "repeat":
		return strings.Repeat(text(1), number(0))
	case "numbered":
		var b strings.Builder
		for i := range number(0) {
			b.WriteString(strings.ReplaceAll(text(1), "%d", strconv.Itoa(i)))
		}
		return b.String()
	case "cut":
		return text(0)[:number(1)]
	case "put":
		from, at, b := text(0), number(1), text(2)
		return from[:at] + b + from[at+len(b):]
	case "insert":
		from, at := text(0), number(1)
		return from[:at] + text(2) + from[at:]
	case "len":
		return len(text(0))
	case "base64":
		return base64.StdEncoding.EncodeToString([]byte(text(0)))
	case "base64url":
		return base64.URLEncoding.EncodeToString([]byte(text(0)))
	case "byte":
		return string([]byte{byte(number(0))})
	case "lower":
		return strings.ToLower(text(0))
	case "gzip":
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write([]byte(text(0)))
		z.Close()
		return b.String()
	case "utf16be", "utf16le":
		var order binary.AppendByteOrder = binary.BigEndian
		if name == "utf16le" {
			order = binary.LittleEndian
		}
		var b []byte
		for _, u := range utf16.Encode([]rune(text(0))) {
			b = order.AppendUint16(b, u)
		}
		return string(b)
	}
	// withPayload
	doc := text(0)
	before, rest, ok := strings.Cut(doc, "<sr:GBCSPayload>")
	_, after, ok2 := strings.Cut(rest, "</sr:GBCSPayload>")
	if !ok || !ok2 {
		s.fail("no GBCSPayload")
	}
	return before + "<sr:GBCSPayload>" + text(1) + "</sr:GBCSPayload>" + after
}

func xmlPost(body string) *message {
	m := &message{method: "POST", target: "/api/v1/serviceS?a=%2F", host: "motorway.example", body: []byte(body)}
	m.setHeader("Content-Type", "application/xml")
	return m
}

// manyStrikes is the kind of attack that changes each byte of a payload.
const manyStrikes = "gbcs"

// TestHostile plays the attacks of testdata/hostile through a real gateway with its listeners,
// next hops and store; but those of one kind, see TestHostileGBCS.
func TestHostile(t *testing.T) {
	all := readAttacks(t)
	delete(all, manyStrikes)
	for kind, attacks := range all {
		t.Run(kind, func(t *testing.T) {
			bothWays(t, func(t *testing.T, slow bool) { strikeAll(t, attacks, slow) })
		})
	}
}

func strikeAll(t *testing.T, attacks []*attack, slow bool) {
	all := strikes(t, attacks)
	w := newWorld(t)
	w.slow = slow
	var inventory, list bytes.Buffer
	inventory.WriteString("device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n")
	for _, s := range all {
		fmt.Fprintf(&inventory, "%s,ESME,SMETS2,Landis+Gyr,E470,%s,\n", meterID(s.meter), hubID(s.meter))
		fmt.Fprintf(&list, "%s\n", meterID(s.meter))
	}
	w.at(prepareTime)
	if err := w.start(inventory.String(), list.String()); err != nil {
		t.Fatal(err)
	}
	ahead := make(chan struct{}, 16)
	var wg sync.WaitGroup
	for _, s := range all {
		s.T = t
		ahead <- struct{}{}
		wg.Go(func() { s.prepare(w); <-ahead })
	}
	if wg.Wait(); t.Failed() {
		return
	}
	w.trail(false)
	w.at(attackTime)
	for _, a := range attacks {
		t.Run(strings.TrimSuffix(filepath.Base(a.file), ".txt"), func(t *testing.T) {
			for _, s := range all {
				if s.attack == a {
					s.T = t
					s.play(w)
				}
			}
		})
	}
	// The gateway still does its work.
	for _, s := range all {
		if s.direction == outage.North {
			s.T = t
			if r := w.mustSend(outage.North, xmlPost(s.alert(99))); r.header.Get(DecisionHeader) != "suppressed" {
				s.fail("the next alert of the hub: %v", r.header)
			}
			break
		}
	}
}

// prepare opens what an attack may misuse: the window of an alert that goes north, or a
// pending window that a request that goes south may close.
func (s *strike) prepare(w *world) {
	order := later
	if s.direction == outage.North {
		order = outage.Order{Kind: outage.OnDemand}
	}
	if r, err := w.send(outage.South, xmlPost(s.signed(prepared, order))); err != nil || r.status != 200 {
		s.Errorf("%s, N = %d: not prepared: %+v, %v", s.file, s.n, r, err)
	}
}

func (s *strike) activations(w *world) []outage.Activation {
	s.Helper()
	list, err := w.store.Windows.Activations(s.Context(), windows.Filter{ESME: meterID(s.meter)}, 10)
	if err != nil {
		s.fail("%v", err)
	}
	return list
}

func (s *strike) entries(w *world) int {
	list, err := w.store.Ledger.EntriesAfter(s.Context(), 0, 10_000)
	if err != nil {
		s.fail("%v", err)
	}
	return len(list)
}

// How much of one message may be in the log, and in the audit trail.
const mostOfLog, mostOfTrail = 4 << 10, 2 << 10

func (s *strike) play(w *world) {
	w.trail(false) // what an attack that failed left there
	m := xmlPost(s.text(s.message))
	for _, h := range s.headers {
		m.setHeader(h[0], h[1])
	}
	hop := w.hops[s.direction]
	if s.answer != nil {
		body := s.text(s.answer)
		how := answer{status: 200, bytes: &body, kind: "application/xml"}
		if s.encoding != "" {
			how.header = [2]string{"Content-Encoding", s.encoding}
		}
		hop.set(how, false)
		defer hop.set(answer{status: 200, code: "I99"}, false)
	}
	before := s.activations(w)
	if len(before) != 1 || !before[0].Standing {
		s.fail("not prepared: %+v", before)
	}
	seen, entries, logged := len(hop.seen(0)), s.entries(w), w.logs.text.Len()
	r, err := w.send(s.direction, m)
	if err != nil {
		s.fail("no answer: %v", err)
	}
	suppressed := s.then[0] == string(outage.Suppressed)
	switch arrived := hop.seen(seen); {
	case suppressed && len(arrived) > 0:
		s.fail("it went on")
	case suppressed:
		entries++
	case len(arrived) != 1:
		s.fail("it went on %d times", len(arrived))
	case m.difference(arrived[0]) != "":
		s.fail("it was changed: %s", m.difference(arrived[0]))
	case arrived[0].difference(r, s.direction) != "":
		s.fail("the answer was changed: %s", arrived[0].difference(r, s.direction))
	}
	reason, effect := s.then[0], s.then[1]
	if s.direction == outage.North {
		reason, effect = s.then[1], "nothing"
		if got := r.header.Get(DecisionHeader) + ", " + r.header.Get(ReasonHeader); got != strings.Join(s.then, ", ") {
			s.fail("%s; want %s", got, strings.Join(s.then, ", "))
		}
	}
	if trail := w.trail(false); !suppressed {
		if len(trail) != 1 || string(trail[0].Reason) != reason {
			s.fail("the audit trail has %+v, want %s", trail, reason)
		}
		if line, _ := json.Marshal(trail[0]); len(line) > mostOfTrail {
			s.fail("its line in the audit trail has %d bytes", len(line))
		}
	}
	if n := w.logs.text.Len() - logged; n > mostOfLog {
		s.fail("it made %d bytes of log", n)
	}
	if n := s.entries(w); n != entries {
		s.fail("%d entries in the log, want %d", n, entries)
	}
	if got := s.effect(before, s.activations(w)); got != effect {
		s.fail("%s, %s; want %s: %+v", reason, got, effect, s.activations(w))
	}
}

// effect says what a strike did to the windows of its meter.
func (s *strike) effect(before, after []outage.Activation) string {
	if reflect.DeepEqual(before, after) {
		return "nothing"
	}
	var first, of outage.Activation
	opened := false
	for _, a := range after {
		switch id := a.RequestID; {
		case id == s.requestID(prepared):
			first = a
		case id == s.requestID(own):
			of = a
		}
		opened = opened || a.RequestID != s.requestID(prepared) && a.Standing && a.HasWindow()
	}
	switch pending := first.Standing && first.HasWindow(); {
	case s.answer != nil:
		return string(of.State)
	case opened && pending:
		return "opens beside"
	case opened:
		return "opens"
	case !pending:
		return "closes"
	}
	return "records only"
}

// TestHostileCost holds what an attack costs: reading it takes memory in proportion to its
// length, and not much more time than a message of the same length without any harm in it.
func TestHostileCost(t *testing.T) {
	const rounds = 4
	read := func(b []byte) {
		if m, _ := duis.Read(b); m.Payload != nil {
			gbcs.ReadCS06(m.Payload)
		}
	}
	// fastest measures the best of several times, since others use the machine too.
	fastest := func(b []byte) time.Duration {
		best := time.Hour
		for range rounds {
			began := time.Now()
			read(b)
			best = min(best, time.Since(began))
		}
		return best
	}
	cut := func(b string) []byte { return []byte(b)[:min(len(b), duis.MaxSize)] }
	for _, attacks := range readAttacks(t) {
		for _, s := range strikes(t, attacks) {
			if s.from != nil && s.n != s.number(s.from) && s.n != s.number(s.to) {
				continue
			}
			for _, e := range []ast.Expr{s.message, s.answer} {
				if e == nil {
					continue
				}
				b := cut(s.text(e))
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				for range rounds {
					read(b)
				}
				runtime.ReadMemStats(&after)
				if got, most := (after.TotalAlloc-before.TotalAlloc)/rounds, uint64(4*len(b)+8<<10); got > most {
					t.Errorf("%s, N = %d: %d bytes are allocated to read %d", s.file, s.n, got, len(b))
				}
				harmless := replaceOnce(s.alert(own), "</sr:PowerOutageEvent>", "<sr:Later>"+strings.Repeat("harmless ", len(b)/9)+"</sr:Later></sr:PowerOutageEvent>")
				for try := 1; ; try++ { // others may have the machine during one of the two
					got, want := fastest(b), fastest(cut(harmless))
					if got <= 50*want+time.Millisecond {
						break
					}
					if try == 3 {
						t.Errorf("%s, N = %d: %d bytes take %s; as many without harm take %s", s.file, s.n, len(b), got, want)
						break
					}
				}
			}
		}
	}
}

func replaceOnce(text, old, new string) string { return strings.Replace(text, old, new, 1) }
