package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

const benchHubs = 10_000

// prepare opens stores on one database in which every hub has a window. second opens the same
// database without a writer.
func prepare(b *testing.B, nodes int, o func(*store.Options)) (list []*store.Store, second *sqldb.DB) {
	dir := b.TempDir()
	for range nodes {
		list = append(list, storetest.Open(b, dir, func(opts *store.Options) {
			opts.Database, opts.Log = storetest.Database(b, dir), nil
			if len(list) > 0 {
				opts.Dir = b.TempDir()
			}
			o(opts)
		}))
	}
	err := list[0].DB.Do(b.Context(), sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) error {
		for i := range benchHubs {
			if _, err := list[0].Windows.Record(ctx, tx, storetest.OnDemand(i, 1, storetest.T0), false); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	if second, err = sqldb.Open(sqldb.Options{Path: filepath.Join(dir, "quell.db"), Address: storetest.Database(b, dir)}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(second.Close)
	return list, second
}

func benchAlert(i int) outage.Alert {
	return storetest.AD1(i%benchHubs, outage.RequestID{Originator: storetest.Supplier, Target: storetest.Supplier, Counter: uint64(i)}.String(), storetest.T0.Add(time.Minute))
}

// send sends alerts from many senders at once to all stores, which suppress them.
func send(b *testing.B, list []*store.Store, senders int) {
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	began := processorTime()
	for n := range senders {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= b.N {
					return
				}
				if d, err := list[n%len(list)].Ledger.Decide(b.Context(), benchAlert(i), outage.Suppressed, time.Minute); err != nil || d.Outcome != outage.Suppressed {
					b.Error(d, err)
				}
			}
		})
	}
	wg.Wait()
	spent(b, began)
}

// spent reports what b.N alerts have taken since the timer was reset. began is the processor time
// at that instant.
func spent(b *testing.B, began time.Duration) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "alerts/s")
	b.ReportMetric(float64((processorTime()-began).Nanoseconds())/1000/float64(b.N), "cpu-µs/alert")
}

// processorTime returns the processor time of this process so far.
func processorTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it cannot fail
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// suppress decides a batch of n alerts with the bare statements, in one transaction, and in one
// round trip on PostgreSQL.
func suppress(ctx context.Context, db *sqldb.DB, rows string, n int) error {
	return db.InTx(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		err := tx.LaterRows(ctx, func(rows sqldb.Rows) error {
			defer rows.Close()
			for ; rows.Next(); n-- {
			}
			if n != 0 {
				return fmt.Errorf("%d entries are missing", n)
			}
			return rows.Err()
		}, ledger.DecideSQL, rows)
		return errors.Join(err, tx.Later(ctx, ledger.CountSQL))
	})
}

// benchRows returns the parameter of decideSQL for some alerts.
func benchRows(from, n int) string {
	rows := []byte("[")
	for i := from; i < from+n; i++ {
		if i > from {
			rows = append(rows, ',')
		}
		a := benchAlert(i)
		rows = append(rows, ledger.EntryRow(&a)...)
	}
	return string(append(rows, ']'))
}

// BenchmarkSuppress compares durable suppressions through the store with the bare statement in
// batches of the same size on the same tables. Many senders use one node, or three if the engine
// allows it. Run it with -benchtime=20000x. The two alternate, so that other load on the machine
// affects both.
func BenchmarkSuppress(b *testing.B) {
	nodes := []int{1}
	if storetest.OnPostgres(b) {
		nodes = append(nodes, 3)
	}
	for round := range 3 {
		for _, senders := range []int{1, 64, 500} {
			for _, n := range nodes {
				var batches, decisions atomic.Int64
				b.Run(fmt.Sprintf("nodes=%d/senders=%d/round=%d", n, senders, round), func(b *testing.B) {
					list, _ := prepare(b, n, func(o *store.Options) {
						o.OnDecided = func(n int, _ error) {
							batches.Add(1)
							decisions.Add(int64(n))
						}
					})
					batches.Store(0)
					decisions.Store(0)
					send(b, list, senders)
					b.ReportMetric(float64(decisions.Load())/float64(batches.Load()), "alerts/batch")
				})
				size := max(1, int(decisions.Load()/max(1, batches.Load())))
				b.Run(fmt.Sprintf("bare/batch=%d/round=%d", size, round), func(b *testing.B) {
					_, bare := prepare(b, 1, func(*store.Options) {})
					b.ResetTimer()
					began := processorTime()
					for i := 0; i < b.N; i += size {
						n := min(size, b.N-i)
						if err := suppress(b.Context(), bare, benchRows(i, n), n); err != nil {
							b.Fatal(err)
						}
					}
					spent(b, began)
				})
			}
		}
	}
}
