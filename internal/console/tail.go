package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"quell/internal/guard"
	"quell/internal/outage"
	"quell/internal/role"
	"quell/internal/tail"
)

func (c *Console) tailRoutes(mux guard.Endpoints) {
	mux.HandleLong("GET /api/v1/tail", role.Viewer, c.tail, "hub", "meter", "kind", "decision", "reason", "distributor")
}

// TailLine is a line of the answer to GET /api/v1/tail: a decision, or one of the other fields.
type TailLine struct {
	*tail.Line
	Begins     bool   `json:"begins,omitempty"`      // the first line: every decision from now on has a line
	MPxNHidden bool   `json:"mpxn_hidden,omitempty"` // with Begins: see Suppressions
	Lost       uint64 `json:"lost,omitempty"`        // so many lines are missing about here: who reads is too slow
	Ends       string `json:"ends,omitempty"`        // the last line: why
}

// TailIdle is how often an answer has an empty line, so that one whose reader is gone ends. Then the
// console also looks whether the reader may still read.
const TailIdle = 10 * time.Second

// tail answers with the decisions of this node as they fall, a line of JSON each, until the reader
// goes or quell stops.
func (c *Console) tail(w http.ResponseWriter, r *http.Request) {
	filter, err := tailFilter(r.URL.Query())
	if err != nil {
		c.fail(w, r, badRequest{err})
		return
	}
	hide := guard.HideMPxN(r)
	if !hide {
		if err := c.Guard.LookedUp(r, "decisions as they fall"); err != nil {
			c.fail(w, r, err)
			return
		}
	}
	var watcher *tail.Watcher
	var lines <-chan tail.Line
	if c.Motorway.Tail != nil {
		if watcher, err = c.Motorway.Tail.Watch(filter); err != nil {
			c.fail(w, r, err)
			return
		}
		defer watcher.Close()
		lines = watcher.Lines()
	}
	w.Header().Set("Content-Type", "application/jsonl")
	out, flush := json.NewEncoder(w), http.NewResponseController(w).Flush
	err = out.Encode(TailLine{Begins: true, MPxNHidden: hide})
	if watcher == nil {
		out.Encode(TailLine{Ends: "no messages pass here"})
		return
	}
	idle := time.NewTicker(TailIdle)
	defer idle.Stop()
	for err == nil {
		if len(lines) == 0 && flush() != nil {
			return
		}
		select {
		case l := <-lines:
			if hide {
				l.MPxN = ""
			}
			err = out.Encode(TailLine{Line: &l})
		case <-idle.C:
			if !c.Guard.StillAllowed(r) {
				out.Encode(TailLine{Ends: "the credentials of this request are not valid any more, or have another role"})
				return
			}
			_, err = w.Write([]byte{'\n'})
		case <-r.Context().Done():
			return
		case <-c.Draining().Done():
			out.Encode(TailLine{Ends: "quell is stopping"})
			return
		}
		if n := watcher.Lost(); n > 0 && err == nil {
			err = out.Encode(TailLine{Lost: n})
		}
	}
}

func tailFilter(q url.Values) (f tail.Filter, err error) {
	f = tail.Filter{Kind: q.Get("kind"), Decision: outage.Outcome(q.Get("decision")), Reason: outage.Reason(q.Get("reason")), Distributor: q.Get("distributor")}
	for name, id := range map[string]*outage.DeviceID{"hub": &f.Hub, "meter": &f.Meter} {
		if text := q.Get(name); text != "" {
			if *id, err = outage.ParseAnyDeviceID(text); err != nil {
				return f, fmt.Errorf("%s=%q: %w", name, text, err)
			}
		}
	}
	switch {
	case f.Kind != "" && f.Kind != tail.Alert && f.Kind != tail.Activation:
		err = fmt.Errorf("kind=%q is neither alert nor activation", f.Kind)
	case f.Decision != "" && f.Decision != outage.Suppressed && f.Decision != outage.Shadow && f.Decision != outage.Forwarded:
		err = fmt.Errorf("decision=%q is not suppressed, shadow or forwarded", f.Decision)
	case f.Reason != "" && !slices.ContainsFunc(outage.Reasons, func(r outage.ReasonText) bool { return r.Reason == f.Reason }):
		err = fmt.Errorf("reason=%q is none of those in docs/reasons.md", f.Reason)
	case f.Distributor != "" && !outage.IsDistributor(f.Distributor):
		err = fmt.Errorf("distributor=%q is none: it has two digits, such as 12", f.Distributor)
	}
	return f, err
}
