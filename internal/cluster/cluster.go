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
	Name, Version string           // of this node, for the others
	Now           func() time.Time // this node's clock; time.Now if nil
	// Elapsed returns the time since a fixed instant, and does not change when the clock is
	// set; if nil, the time since the machine was started.
	Elapsed func() time.Duration
	Log     *slog.Logger

	// State returns what must be equal on all nodes besides the settings, by name.
	State func() map[string]string
	// OnHeartbeat reads, in the transaction of a heartbeat, what this node must know even if
	// it can read nothing else. then is called after the commit.
	OnHeartbeat func(ctx context.Context, tx sqldb.Tx) (then func(), err error)
	// Follow takes over what other nodes have written, and reports whether there is more.
	Follow func(ctx context.Context) (more bool, err error)
	// Prune, called every hour, forgets what other nodes have deleted. If done is false, it
	// is called again soon.
	Prune func(ctx context.Context) (done bool, err error)
}

// Cluster is one node among those that share a database. Its methods may be called from
// any goroutine.
type Cluster struct {
	db   *sqldb.DB
	opts Options
	id   string // of this process

	clock     atomic.Pointer[clock]
	tolerance atomic.Int64 // between clocks, a time.Duration

	settings     atomic.Pointer[map[string]string]
	wants        atomic.Int32 // how many callers want this node to be the leader
	lease        atomic.Pointer[lease]
	list         atomic.Pointer[[]Node]
	differ       atomic.Pointer[[]string]
	heartbeatNow chan struct{} // holds a token if the next heartbeat is due now

	followingSince atomic.Int64 // when the current followOnce began, by Options.Elapsed; 0 if none
	behind         atomic.Bool  // the last followOnce failed

	running sync.WaitGroup
}

// New returns a node that sends no heartbeats yet. Start starts them.
func New(db *sqldb.DB, opts Options) *Cluster {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Elapsed == nil {
		opts.Elapsed = elapsed
	}
	return &Cluster{db: db, opts: opts, id: rand.Text(), heartbeatNow: make(chan struct{}, 1)}
}

// Start makes the node send heartbeats, and follow the others once ready is closed, until
// ctx ends. It does nothing if the node is alone. Wait waits for the end.
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
	c.running.Go(func() { c.sendHeartbeats(ctx) })
}

// Wait waits until what Start started has ended.
func (c *Cluster) Wait() { c.running.Wait() }

// SetSettings sets those settings of this node that must be equal on all nodes. They are
// compared from now on.
func (c *Cluster) SetSettings(settings map[string]string) {
	settings = maps.Clone(settings)
	c.settings.Store(&settings)
	c.heartbeatSoon()
}

// elapsed returns the time since the machine was started, including the time that it was
// asleep. It does not change when the clock is set.
func elapsed() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return time.Since(started) // an old kernel
	}
	return time.Duration(t.Nano())
}

var started = time.Now()
