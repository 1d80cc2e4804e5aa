package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

// A node of this version works on a database that a later one has extended.
func TestLaterSchema(t *testing.T) { storetest.OnlyPostgres(t, testLaterSchema) }

func testLaterSchema(t *testing.T) {
	database := storetest.Database(t, t.TempDir())
	node := func() *store.Store {
		return storetest.Open(t, t.TempDir(), func(o *store.Options) { o.Database = database })
	}
	first := node()
	storetest.Script(t, first, `ALTER TABLE suppression ADD COLUMN later TEXT; ALTER TABLE activation ADD COLUMN later BIGINT NOT NULL DEFAULT 7;
		CREATE TABLE later (x BIGINT); INSERT INTO migration (name, at) VALUES ('migrations/9999_later.sql', 'now')`)
	for i, s := range []*store.Store{first, node()} {
		s.Ledger.Record(t.Context(), storetest.OnDemand(i, uint64(i+1), storetest.T0))
		if d := storetest.Decide(t, s, storetest.AD1(i, fmt.Sprint(i), storetest.T0)); d.Outcome != outage.Suppressed {
			t.Errorf("%+v", d)
		}
	}
}

// A node that sleeps in the middle of a transaction delays the others only for a moment, and its
// transaction is not committed.
func TestSleepingWriter(t *testing.T) { storetest.OnlyPostgres(t, testSleepingWriter) }

func testSleepingWriter(t *testing.T) {
	t.Parallel() // it waits more than it computes
	database := storetest.Database(t, t.TempDir())
	asleep, wake := make(chan bool), make(chan bool)
	sleeper := storetest.Open(t, t.TempDir(), func(o *store.Options) {
		o.Database = database
		o.BeforeCommit = sync.OnceFunc(func() { close(asleep); <-wake })
	})
	wakeUp := sync.OnceFunc(func() { close(wake) })
	t.Cleanup(wakeUp) // runs before the sleeper is closed
	other := storetest.Open(t, t.TempDir(), func(o *store.Options) { o.Database = database })
	sleeper.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	failed := make(chan error, 1)
	go func() {
		_, err := sleeper.Ledger.Decide(t.Context(), storetest.AD1(1, "x", storetest.T0), outage.Suppressed, 0)
		failed <- err
	}()
	<-asleep
	storetest.Eventually(t, "the other node decides", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		d, err := other.Ledger.Decide(ctx, storetest.AD1(1, "y", storetest.T0), outage.Suppressed, 0)
		return err == nil && d.Outcome == outage.Suppressed || d.Retry
	})
	wakeUp()
	if err := <-failed; !errors.Is(err, sqldb.ErrUnavailable) {
		t.Errorf("the sleeper: %v", err)
	}
	storetest.Eventually(t, "the sleeper's journal is played", func() bool { return sleeper.Ledger.Pending() == 0 })
	if d, err := other.Ledger.Decide(t.Context(), storetest.AD1(1, "x", storetest.T0), outage.Suppressed, 0); err != nil || d.Outcome != outage.Forwarded || !d.Retry {
		t.Errorf("%+v %v", d, err)
	}
}
