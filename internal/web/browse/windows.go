package browse

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"quell/internal/draw"
	"quell/internal/outage"
	"quell/internal/page"
	"quell/internal/search"
)

// How many bars a page draws and lists, and how many lanes it draws.
const (
	drawnLimit  = 1000
	listedLimit = 200
	lanesLimit  = 40
)

// ganttView is what the page of the windows of a hub, a meter or a supplier shows.
type ganttView struct {
	*query
	Gantt    *search.Gantt // nil if nothing was asked for, or the form is wrong
	ID       outage.DeviceID
	Of       string // "hub", "meter" or "supplier"
	Supplier bool   // it is of a supplier
	axis     draw.Axis
	Until    time.Time // the last end of a window
	Lanes    []lane
	MoreOf   int // lanes that are not drawn
	Listed   []search.Bar
	MoreBars int // bars that are not listed
	Ticks    []draw.Tick
	Now      draw.Percent // 0 if it is not in the picture
	at       time.Time
}

// lane is a line of a picture: the windows of a meter, or of a model.
type lane struct {
	Name string
	Bars []ganttBar
}

type ganttBar struct {
	search.Bar
	X, Width draw.Percent
}

// Phase says in which part of its life a window is.
func (v *ganttView) Phase(b search.Bar) string {
	switch {
	case !b.InForce:
		return "not in force"
	case v.at.Before(b.Start):
		return "pending"
	case v.at.Before(b.End):
		return "open"
	}
	return "over"
}

// Meters is the address of the meters of an hour.
func (v *ganttView) Meters(at time.Time) string {
	from := at.Truncate(time.Hour)
	return address("/activations/meters", "from", instantText(from), "to", instantText(from.Add(time.Hour)), "supplier", deviceText(v.ID))
}

func (p *pages) showWindows(r *http.Request) (any, error) {
	v := ganttView{query: queryOf(r)}
	v.Of = v.choice("of", "hub", "meter", "supplier")
	v.ID, v.Supplier = v.device("id"), v.Of == "supplier"
	now := p.console.Motorway.Now().UTC()
	q := search.GanttQuery{Limit: drawnLimit}
	if q.From, q.To = v.times(); q.From.IsZero() {
		q.From = now.AddDate(0, 0, -30)
	}
	if q.To.IsZero() {
		q.To = now.AddDate(0, 0, 31)
	}
	if !q.From.Before(q.To) && v.faults["to"] == "" {
		v.faults["to"] = "This must be after the first time."
	}
	switch v.Of {
	case "meter":
		q.Meter = v.ID
	case "supplier":
		q.Supplier = v.ID
	default:
		q.Hub = v.ID
	}
	if v.ID != 0 && len(v.faults) == 0 {
		var err error
		if v.Gantt, err = p.console.Search.Gantt(r.Context(), q); err != nil {
			return nil, err
		}
		v.draw(now)
	}
	return page.View{Template: "windows", Title: "Windows over time", Data: &v, Status: v.status()}, nil
}

// draw puts the windows on lanes, along a line of time that has them all.
func (v *ganttView) draw(now time.Time) {
	if len(v.Gantt.Bars) == 0 {
		return
	}
	v.at = now
	v.MoreBars = max(0, len(v.Gantt.Bars)-listedLimit)
	v.Listed = v.Gantt.Bars[:len(v.Gantt.Bars)-v.MoreBars]
	v.axis = draw.Axis{From: v.Gantt.Bars[0].Start, To: v.Gantt.Bars[0].End}
	for _, b := range v.Gantt.Bars {
		if b.End.After(v.axis.To) {
			v.axis.To = b.End
		}
	}
	v.Until = v.axis.To
	margin := max(v.axis.To.Sub(v.axis.From)/50, time.Minute)
	v.axis = draw.Axis{From: v.axis.From.Add(-margin), To: v.axis.To.Add(margin)}
	v.Ticks = v.axis.Ticks(8)
	if now.After(v.axis.From) && now.Before(v.axis.To) {
		v.Now = v.axis.At(now)
	}
	for _, b := range v.Gantt.Bars {
		name := b.ESME.String()
		if v.Supplier {
			name = cmp.Or(b.Model, "not in the inventory")
		}
		i := slices.IndexFunc(v.Lanes, func(l lane) bool { return l.Name == name })
		if i < 0 {
			i, v.Lanes = len(v.Lanes), append(v.Lanes, lane{Name: name})
		}
		x := v.axis.At(b.Start)
		v.Lanes[i].Bars = append(v.Lanes[i].Bars, ganttBar{b, x, v.axis.At(b.End) - x})
	}
	v.MoreOf = max(0, len(v.Lanes)-lanesLimit)
	v.Lanes = v.Lanes[:len(v.Lanes)-v.MoreOf]
}
