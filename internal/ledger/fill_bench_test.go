package ledger_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"quell/internal/store"
	"quell/internal/store/storetest"
)

// BenchmarkFill measures the time from the start until alerts are decided from memory, with as
// many windows and entries as it says, and the memory that is in use then for each window. The
// entries are of 400 days, and of three hubs to two windows: some hubs have windows, some have
// entries, most have both. To make the store takes minutes: use -benchtime 5x.
func BenchmarkFill(b *testing.B) {
	for _, size := range []struct{ windows, entries int }{{20_000, 100_000}, {2_000_000, 10_000_000}} {
		b.Run(fmt.Sprintf("windows=%d/entries=%d", size.windows, size.entries), func(b *testing.B) {
			if testing.Short() && size.windows > 100_000 {
				b.Skip("it takes minutes; skip allowed: it is a benchmark")
			}
			dir := b.TempDir()
			large(b, dir, size.windows, size.entries)
			before := heap()
			var s *store.Store
			for b.Loop() {
				if s != nil {
					b.StopTimer()
					s.Close()
					b.StartTimer()
				}
				var err error
				if s, err = store.Start(store.Options{Dir: dir, Database: storetest.Database(b, dir), Node: "test"}); err != nil {
					b.Fatal(err)
				}
				<-s.Ledger.Filled()
			}
			b.ReportMetric((heap()-before)/float64(size.windows), "bytes/window")
			if n := s.Ledger.Hubs(); n < size.windows {
				b.Errorf("%d hubs", n)
			}
			s.Close()
		})
	}
}

// large makes a store with that many windows and entries.
func large(b *testing.B, dir string, windows, entries int) {
	storetest.Open(b, dir).Close()
	db := storetest.Outside(b, dir)
	defer db.Close()
	exec := func(text string) {
		if _, err := db.Exec(text); err != nil {
			b.Fatal(err)
		}
	}
	// The indexes are made after the rows: that is faster.
	indexes := `SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name IN ('activation', 'suppression') AND sql IS NOT NULL`
	if storetest.OnPostgres(b) {
		indexes = `SELECT indexname, indexdef FROM pg_indexes WHERE tablename IN ('activation', 'suppression') AND indexname NOT LIKE '%pkey'`
	}
	rows, err := db.Query(indexes)
	if err != nil {
		b.Fatal(err)
	}
	var again []string
	var drop []string
	for rows.Next() {
		var name, text string
		if err := rows.Scan(&name, &text); err != nil {
			b.Fatal(err)
		}
		drop, again = append(drop, "DROP INDEX "+name), append(again, text)
	}
	rows.Close()
	for _, text := range drop {
		exec(text)
	}
	hub, meter, now := int64(storetest.Hub(0)), int64(storetest.Meter(0)), time.Now()
	const id = `'90-B3-D5-1F-30-01-00-00:00-DB-12-34-56-78-90-A0:' || CAST(i AS TEXT)`
	insert := func(n int, text string, args ...any) {
		const atOnce = 500_000
		for from := 0; from < n; from += atOnce {
			exec(fmt.Sprintf(`WITH RECURSIVE n (i) AS (SELECT CAST(%d AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT INTO `, from+1, min(from+atOnce, n)) + fmt.Sprintf(text, args...))
		}
	}
	insert(windows, `activation (id, request_id, form, kind, execute_at, mode, esme, chf, received_at, starts_at, ends_at, state, standing, keep_until)
		SELECT i, %s, 'signed-pre-command', 'on-demand', 0, 'on-demand', %d + i, %d + i, %[4]d + i, %[4]d + i, %[4]d + i + 1800000000, 'accepted', 1, %[4]d + i + 1800000000 FROM n`,
		id, meter, hub, now.UnixMicro())
	first := now.AddDate(0, 0, -400)
	insert(entries, `suppression (seq, alert_id, alert_code, chf, esme, mpxn, mpxn_valid, distributor, outage_start, received_at,
			activation_id, request_id, mode, window_start, window_end, outcome, started_before, repeated)
		SELECT i, %s, 'AD1', %d + i * 7919 %% %d, %d + i * 7919 %% %[3]d, CAST(1200000000000 + i * 7919 %% %[3]d AS TEXT), 1, '12', %[5]d + i * %[6]d, %[5]d + i * %[6]d,
			i, %[1]s, 'on-demand', %[5]d + i * %[6]d, %[5]d + i * %[6]d, 'suppressed', 0, 0 FROM n`,
		id, hub+int64(windows)/2, windows*5/4, meter, first.UnixMicro(), now.Sub(first).Microseconds()/int64(entries))
	exec(fmt.Sprintf(`UPDATE counter SET value = %d WHERE name = 'suppression'`, entries))
	for _, text := range again {
		exec(text)
	}
}

// heap returns how many bytes are in use.
func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
