package ledger_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/store/storetest"
)

// BenchmarkBare measures the processor time of the bare statements for one alert, on SQLite,
// in batches. It is the limit for quell that the program in bench compares with. QUELL_TEST_BARE
// says how large the batches are and how many hubs have a window: "40 100000".
func BenchmarkBare(b *testing.B) {
	size, hubs := 40, benchHubs
	if text := os.Getenv("QUELL_TEST_BARE"); text != "" {
		if _, err := fmt.Sscan(text, &size, &hubs); err != nil {
			b.Fatal(err)
		}
	}
	dir := b.TempDir()
	s := storetest.Open(b, dir)
	for first := 0; first < hubs; first += 10_000 {
		err := s.DB.Do(b.Context(), sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) error {
			for i := first; i < min(hubs, first+10_000); i++ {
				if _, err := s.Windows.Record(ctx, tx, storetest.OnDemand(i, 1, storetest.T0), false); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	bare, err := sqldb.Open(sqldb.Options{Path: filepath.Join(dir, "quell.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer bare.Close()
	var batches []string
	for i := 0; i < b.N; i += size {
		var rows []string
		for k := i; k < min(b.N, i+size); k++ {
			a := storetest.AD1(k%hubs, outage.RequestID{Originator: storetest.Supplier, Target: storetest.Supplier, Counter: uint64(k)}.String(), storetest.T0.Add(time.Minute))
			rows = append(rows, string(ledger.EntryRow(&a)))
		}
		batches = append(batches, "["+strings.Join(rows, ",")+"]")
	}
	spent := func() time.Duration {
		var u syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it cannot fail
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := spent()
	b.ResetTimer()
	for i, rows := range batches {
		if err := suppress(b.Context(), bare, rows, min(size, b.N-i*size)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(spent()-before)/float64(b.N), "cpu-ns/op")
}
