package cluster

import (
	"context"
	"crypto/rand"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/sqldb"

	"golang.org/x/sys/unix"
)

// Options are what New needs to know.
type Options struct {
	Name, Version string           // what other nodes know this one by
	Now           func() time.Time // this node's clock; time.Now if nil
	// Elapsed is the time since some instant, whatever the clock is set to; that since the
	// machine was started if nil.
	Elapsed func() time.Duration
	Log     *slog.Logger

	// State is what must be equal on all nodes besides the settings, by name.
	State func() map[string]string
	// Beat reads, in the transaction of a heartbeat, what must be known here even if nothing
	// else can be read; then is called after the commit.
	Beat func(ctx context.Context, tx sqldb.Tx) (then func(), err error)
	// Look takes over what other nodes have written, and reports whether there is more.
	Look func(ctx context.Context) (more bool, err error)
	// Prune, called every hour, forgets what other nodes have deleted. If it is not done
	// now, it is called again soon.
	Prune func(ctx context.Context) (done bool, err error)
}

// Cluster is one node among those that share a database. Its methods may be called from
// any goroutine.
type Cluster struct {
	db   *sqldb.DB
	opts Options
	id   string // of this process

	clock     atomic.Pointer[clock]
	tolerance atomic.Int64 // of clocks, a time.Duration

	settings atomic.Pointer[map[string]string]
	wants    atomic.Int32 // how many want this node to be the leader
	lease    atomic.Pointer[lease]
	list     atomic.Pointer[[]Node]
	differ   atomic.Pointer[[]string]
	beatNow  chan struct{} // holds a token when the next heartbeat is not to wait

	looking atomic.Int64 // when the look that is under way began, by Options.Elapsed; 0 if none is
	behind  atomic.Bool  // the last look failed

	running sync.WaitGroup
}

// New is a node that has not said that it is there. Start does.
func New(db *sqldb.DB, opts Options) *Cluster {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Elapsed == nil {
		opts.Elapsed = elapsed
	}
	return &Cluster{db: db, opts: opts, id: rand.Text(), beatNow: make(chan struct{}, 1)}
}

// Start has the node follow the others once ready is closed, and send heartbeats, until ctx
// ends. Where the node is alone it does nothing. Wait waits for the end.
func (c *Cluster) Start(ctx context.Context, ready <-chan struct{}) {
	if !c.db.Remote() {
		return
	}
	c.running.Go(func() {
		select {
		case <-ready:
			c.follow(ctx, pruneEvery)
		case <-ctx.Done():
		}
	})
	c.running.Go(func() { c.beat(ctx) })
}

// Wait waits until what Start started has ended.
func (c *Cluster) Wait() { c.running.Wait() }

// SetSettings says which settings of this node must be equal on all. They are compared from
// now on.
func (c *Cluster) SetSettings(settings map[string]string) {
	settings = maps.Clone(settings)
	c.settings.Store(&settings)
	c.beatSoon()
}

// elapsed is the time since the machine was started, whatever the clock is set to; the time
// that it was asleep counts.
func elapsed() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return time.Since(started) // an old kernel
	}
	return time.Duration(t.Nano())
}

var started = time.Now()
