package steer

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"quell/internal/console"
	"quell/internal/devices"
	"quell/internal/events"
	"quell/internal/guard"
	"quell/internal/outage"
	"quell/internal/page"
	"quell/internal/role"
	"quell/internal/search"
	"quell/internal/sqldb"
)

func (p *pages) addSettings(f Frame) {
	f.Page("GET /settings", role.Viewer, p.showSettings)
	f.Page("GET /settings/history", role.Viewer, p.showHistory, "of", "before")
	f.Page("GET /settings/preview", role.Viewer, p.showPreview, "model", "from", "to")
	f.Upload("POST /settings/preview", role.Operator, maxPreview, p.previewList)
	f.Change("/settings/switch", role.Operator, p.askSwitch, p.setSwitch)
}

type settingsView struct {
	page.Rights
	*search.Settings
	Away bool // the store does not answer: there is no history
}

func (p *pages) showSettings(r *http.Request) (any, error) {
	s, err := p.console.Search.Settings(r.Context())
	away := errors.Is(err, sqldb.ErrUnavailable)
	if away { // the switch can be turned off all the same
		inForce := p.console.InForce()
		s, err = &inForce, nil
	}
	if err == nil {
		s.SwitchHistory, s.DeviceLists, s.Inventories = first(s.SwitchHistory), first(s.DeviceLists), first(s.Inventories)
	}
	return page.View{Template: "settings", Title: "Settings", Data: settingsView{page.RightsOf(r), s, away}}, err
}

// first returns as much of a history as the page of settings has of it.
func first[T any](list []T) []T { return list[:min(5, len(list))] }

// historyPage is how many changes a page of a history has.
const historyPage = 50

type historyView struct {
	Of      string // "switch", "devices" or "inventory"
	Changes []events.Event
	Imports []search.ImportOf
	Older   int64 // "before" of the next page; 0 if there is none
	Later   bool  // this is not the first page
}

func (p *pages) showHistory(r *http.Request) (any, error) {
	v := historyView{Of: r.URL.Query().Get("of")}
	from, err := page.Before(r)
	if err != nil {
		return nil, err
	}
	v.Later = from > 0
	title := map[string]string{"": "History of the switch", "switch": "History of the switch", "devices": "History of the device list", "inventory": "History of the inventory"}[v.Of]
	switch v.Of {
	case "", "switch":
		var list search.SwitchHistory
		list, err = p.console.Search.SwitchHistory(r.Context(), from, historyPage)
		v.Of, v.Changes, v.Older = "switch", list.Changes, list.Next
	case "devices", "inventory":
		var list search.Imports
		list, err = p.console.Search.History(r.Context(), v.Of, from, historyPage)
		v.Imports, v.Older = list.Imports, list.Next
	default:
		return nil, page.Bad(fmt.Errorf("there is no history of %q", v.Of))
	}
	return page.View{Template: "history", Title: title, Data: v}, err
}

// positions say what quell does at each position of the switch.
var positions = map[outage.Switch][]string{
	outage.SwitchOn: {"On: quell suppresses each AD1 whose hub has an open window, and logs it. The Service User does not get it.",
		"Each tracked 11.3 opens a window. Those that passed while the switch was off have none, and their AD1s go on."},
	outage.SwitchShadow: {"Shadow: all alerts pass. quell logs what it would suppress, with the outcome shadow.",
		"Each tracked 11.3 opens a window.", "When a suppressed alert is sent again, it goes on, and its entry is corrected."},
	outage.SwitchOff: {"Off: all alerts pass, nothing is suppressed and nothing logged. An activation that is under way raises false alerts, which reach the Service Users.",
		"No 11.3 opens a window. A cancellation or a replacement still closes what is pending.", "When a suppressed alert is sent again, it goes on, and its entry is corrected.",
		"If the store does not answer, the switch is off on this node only: then turn off each node by itself."},
}

func (p *pages) askSwitch(r *http.Request) (page.Confirmation, error) {
	to, now := outage.Switch(r.PostForm.Get("to")), p.console.Ledger.Switch()
	if !to.Valid() {
		return page.Confirmation{}, page.Bad(errors.New("choose on, shadow or off"))
	}
	if to == now {
		return page.Confirmation{}, page.Bad(fmt.Errorf("the switch is %s already", now))
	}
	reason, err := page.Why(r)
	will := append([]string{}, positions[to]...)
	if open, pending, err := p.console.Windows.Counts(r.Context(), p.console.Motorway.Now()); err == nil {
		will = append(will, fmt.Sprintf("Windows that are open now: %d; that are pending: %d.", open, pending))
	}
	if to != outage.SwitchOff {
		will = append(will, "This is so on all nodes, within a second or two.")
	}
	return page.Confirmation{Title: fmt.Sprintf("Set the switch to %s", to), Button: fmt.Sprintf("Set it to %s", to), Back: "/settings",
		Will: append(will, fmt.Sprintf("The switch is %s now.", cmp.Or(now, "not known")), page.Kept(reason))}, err
}

func (p *pages) setSwitch(r *http.Request) (any, error) {
	if _, err := p.askSwitch(r); err != nil {
		return nil, err
	}
	out, err := p.console.ChangeSwitch(r.Context(), guard.Caller(r).Name, console.SwitchChange{Switch: outage.Switch(r.PostForm.Get("to")), Why: r.PostForm.Get("why")})
	if err == nil && out.HereOnly {
		return page.View{Template: "hereonly", Title: "The switch is off on this node only"}, nil
	}
	return page.SeeOther("/settings"), err
}

// maxPreview is how long a list for a preview may be.
const maxPreview = 128 << 20

type previewView struct {
	page.Rights
	Most            int // MiB, of a list
	Model, From, To string
	Models          []search.ModelWindow // that have their own window
	Default         int                  // the window of the others, in seconds
	Window          *search.WindowPreview
	List            *search.ListPreview
	ListName        string
}

// preview returns the page of previews without any.
func (p *pages) preview(r *http.Request) previewView {
	s := p.console.InForce()
	return previewView{Rights: page.RightsOf(r), Most: maxPreview >> 20, Models: s.WindowByModel, Default: s.Window, From: "0", To: strings.Replace(time.Duration(s.Window*int(time.Second)).String(), "m0s", "m", 1)}
}

func (p *pages) showPreview(r *http.Request) (any, error) {
	v := p.preview(r)
	if q := r.URL.Query(); q.Has("to") {
		v.Model, v.From, v.To = strings.TrimSpace(q.Get("model")), q.Get("from"), q.Get("to")
		from, err1 := afterActivation(v.From)
		to, err2 := afterActivation(v.To)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		var err error
		if v.Window, err = p.console.Search.PreviewWindow(r.Context(), v.Model, from, to); errors.Is(err, search.ErrWindow) {
			return nil, page.Bad(err)
		} else if err != nil {
			return nil, err
		}
	}
	return page.View{Template: "preview", Title: "Preview", Data: v}, nil
}

// afterActivation reads a time after an activation: "2m45s" as in the configuration, or minutes.
func afterActivation(text string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		text += "m"
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, page.Bad(fmt.Errorf("%q is not a time such as 30m or 2m45s", text))
	}
	return d, nil
}

// previewList says what the device list of a form would have done. It imports nothing.
func (p *pages) previewList(r *http.Request) (any, error) {
	end, err := p.console.Search.BeginPreview()
	if err != nil {
		return nil, err
	}
	defer end()
	next, err := page.Files(r, 1)
	if err != nil {
		return nil, err
	}
	v := p.preview(r)
	name, file, err := next()
	if err != nil {
		return nil, err
	}
	var list search.PreviewList
	if err := devices.ReadList(file, list.Add); errors.Is(err, search.ErrLong) {
		return nil, page.Bad(err)
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if _, _, err := next(); err != io.EOF {
		return nil, err
	}
	v.ListName = name
	v.List, err = p.console.Search.PreviewList(r.Context(), &list)
	return page.View{Template: "preview", Title: "Preview", Data: v}, err
}
