package store

import (
	"context"
	"time"

	"quell/internal/outage"

	"github.com/jackc/pgx/v5"
)

const (
	// followEvery is how often a node looks for what other nodes have written,
	// where the database does not tell it.
	followEvery = 250 * time.Millisecond
	// forgetEvery is how often it forgets hubs of which nothing is left.
	forgetEvery = time.Hour
	// pruneBatch is how many hubs one question is about.
	pruneBatch = 1000
)

// follow keeps the index and the switch up to what other nodes write, from the
// activation with the id last on, until ctx ends. What it does not see for a
// while does no harm: a hub without an entry in the index is one whose alerts go
// forward, and no false alert comes sooner than minutes after its activation.
//
// Ids are given out while the writer's lock is held, and so in the order of
// commits: whatever is committed later has a higher one.
func (s *Store) follow(ctx context.Context, last int64, pruneEvery time.Duration) {
	at := followed{last: last}
	told := make(chan struct{}, 1)
	s.following.Go(func() { s.listen(ctx, told) })
	pruned := time.Now()
	for {
		s.looking.Store(int64(s.opts.Elapsed()))
		more, err := s.followOnce(ctx, &at)
		failing := s.behind.Swap(err != nil)
		s.looking.Store(0)
		switch {
		case err == nil && failing:
			s.opts.Log.Info("other nodes can be followed again")
		case err != nil && !failing && ctx.Err() == nil:
			s.opts.Log.Error("other nodes cannot be followed: their windows are not known here", "error", err)
		}
		pause := followEvery
		if more {
			pause = 0
		}
		if time.Since(pruned) > pruneEvery && s.Pending() == 0 {
			// Where it fails, the next look at other nodes says so.
			if s.prune(ctx) == nil {
				pause = 0 // who was taken out and has come back meanwhile is seen again
			}
			pruned = time.Now()
		}
		select {
		case <-told:
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// lookTime is how long a look at other nodes may take before it counts as failed.
const lookTime = time.Second

// KnowsWindows reports whether this node knows of the windows of others, as far as
// that can be told: it does not while the database does not answer.
func (s *Store) KnowsWindows() bool {
	if !s.remote {
		return true
	}
	began := s.looking.Load()
	return s.Available() && !s.behind.Load() && (began == 0 || s.opts.Elapsed()-time.Duration(began) < lookTime)
}

// followed is how far a node has followed the others.
type followed struct {
	last int64 // activations up to this one are known
	// Those behind the one and up to the other are read once more: the newest that
	// was known is not there any more, as in a database that was set back, and others
	// may have come under the same numbers.
	again, until int64
}

// followOnce takes over what has come since it was called before: a page of it at
// most, and a page of what is to be read once more. It reports whether there is more.
func (s *Store) followOnce(ctx context.Context, at *followed) (more bool, err error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	var most, moves, now int64
	var sw string
	began, turns := s.beginLook(), s.sw.turned()
	if err := s.reader.QueryRowContext(ctx, `SELECT coalesce((SELECT max(id) FROM activation), 0),
		coalesce((SELECT max(moved) FROM activation WHERE moved <> 0), 0),
		coalesce((SELECT value FROM setting WHERE name = 'switch'), ''), `+serverTime).Scan(&most, &moves, &sw, &now); err != nil {
		return false, err
	}
	s.sawClock(instant(now), began)
	s.followSwitch(outage.Switch(sw), turns)
	if most < at.last {
		*at = followed{last: most, until: most}
	}
	if moves > s.lastMoves {
		hubs, err := numbers(s.reader.QueryContext(ctx, `SELECT DISTINCT chf FROM activation WHERE moved > ? AND moved <> 0`, s.lastMoves))
		if err != nil {
			return false, err
		}
		for _, chf := range hubs {
			s.index.add(outage.DeviceID(chf))
		}
		s.lastMoves = moves
	}
	if most > at.last {
		n, err := s.loadPage(ctx, "activation", "id", &at.last)
		if err != nil {
			return false, err
		}
		more = n == loadRows
	}
	if at.again < at.until {
		n, err := s.loadPage(ctx, "activation", "id", &at.again)
		if err != nil {
			return false, err
		}
		if n < loadRows {
			at.again = at.until
		}
	}
	return more || at.again < at.until, nil
}

// followSwitch takes over the switch as the store has it, "" if it has none; turns
// is what turned said before the store was asked.
func (s *Store) followSwitch(to outage.Switch, turns int) {
	if to == "" {
		return
	}
	if was, followed := s.sw.follow(to, turns); followed {
		s.opts.Log.Warn("the switch was turned on another node", "old", was, "new", to)
	}
}

// prune takes hubs out of the index that have neither an activation nor a log
// entry any more: housekeeping does so by itself only where it runs.
func (s *Store) prune(ctx context.Context) error {
	hubs := s.index.all()
	for len(hubs) > 0 {
		var some []int64
		some, hubs = cut(hubs, pruneBatch)
		ask, cancel := s.bounded(ctx)
		gone, err := numbers(s.reader.QueryContext(ask, `SELECT h.chf FROM (SELECT CAST(value->>0 AS BIGINT) AS chf FROM json_each(?)) AS h
			WHERE NOT EXISTS (SELECT 1 FROM activation a WHERE a.chf = h.chf) AND NOT EXISTS (SELECT 1 FROM suppression s WHERE s.chf = h.chf)`, column(some)))
		cancel()
		if err != nil {
			return err
		}
		for _, chf := range gone {
			s.index.remove(outage.DeviceID(chf))
		}
	}
	return nil
}

// tell has the other nodes look at once, when the transaction is committed.
func (s *Store) tell(ctx context.Context) error {
	if !s.remote {
		return nil
	}
	return s.conn.later(ctx, "SELECT pg_notify('quell', '')")
}

// listen is told by the database that there is something to look at, until ctx
// ends. Behind a pooler it would wait in vain, and does not.
func (s *Store) listen(ctx context.Context, told chan<- struct{}) {
	config, err := parsePostgres(s.opts.Database)
	if err != nil {
		return // Open has read it
	}
	for ctx.Err() == nil {
		pooled, err := listenOnce(ctx, config, told)
		if pooled {
			return
		}
		if err != nil {
			s.opts.Log.Debug("the database does not tell of changes; it is asked", "error", err)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

func listenOnce(ctx context.Context, config *pgx.ConnConfig, told chan<- struct{}) (pooled bool, err error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return false, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if pooled, err = isPooled(ctx, conn); pooled || err != nil {
		return pooled, err
	}
	if _, err := conn.Exec(ctx, "LISTEN quell"); err != nil {
		return false, err
	}
	for {
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return false, err
		}
		select {
		case told <- struct{}{}:
		default:
		}
	}
}
