package console

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"quell/internal/guard"
	"quell/internal/motorway"
	"quell/internal/outage"
	"quell/internal/role"
	"quell/internal/windows"
)

func (c *Console) windowRoutes(mux guard.Endpoints) {
	mux.Handle("GET /api/v1/windows", role.Viewer, c.try(c.listWindows), "target", "supplier", "limit")
	mux.Handle("POST /api/v1/windows/close", role.Operator, c.try(c.closeWindows))
}

// Windows is the answer to GET /api/v1/windows: windows that are open or pending, the one
// that starts first before the others.
type Windows struct {
	At      time.Time             `json:"at"` // the instant for which that is true
	Windows []motorway.Activation `json:"windows"`
	More    bool                  `json:"more"` // there are more than the limit
}

// Selection selects windows, by one of its fields.
type Selection struct {
	Target   string `json:"target,omitempty"`   // the id of a hub, a meter or a request
	Supplier string `json:"supplier,omitempty"` // the id of the supplier that sent the requests
	All      bool   `json:"all,omitempty"`
}

// CloseRequest is the body of POST /api/v1/windows/close.
type CloseRequest struct {
	Selection
	Why string `json:"why"`
}

// Closed is the answer to POST /api/v1/windows/close.
type Closed struct {
	At      time.Time             `json:"at"`
	Closed  int                   `json:"closed"`
	Windows []motorway.Activation `json:"windows"` // the first of them, as they were before
}

// Parse reads the ids of a selection.
func (w Selection) Parse() (which windows.Which, err error) {
	given := 0
	for _, is := range []bool{w.Target != "", w.Supplier != "", w.All} {
		if is {
			given++
		}
	}
	if given != 1 {
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
		return which, errors.New("the id is zero, which no device has")
	}
	return which, nil
}

func (c *Console) listWindows(r *http.Request) (any, error) {
	q := r.URL.Query()
	w := Selection{Target: q.Get("target"), Supplier: q.Get("supplier")}
	w.All = w.Target == "" && w.Supplier == ""
	which, err := w.Parse()
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
	var in CloseRequest
	if err := readJSON(r, &in, "a request to close windows"); err != nil {
		return nil, err
	}
	which, err := in.Parse()
	if err != nil {
		return nil, badRequest{err}
	}
	who := guard.Caller(r).Name
	if in.Why = strings.TrimSpace(in.Why); !isText(in.Why) {
		return nil, badRequest{errors.New("needs why")}
	}
	now := c.Motorway.Now()
	closed, was, err := c.Windows.Close(r.Context(), which, who, in.Why, now, defaultLimit)
	if closed > 0 {
		c.Log.Warn("windows were closed by hand", "windows", which, "closed", closed, "who", who, "why", in.Why)
	}
	switch {
	case errors.Is(err, windows.ErrNoWindows) && !in.All:
		err = NotFound{fmt.Errorf("no window of %s is open or pending: nothing was closed", which)}
	case errors.Is(err, windows.ErrNoWindows):
		err = fmt.Errorf("%w: nothing was closed", err)
	case err != nil && closed > 0:
		err = fmt.Errorf("not all windows are closed, only %d: run this again for the others: %w", closed, err)
	}
	return Closed{now, closed, views(was)}, err
}
