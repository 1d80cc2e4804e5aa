package sqldb_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"quell/internal/sqldb"
	"quell/internal/store/storetest"
)

// openStarted opens and starts a database with one table, named written, whose rows are
// numbers.
func openStarted(t *testing.T, change func(o *sqldb.Options), lanes func(db *sqldb.DB)) *sqldb.DB {
	t.Helper()
	dir := t.TempDir()
	o := sqldb.Options{Path: filepath.Join(dir, "test.db"), Address: storetest.Database(t, dir)}
	if change != nil {
		change(&o)
	}
	db, err := sqldb.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if err := db.Migrate(t.Context(), fstest.MapFS{"migrations/1.sql": {Data: []byte(`CREATE TABLE written (id INTEGER PRIMARY KEY, n INTEGER NOT NULL UNIQUE)`)}}); err != nil {
		t.Fatal(err)
	}
	db.SetReady()
	if lanes != nil {
		lanes(db)
	}
	db.Start(sqldb.Prepare{First: func(context.Context) error { return nil }, Pending: func() bool { return false }})
	return db
}

func write(ctx context.Context, tx sqldb.Tx, list []int64) error {
	return tx.Later(ctx, `INSERT INTO written (n) SELECT CAST(value->>0 AS BIGINT) FROM json_each(?)`, sqldb.Column(list))
}

// While a background task waits, at least one transaction in ten is one, however much is
// urgent.
func TestBackground(t *testing.T) { storetest.EachEngine(t, testBackground) }

func testBackground(t *testing.T) {
	var db *sqldb.DB
	var lane *sqldb.Lane[int64]
	var mu sync.Mutex // guards the variables of the next line
	next, most, row, urgent := int64(0), 0, 0, true
	db = openStarted(t, func(o *sqldb.Options) {
		o.OnCommit = func(time.Duration, error) {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case lane == nil:
			case !urgent:
				row = 0
			case db.BackgroundWaiting() > 0:
				row++
				most = max(most, row)
			}
			if urgent = true; lane != nil && next < 5000 {
				next++
				lane.Add(next) // so something urgent always waits
			}
		}
	}, func(db *sqldb.DB) {
		lane = sqldb.NewLane(db, sqldb.LaneOptions[int64]{Write: write, Done: func([]int64, error) {}})
	})
	lane.Add(0)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for range 30 {
				if err := db.Do(t.Context(), sqldb.Background, func(context.Context, sqldb.Tx) error {
					mu.Lock()
					defer mu.Unlock()
					urgent = false
					return nil
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	mu.Lock()
	defer mu.Unlock()
	if most >= 10 || most == 0 || next >= 5000 {
		t.Errorf("%d transactions, up to %d in a row without a background task, though some waited", next, most)
	}
}

// A value that the database refuses fails alone, whichever lane it is in. The rest of the
// batch is committed, in order. Done is called once for each value.
func TestRefusedIsFound(t *testing.T) { storetest.EachEngine(t, testRefusedIsFound) }

func testRefusedIsFound(t *testing.T) {
	var first, last *sqldb.Lane[int64]
	results := map[int64]error{}
	var mu sync.Mutex // guards results
	done := func(list []int64, err error) {
		mu.Lock()
		defer mu.Unlock()
		for _, n := range list {
			if _, twice := results[n]; twice {
				t.Errorf("Done is called twice for %d", n)
			}
			results[n] = err
		}
	}
	null := func(ctx context.Context, tx sqldb.Tx, list []int64) error {
		if slices.Contains(list, 7) {
			return tx.Later(ctx, `INSERT INTO written (n) VALUES (NULL)`)
		}
		return write(ctx, tx, list)
	}
	db := openStarted(t, nil, func(db *sqldb.DB) {
		last = sqldb.NewLane(db, sqldb.LaneOptions[int64]{Write: null, Done: done})
		first = sqldb.NewLane(db, sqldb.LaneOptions[int64]{Write: null, Done: done, Early: true})
	})
	held, release := make(chan bool), make(chan bool)
	go db.Do(t.Context(), sqldb.Urgent, func(context.Context, sqldb.Tx) error { close(held); <-release; return nil })
	<-held
	for n := range int64(40) {
		if lane := []*sqldb.Lane[int64]{last, first}[n%2]; !lane.Add(n) {
			t.Fatal("the lane is full")
		}
	}
	asked := make(chan error)
	go func() {
		_, err := sqldb.Write(t.Context(), db, sqldb.Urgent, func(context.Context, sqldb.Tx) (int, error) { return 1, sqldb.Unchanged(errors.ErrUnsupported) })
		asked <- err
	}()
	close(release)
	if err := <-asked; !errors.Is(err, errors.ErrUnsupported) || errors.Is(err, sqldb.ErrUnavailable) {
		t.Errorf("a change that changes nothing: %v", err)
	}
	db.Stop()
	for n := range int64(40) {
		if err := results[n]; (err != nil) != (n == 7) || n == 7 && (!db.Refuses(err) || !errors.Is(err, sqldb.ErrUnavailable)) {
			t.Errorf("%d: %v", n, err)
		}
	}
	got, err := sqldb.Numbers(db.Query(t.Context(), `SELECT n FROM written ORDER BY id`))
	var want []int64
	for _, from := range []int64{1, 0} { // the early lane comes first
		for n := from; n < 40; n += 2 {
			if n != 7 {
				want = append(want, n)
			}
		}
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("the table has %v %v, want %v", got, err, want)
	}
	if db.Trouble() != nil {
		t.Error("after a refusal, the database counts as unavailable")
	}
	if last.Add(1) {
		t.Error("a lane takes a value after Stop")
	}
}
