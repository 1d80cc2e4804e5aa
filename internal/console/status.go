package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"quell/internal/cluster"
	"quell/internal/devices"
	"quell/internal/events"
	"quell/internal/flow"
	"quell/internal/outage"
	"quell/internal/windows"
)

// Status is what /api/v1/status answers, and /readyz without the overview.
type Status struct {
	Ready       bool           `json:"ready"`
	Degraded    []string       `json:"degraded"` // what is wrong while alerts still pass
	Version     string         `json:"version"`
	Switch      outage.Switch  `json:"switch"`
	DeviceList  devices.Import `json:"device_list"`
	Inventory   devices.Import `json:"inventory"`
	Leads       bool           `json:"leads"`           // cuts and delivers reports, and runs housekeeping
	Nodes       []cluster.Node `json:"nodes"`           // on the same database; empty if only this node may use it
	Hubs        int            `json:"hubs"`            // that have an activation or a log entry
	Pending     int            `json:"journal_pending"` // records that are not in the store yet
	WindowsOpen int            `json:"windows_open"`
	WindowsWait int            `json:"windows_pending"`
	// Counting says that there are many windows, which are not counted yet after a start.
	Counting bool `json:"windows_counting,omitempty"`
	// Unread names the fields of the status that could not be read: what they say means nothing.
	Unread []string `json:"unread,omitempty"`
	*Overview
}

// What Unread names if the store does not answer: of the status itself, and of its overview.
var (
	UnreadState    = []string{"device_list", "inventory", "windows_open", "windows_pending"}
	UnreadOverview = []string{"switch_change", "next_window", "last_hour", "last_day", "remotes"}
)

// Overview is the part of the status that costs more questions to the store.
type Overview struct {
	At           time.Time     `json:"at"`                   // by the node's clock
	SwitchChange *events.Event `json:"switch_change"`        // the last; null: none is known
	NextWindow   time.Time     `json:"next_window,omitzero"` // when the next pending window begins, if that is known
	Hour         flow.Counted  `json:"last_hour"`            // of all nodes, by the minutes of receipt
	Day          flow.Counted  `json:"last_day"`             // as above; 24 hours
	Store        StoreState    `json:"store"`
	InMemory     int           `json:"journal_in_memory"` // records of the journal that its file could not take
	Lost         int           `json:"journal_lost"`      // records that memory could not take either
	NextHops     []NextHop     `json:"next_hops"`
	Remotes      []Remote      `json:"remotes"`
}

// StoreState is how the store is.
type StoreState struct {
	Engine string  `json:"engine"`      // sqlite or postgres
	Up     bool    `json:"up"`          // it took the last transaction
	Bytes  int64   `json:"bytes"`       // its size; 0: unknown
	Lag    float64 `json:"lag_seconds"` // how long it took to answer one question now
}

// NextHop is where messages of a direction go.
type NextHop struct {
	Direction outage.Direction `json:"direction"`
	URL       string           `json:"url"`
	Up        bool             `json:"up"` // it took and answered the last message, or had none yet
}

// Remote is where report files go.
type Remote struct {
	Name   string    `json:"name"`
	Stream string    `json:"stream"`          // the files that it takes
	Unsent int       `json:"unsent"`          // files that it has not confirmed
	Oldest time.Time `json:"oldest,omitzero"` // when the oldest report of these was cut
}

// statusTimeout bounds the wait for the store. When the database hangs, /readyz must answer
// before load balancers give up: otherwise they take out all nodes at once, which could
// still forward. The overview has as long again.
const statusTimeout = 500 * time.Millisecond

// Status returns the status without the overview, and whether the store could be read.
func (c *Console) Status(ctx context.Context) (s Status, read bool) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	s = Status{Ready: c.Draining().Err() == nil, Degraded: []string{}, Version: c.Version, Switch: c.Ledger.Switch(), Leads: c.Cluster.IsLeader(),
		Nodes: append([]cluster.Node{}, c.Cluster.Nodes()...), Hubs: c.Ledger.Hubs(), Pending: c.Ledger.Pending()}
	wrong := func(format string, args ...any) { s.Degraded = append(s.Degraded, fmt.Sprintf(format, args...)) }
	if !s.Ready {
		wrong("shutting down")
	}
	s.Degraded = append(s.Degraded, c.Conditions()...)
	var err error
	if s.DeviceList, err = c.Devices.LastImport(ctx, "devices"); err == nil {
		if s.Inventory, err = c.Devices.LastImport(ctx, "inventory"); err == nil {
			if s.WindowsOpen, s.WindowsWait, err = c.Windows.Counts(ctx, c.Motorway.Now()); errors.Is(err, windows.ErrCounting) {
				s.Counting, err = true, nil // after a start there is no count for some seconds
			}
		}
	}
	if err != nil {
		wrong("the store cannot be read: %v", err)
		s.Unread = UnreadState
		return s, false
	}
	switch {
	case s.DeviceList.No == 0:
		wrong("there is no device list: nothing is tracked")
	case s.DeviceList.Rows == 0:
		wrong("the device list has no devices: nothing is tracked")
	}
	if s.Inventory.No == 0 {
		wrong("there is no inventory: nothing is tracked")
	}
	if text := c.Manufacturers.Sentence(s.DeviceList, s.Inventory); text != "" {
		wrong("%s", text)
	}
	return s, true
}

func (c *Console) wholeStatus(w http.ResponseWriter, r *http.Request) {
	s, read := c.Status(r.Context())
	ctx, cancel := context.WithTimeout(r.Context(), statusTimeout)
	defer cancel()
	o, err := c.overview(ctx, read)
	if err != nil {
		s.Degraded = append(s.Degraded, fmt.Sprintf("the store cannot be read: %v", err))
	}
	if !read || err != nil {
		s.Unread = slices.Concat(s.Unread, UnreadOverview)
	}
	s.Overview = o
	c.answer(w, r, http.StatusOK, s)
}

// overview returns what it can of the overview. It asks the store only if read says so.
func (c *Console) overview(ctx context.Context, read bool) (*Overview, error) {
	o := &Overview{At: c.Motorway.Now(), Store: StoreState{Engine: "sqlite", Up: c.DB.Available()}, NextHops: []NextHop{}, Remotes: []Remote{}}
	if c.DB.Remote() {
		o.Store.Engine = "postgres"
	}
	o.InMemory, o.Lost = c.Ledger.JournalInMemory()
	if c.Neighbours != nil {
		hops, remotes := c.Neighbours()
		o.NextHops, o.Remotes = append(o.NextHops, hops...), append(o.Remotes, remotes...)
	}
	if !read {
		return o, nil
	}
	asked := time.Now()
	last, err := events.LastOfEach(ctx, c.DB, []string{"switch"}, 1<<62)
	o.Store.Lag = time.Since(asked).Seconds()
	if len(last) > 0 {
		o.SwitchChange = &last[0]
	}
	if err == nil {
		o.Store.Bytes, err = c.DB.Size(ctx)
	}
	if err == nil {
		var next []outage.Activation
		if next, err = c.Windows.Next(ctx, o.At, 1); len(next) > 0 {
			o.NextWindow = next[0].Start
		}
	}
	if err == nil {
		o.Hour, o.Day, err = c.Flow.Recent(ctx, o.At)
	}
	if err != nil || len(o.Remotes) == 0 {
		return o, err
	}
	waiting, err := c.Reports.Waiting(ctx)
	for _, w := range waiting {
		for i := range o.Remotes {
			if to := &o.Remotes[i]; to.Name == w.Remote {
				to.Unsent, to.Oldest = w.Files, w.Oldest
			}
		}
	}
	return o, err
}
