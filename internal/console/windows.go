package console

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"quell/internal/motorway"
	"quell/internal/outage"
	"quell/internal/windows"
)

func (c *Console) windowRoutes(mux routes) {
	mux.handle("GET /api/v1/windows", c.try(c.listWindows), "target", "supplier", "limit")
	mux.handle("POST /api/v1/windows/close", c.try(c.closeWindows))
}

// Windows is what GET /api/v1/windows answers: windows that are open or pending, the
// next to begin first.
type Windows struct {
	At      time.Time             `json:"at"` // when that was so
	Windows []motorway.Activation `json:"windows"`
	More    bool                  `json:"more"` // than the limit
}

// Whose says whose windows are meant.
type Whose struct {
	Target   string `json:"target,omitempty"`   // a hub, a meter or a request
	Supplier string `json:"supplier,omitempty"` // that sent the requests
	All      bool   `json:"all,omitempty"`
}

// Close is what POST /api/v1/windows/close takes.
type Close struct {
	Whose
	Who string `json:"who"`
	Why string `json:"why"`
}

// Closed is what POST /api/v1/windows/close answers.
type Closed struct {
	At      time.Time             `json:"at"`
	Closed  int                   `json:"closed"`
	Windows []motorway.Activation `json:"windows"` // the first of them, as they were
}

// Which reads the ids.
func (w Whose) Which() (which windows.Which, err error) {
	said := 0
	for _, is := range []bool{w.Target != "", w.Supplier != "", w.All} {
		if is {
			said++
		}
	}
	if said != 1 {
		return which, errors.New("say whose windows: those of a hub, a meter or a request, of a supplier, or all")
	}
	which.All = w.All
	if w.Supplier != "" {
		if which.Supplier, err = outage.ParseAnyDeviceID(w.Supplier); err != nil {
			return which, fmt.Errorf("supplier %q: %w", w.Supplier, err)
		}
	}
	if w.Target != "" {
		if which.Device, err = outage.ParseAnyDeviceID(w.Target); err != nil {
			if which.Request, err = outage.ParseRequestID(w.Target); err != nil {
				return which, fmt.Errorf("%q is neither an EUI-64 of a hub or a meter, nor the id of a request", w.Target)
			}
		}
	}
	if which.String() == "" {
		return which, errors.New("that id is of nothing")
	}
	return which, nil
}

func (c *Console) listWindows(r *http.Request) (any, error) {
	q := r.URL.Query()
	w := Whose{Target: q.Get("target"), Supplier: q.Get("supplier")}
	w.All = w.Target == "" && w.Supplier == ""
	which, err := w.Which()
	if err != nil {
		return nil, badRequest{err}
	}
	limit, err := number(r, "limit", defaultLimit, 1, maxLimit)
	if err != nil {
		return nil, err
	}
	now := c.Motorway.Now()
	list, err := c.Windows.InForce(r.Context(), which, now, int(limit)+1)
	out := Windows{At: now, Windows: views(list), More: len(list) > int(limit)}
	if out.More {
		out.Windows = out.Windows[:limit]
	}
	return out, err
}

func views(list []outage.Activation) []motorway.Activation {
	out := make([]motorway.Activation, len(list))
	for i, a := range list {
		out[i] = motorway.View(a)
	}
	return out
}

func (c *Console) closeWindows(r *http.Request) (any, error) {
	var in Close
	if err := readJSON(r, &in, "what to close"); err != nil {
		return nil, err
	}
	which, err := in.Which()
	if err != nil {
		return nil, badRequest{err}
	}
	in.Who, in.Why = strings.TrimSpace(in.Who), strings.TrimSpace(in.Why)
	if !isText(in.Who) || !isText(in.Why) {
		return nil, badRequest{errors.New("needs who and why")}
	}
	now := c.Motorway.Now()
	closed, was, err := c.Windows.Close(r.Context(), which, in.Who, in.Why, now, defaultLimit)
	if closed > 0 {
		c.Log.Warn("windows were closed by hand", "whose", which, "closed", closed, "who", in.Who, "why", in.Why)
	}
	switch {
	case errors.Is(err, windows.ErrNoWindows):
		err = fmt.Errorf("%w: nothing was closed", err)
	case err != nil && closed > 0:
		err = fmt.Errorf("%d windows are closed, ask again for the others: %w", closed, err)
	}
	return Closed{now, closed, views(was)}, err
}
