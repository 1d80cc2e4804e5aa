package web

import (
	"flag"
	"testing"
	"time"

	"quell/internal/access"
	"quell/internal/search"
	"quell/internal/store/storetest"
)

var keep = flag.String("store", "", "the folder of the store that BenchmarkPages of internal/search has made")

// BenchmarkPages measures each page as it is served, on the store with 2,000,000 windows and 10,000,000
// entries that the benchmark of the same name in internal/search makes and keeps:
//
//	go test ./internal/search -run - -bench Pages/imports -benchtime 1x -timeout 1h -store DIR
//	go test ./internal/web -run - -bench Pages -benchtime 20x -timeout 1h -store DIR
func BenchmarkPages(b *testing.B) {
	if *keep == "" {
		b.Skip("it needs -store; skip allowed: it is a benchmark")
	}
	now := storetest.T0.Add(10 * 24 * time.Hour) // that of the store
	st := storetest.Open(b, *keep)
	c, _ := consoleOf(b, st, now)
	c.Search.FirstWait = 40 * time.Millisecond // as quell has it
	ready := time.Now()
	for c.Search.Calendar(b.Context(), search.CalendarQuery{}).At.IsZero() {
		time.Sleep(100 * time.Millisecond)
	}
	b.Logf("the windows were counted in %v", time.Since(ready).Round(time.Second))
	hub, meter := storetest.Hub(7919), storetest.Meter(7919)
	day := now.Format("2006-01-02")
	for _, path := range []string{
		"/", "/explain", "/explain/device/" + hub.String(), "/explain/device/" + meter.String(), "/explain/entry/5000000",
		"/activations", "/activations/windows?of=hub&id=" + hub.String(), "/activations/windows?of=supplier&id=" + storetest.Supplier.String(),
		"/activations/meters", "/activations/meters?from=" + day + "&to=" + now.AddDate(0, 0, 1).Format("2006-01-02"),
		"/log", "/log?before=5000000", "/log?after=5000000", "/log?distributor=99&outcome=forwarded", "/log?evidence=strong", "/log?hub=" + hub.String(), "/log?meter=" + meter.String(),
		"/log?to=" + now.AddDate(0, 0, -200).Format("2006-01-02") + "&distributor=99", "/reports", "/settings", "/settings/history?of=devices", "/settings/preview?model=&from=0&to=20m",
	} {
		b.Run(path, func(b *testing.B) {
			var worst time.Duration
			size := 0
			for b.Loop() {
				c.Guard.Access.Rates = &access.Rates{}
				began := time.Now()
				w := ask(c, root, "", "GET", path, nil)
				worst = max(worst, time.Since(began))
				if size = w.Body.Len(); w.Code != 200 {
					b.Fatal(w.Code, text(w))
				}
			}
			b.ReportMetric(float64(worst.Microseconds())/1000, "worst-ms")
			b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/page")
			b.ReportMetric(float64(size)/1000, "kB")
			b.ReportMetric(0, "ns/op")
		})
	}
}
