package gateway

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"quell/internal/outage"
	"quell/internal/smki"
)

var update = flag.Bool("update", false, "rewrite the golden files of TestTimelines")

// TestTimelines plays every file in testdata/timelines against a real store, the
// gateway's two listeners and two stand-ins for the next hops. It compares the output
// with the file. testdata/timelines/00-how-to-read.txt explains the files.
func TestTimelines(t *testing.T) {
	files, err := filepath.Glob("testdata/timelines/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no timelines: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			golden, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			bothWays(t, func(t *testing.T, slow bool) {
				p := &player{T: t, file: file, golden: string(golden), slow: slow, meters: map[string]*meter{}, hubs: map[string]bool{}}
				got := p.play()
				if *update && got != p.golden && !t.Failed() {
					if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
					t.Logf("rewritten: %s", file)
				} else if got != p.golden {
					t.Errorf("%s differs from the output; see above, or run: go test ./internal/gateway -run TestTimelines -update", file)
				}
			})
		})
	}
}

// A player plays one file.
type player struct {
	*testing.T
	file, golden string
	line         int  // the line that is being played
	slow         bool // as in world

	meters map[string]*meter
	order  []string // of the meters, as declared
	hubs   map[string]bool
	day    time.Time
	now    time.Time

	w    *world
	out  []string // of the current line
	held map[uint64]*flight

	signers signers

	lastEntry int64
	pruned    bool // housekeeping deleted entries
	delivered []string
}

func (p *player) fail(format string, args ...any) {
	p.Helper()
	p.Fatalf("%s:%d: %s", p.file, p.line, fmt.Sprintf(format, args...))
}

// say adds a line of output.
func (p *player) say(format string, args ...any) {
	p.out = append(p.out, "    "+p.named(fmt.Sprintf(format, args...)))
}

// play plays the file, and returns what it should say: its input with the output that
// the input led to.
func (p *player) play() string {
	p.day = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	p.w = newWorld(p.T)
	p.w.slow = p.slow
	p.held = map[uint64]*flight{}
	p.signers.t = p.T
	lines := strings.Split(strings.TrimSuffix(p.golden, "\n"), "\n")
	var text strings.Builder
	for i := 0; i < len(lines); {
		input := lines[i]
		p.line, p.out = i+1, nil
		if strings.HasPrefix(input, " ") || strings.HasPrefix(input, "\t") {
			p.fail("output that belongs to no line")
		}
		p.input(input)
		var want []string
		for i++; i < len(lines) && strings.HasPrefix(lines[i], " "); i++ {
			want = append(want, lines[i])
		}
		if i == len(lines) {
			p.end()
		}
		if !slices.Equal(p.out, want) && !*update {
			p.Errorf("%s:%d: %s\n got:\n%s\nwant:\n%s", p.file, p.line, input, strings.Join(p.out, "\n"), strings.Join(want, "\n"))
		}
		text.WriteString(input + "\n")
		for _, l := range p.out {
			text.WriteString(l + "\n")
		}
	}
	return text.String()
}

// A clause is a part of a line between commas, in words.
type clause []string

// match reports whether a clause equals the pattern, word by word, and returns the words
// in the places where the pattern has "_".
func (c clause) match(pattern string) (words []string, ok bool) {
	want := strings.Fields(pattern)
	if len(want) != len(c) {
		return nil, false
	}
	for i, w := range want {
		if w == "_" {
			words = append(words, c[i])
		} else if w != c[i] {
			return nil, false
		}
	}
	return words, true
}

// String returns the clause in the form of a file.
func (c clause) String() string {
	words := slices.Clone(c)
	for i, w := range words {
		if q := strconv.QuoteToASCII(w); w == "" || strings.ContainsAny(w, ", #") || q != `"`+w+`"` {
			words[i] = q
		}
	}
	return strings.Join(words, " ")
}

// lex splits a line into clauses at commas, and into words at blanks. A word in double
// quotes is read as in Go. A "#" at the start of a word starts a comment.
func (p *player) lex(line string) (list []clause) {
	var c clause
	flush := func() {
		if len(c) > 0 {
			list = append(list, c)
		}
		c = nil
	}
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimLeft(line, " ") {
		switch line[0] {
		case '#':
			flush()
			return list
		case ',':
			if len(c) == 0 {
				p.fail("a comma with nothing before it")
			}
			flush()
			if line = line[1:]; line == "" {
				p.fail("a comma with nothing after it")
			}
		case '"':
			q, err := strconv.QuotedPrefix(line)
			if err != nil {
				p.fail("quotes that do not close: %s", line)
			}
			w, _ := strconv.Unquote(q) // a quoted prefix always unquotes
			c, line = append(c, w), line[len(q):]
		default:
			n := strings.IndexAny(line, `, "`)
			if n < 0 {
				n = len(line)
			}
			c, line = append(c, line[:n]), line[n:]
		}
	}
	flush()
	return list
}

var clockTime = regexp.MustCompile(`^\d\d:\d\d:\d\d(\.\d+)?$`)

func (p *player) input(line string) {
	clauses := p.lex(line)
	if len(clauses) == 0 {
		return
	}
	timed := clockTime.MatchString(clauses[0][0])
	if timed {
		at := p.instant(clauses[0][0])
		if at.Before(p.now) {
			p.fail("%s is before the line above", clauses[0][0])
		}
		if clauses[0] = clauses[0][1:]; len(clauses[0]) == 0 {
			p.fail("a time with nothing after it")
		}
		p.now = at
		p.w.clock.Store(&at)
	}
	if !p.w.started() {
		if !timed && p.setup(clauses) {
			return
		}
		p.start()
	}
	if p.message(clauses) {
		if !timed {
			p.fail("a message needs the time of its receipt")
		}
		return
	}
	if !p.control(clauses) {
		p.fail("not understood: %s", clauses[0])
	}
}

// instant reads a time of the current day, or with its date.
func (p *player) instant(s string) time.Time {
	day, layout := p.day.Format("2006-01-02T"), "2006-01-02T15:04:05"
	if strings.Contains(s, "T") {
		day = ""
	}
	t, err := time.Parse(layout, day+s)
	if err != nil {
		p.fail("%q is not a time such as 10:29:59.999999 or 2026-03-02T10:00:00", s)
	}
	return t
}

// clockText is the reverse of instant.
func (p *player) clockText(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	if t.Truncate(24 * time.Hour).Equal(p.day) {
		return t.Format("15:04:05.999999999")
	}
	return t.Format("2006-01-02T15:04:05.999999999")
}

func (p *player) span(s string) time.Duration {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil {
			return time.Duration(n) * 24 * time.Hour
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		p.fail("%q is not a length of time such as 30m, 60s or 7d", s)
	}
	return d
}

func (p *player) number(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		p.fail("%q is not a number", s)
	}
	return n
}

// A meter is a device that the setup declares.
type meter struct {
	name                      string
	hub                       string // "" if not known
	kind, smets, manufacturer string
	model                     string
	mpan                      string
	supplier                  string // "" if not known
	listed, unknown           bool
}

// setup plays a line of the setup, and reports whether it was one.
func (p *player) setup(clauses []clause) bool {
	c := clauses[0]
	if len(clauses) > 1 {
		return false
	}
	if c[0] == "meter" && len(c) > 1 {
		p.declare(c[1], c[2:])
		return true
	}
	if w, ok := c.match("hub _"); ok {
		p.device(w[0])
		p.hubs[w[0]] = true
		return true
	}
	if w, ok := c.match("switch _"); ok {
		p.w.first = outage.Switch(w[0])
		if !p.w.first.Valid() {
			p.fail("not a position of the switch: %s", w[0])
		}
		return true
	}
	return p.setting(c)
}

func (p *player) declare(name string, words clause) {
	id := p.device(name)
	if p.meters[name] != nil {
		p.fail("%s is declared twice", name)
	}
	m := &meter{name: name, kind: "ESME", smets: "SMETS2 v4.2", manufacturer: "Landis+Gyr", model: "E470", mpan: mpanOf("12", uint64(id)&0xffff)}
	listing, hub := false, false
	for i := 0; i < len(words); i++ {
		key, value, assigned := strings.Cut(words[i], "=")
		if assigned && value == "" && i+1 < len(words) {
			i++ // a value in quotes
			value = words[i]
		}
		switch {
		case words[i] == "hub" && i+1 < len(words):
			i++
			hub, m.hub = true, words[i]
			p.device(m.hub)
			p.hubs[m.hub] = true
		case words[i] == "nohub":
			hub = true
		case words[i] == "listed", words[i] == "unlisted":
			listing, m.listed = true, words[i] == "listed"
		case words[i] == "unknown":
			m.unknown = true
		case key == "type" && assigned:
			m.kind = value
		case key == "smets" && assigned:
			m.smets = value
		case key == "manufacturer" && assigned:
			m.manufacturer = value
		case key == "model" && assigned:
			m.model = value
		case key == "mpan" && assigned:
			m.mpan = value
		case key == "supplier" && assigned:
			m.supplier = p.device(value).String()
		default:
			p.fail("this part of a meter is not understood: %s", words[i])
		}
	}
	if !hub || !listing {
		p.fail("a meter needs hub NAME or nohub, and listed or unlisted")
	}
	p.meters[name] = m
	p.order = append(p.order, name)
}

// setting plays a line of configuration.
func (p *player) setting(c clause) bool {
	r := &p.w.rules
	if own, ok := c.match("window of _ from _ to _"); ok {
		spans := maps.Clone(r.Spans) // messages that are under way may read the ones before
		if spans == nil {
			spans = outage.Spans{}
		}
		spans[outage.ModelKey(own[0])] = outage.Span{From: p.span(own[1]), To: p.span(own[2])}
		r.Spans = spans
		p.w.setRules()
		return true
	}
	switch c[0] {
	case "window", "clock_tolerance":
		if len(c) != 2 {
			p.fail("%s needs one length of time", c[0])
		}
		*map[string]*time.Duration{"window": &r.Window, "clock_tolerance": &r.ClockTolerance}[c[0]] = p.span(c[1])
	case "track":
		r.Track = nil
		for _, form := range c[1:] {
			if form != string(outage.ServiceRequest) && form != string(outage.SignedPreCommand) {
				p.fail("not a form of an 11.3: %s", form)
			}
			r.Track = append(r.Track, outage.Form(form))
		}
	case "suppliers":
		r.Suppliers = nil
		for _, name := range c[1:] {
			r.Suppliers = append(r.Suppliers, p.device(name))
		}
	case "signatures":
		if len(c) != 3 || c[1] != "southbound" && c[1] != "northbound" || !outage.Signatures(c[2]).Valid() {
			p.fail("signatures needs southbound or northbound, and off, verify or require")
		}
		*map[string]*outage.Signatures{"southbound": &r.SouthSignatures, "northbound": &r.NorthSignatures}[c[1]] = outage.Signatures(c[2])
	case "certificates":
		var list []*smki.Certificate
		for _, name := range c[1:] {
			list = append(list, p.signer(name).certificate)
		}
		known, err := smki.New(list...)
		if err != nil {
			p.fail("%v", err)
		}
		p.w.certificates = known
	case "certificate":
		w, ok := c.match("certificate of _ valid from _ to _")
		if !ok || p.signers.of[w[0]] != nil {
			p.fail("say certificate of NAME valid from TIME to TIME, before the name signs anything")
		}
		p.signers.find(w[0], p.device(w[0]), p.instant(w[1]), p.instant(w[2]))
	case "max_activations_per_hour":
		if len(c) != 2 {
			p.fail("%s needs a number", c[0])
		}
		r.MaxPerHour = int(p.number(c[1]))
	case "manufacturers":
		r.Manufacturers = outage.Manufacturers(c[1:])
	default:
		return false
	}
	p.w.setRules()
	return true
}

// importMeter imports the devices again, with a changed meter.
func (p *player) importMeter(name string, words clause) {
	if p.meters[name] == nil {
		p.fail("%s is not declared", name)
	}
	delete(p.meters, name)
	p.order = slices.DeleteFunc(p.order, func(have string) bool { return have == name })
	p.declare(name, words)
	if err := p.w.importDevices(p.files()); err != nil {
		p.fail("import: %v", err)
	}
}

// files returns an inventory and a device list of the declared devices.
func (p *player) files() (string, string) {
	var inventory, list strings.Builder
	inventory.WriteString("device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn,import_supplier\n")
	for _, name := range p.order {
		m, hub := p.meters[name], ""
		if m.hub != "" {
			hub = p.device(m.hub).String()
		}
		if !m.unknown {
			fmt.Fprintf(&inventory, "%s,%s,%s,\"%s\",%s,%s,%s,%s\n", p.device(name), m.kind, m.smets, m.manufacturer, m.model, hub, m.mpan, m.supplier)
		}
		if m.listed {
			fmt.Fprintf(&list, "%s\n", p.device(name))
		}
	}
	return inventory.String(), list.String()
}

// start opens the store with the declared setup.
func (p *player) start() {
	if p.now.IsZero() {
		p.now = p.day
		now := p.now // which the next line of the timeline changes
		p.w.clock.Store(&now)
	}
	if err := p.w.start(p.files()); err != nil {
		p.fail("start: %v", err)
	}
}

var deviceName = regexp.MustCompile(`^(ESME|GSME|HUB|USER)(\d{1,4})?$`)

// The first parts of the EUI-64s behind the names in the files.
var deviceBase = map[string]outage.DeviceID{
	"ESME": 0x00DB123400000000, "GSME": 0x00DB123500000000, "HUB": 0x8873845700000000, "USER": 0x90B3D51F30010000,
}

// device returns the EUI-64 of a name such as ESME1.
func (p *player) device(name string) outage.DeviceID {
	m := deviceName.FindStringSubmatch(name)
	if m == nil {
		p.fail("%q is not a name such as ESME1, GSME1, HUB1 or USER", name)
	}
	n, _ := strconv.ParseUint("0"+m[2], 10, 16) // four digits fit
	return deviceBase[m[1]] + outage.DeviceID(n)
}

// signer returns the one who signs under a name. Its certificate is valid in 2026, unless a line
// said otherwise.
func (p *player) signer(name string) *signer {
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return p.signers.find(name, p.device(name), from, from.AddDate(1, 0, 0))
}

// declared is device for a name that the setup must have declared.
func (p *player) declared(name string) outage.DeviceID {
	if p.meters[name] == nil && !p.hubs[name] {
		p.fail("%s is not declared", name)
	}
	return p.device(name)
}

var eui = regexp.MustCompile(`([0-9A-F]{2}-){7}[0-9A-F]{2}`)

// named replaces EUI-64s by names.
func (p *player) named(s string) string {
	return eui.ReplaceAllStringFunc(s, func(text string) string {
		id, err := outage.ParseDeviceID(text)
		if err != nil {
			return text
		}
		for name, base := range deviceBase {
			if n := uint64(id - base); n == 0 {
				return name
			} else if n < 10000 {
				return name + strconv.FormatUint(n, 10)
			}
		}
		return text
	})
}

// mpanOf returns an MPAN with the right check digit.
func mpanOf(distributor string, n uint64) string {
	s := fmt.Sprintf("%s%010d", distributor, n)
	for d := range 10 {
		if full := s + strconv.Itoa(d); valid(full) {
			return full
		}
	}
	return s
}

func valid(mpan string) bool {
	_, ok := outage.DistributorOf(mpan)
	return ok
}
