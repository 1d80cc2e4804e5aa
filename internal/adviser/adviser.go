// Package adviser gives advice for a running quell: it reads what package advice needs from the
// store, and says what the answers mean. It changes nothing.
package adviser

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"quell/internal/advice"
	"quell/internal/devices"
	"quell/internal/evidence"
	"quell/internal/ledger"
	"quell/internal/liveness"
	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/updates"
	"quell/internal/windows"
)

// Adviser reads the store of a quell. Its fields are set before it is used; its methods may be
// called from any goroutine.
type Adviser struct {
	Windows *windows.Windows
	Updates *updates.Updates // may be nil
	Devices *devices.Devices
	Ledger  *ledger.Ledger
	DB      *sqldb.DB
	Now     func() time.Time
	// Learned returns what was learned of models until now; nil if that is nothing. It may be nil.
	Learned func(context.Context) (*evidence.Learning, error)
	// Assessed returns the latest assessment of each entry from a number to another. It is nil
	// if entries are not assessed.
	Assessed func(ctx context.Context, from, to int64) ([]evidence.Assessment, error)
	// InForce returns the window that a model has now, from the activation on.
	InForce func(model string) (from, to time.Duration)
	// Asks reports whether the operator wants advice on whom to ask (evidence.ask).
	Asks func() bool

	// For Watch: how many northbound messages and AD1s have come to this node; how many nodes
	// are alive.
	Arrived func() (northbound, alerts uint64)
	Nodes   func() int
	Log     *slog.Logger

	counting sync.Mutex // guards the next fields; held while homes are counted
	homes    int
	of       int64 // the import after which homes were counted; 0: they were not

	mu    sync.Mutex // guards the next field
	watch liveness.Watch
}

// Learned is the beginning of each answer.
type Learned struct {
	LearnedUntil       time.Time `json:"learned_until,omitzero"` // zero: nothing was learned yet
	LearnedActivations int       `json:"learned_activations"`    // that were followed for 30 minutes
	LearnedAlerts      int       `json:"learned_alerts"`         // of these, with an AD1
}

// List is the answer about the list of meters.
type List struct {
	Learned
	advice.List
	FalseShare float64 `json:"false_share"` // which share of the advised changes may be wrong
}

// Windows is the answer about windows.
type Windows struct {
	Learned
	BasePerMinute float64         `json:"base_per_minute"` // AD1s of a hub without a window; 0: not known
	Models        []advice.Window `json:"models"`
}

// Forecast is what pending activations lead to.
type Forecast struct {
	Learned
	advice.Forecast
}

// Ask is a home that a Read Supply Status should be sent to. Its JSON is part of the API.
type Ask struct {
	Entry       int64           `json:"entry"`
	Received    time.Time       `json:"received_at"`
	Distributor string          `json:"distributor"`
	ESME        outage.DeviceID `json:"esme_id"`
	MPxN        string          `json:"mpxn"`
	Level       evidence.Level  `json:"level"`
	Why         []string        `json:"why"` // facts in words
}

// Supply is the list of homes to ask.
type Supply struct {
	At   time.Time `json:"at"`
	Asks []Ask     `json:"homes"` // by time of the alert
	More bool      `json:"more"`  // there are more than the limit
	// MPxNHidden says that MPxNs are left out, since the role of who asks is below analyst.
	MPxNHidden bool `json:"mpxn_hidden,omitempty"`
}

// ErrNotAsked says that evidence.ask is not set.
var ErrNotAsked = errors.New("evidence.ask is not true, so no list of homes to ask is made")

// ErrNoEvidence says that this quell does not assess entries.
var ErrNoEvidence = errors.New("this quell does not look for evidence, so it cannot tell whom to ask")

func (a *Adviser) learned(ctx context.Context) (*evidence.Learning, Learned, error) {
	var l *evidence.Learning
	var err error
	if a.Learned != nil {
		if l, err = a.Learned(ctx); err != nil {
			return nil, Learned{}, err
		}
	}
	if l == nil {
		l = &evidence.Learning{}
	}
	sum := Learned{LearnedUntil: l.Until}
	for _, r := range l.Rates {
		sum.LearnedActivations += r.Activations
		sum.LearnedAlerts += r.AD1s
	}
	return l, sum, nil
}

// base returns the base rate. How many homes there are is counted once for each import.
func (a *Adviser) base(ctx context.Context, l *evidence.Learning) (advice.Base, error) {
	last, err := a.Devices.LastImport(ctx, "inventory")
	if err != nil {
		return advice.Base{}, err
	}
	a.counting.Lock()
	defer a.counting.Unlock()
	if a.of != last.No {
		if a.homes, err = a.Devices.Homes(ctx); err != nil {
			return advice.Base{}, err
		}
		a.of = last.No
	}
	return advice.BaseOf(l, a.homes), nil
}

// List advises on the list of meters.
func (a *Adviser) List(ctx context.Context) (List, error) {
	l, sum, err := a.learned(ctx)
	if err != nil {
		return List{}, err
	}
	base, err := a.base(ctx, l)
	return List{sum, advice.AdviseList(advice.GroupsOf(l), base), advice.FalseShare}, err
}

// Window advises on the windows of models.
func (a *Adviser) Window(ctx context.Context) (Windows, error) {
	l, sum, err := a.learned(ctx)
	if err != nil {
		return Windows{}, err
	}
	base, err := a.base(ctx, l)
	return Windows{sum, base.PerMinute(), advice.AdviseWindows(advice.TimesOf(l), base, a.InForce)}, err
}

// forecastHours is how far a forecast looks ahead.
const forecastHours = 24

// Forecast says how many AD1s are to be expected of activations that are pending or have just
// begun.
func (a *Adviser) Forecast(ctx context.Context) (Forecast, error) {
	l, sum, err := a.learned(ctx)
	if err != nil {
		return Forecast{}, err
	}
	now := a.Now()
	coming, err := a.Windows.Coming(ctx, devices.Newest, now, now.Add(forecastHours*time.Hour), advice.Step)
	var pending []advice.Pending
	for _, c := range coming {
		if !outage.IsDistributor(c.Distributor) {
			c.Distributor = ""
		}
		pending = append(pending, advice.Pending{Model: strings.TrimSpace(c.Manufacturer + " " + c.Model), Distributor: c.Distributor, Begins: c.Begins, Count: c.Count})
	}
	f := Forecast{sum, advice.Expect(now, forecastHours, pending, advice.TimesOf(l))}
	if err == nil && a.Updates != nil {
		err = a.addUpdates(ctx, &f.Forecast, advice.TimesOf(l))
	}
	return f, err
}

// supplyPage is how many entries are read at once.
const supplyPage = 1000

// Supply lists up to limit homes where a Read Supply Status would settle if the alert that was
// suppressed was genuine. The error is ErrNotAsked, ErrNoEvidence or sqldb.ErrUnavailable.
func (a *Adviser) Supply(ctx context.Context, limit int) (Supply, error) {
	switch {
	case a.Asks == nil || !a.Asks():
		return Supply{}, ErrNotAsked
	case a.Assessed == nil:
		return Supply{}, ErrNoEvidence
	}
	now := a.Now()
	s := Supply{At: now, Asks: []Ask{}}
	after, err := a.entryBefore(ctx, now.Add(-24*time.Hour))
	for err == nil {
		var entries []outage.Entry
		if entries, err = a.Ledger.EntriesAfter(ctx, after, supplyPage); err != nil || len(entries) == 0 {
			break
		}
		after = entries[len(entries)-1].Seq
		list, err := a.Assessed(ctx, entries[0].Seq, after)
		if err != nil {
			return s, err
		}
		of := map[int64]*evidence.Assessment{}
		for i := range list {
			of[list[i].Entry] = &list[i]
		}
		for i := range entries {
			e, x := &entries[i], of[entries[i].Seq]
			if x == nil || e.Outcome != outage.Suppressed || !advice.WorthAsking(x, e.Received, now) {
				continue
			}
			if len(s.Asks) == limit {
				s.More = true
				return s, nil
			}
			s.Asks = append(s.Asks, Ask{e.Seq, e.Received, e.Stream(), e.ESME, e.MPxN, x.Level, x.Sentences()})
		}
	}
	return s, err
}

// entryBefore returns the number before the first entry received at an instant or later; that of
// the last entry if there is none.
func (a *Adviser) entryBefore(ctx context.Context, at time.Time) (seq int64, err error) {
	err = a.DB.QueryRow(ctx, `SELECT coalesce((SELECT min(seq) - 1 FROM suppression WHERE received_at >= ?), (SELECT max(seq) FROM suppression), 0)`,
		sqldb.Micros(at)).Scan(&seq)
	return seq, sqldb.Unavailable(err)
}
