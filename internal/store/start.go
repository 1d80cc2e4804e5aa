package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"quell/internal/outage"
)

// Open opens the store as Start does, and waits until it answers and the index is
// filled. That it cannot be opened is an error, ErrCopying when the database is being
// copied into; but not that a PostgreSQL database cannot be reached: until it can be,
// the store is not available.
func Open(ctx context.Context, opts Options) (*Store, error) {
	s, err := Start(opts)
	if err != nil {
		return nil, err
	}
	select {
	case <-s.tried:
		err = s.why()
	case <-ctx.Done():
		err = ctx.Err()
	}
	switch {
	case err == nil:
		select {
		case <-s.filled:
		case <-ctx.Done():
			err = ctx.Err()
		}
	case s.remote && !refused(err) && !errors.Is(err, ErrCopying):
		err = nil
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("open %s: %w", s.name(), err)
	}
	return s, nil
}

// Start takes the data folder, and has the rest done behind it: the committer opens
// the database, brings its schema up to date, and plays the journal, and tries again
// until it has. Until then the store is not available, so that alerts go forward.
// The error is ErrInUse when another process has the folder.
func Start(opts Options) (_ *Store, err error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Elapsed == nil {
		opts.Elapsed = elapsed
	}
	s := &Store{opts: opts, stopped: make(chan struct{}), loaded: make(chan struct{}), filled: make(chan struct{}), tried: make(chan struct{}), nodes: newNodes()}
	s.queue.wake = make(chan struct{}, 1)
	if s.lock, err = lockFolder(opts.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if opts.Database != "" {
		s.conn, s.reader, err = openPostgres(opts.Database)
	} else {
		s.conn, s.reader, err = openSQLite(s.name())
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", s.name(), err)
	}
	s.remote = s.reader.engine.remote
	s.index.unresolved.Add(1) // until it is filled
	// The windows of the journal count at once on this node, and so does a switch that
	// was turned off.
	s.journal, err = openJournal(filepath.Join(opts.Dir, "pending"), opts.Log, &s.index.unresolved, func(r record) {
		switch {
		case r.Activation != nil && !r.Unresolved:
			s.index.add(r.Activation.CHF)
		case r.Switch != nil:
			s.sw.turn(outage.SwitchOff)
			s.sw.keepOff()
		}
	})
	if err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(context.Background())
	s.stop = stop
	go s.commitLoop(run)
	whenLoaded := func(f func()) {
		s.following.Go(func() {
			select {
			case <-s.loaded:
				f()
			case <-run.Done():
			}
		})
	}
	whenLoaded(func() { s.fill(run) })
	if s.remote {
		whenLoaded(func() { s.follow(run, s.last, forgetEvery) })
		s.following.Go(func() { s.attend(run) })
	}
	return s, nil
}

// name is what the database is called in errors: its file, if it has one.
func (s *Store) name() string {
	if s.opts.Database != "" {
		return "the database"
	}
	return filepath.Join(s.opts.Dir, "quell.db")
}

// Ready waits until the schema is up to date and the switch is known, or ctx ends.
func (s *Store) Ready(ctx context.Context) error {
	select {
	case <-s.loaded:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// load brings the schema up to date and reads the switch, unless that is done. The
// committer calls it before anything else.
func (s *Store) load(ctx context.Context) error {
	if closed(s.loaded) {
		return nil
	}
	err := s.tryLoad(ctx)
	if err != nil {
		s.fails(err)
		s.conn.close() // the database may be another by the next time, as one that was put back
	} else {
		s.reader.keep()
		s.answers()
		close(s.loaded)
	}
	if !closed(s.tried) {
		close(s.tried)
	}
	return err
}

func (s *Store) tryLoad(ctx context.Context) error {
	if err := s.migrate(ctx); err != nil {
		return err
	}
	if err := s.claim(ctx); err != nil {
		return err
	}
	if err := s.loadSwitch(ctx); err != nil {
		return err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return s.reader.QueryRowContext(ctx, `SELECT coalesce(max(id), 0) FROM activation`).Scan(&s.last)
}

// loadRows is how many rows load reads at once: a database across a network, and
// its statement_timeout, may allow for no look through a whole log.
const loadRows = 10_000

// fill fills the index from the tables, and tries again while the store does not
// answer.
func (s *Store) fill(ctx context.Context) {
	for _, from := range []struct{ table, key string }{{"activation", "id"}, {"suppression", "seq"}} {
		last, failing := int64(0), false
		for n := loadRows; n == loadRows; {
			var err error
			if n, err = s.loadPage(ctx, from.table, from.key, &last); err == nil {
				failing = false
				continue
			}
			if !failing && ctx.Err() == nil {
				s.opts.Log.Error("the hubs that have windows cannot be read, the store is asked about every AD1", "error", err)
			}
			n, failing = loadRows, true
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return
			}
		}
	}
	s.index.unresolved.Add(-1)
	close(s.filled)
}

// loadPage reads the rows behind the key last, and moves that on.
func (s *Store) loadPage(ctx context.Context, table, key string, last *int64) (n int, err error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	rows, err := s.reader.QueryContext(ctx, `SELECT `+key+`, chf FROM `+table+` WHERE `+key+` > ? ORDER BY `+key+` LIMIT ?`, *last, loadRows)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for ; rows.Next(); n++ {
		var chf int64
		if err := rows.Scan(last, &chf); err != nil {
			return n, err
		}
		s.index.add(outage.DeviceID(chf))
	}
	return n, rows.Err()
}
