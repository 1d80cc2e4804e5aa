package nation

import (
	"encoding/json"
	"io"
	"time"

	"quell/internal/evidence"
	"quell/internal/outage"
)

var kinds = map[evidence.Kind]string{evidence.Ordered: "ordered", evidence.NotRun: "not-run", evidence.Lost: "lost", evidence.Restored: "restored", evidence.Heard: "heard"}

// WriteSightings writes what quell sees of the night as JSON lines, in the order of receipt.
func (n *Night) WriteSightings(w io.Writer) error {
	out := json.NewEncoder(w)
	for _, s := range n.Sightings {
		err := out.Encode(struct {
			Kind        string          `json:"kind"`
			Received    time.Time       `json:"received"`
			Hub         outage.DeviceID `json:"hub"`
			Meter       outage.DeviceID `json:"meter,omitzero"`
			Model       evidence.Model  `json:"model,omitempty"`
			Postcode    evidence.Area   `json:"postcode,omitempty"`
			Sector      evidence.Area   `json:"sector,omitempty"`
			Distributor evidence.Area   `json:"distributor,omitempty"`
			Request     string          `json:"request,omitempty"`
			Form        outage.Form     `json:"form,omitempty"`
			Tracked     bool            `json:"tracked,omitempty"`
			Why         string          `json:"why,omitempty"`
			Start       time.Time       `json:"start,omitzero"`
			End         time.Time       `json:"end,omitzero"`
			Entry       int64           `json:"entry,omitempty"`
			WindowStart time.Time       `json:"window_start,omitzero"`
			WindowEnd   time.Time       `json:"window_end,omitzero"`
		}{kinds[s.Kind], s.Received, s.Home.Hub, s.Meter, s.Home.Model, s.Home.Postcode, s.Home.Sector, s.Home.Distributor, s.Request.String(), s.Form, s.Tracked, s.Why, s.Start, s.End, s.Entry, s.WindowStart, s.WindowEnd})
		if err != nil {
			return err
		}
	}
	return nil
}

// WriteTruth writes what was really so: a line for each fault, and one for each suppressed alert.
func (n *Night) WriteTruth(w io.Writer) error {
	out := json.NewEncoder(w)
	at := func(seconds float64) time.Time { return n.Begin.Add(time.Duration(seconds * float64(time.Second))) }
	for _, f := range n.Faults {
		err := out.Encode(struct {
			Fault string    `json:"fault"`
			First int       `json:"first_home"`
			Last  int       `json:"before_home"`
			Every int       `json:"every"`
			From  time.Time `json:"from"`
			To    time.Time `json:"to"`
		}{f.Size.String(), f.First, f.Last, f.Every, at(f.From), at(f.To)})
		if err != nil {
			return err
		}
	}
	for _, a := range n.Alerts {
		err := out.Encode(struct {
			Entry   int64  `json:"entry"`
			Home    int    `json:"home"`
			Genuine bool   `json:"genuine"`
			Fault   string `json:"fault"`
			Hidden  bool   `json:"while_rebooting,omitempty"`
		}{a.Entry, a.Home, a.Genuine, a.Size.String(), a.Hidden})
		if err != nil {
			return err
		}
	}
	return nil
}
