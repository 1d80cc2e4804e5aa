package adviser

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"quell/internal/advice"
	"quell/internal/evidence"
)

var update = flag.Bool("update", false, "write the texts in testdata")

var at = time.Date(2026, 3, 8, 10, 0, 0, 0, time.UTC)

// texts are answers, each as an operator gets it.
func texts(t *testing.T) map[string]string {
	var b strings.Builder
	take := func() string {
		text := b.String()
		b.Reset()
		return text
	}
	all := map[string]string{}
	learned := Learned{LearnedUntil: at, LearnedActivations: 12_345, LearnedAlerts: 9_870}
	base := advice.Base{Alerts: 411, HubMinutes: 100_000 * 30 * 24 * 60}
	groups := []advice.Group{
		{Model: "Landis+Gyr E470", Firmware: strings.Repeat("0f", 32), Tracked: true, Activations: 10_000, Alerts: 9_500},
		{Model: "Other\x1b[31m Electricity Meters Ltd Single Phase Meter Mark 2", Firmware: "", Activations: 400, Alerts: 370},
		{Model: "Other M2", Firmware: strings.Repeat("ab", 32), Activations: 100, Alerts: 0},
		{Model: "Other M2", Firmware: strings.Repeat("cd", 32), Activations: 120, Alerts: 8},
		{Model: "Landis+Gyr E360", Tracked: true, Activations: 1_700, Alerts: 1},
		{Model: "Rare", Activations: 5, Alerts: 5},
	}
	list := List{learned, advice.AdviseList(groups, base), advice.FalseShare}
	list.Print(&b)
	all["list"] = take()
	list.List = advice.AdviseList(groups[:1], base)
	list.Print(&b)
	all["list-as-it-should-be"] = take()
	list = List{Learned{}, advice.AdviseList(nil, advice.Base{}), advice.FalseShare}
	list.Print(&b)
	all["list-nothing-learned"] = take()

	bins := make([]int, 120)
	for i := range 10_000 {
		bins[20+i%24]++
	}
	bins[70] = 50
	few := make([]int, 120)
	few[30] = 7
	times := []advice.Times{{Model: "Landis+Gyr E470", Activations: 11_000, Bins: bins}, {Model: "Other M2", Activations: 20, Bins: few}, {Model: "Third", Activations: 4, Bins: make([]int, 120)}}
	windows := Windows{learned, base.PerMinute(), advice.AdviseWindows(times, base, func(string) (from, to time.Duration) { return 0, 30 * time.Minute })}
	print := func(w *Windows, model string) string {
		if err := w.Print(&b, model); err != nil {
			t.Error(err)
		}
		return take()
	}
	all["window"] = print(&windows, "")
	all["window-of-a-model"] = print(&windows, "landis+gyr e470")
	windows.BasePerMinute = 0
	all["window-no-base-rate"] = print(&windows, "Other M2")
	if err := windows.Print(&b, "nobody's"); err == nil {
		t.Error("a model that nothing is known of")
	}
	b.Reset()

	pending := []advice.Pending{{Model: "Landis+Gyr E470", Distributor: "12", Begins: at.Add(4 * time.Hour), Count: 250_000}, {Model: "New", Begins: at.Add(9 * time.Hour), Count: 3}}
	forecast := Forecast{learned, advice.Expect(at, 24, pending, times)}
	forecast.Print(&b)
	all["forecast"] = take()
	forecast.Forecast = advice.Expect(at, 24, nil, times)
	forecast.Print(&b)
	all["forecast-nothing"] = take()
	const supplier = "90-B3-D5-1F-30-01-00-00"
	forecast.AddUpdates([]advice.Waiting{
		{Model: "Landis+Gyr E470", Distributor: "12", Supplier: supplier, Arrived: true, Since: at.Add(-time.Hour), Count: 250_000},
		{Model: "Landis+Gyr E470", Supplier: supplier, Arrived: true, Since: at.Add(-2 * time.Hour), Count: 30},
		{Model: "Landis+Gyr E470", Distributor: "12", Supplier: supplier, Since: at.Add(-time.Hour), Count: 12_345},
		{Model: "New", Distributor: "12", Supplier: supplier, Since: at, Count: 3},
	}, []advice.Wait{{Supplier: supplier, Arrived: true, Hours: 3, Count: 1_000_000}, {Supplier: supplier, Arrived: true, Hours: 300, Count: 1_000_000}}, times)
	forecast.Print(&b)
	all["forecast-updates"] = take()

	supply := Supply{At: at, Asks: []Ask{
		{Entry: 1_234_567, Received: at.Add(-time.Hour), Distributor: "12", ESME: 0x00DB1234567890A0, MPxN: "1200023305967", Level: evidence.Weak, Why: []string{"3 of 17 hubs in the same postcode sector lost power within a minute."}},
		{Entry: 1_234_568, Received: at.Add(-time.Hour), Distributor: "unknown", ESME: 0x00DB1234567890A1, Level: evidence.None},
	}, More: true, MPxNHidden: true}
	supply.Print(&b)
	all["supply"] = take()
	supply.Asks[0], supply.Asks[1] = supply.Asks[1], supply.Asks[0]
	if err := supply.CSV(&b); err != nil {
		t.Error(err)
	}
	all["supply-csv"] = take()
	supply = Supply{At: at}
	supply.Print(&b)
	all["supply-none"] = take()
	return all
}

// TestTexts compares the answers with the files in testdata. With -update it writes them. No line
// is longer than 80 columns, apart from CSV.
func TestTexts(t *testing.T) {
	for name, text := range texts(t) {
		path := filepath.Join("testdata", name+".txt")
		if *update {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		have, err := os.ReadFile(path)
		if err != nil || string(have) != text {
			t.Errorf("%s (error %v): go test ./internal/adviser -update; the text is\n%s", path, err, text)
		}
		for line := range strings.Lines(text) {
			line = strings.TrimRight(line, "\n")
			if n := utf8.RuneCountInString(line); n > 80 && name != "supply-csv" || strings.TrimRight(line, " ") != line || strings.ContainsRune(line, '\x1b') {
				t.Errorf("%s: %q has %d columns", name, line, n)
			}
		}
	}
}
