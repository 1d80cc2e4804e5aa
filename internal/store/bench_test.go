package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/outage"

	"github.com/jackc/pgx/v5"
)

// BenchmarkIndex is the decision on the alert of a hub without a window, the
// answer to nearly every alert, and on one with a window, which the store is
// then asked about.
func BenchmarkIndex(b *testing.B) {
	for _, size := range []int{10_000, 5_000_000} {
		var x index
		for i := range size {
			x.add(hub(i))
		}
		for _, c := range []struct {
			name string
			from int
		}{{"without", size}, {"with", 0}} {
			b.Run(fmt.Sprintf("%s/windows=%d", c.name, size), func(b *testing.B) {
				n, rnd := 0, uint64(1)
				for b.Loop() {
					rnd = rnd*6364136223846793005 + 1442695040888963407
					if x.has(hub(c.from + int(rnd>>33)%size)) {
						n++
					}
				}
				if (n > 0) != (c.from == 0) {
					b.Fatal(n)
				}
			})
		}
	}
}

const benchHubs = 10_000

// prepared opens stores on one database in which every hub has a window.
func prepared(b *testing.B, nodes int, o func(*Options)) (list []*Store) {
	dir := b.TempDir()
	for range nodes {
		list = append(list, openIn(b, dir, func(opts *Options) {
			opts.Database, opts.Log = databaseOf(b, dir), nil
			if len(list) > 0 {
				opts.Dir = b.TempDir()
			}
			o(opts)
		}))
	}
	err := list[0].do(b.Context(), urgent, func(ctx context.Context) error {
		for i := range benchHubs {
			a := onDemand(i, 1, t0)
			if _, _, err := list[0].insertActivation(ctx, a, false); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return list
}

func benchAlert(i int) outage.Alert {
	return ad1(i%benchHubs, outage.RequestID{Originator: supplier, Target: supplier, Counter: uint64(i)}.String(), t0.Add(time.Minute))
}

// send has alerts suppressed by many senders at once, spread over the stores.
func send(b *testing.B, list []*Store, senders int) {
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for n := range senders {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= b.N {
					return
				}
				if d, err := list[n%len(list)].Decide(b.Context(), benchAlert(i), outage.Suppressed, time.Minute); err != nil || d.Outcome != outage.Suppressed {
					b.Error(d, err)
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "alerts/s")
}

// bare is a connection that does in one transaction what decides a batch, with
// nothing around it: one round trip, where that counts.
type bare struct {
	*sqliteWriter
	pg *pgx.Conn
}

func newBare(b *testing.B, s *Store) *bare {
	switch w := s.conn.(type) {
	case *sqliteWriter:
		return &bare{sqliteWriter: w}
	default:
		conn, err := pgx.Connect(b.Context(), s.opts.Database)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { conn.Close(context.Background()) })
		// The plan that the store has.
		if _, err := conn.Exec(b.Context(), strings.ReplaceAll(plannerSQL, "true", "false")); err != nil {
			b.Fatal(err)
		}
		return &bare{pg: conn}
	}
}

func (c *bare) suppress(ctx context.Context, rows string, n int) error {
	if c.pg != nil {
		var batch pgx.Batch
		batch.Queue("BEGIN")
		batch.Queue(bindPostgres(decideSQL), rows)
		batch.Queue(countSQL)
		batch.Queue("COMMIT")
		return c.pg.SendBatch(ctx, &batch).Close()
	}
	if err := c.begin(ctx); err != nil {
		return err
	}
	list, err := scanEntries(c.QueryContext(ctx, decideSQL, rows))
	if err == nil && len(list) != n {
		err = fmt.Errorf("%d entries", len(list))
	}
	return errors.Join(err, c.later(ctx, countSQL), c.commit(ctx))
}

// benchRows is the parameter of decideSQL for some alerts.
func benchRows(from, n int) string {
	rows := []byte("[")
	for i := from; i < from+n; i++ {
		if i > from {
			rows = append(rows, ',')
		}
		a := benchAlert(i)
		rows = appendRow(rows, &a, outage.Suppressed, time.Minute)
	}
	return string(append(rows, ']'))
}

// BenchmarkSuppress compares durable suppressions through the store, on one node
// and where the engine allows it on three, by many senders at once, with the bare
// statement in batches of the same size on the same tables. Run with
// -benchtime=20000x; they alternate, so that a noisy machine wrongs none.
func BenchmarkSuppress(b *testing.B) {
	nodes := []int{1}
	if onPostgres() {
		nodes = append(nodes, 3)
	}
	for round := range 3 {
		for _, senders := range []int{1, 100, 500} {
			for _, n := range nodes {
				var batches, decisions atomic.Int64
				b.Run(fmt.Sprintf("nodes=%d/senders=%d/round=%d", n, senders, round), func(b *testing.B) {
					list := prepared(b, n, func(o *Options) {
						o.OnCommit = func(n int, _ time.Duration, _ error) {
							if n > 0 {
								batches.Add(1)
								decisions.Add(int64(n))
							}
						}
					})
					batches.Store(0)
					decisions.Store(0)
					send(b, list, senders)
					b.ReportMetric(float64(decisions.Load())/float64(batches.Load()), "alerts/batch")
				})
				size := max(1, int(decisions.Load()/max(1, batches.Load())))
				b.Run(fmt.Sprintf("bare/batch=%d/round=%d", size, round), func(b *testing.B) {
					c := newBare(b, prepared(b, 1, func(*Options) {})[0])
					b.ResetTimer()
					for i := 0; i < b.N; i += size {
						n := min(size, b.N-i)
						if err := c.suppress(b.Context(), benchRows(i, n), n); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "alerts/s")
				})
			}
		}
	}
}
