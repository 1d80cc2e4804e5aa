package assess

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/cluster"
	"quell/internal/devices"
	"quell/internal/evidence"
	"quell/internal/ledger"
	"quell/internal/sighting"
	"quell/internal/sqldb"
)

// every is how often the leader looks for something new, and each node for homes to wait for.
const every = time.Second

// longestPause is the pause between tries while they fail. It grows, since each may end the
// transaction of others.
const longestPause = 30 * time.Second

// saveEvery is how often what was learned is written.
const saveEvery = 10 * time.Second

// Options are what New needs.
type Options struct {
	DB        *sqldb.DB
	Sightings *sighting.Sightings
	Ledger    *ledger.Ledger
	Devices   *devices.Devices
	Cluster   *cluster.Cluster
	Log       *slog.Logger
}

// Assessor assesses the entries of a suppression log. Its methods may be called from any
// goroutine.
type Assessor struct {
	Options
	// Changed, if it is set, is called with what was written, after the commit. It is set before
	// Run is called.
	Changed func(Change)

	homes   homes
	rush    atomic.Bool  // entries come in a rush; Follow says so
	last    atomic.Int64 // when the last step succeeded, in microseconds since 1970; 0 if none has
	trouble atomic.Pointer[string]

	mu     sync.Mutex // guards levels
	levels map[int64]evidence.Level
}

// New returns an Assessor, which does nothing until Run and Follow are called.
func New(o Options) *Assessor {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Assessor{Options: o, levels: map[int64]evidence.Level{}}
}

// Run assesses entries until ctx ends. Only the leader may call it.
func (a *Assessor) Run(ctx context.Context) {
	defer a.setTrouble(nil)
	defer a.forgetLevels()
	var w *work
	next := every
	for ctx.Err() == nil {
		var err error
		if a.Sightings.On() {
			err = a.once(ctx, &w)
		} else if w != nil {
			w = nil
			a.forgetLevels()
		}
		switch {
		case errors.Is(err, cluster.ErrNotLeader):
			w = nil // another leader goes on; what is in memory here would be out of date
		case errors.Is(err, errForgotten):
			w = nil
			a.forgetLevels()
			continue
		}
		if ctx.Err() == nil {
			a.setTrouble(err)
		}
		if next = min(2*next, longestPause); err == nil {
			next = every
		}
		pause(ctx, next)
	}
}

// once is one step of Run. w is nil before the first.
func (a *Assessor) once(ctx context.Context, w **work) error {
	if *w != nil && (*w).advanced.Sub(a.Cluster.Now()) > mostAhead { // the clock was, and is not any more
		*w = nil
	}
	if *w == nil {
		begun, err := a.begin(ctx, a.Cluster.Now(), true)
		if err != nil {
			return err
		}
		*w = begun
	}
	(*w).patience = time.Now().Add(longestRest)
	a.waitInRush(ctx, *w)
	(*w).turn = time.Now()
	return a.step(ctx, *w, a.Cluster.Now())
}

// Assess makes one whole pass as of an instant: it reads all that was written until now. It is for
// commands and tests that do not run in the background. Only the leader may call it.
func (a *Assessor) Assess(ctx context.Context, now time.Time) error {
	w, err := a.begin(ctx, now, false)
	if err != nil {
		return err
	}
	if err := a.step(ctx, w, now); err != nil {
		return err
	}
	return a.save(ctx, w, now)
}

func (a *Assessor) setTrouble(err error) {
	if err == nil {
		if a.trouble.Swap(nil) != nil {
			a.Log.Info("the evidence on suppressed alerts is assessed again")
		}
		return
	}
	text := err.Error()
	if a.trouble.Swap(&text) == nil {
		a.Log.Error("the evidence on suppressed alerts cannot be assessed; quell tries again", "error", err)
	}
}

// Conditions says what is wrong; nil if nothing is.
func (a *Assessor) Conditions() []string {
	if text := a.trouble.Load(); text != nil {
		return []string{"the evidence on suppressed alerts is not assessed: " + *text}
	}
	return nil
}

// Lag returns how long ago entries were assessed last; 0 if this node does not do that.
func (a *Assessor) Lag(now time.Time) time.Duration {
	if at := a.last.Load(); at != 0 {
		return max(0, now.Sub(time.UnixMicro(at)))
	}
	return 0
}

// Levels returns how many entries of the last 24 hours or so have each level, as far as this node
// has assessed them.
func (a *Assessor) Levels() map[evidence.Level]int {
	n := map[evidence.Level]int{}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, level := range a.levels {
		n[level]++
	}
	return n
}

func (a *Assessor) forgetLevels() {
	a.last.Store(0)
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.levels)
}
