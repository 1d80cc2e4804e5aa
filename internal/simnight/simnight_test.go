package simnight

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quell/internal/evidence"
	"quell/internal/nation"
	"quell/internal/outage"
	"quell/internal/replay"
)

var begin = time.Date(2026, 11, 1, 22, 0, 0, 0, time.UTC)

// alertKey names an AD1 in the simulation and in a replay.
type alertKey struct {
	hub      outage.DeviceID
	received time.Time
}

// neighbours are the counts that an assessment is based on.
func neighbours(a *evidence.Assessment) [6]evidence.Count {
	f := &a.Facts
	return [...]evidence.Count{f.Postcode, f.Sector, f.Distributor, f.LaterPostcode, f.LaterSector, f.LaterDistributor}
}

// TestSameLevels: a night of each scenario is written as a recording. The replay decides on each
// AD1 as the simulation says, and ends with the same level for each entry as the simulation's
// own engine.
func TestSameLevels(t *testing.T) {
	strong := 0
	for i, s := range nation.Scenarios {
		t.Run(s.Name, func(t *testing.T) {
			homes := 6000
			if s.Storm {
				homes = 40_000
			}
			w := nation.NewWorld(uint64(i)+41, homes)
			s.MoreFaults = 30
			n := w.Night(s, uint64(i)+1, begin)
			own := map[int64]evidence.Assessment{}
			w.Run(n, nation.FullPostcode, nil, func(a evidence.Assessment) { own[a.Entry] = a })
			entries := map[alertKey]int64{}
			for _, x := range n.Sightings {
				if x.Kind == evidence.Lost && x.Entry != 0 {
					entries[alertKey{x.Home.Hub, x.Received}] = x.Entry
				}
			}
			path := filepath.Join(t.TempDir(), "night.jsonl.zst")
			if err := WriteFiles(path, w, n, s); err != nil {
				t.Fatal(err)
			}
			devices, err := replay.ReadInventory(path + ".inventory.csv")
			if err != nil {
				t.Fatal(err)
			}
			listed, err := replay.ReadList(path + ".list.txt")
			if err != nil {
				t.Fatal(err)
			}
			sources, _, err := replay.Files([]string{path}, nil)
			if err != nil {
				t.Fatal(err)
			}
			var differ []string
			levels := map[evidence.Level]int{}
			r, err := replay.Run(t.Context(), sources, replay.Options{Inventory: devices, List: listed, Evidence: true, Alert: func(a *replay.Alert) error {
				if a.Then != a.Now {
					differ = append(differ, fmt.Sprintf("%s: %v, the simulation says %v", a.ID, a.Now, a.Then))
				}
				if a.Evidence == nil {
					return nil
				}
				want, ok := own[entries[alertKey{a.Hub, a.Received}]]
				levels[a.Evidence.Level]++
				if !ok || a.Evidence.Level != want.Level || a.Evidence.Stage != want.Stage || math.Abs(a.Evidence.Odds/want.Odds-1) > .001 || neighbours(a.Evidence) != neighbours(&want) {
					differ = append(differ, fmt.Sprintf("%s: %+v\nthe simulation's engine says %+v", a.ID, *a.Evidence, want))
				}
				return nil
			}})
			if err != nil || len(differ) > 0 || r.RequestChanges > 0 {
				t.Errorf("%v, %d requests are other, %d alerts:\n%s", err, r.RequestChanges, len(differ), strings.Join(differ[:min(len(differ), 6)], "\n"))
			}
			if len(own) < 100 || len(levels) == 0 || levels[evidence.None]+levels[evidence.Weak]+levels[evidence.Strong] != len(own) {
				t.Errorf("levels %v of %d entries", levels, len(own))
			}
			strong += levels[evidence.Strong]
		})
	}
	if strong < 15 {
		t.Errorf("the nights say little: %d entries are strong", strong)
	}
}
