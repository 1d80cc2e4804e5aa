package main

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"quell/bench/load"
	"quell/bench/page"
	"quell/bench/rig"
)

// town is what rows 1 to 3 share: the candidates, which run side by side, and a quell
// with an open window for each of windows hubs.
type town struct {
	quell      *rig.Node
	lua        *rig.Candidate
	candidates []*rig.Candidate // in the order of the tables
	windows    int
	signer     *load.Signer
}

// theTown returns the town, and builds it at the first call.
func (h *harness) theTown() (*town, error) {
	if h.town != nil {
		return h.town, nil
	}
	t := &town{windows: 100_000}
	if h.quick {
		t.windows = 10_000
	}
	var err error
	if t.signer, err = load.NewSigner(); err != nil {
		return nil, err
	}
	haproxy, err := h.HAProxy()
	if err != nil {
		return nil, err
	}
	nginx, err := h.PlainNginx(false)
	if err != nil {
		return nil, err
	}
	if t.lua, err = h.LuaNginx(t.windows); err != nil {
		return nil, err
	}
	reverse, err := h.ReverseProxy()
	if err != nil {
		return nil, err
	}
	if t.quell, err = h.StartNode(rig.Setup{Name: "quell", Devices: t.windows}); err != nil {
		return nil, err
	}
	t.candidates = []*rig.Candidate{haproxy, nginx, t.lua, reverse, &t.quell.Candidate}
	began := time.Now()
	if err := h.OpenWindows(t.quell, 0, t.windows); err != nil {
		return nil, err
	}
	fmt.Printf("%s windows were opened in %v\n", page.Thousands(int64(t.windows)), time.Since(began).Round(time.Millisecond))
	if err := t.check(h); err != nil {
		return nil, err
	}
	h.town = t
	return t, nil
}

// check makes sure that each candidate does what it is measured for.
func (t *town) check(h *harness) error {
	open, none := load.PowerOutage(0, 1), load.PowerOutage(load.Elsewhere, 1)
	for _, c := range t.candidates {
		for _, m := range []*load.Message{open, none, load.DeviceAlert(700)} {
			decision, reason, err := rig.Verdict(c, m.At(h.Numbers(1)), http.DefaultClient)
			if err != nil {
				return err
			}
			if want := map[bool]string{true: "suppressed", false: "forwarded"}[m == open]; c.Name == "quell" && decision != want {
				return fmt.Errorf("quell says %s (%s), want %s", decision, reason, want)
			}
		}
	}
	// The one with Lua answers itself, without the body that the next hop sends.
	for m, want := range map[*load.Message]int64{open: 0, none: int64(len("taken"))} {
		resp, err := http.Post(t.lua.URL(), "application/xml", strings.NewReader(string(m.At(h.Numbers(1)))))
		if err != nil {
			return err
		}
		resp.Body.Close()
		if (resp.ContentLength == int64(len("taken"))) != (want > 0) {
			return fmt.Errorf("nginx with Lua answers with %d bytes, want %d", resp.ContentLength, want)
		}
	}
	return nil
}

// passed is row 1.
func (h *harness) passed() error {
	t, err := h.theTown()
	if err != nil {
		return err
	}
	ad1 := load.PowerOutage(load.Elsewhere, 1_000_000)
	signed, err := t.signer.Sign(ad1)
	if err != nil {
		return err
	}
	kinds := []*load.Message{ad1, signed, load.DeviceAlert(700)}
	micros := make([]map[string]page.Sample, len(kinds))
	var bytes, objects [3]page.Sample
	for k := range kinds {
		micros[k] = map[string]page.Sample{}
	}
	for round := range h.rounds + 1 {
		for k, m := range kinds {
			for _, c := range t.candidates {
				isQuell := c == &t.quell.Candidate
				if h.quick && (k == 2 || k == 1 && !isQuell && c != t.lua) {
					continue
				}
				d := h.each
				if round == 0 { // to warm up
					d = time.Second
				}
				b0, o0, err := t.quell.Allocated()
				if err != nil {
					return err
				}
				us, n, err := h.Measure(c, m, d)
				if err != nil {
					return err
				}
				b1, o1, err := t.quell.Allocated()
				if err != nil {
					return err
				}
				if round == 0 {
					continue
				}
				micros[k][c.Name] = append(micros[k][c.Name], us)
				if isQuell {
					bytes[k] = append(bytes[k], (b1-b0)/float64(n))
					objects[k] = append(objects[k], (o1-o0)/float64(n))
				}
			}
		}
	}
	lines := [][]string{{"µs of processor time for each message", "AD1, " + page.Thousands(int64(ad1.Size())) + " bytes", "AD1 signed, " + page.Thousands(int64(signed.Size())) + " bytes", "device alert, 700 bytes"}}
	for _, c := range t.candidates {
		lines = append(lines, []string{c.Name, micros[0][c.Name].String(), micros[1][c.Name].String(), micros[2][c.Name].String()})
	}
	ratios := make([]page.Sample, len(kinds))
	line := []string{"**quell against nginx + Lua**"}
	for k := range kinds {
		ratios[k] = micros[k]["quell"].Over(micros[k][t.lua.Name])
		line = append(line, ratios[k].String())
	}
	lines = append(lines, line,
		[]string{"bytes that quell allocates", bytes[0].String(), bytes[1].String(), bytes[2].String()},
		[]string{"allocations of quell", objects[0].String(), objects[1].String(), objects[2].String()})
	text := page.Table(lines...)
	fmt.Print(text)
	h.set("passed", text)
	for k, kind := range []struct {
		key, what      string
		bytes, objects float64
	}{{"1", "processor time per passed AD1", 100, 3}, {"1, signed", "the same, signed", 400, 8}} {
		r := ratios[k].Median()
		h.doc.Aim(kind.key, kind.what, "nginx + Lua, the same check", "at most 1.4 times, then 1.0", ratios[k].String(), r <= 1.4)
		h.doc.Aim(kind.key+", memory", "allocated for it", "–", fmt.Sprintf("at most %.0f bytes and %.0f allocations", kind.bytes, kind.objects),
			bytes[k].String()+" bytes, "+objects[k].String(), bytes[k].Median() <= kind.bytes && objects[k].Median() <= kind.objects)
	}
	h.passedAD1 = micros[0]["quell"]
	if h.quick && h.profile == "" {
		return nil
	}
	text, err = h.Where(&t.quell.Candidate, h.profile, "passed", ad1, h.passedAD1)
	if err != nil {
		return err
	}
	fmt.Print(text)
	h.set("where", text)
	if h.quick {
		return nil
	}
	return h.sizes(t)
}

// sizes measures the cost against the size of the message, and draws it.
func (h *harness) sizes(t *town) error {
	sizes := []int{700, 1_700, 4_000, 8_000, 16_000, 64_000}
	micros := map[string][]page.Sample{}
	for range h.rounds {
		for i, size := range sizes {
			m := load.DeviceAlert(size)
			for _, c := range t.candidates {
				us, _, err := h.Measure(c, m, max(time.Second, h.each/2))
				if err != nil {
					return err
				}
				if micros[c.Name] == nil {
					micros[c.Name] = make([]page.Sample, len(sizes))
				}
				micros[c.Name][i] = append(micros[c.Name][i], us)
			}
		}
	}
	head := []string{"µs for a device alert of"}
	for _, size := range sizes {
		head = append(head, page.Thousands(int64(size))+" bytes")
	}
	lines := [][]string{head}
	var curves []page.Curve
	for _, c := range t.candidates {
		line, points := []string{c.Name}, page.Curve{Name: c.Name}
		for i, size := range sizes {
			line = append(line, micros[c.Name][i].String())
			points.Points = append(points.Points, [2]float64{float64(size), micros[c.Name][i].Median()})
		}
		lines, curves = append(lines, line), append(curves, points)
	}
	text := page.Table(lines...)
	fmt.Print(text)
	h.set("sizes", text)
	h.svg = page.Drawing(curves)
	return nil
}
