// Package tail hands decisions to those who watch them, as they fall. It never delays a message:
// each watcher has a queue of its own with a limit, and what does not fit is counted and lost.
// While nobody watches, a decision costs one atomic read.
package tail

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/duis"
	"quell/internal/outage"
)

// Limits of watchers, and of the decisions that wait for one of them.
const (
	MaxWatchers = 16
	maxWaiting  = 1024
)

// ErrMany says that there are as many watchers as there may be.
var ErrMany = errors.New("sixteen others watch decisions here already")

// The kinds of lines.
const (
	Alert      = "alert"      // an AD1 that went north
	Activation = "activation" // an 11.3 that went south
)

// Line is one decision. Its JSON is part of the API.
type Line struct {
	At          time.Time       `json:"at"` // of receipt
	Kind        string          `json:"kind"`
	Decision    outage.Outcome  `json:"decision"`
	Reason      outage.Reason   `json:"reason"`
	ID          string          `json:"id"`                    // of the alert or the request
	Hub         outage.DeviceID `json:"chf,omitzero"`          // of an alert; of an activation that is tracked
	Meter       outage.DeviceID `json:"esme,omitzero"`         // of an activation; of an alert in whose meter's window it was
	Entry       int64           `json:"entry,omitempty"`       // its number in the suppression log
	Distributor string          `json:"distributor,omitempty"` // two digits; of an alert with a valid MPxN
	MPxN        string          `json:"mpxn,omitempty"`
}

// Filter says which lines a watcher gets: those for which each field that is set is equal.
type Filter struct {
	Hub, Meter  outage.DeviceID
	Kind        string
	Decision    outage.Outcome
	Reason      outage.Reason
	Distributor string
}

func (f *Filter) matches(l *Line) bool {
	return (f.Hub == 0 || f.Hub == l.Hub) && (f.Meter == 0 || f.Meter == l.Meter) && (f.Kind == "" || f.Kind == l.Kind) &&
		(f.Decision == "" || f.Decision == l.Decision) && (f.Reason == "" || f.Reason == l.Reason) && (f.Distributor == "" || f.Distributor == l.Distributor)
}

// Tail has the watchers of a node. A nil Tail has none, and takes none.
type Tail struct {
	mu       sync.Mutex                 // held to change watchers
	watchers atomic.Pointer[[]*Watcher] // nil: none
}

// Watcher gets the decisions that fall from now on.
type Watcher struct {
	t      *Tail
	filter Filter
	lines  chan Line
	lost   atomic.Uint64
}

// Watch adds a watcher. The error is ErrMany.
func (t *Tail) Watch(f Filter) (*Watcher, error) {
	w := &Watcher{t: t, filter: f, lines: make(chan Line, maxWaiting)}
	t.mu.Lock()
	defer t.mu.Unlock()
	list := t.list()
	if len(list) == MaxWatchers {
		return nil, ErrMany
	}
	list = append(slices.Clone(list), w)
	t.watchers.Store(&list)
	return w, nil
}

// Close ends a watcher. It is idempotent.
func (w *Watcher) Close() {
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(w.t.list()), func(x *Watcher) bool { return x == w })
	w.t.watchers.Store(&list)
}

// Lines returns the lines that wait.
func (w *Watcher) Lines() <-chan Line { return w.lines }

// Lost returns how many lines were lost since the last call.
func (w *Watcher) Lost() uint64 { return w.lost.Swap(0) }

func (t *Tail) list() []*Watcher {
	if list := t.watchers.Load(); list != nil {
		return *list
	}
	return nil
}

// Watched reports whether anybody watches.
func (t *Tail) Watched() bool { return t != nil && len(t.list()) > 0 }

// Add hands a decision on a message to the watchers. entry and meter are those of the entry of
// the log, if there is one; hub and meter those of an activation. It ignores what is neither an
// AD1 nor an 11.3.
func (t *Tail) Add(at time.Time, m *duis.Message, d outage.Decision, hub, meter outage.DeviceID, entry int64) {
	l := Line{At: at, Decision: d.Outcome, Reason: d.Reason, Hub: hub, Meter: meter, Entry: entry}
	switch {
	case m.Root == duis.RootResponse && m.Body == duis.BodyPowerOutage:
		l.Kind, l.ID, l.Hub = Alert, m.AlertID(), m.Outage.CHF
		l.MPxN = strings.Clone(m.Outage.MPxN) // the message may be overwritten
		l.Distributor = outage.DistributorID(l.MPxN)
	case m.Root == duis.RootRequest && m.ServiceReferenceVariant == "11.3":
		l.Kind, l.ID = Activation, m.RequestID.String()
		if l.Meter == 0 {
			l.Meter = m.RequestID.Target
		}
	default:
		return
	}
	for _, w := range t.list() {
		if !w.filter.matches(&l) {
			continue
		}
		select {
		case w.lines <- l:
		default:
			w.lost.Add(1)
		}
	}
}
