package ledger_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"

	"github.com/jackc/pgx/v5"
)

func needPostgres(b *testing.B) {
	if !storetest.OnPostgres(b) {
		b.Skip("set " + storetest.ServerVariable)
	}
}

// connect opens another connection to the database.
func connect(b *testing.B, db *sqldb.DB) *pgx.Conn {
	var name string
	if err := db.QueryRow(b.Context(), `SELECT current_database()`).Scan(&name); err != nil {
		b.Fatal(err)
	}
	conn, err := pgx.Connect(b.Context(), fmt.Sprintf(os.Getenv(storetest.ServerVariable), name))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func percentile(list []time.Duration, p float64) float64 {
	slices.Sort(list)
	return list[int(float64(len(list)-1)*p)].Seconds() * 1e3
}

// BenchmarkLone compares, in turn, the latency of a single suppressed alert, of the bare
// statement, and of one committed insert of a row of the same size. Nothing else runs.
func BenchmarkLone(b *testing.B) {
	needPostgres(b)
	list, bare := prepare(b, 1, func(*store.Options) {})
	s, pg := list[0], connect(b, bare)
	if _, err := pg.Exec(b.Context(), `CREATE TABLE lone (id TEXT PRIMARY KEY, row TEXT)`); err != nil {
		b.Fatal(err)
	}
	var took [3][]time.Duration
	for i := 0; b.Loop(); i++ {
		for k, f := range []func() error{
			func() error {
				d, err := s.Ledger.Decide(b.Context(), benchAlert(2*i), outage.Suppressed, 0)
				if err == nil && d.Entry.Seq == 0 {
					err = fmt.Errorf("%+v", d)
				}
				return err
			},
			func() error { return suppress(b.Context(), bare, benchRows(2*i+1, 1), 1) },
			func() error {
				_, err := pg.Exec(b.Context(), `INSERT INTO lone VALUES ($1, $2)`, benchAlert(i).ID, benchRows(i, 1))
				return err
			},
		} {
			began := time.Now()
			if err := f(); err != nil {
				b.Fatal(err)
			}
			took[k] = append(took[k], time.Since(began))
		}
	}
	for k, name := range []string{"store", "bare", "insert"} {
		b.ReportMetric(percentile(took[k], 0.5), "ms-"+name)
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkFollow measures how long after an activation was recorded on one node another node
// knows its hub: notified by the database, or by polling.
func BenchmarkFollow(b *testing.B) {
	needPostgres(b)
	for _, notified := range []bool{true, false} {
		b.Run(fmt.Sprintf("notified=%v", notified), func(b *testing.B) {
			list, _ := prepare(b, 2, func(*store.Options) {})
			storetest.Eventually(b, "all windows are known", func() bool { return list[1].Ledger.Hubs() == benchHubs })
			var lag []time.Duration
			for i := 0; b.Loop(); i++ {
				n := benchHubs + i
				if notified {
					list[0].Ledger.Record(b.Context(), storetest.OnDemand(n, 1, storetest.T0))
				} else {
					storetest.Script(b, list[0], fmt.Sprintf(`INSERT INTO activation (request_id, form, kind, execute_at, mode, esme, chf, received_at, starts_at, ends_at, state, standing)
						VALUES ('%d', '', '', 0, '', 0, %d, 0, 0, 0, '', 0)`, n, int64(storetest.Hub(n))))
				}
				began := time.Now()
				for !list[1].Ledger.MayHaveWindow(storetest.Hub(n)) {
					time.Sleep(50 * time.Microsecond)
				}
				lag = append(lag, time.Since(began))
				time.Sleep(time.Duration(i*7%251) * time.Millisecond) // spreads the next one over the time between two polls
			}
			b.ReportMetric(percentile(lag, 0.5), "ms-p50")
			b.ReportMetric(percentile(lag, 0.99), "ms-p99")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkCounter compares numbers from a counter row, which one transaction at a time may
// change, with numbers from a sequence of the database, which leaves gaps. Several connections
// write at once.
func BenchmarkCounter(b *testing.B) {
	needPostgres(b)
	_, bare := prepare(b, 1, func(*store.Options) {})
	setup := connect(b, bare)
	if _, err := setup.Exec(b.Context(), `CREATE SEQUENCE seq; CREATE TABLE numbered (seq BIGINT PRIMARY KEY, row TEXT)`); err != nil {
		b.Fatal(err)
	}
	row := benchRows(1, 1)
	for round := range 3 {
		for _, writers := range []int{1, 3, 12} {
			for _, size := range []int{1, 50} {
				for _, by := range []string{"counter", "sequence"} {
					b.Run(fmt.Sprintf("%s/writers=%d/batch=%d/round=%d", by, writers, size, round), func(b *testing.B) {
						if _, err := setup.Exec(b.Context(), `TRUNCATE numbered; UPDATE counter SET value = 0`); err != nil {
							b.Fatal(err)
						}
						var conns []*pgx.Conn
						for range writers {
							conns = append(conns, connect(b, bare))
						}
						b.ResetTimer()
						var wg sync.WaitGroup
						for w, conn := range conns {
							wg.Go(func() {
								for i := w; i < b.N; i += writers {
									if err := number(b.Context(), conn, by, size, row); err != nil {
										b.Error(err)
										return
									}
								}
							})
						}
						wg.Wait()
						b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "rows/s")
					})
				}
			}
		}
	}
}

// number inserts rows with numbers, in one transaction and one round trip.
func number(ctx context.Context, conn *pgx.Conn, by string, size int, row string) error {
	var batch pgx.Batch
	batch.Queue("BEGIN")
	if by == "counter" {
		batch.Queue(`WITH c AS (UPDATE counter SET value = value + $1 WHERE name = 'suppression' RETURNING value)
			INSERT INTO numbered SELECT c.value - $1 + n, $2 FROM c, generate_series(1, $1::BIGINT) AS n`, size, row)
	} else {
		batch.Queue(`INSERT INTO numbered SELECT nextval('seq'), $2 FROM generate_series(1, $1::BIGINT)`, size, row)
	}
	batch.Queue("COMMIT")
	return conn.SendBatch(ctx, &batch).Close()
}
