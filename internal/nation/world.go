package nation

import (
	"fmt"
	"math"
	"math/rand/v2"

	"quell/internal/evidence"
	"quell/internal/outage"
)

// A World has homes, their network and the models of their meters. It stays from night to night.
type World struct {
	Homes  []Home
	models []model
	hubs   map[evidence.Area]int

	// Sections of the network: runs of homes.
	streets, transformers, feeders []run
}

// A Home with its hub and meter.
type Home struct {
	evidence.Home
	Meter outage.DeviceID
	model int
}

// A run of homes, from first to before end.
type run struct{ first, end int }

type model struct {
	name                      evidence.Model
	listed                    bool
	reboots                   float64
	at, width, stray          float64
	lasts, lastsWidth         float64
	heard, heardAfter, breaks float64
}

func (s span) draw(r *rand.Rand) float64 { return s.from + (s.to-s.from)*r.Float64() }

// logNormal draws a value with that median.
func logNormal(r *rand.Rand, median, sigma float64) float64 {
	return median * math.Exp(sigma*r.NormFloat64())
}

// NewWorld makes up a world of so many homes.
func NewWorld(seed uint64, homes int) *World {
	r := rand.New(rand.NewPCG(seed, 0xA11CE))
	w := &World{Homes: make([]Home, homes), hubs: map[evidence.Area]int{}}
	for i := range listedModels + otherModels {
		w.models = append(w.models, model{
			name: evidence.Model(fmt.Sprintf("M%d", i+1)), listed: i < listedModels,
			reboots: rebootShare.draw(r), at: rebootAt.draw(r), width: rebootWidth.draw(r), stray: rebootStray.draw(r),
			lasts: rebootLasts.draw(r), lastsWidth: lastsWidth.draw(r), heard: heardAgain.draw(r), heardAfter: heardAfter.draw(r), breaks: violations.draw(r),
		})
	}
	for i := range w.Homes {
		h := &w.Homes[i]
		h.model = listedModels + r.IntN(otherModels)
		if r.Float64() < shareOfListed {
			h.model = r.IntN(listedModels)
		}
		h.Hub, h.Meter = outage.DeviceID(0x1000_0000_0000+i), outage.DeviceID(0x2000_0000_0000+i)
		h.Model = w.models[h.model].name
	}
	for i, p := range w.runs(r, homesPerPostcode) {
		w.each(p, func(h *Home) { h.Postcode = evidence.Area(1<<32 + i) })
	}
	for i, p := range w.runs(r, homesPerSector) {
		w.each(p, func(h *Home) { h.Sector = evidence.Area(2<<32 + i) })
	}
	for i, p := range w.runs(r, span{homesPerDistributor / 2, homesPerDistributor * 1.5}) {
		w.each(p, func(h *Home) { h.Distributor = evidence.Area(3<<32 + i) })
	}
	for i := range w.Homes {
		h := &w.Homes[i]
		w.hubs[h.Postcode]++
		w.hubs[h.Sector]++
		w.hubs[h.Distributor]++
	}
	w.streets = w.runs(r, homesPerStreet)
	w.transformers = w.runs(r, homesPerTransformer)
	w.feeders = w.runs(r, homesPerFeeder)
	return w
}

// runs cuts the row of homes into runs of such sizes.
func (w *World) runs(r *rand.Rand, size span) (runs []run) {
	for i := 0; i < len(w.Homes); {
		end := min(len(w.Homes), i+int(size.draw(r)))
		runs = append(runs, run{i, end})
		i = end
	}
	return runs
}

func (w *World) each(p run, do func(h *Home)) {
	for i := p.first; i < p.end; i++ {
		do(&w.Homes[i])
	}
}

// Hubs says how many hubs an area has.
func (w *World) Hubs(a evidence.Area) int { return w.hubs[a] }

// Listed reports whether the meter of a home is in the device list.
func (w *World) Listed(h *Home) bool { return w.models[h.model].listed }
