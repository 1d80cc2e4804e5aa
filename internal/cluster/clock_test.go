package cluster_test

import (
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/cluster"
	"quell/internal/sqldb"
	"quell/internal/store/storetest"
)

// newNode returns a node that is not started.
func newNode(t *testing.T, o cluster.Options) *cluster.Cluster {
	t.Helper()
	db, err := sqldb.Open(sqldb.Options{Address: storetest.Database(t, t.TempDir())})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	return cluster.New(db, o)
}

// A node notices before the next message that its clock has jumped since it read the
// database's: because somebody set it, or because the machine was asleep.
func TestClockJumps(t *testing.T) { storetest.OnlyPostgres(t, testClockJumps) }

func testClockJumps(t *testing.T) {
	for _, c := range []struct {
		name        string
		set, asleep time.Duration
		sure        bool
		now         time.Duration // after the database's clock
	}{
		{"nothing happened", 0, 0, true, 0},
		{"asleep for 40 minutes", 0, 40 * time.Minute, true, 0},
		{"set 40 minutes ahead", 40 * time.Minute, 0, false, 0},
		{"set 40 minutes back", -40 * time.Minute, 0, false, -40 * time.Minute},
		{"set a second back", -time.Second, 0, true, -time.Second},
	} {
		var set, asleep atomic.Int64
		began := time.Now()
		// While a machine is asleep, its clock and the elapsed time both advance.
		n := newNode(t, cluster.Options{
			Now:     func() time.Time { return time.Now().Add(time.Duration(set.Load() + asleep.Load())).Round(0) },
			Elapsed: func() time.Duration { return time.Since(began) + time.Duration(asleep.Load()) },
		})
		n.SetClockTolerance(time.Minute)
		if err := n.ReadClock(t.Context()); err != nil {
			t.Fatal(err)
		}
		asleep.Store(int64(c.asleep))
		set.Store(int64(c.set))
		if n.ClockSure() != c.sure {
			t.Errorf("%s: sure is %v", c.name, !c.sure)
		}
		if off := time.Until(n.Now()) - c.asleep - c.now; off.Abs() > 30*time.Second {
			t.Errorf("%s: the time is %s off", c.name, off)
		}
	}
}
