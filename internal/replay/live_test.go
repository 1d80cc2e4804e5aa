package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"quell/internal/duis"
	"quell/internal/gateway"
	"quell/internal/outage"
)

// TestLive: suppliers and hubs send a short campaign through real listeners, many at once, while
// quell records. A replay makes the same decision on each message. The senders say what was
// decided: Quell-Decision, or that the next hop got the alert. The windows of one model end while
// they send; those of the other do not, however slow the machine is.
func TestLive(t *testing.T) {
	const homes = 200
	l := newLive(t)
	l.Now = time.Now
	short := rules
	short.Window = 700 * time.Millisecond
	short.Spans = outage.Spans{outage.ModelKey("Landis+Gyr E360"): {To: 10 * time.Minute}}
	l.SetRules(short)
	l.now = time.Now()
	l.setSwitch(t, outage.SwitchOn)
	l.importTown(t, homes)
	urls := l.listen(t)
	var mu sync.Mutex // guards told
	told := map[string]outage.Outcome{}
	// What is decided about one hub at the same instant may be replayed the other way round: so
	// the messages about a hub come one after the other.
	hubs := make([]sync.Mutex, homes/2)
	send := func(d outage.Direction, home int, document []byte) string {
		hubs[home/2].Lock()
		defer hubs[home/2].Unlock()
		resp, err := http.Post(urls[d], "application/xml", bytes.NewReader(document))
		if err != nil {
			t.Error(err)
			return ""
		}
		defer resp.Body.Close()
		io.Copy(io.Discard, resp.Body)
		if err := l.st.DB.Ping(t.Context()); err != nil { // nobody waits for a failure
			t.Error(err)
		}
		return resp.Header.Get("Quell-Decision")
	}
	var wg sync.WaitGroup
	for home := range homes {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(home), 5))
			sleep := func(most int) { time.Sleep(time.Duration(rnd.IntN(most)) * time.Millisecond) }
			sleep(300)
			id := outage.RequestID{Originator: supplier, Target: meterOf(home), Counter: 1}
			for i, form := range []outage.Form{outage.ServiceRequest, outage.SignedPreCommand} {
				id.Counter += uint64(i)
				send(outage.South, home, message(id, form, outage.Order{Kind: outage.OnDemand}))
				sleep(60)
			}
			if home%9 == 0 {
				send(outage.North, home, duis.AppendAnswer(nil, id, time.Now(), "E20"))
			}
			for n := range 6 {
				alert := outage.RequestID{Originator: hubOf(home / 2), Target: supplier, Counter: uint64(home*100 + n)}
				document := duis.AppendPowerOutage(nil, alert, time.Now(), duis.PowerOutage{CHF: hubOf(home / 2), Start: time.Now().Add(-time.Minute).Truncate(time.Second), MPxN: mpan(home)})
				said := send(outage.North, home, document)
				mu.Lock()
				told[alert.String()] = outage.Outcome(strings.TrimSpace(strings.Split(said, ";")[0]))
				mu.Unlock()
				if rnd.IntN(4) == 0 {
					send(outage.North, home, document) // a retry
				}
				sleep(400)
			}
		})
	}
	wg.Wait()
	l.end(t)
	n, differ := 0, []string(nil)
	result, err := Run(t.Context(), files(t, l.dir), Options{Alert: func(a *Alert) error {
		n++
		if a.Now != a.Then || told[a.ID] != a.Now.Outcome {
			differ = append(differ, fmt.Sprintf("%s: %v, was %v, its sender heard %q", a.ID, a.Now, a.Then, told[a.ID]))
		}
		return nil
	}})
	if err != nil || n < homes*6 || result.Alerts.Suppressed < 100 || result.Alerts.Forwarded < 100 || result.Requests != 2*homes || result.RequestChanges > 0 {
		t.Errorf("%v, %d alerts: %+v", err, n, result)
	}
	if len(differ) > 0 {
		t.Errorf("%d of %d differ:\n%s", len(differ), n, strings.Join(differ, "\n"))
	}
	for _, home := range []int{0, 1, 77} {
		for _, s := range files(t, l.dir) {
			f, err := s.Open()
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(f)
			f.Close()
			if err != nil || bytes.Contains(text, []byte(mpan(home))) {
				t.Errorf("%v, an MPxN is in %s", err, s.Name)
			}
		}
	}
}

// listen starts the listeners of a quell, and a next hop that refuses the 11.3s of some meters. It
// returns their addresses.
func (l *live) listen(t *testing.T) map[outage.Direction]string {
	hop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		m, err := duis.Read(body)
		if err == nil && m.Root == duis.RootRequest {
			code := "I99"
			if m.RequestID.Target%10 == 3 {
				code = "E4"
			}
			w.Header().Set("Content-Type", "application/xml")
			w.Write(duis.AppendAnswer(nil, m.RequestID, l.Now(), code))
		}
	}))
	t.Cleanup(hop.Close)
	u, err := url.Parse(hop.URL)
	if err != nil {
		t.Fatal(err)
	}
	g := gateway.New(l.Motorway, slog.New(slog.DiscardHandler), gateway.Limits{})
	g.SetNextHops(u, u)
	urls := map[outage.Direction]string{}
	for d, h := range map[outage.Direction]http.Handler{outage.South: g.Southbound(), outage.North: g.Northbound()} {
		front, err := g.Listen(string(d), "127.0.0.1:0", h)
		if err != nil {
			t.Fatal(err)
		}
		go front.Serve()
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			front.Shutdown(ctx)
		})
		urls[d] = front.URL
	}
	return urls
}

// The same recordings give the same result, to the byte, in whatever order they are named.
func TestSameToTheByte(t *testing.T) {
	var list []Source
	for i := range 3 {
		list = append(list, memoryFile(fmt.Sprint("file", i), night(t, fmt.Sprint("run", i), 60*(i+1))))
	}
	render := func(list []Source, o Options) string {
		var text bytes.Buffer
		table := NewTable(&text)
		o.Alert = table.Add
		r, err := Run(t.Context(), list, o)
		if err != nil {
			t.Fatal(err)
		}
		if err := firstError(table.Flush(), r.WriteText(&text), r.WriteSVG(&text)); err != nil {
			t.Fatal(err)
		}
		return text.String()
	}
	first := render(list, Options{})
	for range 5 {
		if again := render([]Source{list[2], list[0], list[1]}, Options{}); again != first {
			t.Fatal("another result")
		}
	}
	if other := render(list, Options{Window: 5 * time.Minute}); other == first || !strings.Contains(other, "suppressed window-open → forwarded window-over") {
		t.Error("a shorter window changes nothing")
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// What other settings would have done.
func TestOptions(t *testing.T) {
	source := []Source{memoryFile("night", night(t, "1", 200))}
	run := func(o Options) *Result {
		r, err := Run(t.Context(), source, o)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	all := Counts{100, 200}
	none := Counts{0, 300}
	empty := map[outage.DeviceID]*outage.Device{}
	moved := map[outage.DeviceID]*outage.Device{}
	for i := range 100 {
		moved[meterOf(i)] = &outage.Device{ID: meterOf(i), Type: "ESME", SMETSVersion: "SMETS2", Manufacturer: "Landis+Gyr", Model: "E470", CHF: hubOf(200 + i), Supplier: supplier}
	}
	list := map[outage.DeviceID]bool{}
	for i := range 30 {
		list[meterOf(i)] = true
	}
	for _, c := range []struct {
		name string
		o    Options
		want Counts
	}{
		{"as then", Options{}, all},
		{"a short window", Options{Window: time.Minute}, none},
		{"switched off", Options{Switch: outage.SwitchOff}, none},
		{"shadow", Options{Switch: outage.SwitchShadow}, all},
		{"another list", Options{List: list}, Counts{30, 270}},
		{"an empty list", Options{List: map[outage.DeviceID]bool{}}, none},
		{"an empty inventory", Options{Inventory: empty}, none},
		{"all", Options{From: t0.Add(-time.Hour), To: t0.Add(24 * time.Hour)}, all},
		{"nothing", Options{From: t0.Add(24 * time.Hour)}, Counts{}},
		{"nothing either", Options{To: t0}, Counts{}},
	} {
		if r := run(c.o); r.Alerts != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, r.Alerts, c.want)
		}
	}
	// The inventory says that the meters are on the hubs of others.
	if r := run(Options{Inventory: moved}); r.Alerts.Suppressed == 0 || r.Alerts.Suppressed > 60 || r.Models["Landis+Gyr E470"] == nil {
		t.Errorf("other hubs: %+v, %v", r.Alerts, r.Models)
	}
	// What was recorded before From may open windows.
	middle := t0.Add(3 * time.Hour)
	before, after := run(Options{To: middle}), run(Options{From: middle})
	if before.Alerts.Suppressed+after.Alerts.Suppressed != all.Suppressed || before.Alerts.Forwarded+after.Alerts.Forwarded != all.Forwarded || after.Alerts.Suppressed == 0 {
		t.Errorf("%+v and %+v", before.Alerts, after.Alerts)
	}
	r := run(Options{})
	if len(r.Distributors) < 2 || r.Distributors["unknown"] != nil || r.RequestReasons[outage.ReasonTracked] != 200 || len(r.Changes) != 0 {
		t.Errorf("%v, %v", r.Distributors, r.RequestReasons)
	}
	if r := run(Options{List: list}); r.Changes[Change{outage.Decision{Outcome: outage.Suppressed, Reason: outage.ReasonWindowOpen}, outage.Decision{Outcome: outage.Forwarded, Reason: outage.ReasonNoWindow}}] != 70 {
		t.Errorf("%v", r.Changes)
	}
}

// Of two meters on a hub the table names always the same, also if the inventory writes the type of a meter
// otherwise.
func TestTwoMetersOnHub(t *testing.T) {
	source := []Source{memoryFile("night", night(t, "1", 200))}
	inventory := map[outage.DeviceID]*outage.Device{}
	for i := range 400 {
		for k, model := range []string{"E470", "E360"} {
			id := meterOf(i + 1000*k)
			inventory[id] = &outage.Device{ID: id, Type: []string{"ESME", " esme"}[i%2], SMETSVersion: "SMETS2", Manufacturer: "Landis+Gyr", Model: model, CHF: hubOf(i), Supplier: supplier}
		}
	}
	for range 3 {
		r, err := Run(t.Context(), source, Options{Inventory: inventory})
		if err != nil || r.Alerts.Suppressed != 100 || len(r.Models) != 1 || r.Models["Landis+Gyr E360"] == nil {
			t.Fatalf("%v, %+v, %v", err, r.Alerts, r.Models)
		}
	}
}

// A file that is cut off, of two, counts as far as it goes. One that is damaged is an error.
func TestCutOff(t *testing.T) {
	text := night(t, "1", 2000)
	whole, err := Run(t.Context(), []Source{memoryFile("a", text)}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := Run(t.Context(), []Source{memoryFile("a", text[:len(text)-10]), memoryFile("b", night(t, "2", 20))}, Options{})
	if err != nil || len(r.Cut) != 1 || !strings.HasPrefix(r.Cut[0].Error(), "a: line ") || r.Alerts.Forwarded < whole.Alerts.Forwarded/2 {
		t.Errorf("%v, %+v", err, r)
	}
	damaged := bytes.Clone(text)
	damaged[len(damaged)/2] ^= 1
	if _, err := Run(t.Context(), []Source{memoryFile("a", damaged)}, Options{}); err == nil || !strings.HasPrefix(err.Error(), "a: line ") {
		t.Error(err)
	}
	for _, text := range []string{"", "{}\n", `{"kind":"heard","at":1,"device":"00-DB-12-34-56-78-90-00"}` + "\n", `{"kind":"settings","at":1,"run":"1","rules":[]}` + "\n"} {
		if _, err := Run(t.Context(), []Source{memoryFile("a", []byte(text))}, Options{}); err == nil {
			t.Errorf("no error for %q", text)
		}
	}
}

// Two nodes recorded: a window of one holds for alerts at the other.
func TestNodes(t *testing.T) {
	lines := decode(t, night(t, "1", 100))
	var a, b []byte
	for i, l := range lines {
		switch {
		case i == 0:
			a = l.Append(a)
			l.Run = "2"
			b = l.Append(b)
		case l.Kind == "northbound":
			b = l.Append(b)
		default:
			a = l.Append(a)
		}
	}
	r, err := Run(t.Context(), []Source{memoryFile("a", a), memoryFile("b", b)}, Options{})
	if err != nil || (r.Alerts != Counts{50, 100}) || len(r.Changes) > 0 {
		t.Errorf("%v, %+v", err, r)
	}
	var settings json.RawMessage = lines[0].Rules
	if !strings.Contains(string(settings), "StoreTimeout") {
		t.Errorf("%s", settings)
	}
}
