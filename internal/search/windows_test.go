package search_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"quell/internal/advice"
	"quell/internal/adviser"
	"quell/internal/cluster"
	"quell/internal/devices"
	"quell/internal/evidence"
	"quell/internal/outage"
	"quell/internal/search"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

const other = outage.DeviceID(0x90B3D51F30020000) // another supplier

// campaign records windows of meters 1 to 8, of which 1 to 5 are in the inventory: over are 1 to 3,
// of which 1 and 2 have raised an AD1; open is 4; pending are 5 to 7, in two hours; 8 is far away.
func campaign(t *testing.T, st *store.Store) {
	t.Helper()
	var rows []string
	for n := range 5 {
		rows = append(rows, storetest.DeviceRow(n+1, n+1))
	}
	if err := storetest.ImportRows(t.Context(), st, rows...); err != nil {
		t.Fatal(err)
	}
	ordered := now.AddDate(0, 0, -3)
	for n := 1; n <= 3; n++ {
		st.Ledger.Record(t.Context(), storetest.FutureDated(n, 1, ordered, now.Add(-5*time.Hour)))
	}
	st.Ledger.Record(t.Context(), storetest.OnDemand(4, 1, now.Add(-10*time.Minute)))
	for n := 5; n <= 8; n++ {
		a := storetest.FutureDated(n, 1, ordered, now.Add(2*time.Hour))
		if n == 7 {
			a.RequestID.Originator = other
		}
		if n == 8 {
			a = storetest.FutureDated(n, 1, ordered, now.AddDate(0, 0, 40))
		}
		st.Ledger.Record(t.Context(), a)
	}
	// A cancelled one does not count.
	cancelled := storetest.FutureDated(9, 1, ordered, now.Add(2*time.Hour))
	st.Ledger.Record(t.Context(), cancelled)
	st.Ledger.Record(t.Context(), outage.Request{ID: outage.RequestID{Originator: storetest.Supplier, Target: storetest.Meter(9), Counter: 2}, Form: outage.SignedPreCommand,
		Order: outage.Order{Kind: outage.Cancellation}, Received: ordered.Add(time.Minute)}.Activation(storetest.Hub(9), 30*time.Minute))
	for n := 1; n <= 2; n++ {
		if d := storetest.Decide(t, st, storetest.AD1(n, fmt.Sprint("alert", n), now.Add(-5*time.Hour+4*time.Minute))); d.Outcome != outage.Suppressed {
			t.Fatalf("alert %d: %+v", n, d)
		}
	}
}

// The calendar counts windows by hour, supplier and model.
func TestCalendar(t *testing.T) { storetest.EachEngine(t, testCalendar) }

func testCalendar(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s := newSearch(st)
	if c := s.Calendar(t.Context(), search.CalendarQuery{}); len(c.Hours) != 0 || c.Total != (search.Numbers{}) {
		t.Errorf("an empty store: %+v", c)
	}
	campaign(t, st)
	// Of 100 activations of the model 80 had an AD1, four minutes later.
	b := &evidence.Behaviour{Activations: 100, AD1s: 80}
	b.Came[16] = 80
	s.Learned = func(context.Context) (*evidence.Learning, error) {
		return &evidence.Learning{Until: now.Add(-time.Hour), Models: map[evidence.Model]*evidence.Behaviour{"Landis+Gyr E470": b}}, nil
	}
	s.Recount()
	calendar := func(q search.CalendarQuery) *search.Calendar {
		var c *search.Calendar
		storetest.Eventually(t, "windows are counted", func() bool { c = s.Calendar(t.Context(), q); return !c.At.IsZero() })
		return c
	}
	c := calendar(search.CalendarQuery{})
	hour := func(d time.Duration) time.Time { return now.Truncate(time.Hour).Add(d) }
	if c.Total.Alerts < 0.79+2 || c.Total.Alerts > 0.81+2 {
		t.Errorf("%v AD1s are expected, want 0.8 of meter 5, and one each of 6 and 7", c.Total.Alerts)
	}
	type line struct{ windows, pending, open, over, raised int }
	short := func(n search.Numbers) line { return line{n.Windows, n.Pending, n.Open, n.Over, n.Raised} }
	hours := map[time.Time]line{}
	for _, h := range c.Hours {
		hours[h.From] = short(h.Numbers)
	}
	if want := map[time.Time]line{hour(-5 * time.Hour): {3, 0, 0, 3, 2}, hour(-time.Hour): {1, 0, 1, 0, 0}, hour(2 * time.Hour): {3, 3, 0, 0, 0}}; !maps.Equal(hours, want) {
		t.Errorf("hours: %+v, want %+v", hours, want)
	}
	models := map[string]line{}
	for _, m := range c.Models {
		models[m.Model] = short(m.Numbers)
	}
	if want := map[string]line{"Landis+Gyr E470": {5, 1, 1, 3, 2}, "": {2, 2, 0, 0, 0}}; !maps.Equal(models, want) {
		t.Errorf("models: %+v, want %+v", models, want)
	}
	suppliers := map[outage.DeviceID]line{}
	for _, m := range c.Suppliers {
		suppliers[m.Supplier] = short(m.Numbers)
	}
	if want := map[outage.DeviceID]line{storetest.Supplier: {6, 2, 1, 3, 2}, other: {1, 1, 0, 0, 0}}; !maps.Equal(suppliers, want) {
		t.Errorf("suppliers: %+v, want %+v", suppliers, want)
	}
	if !c.LearnedUntil.Equal(now.Add(-time.Hour)) || c.Unlearned != 2 || c.Merged || !c.At.Equal(now) {
		t.Errorf("%+v", c)
	}
	none := ""
	for _, x := range []struct {
		q       search.CalendarQuery
		windows int
	}{{search.CalendarQuery{Supplier: other}, 1}, {search.CalendarQuery{Model: &none}, 2}, {search.CalendarQuery{Supplier: storetest.Supplier, Model: &none}, 1}, {search.CalendarQuery{Supplier: 7}, 0}} {
		if c := calendar(x.q); c.Total.Windows != x.windows || len(c.Suppliers) > 2 {
			t.Errorf("%+v: %+v", x.q, c)
		}
	}
}

// The bars of a hub, a meter and a supplier.
func TestGantt(t *testing.T) { storetest.EachEngine(t, testGantt) }

func testGantt(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s := newSearch(st)
	campaign(t, st)
	from, to := now.AddDate(0, 0, -1), now.AddDate(0, 0, 30)
	for _, x := range []struct {
		q               search.GanttQuery
		windows, raised int
		more            bool
	}{
		{search.GanttQuery{Hub: storetest.Hub(1), From: from, To: to, Limit: 9}, 1, 1, false},
		{search.GanttQuery{Hub: storetest.Hub(3), From: from, To: to, Limit: 9}, 1, 0, false},
		{search.GanttQuery{Meter: storetest.Meter(2), From: from, To: to, Limit: 9}, 1, 1, false},
		{search.GanttQuery{Hub: storetest.Hub(1), From: now, To: to, Limit: 9}, 0, 0, false},
		{search.GanttQuery{Hub: storetest.Hub(5), From: from, To: now, Limit: 9}, 0, 0, false},
		{search.GanttQuery{Supplier: storetest.Supplier, From: from, To: to, Limit: 9}, 6, 2, false},
		{search.GanttQuery{Supplier: storetest.Supplier, From: from, To: to, Limit: 2}, 4, 2, true},
		{search.GanttQuery{Supplier: storetest.Supplier, From: now, To: to, Limit: 9}, 3, 0, false}, // what is open counts
		{search.GanttQuery{Supplier: other, From: from, To: to, Limit: 9}, 1, 0, false},
	} {
		var g *search.Gantt
		storetest.Eventually(t, "windows are counted", func() bool {
			var err error
			if g, err = s.Gantt(t.Context(), x.q); err != nil {
				t.Fatal(err)
			}
			return x.q.Supplier == 0 || !g.At.IsZero()
		})
		windows, raised := 0, 0
		for i, b := range g.Bars {
			windows, raised = windows+b.Windows, raised+b.Raised
			if b.Start.After(b.End) || i > 0 && g.Bars[i-1].Start.After(b.Start) || !b.InForce || (x.q.Supplier == 0) != (b.Activation != 0) || x.q.Supplier == 0 && (b.Entry != 0) != (b.Raised == 1) {
				t.Errorf("%+v: %+v", x.q, b)
			}
		}
		if windows != x.windows || raised != x.raised || g.More != x.more {
			t.Errorf("%+v: %d windows, %d raised, more %v, want %d, %d, %v", x.q, windows, raised, g.More, x.windows, x.raised, x.more)
		}
	}
	if g, err := s.Gantt(t.Context(), search.GanttQuery{Hub: storetest.Hub(9), From: from, To: to, Limit: 9}); err != nil || len(g.Bars) != 1 || g.Bars[0].InForce {
		t.Errorf("a cancelled window: %+v, %v", g, err)
	}
	for _, q := range []search.GanttQuery{{From: from, To: to}, {Hub: 1, Meter: 2, From: from, To: to}, {Hub: 1, From: to, To: from}} {
		if _, err := s.Gantt(t.Context(), q); !errors.Is(err, search.ErrWhose) {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

// Which meters of an hour raised AD1s, page by page.
func TestCampaign(t *testing.T) { storetest.EachEngine(t, testCampaign) }

func testCampaign(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s := newSearch(st)
	campaign(t, st)
	past, next := now.Truncate(time.Hour).Add(-5*time.Hour), now.Truncate(time.Hour).Add(2*time.Hour)
	for _, x := range []struct {
		hour     time.Time
		which    search.Which
		supplier outage.DeviceID
		want     []int
	}{
		{past, search.All, 0, []int{1, 2, 3}}, {past, search.Raised, 0, []int{1, 2}}, {past, search.Silent, 0, []int{3}},
		{next, search.All, 0, []int{5, 6, 7}}, {next, search.Raised, 0, nil}, {next, "", other, []int{7}}, {past, "", other, nil}, {now.AddDate(0, 0, 9), "", 0, nil},
	} {
		for limit := 1; limit <= 4; limit++ {
			s.SetScanned(int64(limit%3 + 1)) // windows of one query
			var have []int
			q := search.CampaignQuery{From: x.hour, To: x.hour.Add(time.Hour), Which: x.which, Supplier: x.supplier, Limit: limit}
			for pages := 0; ; pages++ {
				c, err := s.Campaign(t.Context(), q)
				if err != nil || pages > 20 || len(c.Windows) > limit {
					t.Fatalf("%+v: %+v, %v", q, c, err)
				}
				for _, w := range c.Windows {
					n := int(w.ESME - storetest.Meter(0))
					have = append(have, n)
					if (w.Entry != 0) != (n <= 2) || (w.Model == "Landis+Gyr E470") != (n <= 5) || w.CHF != storetest.Hub(n) {
						t.Errorf("%+v", w)
					}
				}
				if q.After = c.Next; c.Next == 0 {
					break
				}
			}
			if !reflect.DeepEqual(have, x.want) {
				t.Errorf("%s %s %v, limit %d: %v, want %v", x.hour, x.which, x.supplier, limit, have, x.want)
			}
		}
	}
	s.SetScanned(0)
	if c, err := s.Campaign(t.Context(), search.CampaignQuery{From: past, To: past.Add(time.Hour), Limit: 9}); err != nil || c.Looked != 3 || c.Raised != 2 {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := s.Campaign(t.Context(), search.CampaignQuery{From: past, To: next, Limit: 9, After: 99_999}); !errors.Is(err, search.ErrNoWindow) {
		t.Error(err)
	}
	if _, err := s.Campaign(t.Context(), search.CampaignQuery{From: past, To: past, Limit: 9}); !errors.Is(err, search.ErrQuery) {
		t.Error(err)
	}
}

// What another window and another list would have done.
func TestPreviews(t *testing.T) { storetest.EachEngine(t, testPreviews) }

func testPreviews(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s := newSearch(st)
	if err := storetest.ImportRows(t.Context(), st, storetest.DeviceRow(1, 1)); err != nil {
		t.Fatal(err)
	}
	var list []entry
	for i, x := range []struct {
		meter   int
		days    int
		after   time.Duration
		level   string
		outcome outage.Outcome
	}{
		{1, 40, time.Minute, "strong", outage.Suppressed}, // too old
		{1, 5, 3 * time.Minute, "", outage.Suppressed},
		{1, 5, 10 * time.Minute, "weak", outage.Shadow},
		{2, 5, 10 * time.Minute, "strong", outage.Released},
		{2, 5, 25 * time.Minute, "none", outage.Suppressed},
		{2, 5, 25 * time.Minute, "none", outage.Forwarded}, // went forward
	} {
		e := entry{Entry: outage.Entry{Seq: int64(i + 1), CHF: storetest.Hub(x.meter), ESME: storetest.Meter(x.meter), Received: now.AddDate(0, 0, -x.days), Outcome: x.outcome}, level: x.level}
		e.WindowStart = e.Received.Add(-x.after)
		e.WindowEnd = e.WindowStart.Add(30 * time.Minute)
		list = append(list, e)
	}
	logEntries(t, st, list)
	curve := make([]advice.Trade, 120)
	for m := range curve {
		curve[m].Removed = float64(min(10*(m+1), 100)) // all came within ten minutes
	}
	s.Advice = func(context.Context) (adviser.Windows, error) {
		w := adviser.Windows{BasePerMinute: 0.001}
		w.Models = []advice.Window{{Model: "Landis+Gyr E470", Activations: 200, Alerts: 100, Now: advice.Trade{To: 1800, Removed: 100, Hidden: 6}, Curve: curve}}
		return w, nil
	}
	preview := func(model string, from, to time.Duration) *search.WindowPreview {
		var p *search.WindowPreview
		storetest.Eventually(t, "entries are counted", func() bool {
			var err error
			if p, err = s.PreviewWindow(t.Context(), model, from, to); err != nil {
				t.Fatal(err)
			}
			return !p.At.IsZero()
		})
		return p
	}
	for _, x := range []struct {
		model                 string
		from, to              time.Duration
		suppressed, forwarded search.Entries
		removed, hidden       float64
	}{
		{"", 0, 30 * time.Minute, search.Entries{Entries: 4, Weak: 1, Strong: 1}, search.Entries{}, 100, 6},
		{"", 0, 20 * time.Minute, search.Entries{Entries: 4, Weak: 1, Strong: 1}, search.Entries{Entries: 1}, 100, 4},
		{"", 0, 10 * time.Minute, search.Entries{Entries: 4, Weak: 1, Strong: 1}, search.Entries{Entries: 3, Weak: 1, Strong: 1}, 100, 2},
		{"landis+gyr  E470", 4 * time.Minute, 7*time.Minute + 30*time.Second, search.Entries{Entries: 2, Weak: 1}, search.Entries{Entries: 2, Weak: 1}, 35, 0.7},
		{"Nobody's", 0, time.Minute, search.Entries{}, search.Entries{}, 0, 0},
	} {
		p := preview(x.model, x.from, x.to)
		if p.Suppressed != x.suppressed || p.Forwarded != x.forwarded || !near(p.Window.Removed, x.removed) || !near(p.Window.Hidden, x.hidden) {
			t.Errorf("%q %s to %s: %+v", x.model, x.from, x.to, p)
		}
	}
	for _, x := range [][2]time.Duration{{0, 0}, {-1, 5}, {5, 4}, {0, 121 * time.Minute}} {
		if _, err := s.PreviewWindow(t.Context(), "", x[0], x[1]); !errors.Is(err, search.ErrWindow) {
			t.Errorf("%v: %v", x, err)
		}
	}

	storetest.Script(t, st, fmt.Sprintf(`INSERT INTO untracked (esme, received_at, request_id, form, chf, reason) VALUES (%d, %d, 'a', 'x', 0, 'not-listed'), (%d, %[2]d, 'b', 'x', 0, 'not-listed'),
		(%[1]d, %[2]d, 'c', 'x', 0, 'unknown-device'), (%[1]d, %[4]d, 'd', 'x', 0, 'not-listed')`, int64(storetest.Meter(2)), now.AddDate(0, 0, -2).UnixMicro(), int64(storetest.Meter(3)), now.AddDate(0, 0, -31).UnixMicro()))
	var in search.PreviewList
	if err := devices.ReadList(strings.NewReader(storetest.Meter(2).String()+"\n"+storetest.Meter(2).String()), in.Add); err != nil {
		t.Fatal(err)
	}
	p, err := s.PreviewList(t.Context(), &in)
	want := search.ListPreview{From: now.AddDate(0, 0, -30), To: now, Devices: 1, Suppressed: search.Entries{Entries: 4, Weak: 1, Strong: 1}, Forwarded: search.Entries{Entries: 2, Weak: 1}, NotListed: 2, Listed: 1}
	if err != nil || !reflect.DeepEqual(*p, want) {
		t.Errorf("%+v, want %+v (%v)", p, want, err)
	}
}

// TestPreviewFails: a preview that cannot be made says why. It is not said any more once it can.
func TestPreviewFails(t *testing.T) {
	s := newSearch(storetest.Open(t, t.TempDir()))
	away := errors.New("the store is away")
	var err error
	s.Advice = func(context.Context) (adviser.Windows, error) { return adviser.Windows{}, err }
	preview := func() error {
		_, err := s.PreviewWindow(t.Context(), "", 0, time.Minute)
		return err
	}
	err = away
	storetest.Eventually(t, "it says why", func() bool { return errors.Is(preview(), away) })
	err = nil
	s.AdviceDue()
	if err := preview(); err != nil {
		t.Error(err)
	}
}

func near(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 }

// Imports are kept with what they changed, also after the next import.
func TestHistory(t *testing.T) { storetest.EachEngine(t, testHistory) }

func testHistory(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s := newSearch(st)
	s.InForce = func() search.Settings { return search.Settings{Switch: outage.SwitchShadow, Nodes: []cluster.Node{}} }
	s.Others = func(list, inventory devices.Import) string { return fmt.Sprint(list.No, inventory.No) }
	if x, err := s.Settings(t.Context()); err != nil || len(x.DeviceLists) != 0 || len(x.SwitchHistory) != 0 || x.OtherManufacturers != "0 0" {
		t.Errorf("an empty store: %+v, %v", x, err)
	}
	list := func(from, to int) devices.File {
		var b strings.Builder
		for n := from; n < to; n++ {
			fmt.Fprintln(&b, storetest.Meter(n))
		}
		return devices.File{Name: fmt.Sprint("list", from), Reader: strings.NewReader(b.String())}
	}
	for i, f := range []devices.File{list(0, 300), list(10, 301), list(0, 2)} {
		var checks []devices.Check
		if i == 1 {
			checks = append(checks, devices.RefuseShrinking)
		}
		if _, err := st.Devices.ImportList(t.Context(), "a", now.Add(time.Duration(i)*time.Minute), f, checks...); err != nil {
			t.Fatal(err)
		}
	}
	if err := storetest.ImportRows(t.Context(), st, storetest.DeviceRow(1, 1)); err != nil {
		t.Fatal(err)
	}
	have, err := s.Imports(t.Context(), "devices", 0, 10)
	if err != nil || len(have) != 3 || !have[0].InForce || have[1].InForce || have[1].Source != "list10" {
		t.Fatalf("%+v, %v", have, err)
	}
	var removed []outage.DeviceID
	for n := range 10 {
		removed = append(removed, storetest.Meter(n))
	}
	if want := (&devices.Change{Before: 300, After: 291, Added: 1, Removed: 10, Additions: []outage.DeviceID{storetest.Meter(300)}, Removals: removed}); !reflect.DeepEqual(have[1].Change, want) {
		t.Errorf("%+v, want %+v", have[1].Change, want)
	}
	if c := have[0].Change; c.Before != 291 || c.After != 2 || c.Added != 2 || c.Removed != 291 || len(c.Removals) != 200 {
		t.Errorf("without a check: %+v", c)
	}
	if page, err := s.History(t.Context(), "devices", 0, 2); err != nil || page.Next != have[1].No {
		t.Errorf("%+v, %v", page, err)
	} else if page, err = s.History(t.Context(), "devices", page.Next, 2); err != nil || len(page.Imports) != 1 || page.Next != 0 || page.Imports[0].InForce {
		t.Errorf("%+v, %v", page, err)
	}
	for i := range 3 {
		if _, err := st.Ledger.SetSwitch(t.Context(), []outage.Switch{outage.SwitchOff, outage.SwitchOn, outage.SwitchShadow}[i], "a", fmt.Sprint("why ", i), now.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	h, err := s.SwitchHistory(t.Context(), 0, 2)
	if err != nil || h.Switch != outage.SwitchShadow || len(h.Changes) != 2 || h.Changes[0].Why != "why 2" || h.Next != h.Changes[1].ID {
		t.Errorf("%+v, %v", h, err)
	}
	if h, err = s.SwitchHistory(t.Context(), h.Next, 9); err != nil || len(h.Changes) == 0 || h.Changes[0].Why != "why 0" || h.Next != 0 {
		t.Errorf("%+v, %v", h, err)
	}
	x, err := s.Settings(t.Context())
	if err != nil || len(x.DeviceLists) != 3 || len(x.Inventories) != 1 || x.Inventories[0].Change != nil || len(x.SwitchHistory) < 3 || x.OtherManufacturers != fmt.Sprint(have[0].No, x.Inventories[0].No) {
		t.Errorf("%+v, %v", x, err)
	}
}
