package search_test

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"quell/internal/evidence"
	"quell/internal/outage"
	"quell/internal/search"
	"quell/internal/store"
	"quell/internal/store/storetest"

	_ "modernc.org/sqlite"
)

var keep = flag.String("store", "", "a folder for the store of BenchmarkPages, which is used again if it is there")

// BenchmarkPages measures each query behind a page of the console, on a store with 2,000,000 windows
// and 10,000,000 entries of 400 days, and the counts in the background. To make the store takes
// minutes and 6 GB: go test ./internal/search -run - -bench Pages -benchtime 20x -store DIR.
func BenchmarkPages(b *testing.B) {
	if testing.Short() {
		b.Skip("it takes minutes; skip allowed: it is a benchmark")
	}
	const windows, entries = 2_000_000, 10_000_000
	dir := b.TempDir()
	if *keep != "" {
		dir = *keep
	}
	if there, _ := filepath.Glob(filepath.Join(dir, "made")); there == nil {
		large(b, dir, windows, entries)
	}
	st := storetest.Open(b, dir)
	s := newSearch(st)
	page := func(name string, f func() error) {
		b.Run(name, func(b *testing.B) {
			var worst time.Duration
			for b.Loop() {
				began := time.Now()
				if err := f(); err != nil {
					b.Fatal(err)
				}
				worst = max(worst, time.Since(began))
			}
			b.ReportMetric(float64(worst.Microseconds())/1000, "worst-ms")
			b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/page")
			b.ReportMetric(0, "ns/op")
		})
	}
	middle := now.AddDate(0, 0, -200)
	log := func(name string, q search.Query) {
		q.Limit = 100
		page("log/"+name, func() error { _, err := s.Log(b.Context(), q); return err })
	}
	log("latest", search.Query{})
	log("middle", search.Query{Before: entries / 2})
	log("newer", search.Query{After: entries / 2})
	log("nothing-matches", search.Query{Filter: search.Filter{Distributor: "99", Outcome: outage.Forwarded}})
	log("nothing-matches-newer", search.Query{Filter: search.Filter{Distributor: "99", Level: evidence.None}, After: entries / 2})
	log("no-evidence-and-distributor-99", search.Query{Filter: search.Filter{Distributor: "99", Level: evidence.None}})
	log("half-an-hour", search.Query{Filter: search.Filter{From: middle, To: middle.Add(30 * time.Minute)}})
	log("200-days-nothing-matches", search.Query{Filter: search.Filter{To: middle, Distributor: "99"}})
	log("200-days-strong", search.Query{Filter: search.Filter{To: middle, Level: evidence.Strong}})
	log("hub", search.Query{Filter: search.Filter{Hub: storetest.Hub(windows)}})
	log("meter", search.Query{Filter: search.Filter{Meter: storetest.Meter(7919)}})
	log("strong", search.Query{Filter: search.Filter{Level: evidence.Strong}})
	log("weak-of-one-distributor", search.Query{Filter: search.Filter{Level: evidence.Weak, Distributor: "99"}})
	page("suspects", func() error { _, err := s.Suspects(b.Context(), 50, true); return err })
	page("gantt/hub", func() error {
		_, err := s.Gantt(b.Context(), search.GanttQuery{Hub: storetest.Hub(5), From: now.AddDate(0, 0, -1), To: now.AddDate(0, 0, 30), Limit: 200})
		return err
	})
	campaign := func(name string, q search.CampaignQuery) {
		q.From, q.Limit = now.Truncate(time.Hour).Add(-8*time.Hour), 100
		q.To = q.From.Add(time.Hour)
		page("campaign/"+name, func() error { _, err := s.Campaign(b.Context(), q); return err })
	}
	campaign("all", search.CampaignQuery{})
	campaign("raised", search.CampaignQuery{Which: search.Raised})
	campaign("deep", search.CampaignQuery{After: deep(b, st)})
	campaign("of-nobody", search.CampaignQuery{Supplier: 1})
	page("imports", func() error { _, err := s.Imports(b.Context(), "devices", 0, 20); return err })
	page("chart", func() error {
		_, err := st.Flow.Chart(b.Context(), now.Add(-24*time.Hour), now, 10*time.Minute, now)
		return err
	})
	began := time.Now()
	for c := s.Calendar(b.Context(), search.CalendarQuery{}); ; c = s.Calendar(b.Context(), search.CalendarQuery{}) {
		if !c.At.IsZero() {
			b.Logf("the windows were counted in %s: %d windows, %d open, %d raised, %.0f AD1s, %d hours, %d suppliers, %d models", time.Since(began).Round(time.Second/10),
				c.Total.Windows, c.Total.Open, c.Total.Raised, c.Total.Alerts, len(c.Hours), len(c.Suppliers), len(c.Models))
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	page("calendar", func() error { s.Calendar(b.Context(), search.CalendarQuery{}); return nil })
	page("gantt/supplier", func() error {
		_, err := s.Gantt(b.Context(), search.GanttQuery{Supplier: storetest.Supplier, From: now.AddDate(0, 0, -1), To: now.AddDate(0, 0, 30), Limit: 200})
		return err
	})
	for began = time.Now(); ; time.Sleep(100 * time.Millisecond) {
		w, err := s.PreviewWindow(b.Context(), "", 0, 20*time.Minute)
		if err != nil {
			b.Fatal(err)
		}
		if !w.At.IsZero() {
			b.Logf("the entries of 30 days were counted in %s: %+v", time.Since(began).Round(time.Second/10), w.Suppressed)
			break
		}
	}
	page("preview/window", func() error { _, err := s.PreviewWindow(b.Context(), "", 0, 20*time.Minute); return err })
	page("preview/list", func() error { _, err := s.PreviewList(b.Context(), &search.PreviewList{}); return err })
	page("export/10000", func() error {
		_, err := s.Export(b.Context(), io.Discard, search.Query{Limit: 10_000}, true)
		return err
	})
}

// deep returns the number of a window after which few of the same hour come.
func deep(b *testing.B, st *store.Store) (id int64) {
	at := now.Truncate(time.Hour).Add(-8 * time.Hour).UnixMicro()
	if err := st.DB.QueryRow(b.Context(), `SELECT max(id) - 9000 FROM activation WHERE ends_at = ?`, at+1_800_000_000).Scan(&id); err != nil {
		b.Fatal(err)
	}
	if err := st.DB.QueryRow(b.Context(), `SELECT min(id) FROM activation WHERE ends_at = ? AND id >= ?`, at+1_800_000_000, id).Scan(&id); err != nil {
		b.Fatal(err)
	}
	return id
}

// large makes a store with that many windows and entries, on SQLite. A tenth of the windows are open,
// a fifth were over within a day, the others are pending for nights of 30 days. One entry in fifty
// has weak evidence, one in a thousand strong.
func large(b *testing.B, dir string, windows, entries int) {
	storetest.Open(b, dir).Close()
	db := storetest.Outside(b, dir)
	defer db.Close()
	db.SetMaxOpenConns(1)
	exec := func(text string) {
		if _, err := db.Exec(text); err != nil {
			b.Fatal(err)
		}
	}
	exec(`PRAGMA synchronous = OFF`)
	rows, err := db.Query(`SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name IN ('activation', 'suppression', 'evidence') AND sql IS NOT NULL`)
	if err != nil {
		b.Fatal(err)
	}
	var again, drop []string // the indexes are made after the rows: that is faster
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
	hub, meter := int64(storetest.Hub(0)), int64(storetest.Meter(0))
	insert := func(n int, text string, args ...any) {
		const atOnce = 500_000
		for from := 0; from < n; from += atOnce {
			exec(fmt.Sprintf(`WITH RECURSIVE n (i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT INTO `, from+1, min(from+atOnce, n)) + fmt.Sprintf(text, args...))
		}
	}
	exec(`INSERT INTO import (kind, source, sha256, rows, at, who, state) VALUES ('inventory', 'x', '', 0, 0, 'x', 'done'), ('devices', 'x', '', 0, 0, 'x', 'done')`)
	insert(windows*5/4, `inventory (device_id, import_no, device_type, smets_version, manufacturer, model, chf, mpxn, supplier)
		SELECT %d + i, 1, 'ESME', 'SMETS2', 'Landis+Gyr', 'E' || (400 + i %% 7), %d + i, CAST(1000000000000 + i %% 14 * 100000000000 + i AS TEXT), 0 FROM n`, meter, hub)
	const hour = int64(3_600_000_000)
	night := now.Truncate(24 * time.Hour).UnixMicro()
	insert(windows, `activation (id, request_id, form, kind, execute_at, mode, esme, chf, received_at, starts_at, ends_at, state, standing, keep_until)
		SELECT i, '90-B3-D5-1F-30-01-00-0' || (i %% 8) || ':00-DB-12-34-56-78-90-A0:' || i, 'signed-pre-command', 'future-dated', t, 'future-dated', %d + i, %d + i, %d, t, t + 1800000000, 'accepted', 1, t + 1800000000
		FROM (SELECT i, CASE WHEN i %% 10 = 0 THEN %d - i %% 1000 * 1000000 WHEN i %% 10 < 3 THEN %d - 12 * %[6]d + i / 10 %% 8 * %[6]d ELSE %d + (i / 10 %% 30 + 1) * 24 * %[6]d + i / 300 %% 6 * %[6]d END AS t FROM n)`,
		meter, hub, now.AddDate(0, 0, -10).UnixMicro(), now.UnixMicro(), now.Truncate(time.Hour).UnixMicro(), hour, night)
	first := now.AddDate(0, 0, -400)
	insert(entries, `suppression (seq, alert_id, alert_code, chf, esme, mpxn, mpxn_valid, distributor, outage_start, received_at,
			activation_id, request_id, mode, window_start, window_end, outcome, started_before, repeated)
		SELECT i, '00-DB-12-34-56-78-90-A0:90-B3-D5-1F-30-01-00-00:' || i, 'AD1', %d + m, %d + m, CAST(1000000000000 + m %% 14 * 100000000000 + m AS TEXT), 1, CAST(10 + m %% 14 AS TEXT), t - 180000000, t,
			CASE WHEN m %% 10 < 3 THEN m ELSE %d + i END, '90-B3-D5-1F-30-01-00-00:00-DB-12-34-56-78-90-A0:' || i, 'future-dated', t - 240000000, t + 1560000000, CASE WHEN i %% 300 = 0 THEN 'released' ELSE 'suppressed' END, 0, 0
		FROM (SELECT i, i * 7919 %% %d AS m, %d + i * %d AS t FROM n)`,
		hub, meter, windows, windows*5/4, first.UnixMicro(), now.Sub(first).Microseconds()/int64(entries))
	insert(entries, `evidence (seq, at, level, restored, facts)
		SELECT i, 0, CASE WHEN i %% 1000 = 7 THEN 'strong' WHEN i %% 50 = 3 THEN 'weak' ELSE 'none' END, 0, '{"entry":' || i || ',"level":"none","at":"2026-03-01T10:00:00Z"}' FROM n`)
	exec(fmt.Sprintf(`UPDATE counter SET value = %d WHERE name = 'suppression'`, entries))
	exec(`INSERT INTO flow_since (minute) VALUES (0)`)
	insert(3*24*60, `flow (minute, run, counts) SELECT %d - (i - 1) / 3, i %% 3, x'0c03ac02ac02' FROM n`, now.Unix()/60)
	for _, text := range slices.Backward(again) {
		exec(text)
	}
	exec(`PRAGMA wal_checkpoint(TRUNCATE)`)
	if *keep != "" {
		touch(b, filepath.Join(dir, "made"))
	}
}

func touch(b *testing.B, path string) {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		b.Fatal(err)
	}
}
