package reporter

import (
	"bufio"
	"bytes"
	"database/sql"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"quell/internal/report"
	"quell/internal/reportfile"
	"quell/internal/store"

	"github.com/prometheus/client_golang/prometheus"
)

// fill writes n entries, of at most 100,000 hubs, into the closed store of a folder, without the
// rules.
func fill(b *testing.B, dir string, n int) {
	b.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "quell.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	for _, q := range []string{
		`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
		INSERT INTO suppression (seq, alert_id, alert_code, chf, esme, mpxn, mpxn_valid, distributor, outage_start, received_at, activation_id, request_id,
			mode, window_start, window_end, throttled_sequence, throttled_count, outcome, started_before, repeated)
		SELECT i, '88-73-84-57-00-00-97-EA:90-B3-D5-1F-30-01-00-00:' || i, 'AD1', -8613303245920329199 + i % 100000, 61731580223225856 + i % 100000, '1200023305967', 1, '12',
			1772359000000000 + i * 1000, 1772359200000000 + i * 1000, i, '90-B3-D5-1F-30-01-00-00:00-DB-12-34-56-78-90-A0:' || i,
			'on-demand', 1772359100000000 + i * 1000, 1772360900000000 + i * 1000, NULL, NULL, 'suppressed', 0, 0 FROM n`,
		`UPDATE counter SET value = ?1 WHERE name = 'suppression'`,
	} {
		if _, err := db.Exec(q, n); err != nil {
			b.Fatal(err)
		}
	}
}

// resetPeak resets the peak of memory, if the system can, so that fill does not count.
func resetPeak() {
	debug.FreeOSMemory()
	os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
}

// peak returns the process's peak resident memory in MiB since resetPeak; 0 if the system has no
// number.
func peak(b *testing.B) float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(text, []byte("VmHWM:"))
	kb, err := strconv.Atoi(string(bytes.Fields(rest)[0]))
	if err != nil {
		b.Fatal(err)
	}
	return float64(kb) / 1024
}

func reporterOf(st *store.Store) *Reporter {
	return &Reporter{Register: st.Reports, Ledger: st.Ledger, Cluster: st.Cluster, Ready: st.Ready, Now: time.Now, Metrics: NewMetrics(prometheus.NewRegistry())}
}

// BenchmarkRender measures b.N entries: a report of all of them, the same with files of
// distributors, collecting them for a cut, verifying the file, and exports:
// -bench Render/report -benchtime 10000000x.
func BenchmarkRender(b *testing.B) {
	prepare := func(b *testing.B, perDistributor bool) (*store.Store, report.Report) {
		dir := b.TempDir()
		st, err := store.Open(b.Context(), store.Options{Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		st.Close()
		fill(b, dir, b.N)
		if st, err = store.Open(b.Context(), store.Options{Dir: dir}); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { st.Close() })
		c := report.CutOptions{SystemID: "bench", Start: t0, End: t0, LastSeq: int64(b.N), Name: func(_ report.Report, f report.File) string { return f.Stream }}
		if perDistributor {
			c.Streams = []string{"12"}
		}
		rep, err := st.Reports.Cut(b.Context(), c)
		if err != nil {
			b.Fatal(err)
		}
		resetPeak()
		return st, rep
	}
	reportMetrics := func(b *testing.B) {
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		b.ReportMetric(peak(b), "MiB-peak")
	}
	toFile := func(b *testing.B, st *store.Store, rep report.Report) (paths []string) {
		dir := b.TempDir()
		_, err := reporterOf(st).render(b.Context(), rep, func(f report.File) (*bufio.Writer, error) {
			paths = append(paths, filepath.Join(dir, f.Name))
			out, err := os.Create(paths[len(paths)-1])
			b.Cleanup(func() { out.Close() })
			return bufio.NewWriterSize(out, 64<<10), err
		})
		if err != nil {
			b.Fatal(err)
		}
		return paths
	}
	for _, c := range []struct {
		name           string
		perDistributor bool
	}{{"report", false}, {"distributor", true}} {
		b.Run(c.name, func(b *testing.B) {
			st, rep := prepare(b, c.perDistributor)
			b.ResetTimer()
			toFile(b, st, rep)
			reportMetrics(b)
		})
	}
	b.Run("cut", func(b *testing.B) {
		st, _ := prepare(b, false)
		r := reporterOf(st)
		r.Set(Settings{SystemID: "bench", Every: time.Hour, MaxBytes: 1 << 60})
		r.next = nextReport{streams: map[string]bool{}}
		b.ResetTimer()
		if _, err := r.collect(b.Context(), time.Time{}); err != nil || r.next.seq != int64(b.N) {
			b.Fatal(r.next.seq, err)
		}
		reportMetrics(b)
	})
	b.Run("verify", func(b *testing.B) {
		st, rep := prepare(b, false)
		path := toFile(b, st, rep)[0]
		b.ResetTimer()
		if f, err := reportfile.ReadFile(path, nil); err != nil || f.Entries != int64(b.N) {
			b.Fatal(f, err)
		}
		reportMetrics(b)
	})
	for _, f := range []reportfile.Format{reportfile.CSV, reportfile.JSONL, reportfile.Parquet} {
		b.Run(string(f), func(b *testing.B) {
			st, _ := prepare(b, false)
			b.ResetTimer()
			if err := reportfile.Export(io.Discard, f, st.Ledger.EntriesReceived(b.Context(), time.Time{}, t0.Add(1000*time.Hour))); err != nil {
				b.Fatal(err)
			}
			reportMetrics(b)
		})
	}
}
