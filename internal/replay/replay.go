package replay

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"quell/internal/duis"
	"quell/internal/evidence"
	"quell/internal/motorway"
	"quell/internal/outage"
	"quell/internal/recording"
	"quell/internal/sighting"

	"github.com/prometheus/client_golang/prometheus"
)

// Options say what is other than in the recording. The zero value changes nothing.
type Options struct {
	Window    time.Duration                      // length of windows
	Switch    outage.Switch                      // position of the switch
	List      map[outage.DeviceID]bool           // device list; nil: as then
	Inventory map[outage.DeviceID]*outage.Device // nil: as then
	From, To  time.Time                          // alerts that are counted; those before From may still open windows
	Evidence  bool                               // assess the alerts that are suppressed

	// Alert, if it is set, is called for each AD1 that is counted, in order of receipt; with
	// Evidence at the end, when all is known.
	Alert func(a *Alert) error
}

// An Alert is one AD1 with what was decided then, and what the replay decides.
type Alert struct {
	Received    time.Time
	ID          string
	Hub         outage.DeviceID
	MPxN        string // as in the recording
	Distributor string // its id; "unknown" if the MPxN names none
	Model       string // of the meter; "unknown"
	OutageStart time.Time
	Then, Now   outage.Decision
	Entry       int64                // the number of its entry in the log of the replay; 0 if it has none
	Evidence    *evidence.Assessment // the last one of its entry; nil if there is none
}

// Run replays recordings. The error names a file that cannot be read, and its line. A file that
// is cut off is no error: see Result.Cut.
func Run(ctx context.Context, sources []Source, o Options) (*Result, error) {
	r := &replay{Options: o, ctx: ctx, ledger: newMemory(), nodes: map[string]*node{}, meters: map[outage.DeviceID]*meter{}, models: map[outage.DeviceID]string{}, result: newResult()}
	r.metrics = motorway.NewMetrics(prometheus.NewRegistry())
	for _, id := range slices.Sorted(maps.Keys(o.Inventory)) { // of two meters on a hub, always the same
		if d := o.Inventory[id]; d.IsMeter() && d.CHF != 0 {
			r.models[d.CHF] = modelOf(d)
		}
	}
	if o.Evidence {
		r.assessor = newAssessor(r)
	}
	cut, err := read(ctx, sources, r.line)
	if err == nil {
		err = r.err
	}
	if err == nil && o.Evidence {
		err = r.assessor.end()
	}
	r.result.Cut = cut
	return r.result, err
}

// replay is one replay. One goroutine uses it.
type replay struct {
	Options
	ctx     context.Context
	ledger  *memory
	nodes   map[string]*node // by run
	meters  map[outage.DeviceID]*meter
	models  map[outage.DeviceID]string // by hub
	metrics *motorway.Metrics
	result  *Result
	err     error

	current  *recording.Line
	assessor *assessor // nil without Evidence
}

// node is a run of quell whose recording is replayed.
type node struct {
	m       *motorway.Motorway
	sw      outage.Switch
	pending map[uint64]motorway.Passage // 11.3s without an answer yet
}

// meter is what the recording says of a meter.
type meter struct {
	outage.Device
	listed bool
}

// late is how long after another a line may be written that was received before it: its message
// waited for the store.
const late = time.Minute

// line replays a line. It returns false if nothing more is to be replayed.
func (r *replay) line(run string, l *recording.Line) bool {
	if !r.To.IsZero() && !l.At.Before(r.To) {
		return l.At.Before(r.To.Add(late))
	}
	r.result.Lines++
	r.current = l
	if r.assessor != nil {
		r.assessor.advance(l.At)
	}
	if l.Kind == recording.Settings {
		r.err = r.settings(run, l)
		return r.err == nil
	}
	n := r.nodes[run]
	if n == nil {
		r.err = fmt.Errorf("there are no settings before the first message of run %s", run)
		return false
	}
	r.ledger.sw = n.sw
	switch l.Kind {
	case recording.Southbound:
		r.southbound(n, l)
	case recording.Answer:
		if p, ok := n.pending[l.No]; ok {
			n.m.AnsweredAs(r.ctx, &p, l.State, l.Code)
			delete(n.pending, l.No)
		}
	case recording.Northbound:
		r.northbound(n, l)
	case recording.Heard:
		if hub := l.Meter.CHF; hub != 0 { // it was waited for then
			n.m.Sightings.Add(&sighting.Seen{Sighting: evidence.Sighting{Kind: evidence.Heard, Received: l.At, Home: evidence.Home{Hub: hub}}})
		} else {
			n.m.Sightings.Heard(l.Device, l.At)
		}
	}
	return r.err == nil
}

// settings puts recorded settings into force.
func (r *replay) settings(run string, l *recording.Line) error {
	n := r.nodes[run]
	if n == nil {
		n = &node{pending: map[uint64]motorway.Passage{}}
		n.m = &motorway.Motorway{Ledger: r.ledger, Devices: r, Cluster: sure{}, Log: slog.New(slog.DiscardHandler), Metrics: r.metrics, Now: func() time.Time { return r.current.At },
			Recorded: func() (time.Time, recording.Signature) { return r.current.At, r.signature() }}
		if r.assessor != nil {
			n.m.Sightings = r.assessor.sightings
		}
		r.nodes[run] = n
	}
	s, err := motorway.ReadSettings(l.Rules)
	if err != nil {
		return fmt.Errorf("the settings of run %s: %w", run, err)
	}
	if r.Window != 0 {
		s.Window = r.Window
	}
	if n.sw = s.Switch; r.Switch != "" {
		n.sw = r.Switch
	}
	if n.sw == "" {
		n.sw = outage.SwitchOn // it was not known yet
	}
	n.m.SetRules(s.Rules)
	return nil
}

// sure is a node whose clock is right.
type sure struct{}

func (sure) Elapsed() time.Duration { return 0 }
func (sure) ClockSure() bool        { return true }
func (sure) Following() bool        { return true }

// signature returns what was found out about the signature of the current message. Of a
// northbound one that is known only if it was forwarded for that.
func (r *replay) signature() recording.Signature {
	l := r.current
	if l.Kind == recording.Northbound {
		switch l.Reason {
		case outage.ReasonSignatureMissing, outage.ReasonSignatureInvalid, outage.ReasonSignerUnknown:
			return recording.Signature{Reason: l.Reason}
		}
		return recording.Signature{}
	}
	return l.Signature
}

// Device returns what the inventory says of the meter of the current message.
func (r *replay) Device(_ context.Context, id outage.DeviceID) (*outage.Device, bool, error) {
	known := r.meters[id]
	var d *outage.Device
	listed := false
	if known != nil && r.current.Reason != outage.ReasonUnknownDevice {
		d, listed = &known.Device, known.listed
	}
	if r.Inventory != nil {
		d = r.Inventory[id]
	}
	if r.List != nil {
		listed = r.List[id]
	}
	return d, listed, nil
}

func (r *replay) southbound(n *node, l *recording.Line) {
	if l.Meter.ID != 0 {
		known := r.meters[l.Meter.ID]
		if known == nil {
			known = new(meter)
			r.meters[l.Meter.ID] = known
		}
		if known.Device != l.Meter {
			known.Device = l.Meter
			if r.Inventory == nil && l.Meter.CHF != 0 {
				r.models[l.Meter.CHF] = modelOf(&l.Meter)
				if r.assessor != nil {
					r.assessor.place(&known.Device)
				}
			}
		}
		known.listed = l.Listed
	}
	p := n.m.Southbound(r.ctx, body(l))
	if p.Tracked() {
		n.pending[l.No] = p
	}
	if r.counted(l) {
		r.result.Requests++
		r.result.RequestReasons[p.Decision.Reason]++
		if p.Decision.Reason != l.Reason {
			r.result.RequestChanges++
		}
	}
}

// body returns the body of a recorded message.
func body(l *recording.Line) motorway.Body {
	return motorway.Body{XML: true, Head: l.Document, Rest: l.Rest}
}

func (r *replay) northbound(n *node, l *recording.Line) {
	then := outage.Decision{Outcome: l.Outcome, Reason: l.Reason}
	if len(l.Document) == 0 {
		if r.counted(l) {
			r.count(&Alert{Received: l.At, Distributor: outage.UnknownDistributor, Model: unknown, Then: then, Now: then})
		}
		return
	}
	r.ledger.fresh = nil
	p := n.m.Northbound(r.ctx, body(l))
	entry := r.ledger.fresh
	if entry != nil && r.assessor != nil {
		r.assessor.entry(entry)
	}
	if p.Message.Body != duis.BodyPowerOutage || !r.counted(l) {
		return
	}
	o := &p.Message.Outage
	a := Alert{Received: l.At, ID: p.Message.AlertID(), Hub: o.CHF, MPxN: o.MPxN, OutageStart: o.Start, Then: then, Now: p.Decision, Distributor: outage.UnknownDistributor, Model: unknown}
	if d, _ := outage.DistributorOf(o.MPxN); outage.IsDistributor(d.ID) {
		a.Distributor = d.ID
	}
	if model, ok := r.models[o.CHF]; ok {
		a.Model = model
	}
	if entry != nil {
		a.Entry = entry.Seq
	}
	r.count(&a)
}

const unknown = "unknown"

// modelOf names a kind of meter.
func modelOf(d *outage.Device) string {
	if text := strings.TrimSpace(d.Manufacturer + " " + d.Model); text != "" {
		return text
	}
	return unknown
}

// counted reports whether a message is to be counted.
func (r *replay) counted(l *recording.Line) bool { return !l.At.Before(r.From) }

func (r *replay) count(a *Alert) {
	r.result.add(a)
	if r.assessor != nil {
		r.assessor.count(a)
		return
	}
	if r.Alert != nil {
		r.err = r.Alert(a)
	}
}
