package simnight

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"quell/internal/datadir"
	"quell/internal/devices"
	"quell/internal/evidence"
	"quell/internal/motorway"
	"quell/internal/nation"
	"quell/internal/outage"
	"quell/internal/recording"
)

// Manufacturer makes all meters.
const Manufacturer = "Simulated"

// Rules are the settings of the quell that the recording is of: those of the default configuration, but for
// the manufacturer.
var Rules = motorway.Rules{Window: 30 * time.Minute, Manufacturers: outage.Manufacturers{Manufacturer}, Track: []outage.Form{outage.ServiceRequest, outage.SignedPreCommand},
	ClockTolerance: time.Minute, StoreTimeout: 250 * time.Millisecond}

// afterwards is how long after the night the recording ends: all is known by then.
const afterwards = 30 * time.Hour

// WriteFiles writes a night as a recording with that path, and beside it what belongs to it: the
// inventory (.inventory.csv), the device list (.list.txt) and the truth (.truth).
func WriteFiles(path string, w *nation.World, n *nation.Night, s nation.Scenario) error {
	for _, f := range []struct {
		name  string
		write func(io.Writer) error
	}{
		{path, func(out io.Writer) error { return Record(out, w, n) }},
		{path + ".inventory.csv", func(out io.Writer) error { return WriteInventory(out, w, s) }},
		{path + ".list.txt", func(out io.Writer) error { return WriteList(out, w) }},
		{path + ".truth", n.WriteTruth},
	} {
		if err := datadir.WriteWhole(f.name, f.write); err != nil {
			return err
		}
	}
	return nil
}

// WriteSightings writes what quell sees of a night (sightings.jsonl) and the truth (truth.jsonl) into a folder.
func WriteSightings(dir string, n *nation.Night) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := datadir.WriteWhole(filepath.Join(dir, "sightings.jsonl"), n.WriteSightings); err != nil {
		return err
	}
	return datadir.WriteWhole(filepath.Join(dir, "truth.jsonl"), n.WriteTruth)
}

// Record writes a night as a recording. What it says was decided is what the simulation says:
// a replay that decides otherwise has found a fault in one of the two.
func Record(out io.Writer, w *nation.World, n *nation.Night) error {
	e := recording.NewEncoder(out)
	settings, err := json.Marshal(motorway.Settings{Rules: Rules, Switch: outage.SwitchOn})
	if err != nil {
		return err
	}
	first := recording.Line{Kind: recording.Settings, At: n.Begin.Add(-12 * time.Hour), Run: "simulated", Rules: settings}
	if len(n.Sightings) > 0 && n.Sightings[0].Received.Before(first.At) {
		first.At = n.Sightings[0].Received
	}
	err = e.Write(&first)
	places := devices.NewPlaces()
	no := uint64(0)
	for m := range Messages(w, n) {
		if err != nil {
			return err
		}
		line := recording.Line{Kind: recording.Northbound, At: m.At, Document: m.Document, Outcome: outage.Forwarded, Reason: outage.ReasonNotAD1}
		switch s := m.seen; s.Kind {
		case evidence.Ordered:
			no++
			line.Kind, line.No, line.Reason, line.Listed = recording.Southbound, no, outage.ReasonNotListed, s.Tracked
			if s.Tracked {
				line.Reason = outage.ReasonTracked
			}
			line.Meter = device(m.home, s.Home.Sector != 0)
			places(&line.Meter)
			line.Meter.MPxN = ""
			if err = e.Write(&line); err == nil && s.Tracked {
				err = e.Write(&recording.Line{Kind: recording.Answer, At: m.At, No: no, State: outage.Accepted, Code: "I99"})
			}
			continue
		case evidence.Lost:
			line.Outcome, line.Reason = m.decision.Outcome, m.decision.Reason
		case evidence.Heard:
			line = recording.Line{Kind: recording.Heard, At: m.At, Device: s.Home.Hub}
		}
		err = e.Write(&line)
	}
	if err == nil {
		last := first
		last.At = n.End.Add(afterwards)
		err = e.Write(&last)
	}
	if err == nil {
		err = e.Flush()
	}
	return err
}

// device returns the meter of a home.
func device(h *nation.Home, placed bool) outage.Device {
	d := outage.Device{ID: h.Meter, Type: "ESME", SMETSVersion: "SMETS2", Manufacturer: Manufacturer, Model: string(h.Model), CHF: h.Hub, MPxN: mpan(h)}
	if placed {
		d.Postcode, d.Group = postcode(h.Sector), fmt.Sprint("P", uint32(h.Postcode))
	}
	return d
}

// postcode returns a postcode in a sector, the same for each home there.
func postcode(sector evidence.Area) string {
	n := uint32(sector)
	return fmt.Sprintf("%c%c%d %dAA", 'A'+n/2600%26, 'A'+n/100%26, n/10%10, n%10)
}

// WriteInventory writes the inventory of a world, as CSV; without places if the scenario has none.
func WriteInventory(out io.Writer, w *nation.World, s nation.Scenario) error {
	_, err := fmt.Fprintln(out, "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn,postcode,group")
	for i := range w.Homes {
		if err != nil {
			return err
		}
		d := device(&w.Homes[i], !s.NoPostcodes)
		_, err = fmt.Fprintf(out, "%s,%s,%s,%s,%s,%s,%s,%s,%s\n", d.ID, d.Type, d.SMETSVersion, d.Manufacturer, d.Model, d.CHF, d.MPxN, d.Postcode, d.Group)
	}
	return err
}

// WriteList writes the device list of a world.
func WriteList(out io.Writer, w *nation.World) (err error) {
	for i := range w.Homes {
		if h := &w.Homes[i]; w.Listed(h) && err == nil {
			_, err = fmt.Fprintln(out, h.Meter)
		}
	}
	return err
}

// WriteReport replaces the parts of outage-safety.md in a folder that are measured, and the charts beside it.
func WriteReport(dir string, y nation.Study, results []*nation.Result) error {
	path := filepath.Join(dir, "outage-safety.md")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	doc := string(text)
	for name, part := range y.Parts(results) {
		before, rest, ok1 := strings.Cut(doc, "<!-- safety:"+name+" -->\n")
		_, after, ok2 := strings.Cut(rest, "<!-- /safety:"+name+" -->")
		if !ok1 || !ok2 {
			return fmt.Errorf("%s has no part %s", path, name)
		}
		doc = before + "<!-- safety:" + name + " -->\n" + strings.TrimRight(part, "\n") + "\n<!-- /safety:" + name + " -->" + after
	}
	for file, content := range map[string]string{"outage-safety.md": doc, "outage-safety-precision.svg": nation.PrecisionChart(results), "outage-safety-odds.svg": nation.OddsChart(results[1])} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}
