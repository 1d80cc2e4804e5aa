package browse

import (
	"errors"
	"math"
	"net/http"
	"net/url"
	"time"

	"quell/internal/console"
	"quell/internal/outage"
	"quell/internal/page"
	"quell/internal/search"
)

// topLimit is how many suppliers and models the calendar lists.
const topLimit = 20

// calendarView is what the calendar shows.
type calendarView struct {
	*search.Calendar
	*query
	Now        time.Time
	Supplier   outage.DeviceID
	Model      *string
	Days       []day
	Peak       int // the most windows of an hour
	Suppliers  []search.OfSupplier
	Models     []search.OfModel
	MoreOf     int // suppliers that are not listed
	MoreModels int
}

// day is a row of the calendar.
type day struct {
	At    time.Time
	Empty int // days without windows before it, which have no row
	Cells []heatCell
	search.Numbers
}

// heatCell is an hour in the calendar.
type heatCell struct {
	search.Hour
	Heat int // from 0, nothing, to 5
	Now  bool
}

// heats are the shares of the busiest hour up to which a cell has the heat 1 to 4; above it is 5.
var heats = []float64{0.01, 0.1, 0.3, 0.6}

// Heats says what the shades mean: from how many windows on.
func (v *calendarView) Heats() (list []int) {
	for _, share := range append([]float64{0}, heats...) {
		if n := int(share*float64(v.Peak)) + 1; n <= v.Peak && (len(list) == 0 || n > list[len(list)-1]) {
			list = append(list, n)
		}
	}
	return list
}

func (v *calendarView) heat(windows int) int {
	list := v.Heats()
	for i := range list {
		if windows < list[i] {
			return i
		}
	}
	return len(list)
}

// Age is how old the counts are.
func (v *calendarView) Age() time.Duration { return v.Now.Sub(v.At) }

// ModelName names a model.
func (v *calendarView) ModelName(model string) string {
	if model == "" {
		return "not in the inventory"
	}
	return model
}

func (p *pages) showCalendar(r *http.Request) (any, error) {
	v := calendarView{query: queryOf(r), Now: p.console.Motorway.Now()}
	v.Supplier = v.device("supplier")
	if v.values.Has("model") {
		model := v.values.Get("model")
		v.Model = &model
	}
	if len(v.faults) > 0 {
		return nil, page.Bad(errors.New("supplier=" + v.text("supplier") + " is not an EUI-64"))
	}
	v.Calendar = p.console.Search.Calendar(r.Context(), search.CalendarQuery{Supplier: v.Supplier, Model: v.Model})
	v.Suppliers, v.Models = v.Calendar.Suppliers, v.Calendar.Models
	v.MoreOf, v.MoreModels = max(0, len(v.Suppliers)-topLimit), max(0, len(v.Models)-topLimit)
	v.Suppliers, v.Models = v.Suppliers[:len(v.Suppliers)-v.MoreOf], v.Models[:len(v.Models)-v.MoreModels]
	v.fillDays()
	return page.View{Template: "activations", Title: "Activations", Data: &v}, nil
}

// fillDays makes a row of each day that has a window or expects an alert.
func (v *calendarView) fillDays() {
	for _, h := range v.Hours {
		v.Peak = max(v.Peak, h.Windows)
	}
	var next time.Time
	for _, h := range v.Hours {
		at := h.From.Truncate(24 * time.Hour)
		if k := len(v.Days); k == 0 || !v.Days[k-1].At.Equal(at) {
			d := day{At: at, Cells: make([]heatCell, 24)}
			if k > 0 {
				d.Empty = int(at.Sub(next) / (24 * time.Hour))
			}
			for i := range d.Cells {
				d.Cells[i].From = at.Add(time.Duration(i) * time.Hour)
				d.Cells[i].Now = d.Cells[i].From.Equal(v.Now.Truncate(time.Hour))
			}
			v.Days, next = append(v.Days, d), at.Add(24*time.Hour)
		}
		d := &v.Days[len(v.Days)-1]
		c := &d.Cells[h.From.Hour()]
		c.Hour, c.Heat = h, v.heat(h.Windows)
		d.Windows, d.Raised, d.Alerts = d.Windows+h.Windows, d.Raised+h.Raised, d.Alerts+h.Alerts
	}
}

// about is a forecast as a whole number; a small one is at least 1.
func about(alerts float64) int {
	if alerts <= 0 {
		return 0
	}
	return max(1, int(math.Round(alerts)))
}

// Expected are the AD1s that are still expected.
func (v *calendarView) Expected(n search.Numbers) int { return about(n.Alerts) }

// Of is the address of the calendar of a supplier, or of all if it is 0; ByModel that of a model, and
// AnyModel that of all.
func (v *calendarView) Of(id outage.DeviceID) string { return calendarAt(id, v.Model) }

// ByModel is explained with Of.
func (v *calendarView) ByModel(model string) string { return calendarAt(v.Supplier, &model) }

// AnyModel is explained with Of.
func (v *calendarView) AnyModel() string { return calendarAt(v.Supplier, nil) }

func calendarAt(supplier outage.DeviceID, model *string) string {
	values := url.Values{}
	if supplier != 0 {
		values.Set("supplier", supplier.String())
	}
	if model != nil {
		values.Set("model", *model) // "" is a model too
	}
	if len(values) == 0 {
		return "/activations"
	}
	return "/activations?" + values.Encode()
}

// Meters is the address of the meters of some hours.
func (v *calendarView) Meters(from time.Time, hours int) string {
	return address("/activations/meters", "from", instantText(from), "to", instantText(from.Add(time.Duration(hours)*time.Hour)), "supplier", deviceText(v.Supplier))
}

// metersLimit is how many meters a page lists.
const metersLimit = 100

// metersView is what the page of the meters of a campaign shows.
type metersView struct {
	*query
	search.CampaignQuery
	Campaign *search.Campaign // nil if the form is wrong
	Counted  search.Numbers   // of all windows in this time, as the calendar counted them
	At       time.Time        // when; zero if it has not, or the time is not one of hours
}

// Next is the address of the next page.
func (v *metersView) Next() string {
	return address("/activations/meters", "from", instantText(v.From), "to", instantText(v.To), "supplier", deviceText(v.Supplier), "which", string(v.Which), "after", numberText(v.Campaign.Next))
}

func (p *pages) showMeters(r *http.Request) (any, error) {
	v := metersView{query: queryOf(r)}
	now := p.console.Motorway.Now().UTC()
	if v.From, v.To = v.times(); v.From.IsZero() {
		v.From = now.Truncate(time.Hour)
	}
	if v.To.IsZero() {
		v.To = v.From.Add(time.Hour)
	} else if !v.From.Before(v.To) && v.faults["to"] == "" {
		v.faults["to"] = "This must be after the first time."
	}
	v.Supplier = v.device("supplier")
	v.Which = search.Which(v.choice("which", string(search.Raised), string(search.Silent)))
	var err error
	if v.After, err = v.number("after"); err != nil {
		return nil, err
	}
	if v.Limit = metersLimit; len(v.faults) == 0 {
		v.Campaign, err = p.console.Search.Campaign(r.Context(), v.CampaignQuery)
		if errors.Is(err, search.ErrNoWindow) {
			return nil, console.NotFound{Err: err}
		}
		if err != nil {
			return nil, err
		}
		v.count(p.console.Search.Calendar(r.Context(), search.CalendarQuery{Supplier: v.Supplier}))
	}
	return page.View{Template: "meters", Title: "Which meters raised an AD1", Data: &v, Status: v.status()}, nil
}

// count takes from the calendar how many windows there are in whole hours.
func (v *metersView) count(c *search.Calendar) {
	if v.From.Before(c.From) || v.To.After(c.Until) || !v.From.Truncate(time.Hour).Equal(v.From) || !v.To.Truncate(time.Hour).Equal(v.To) {
		return
	}
	v.At = c.At
	for _, h := range c.Hours {
		if !h.From.Before(v.From) && h.From.Before(v.To) {
			v.Counted.Windows, v.Counted.Raised = v.Counted.Windows+h.Windows, v.Counted.Raised+h.Raised
		}
	}
}
