package main

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// town is what rows 1 to 3 share: the candidates, which run side by side, and a quell
// with an open window for each of windows hubs.
type town struct {
	quell      *node
	lua        *candidate
	candidates []*candidate // in the order of the tables
	windows    int
	signer     *signer
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
	if t.signer, err = newSigner(); err != nil {
		return nil, err
	}
	haproxy, err := h.haproxy()
	if err != nil {
		return nil, err
	}
	nginx, err := h.plainNginx(false)
	if err != nil {
		return nil, err
	}
	if t.lua, err = h.luaNginx(t.windows); err != nil {
		return nil, err
	}
	reverse, err := h.reverseProxy()
	if err != nil {
		return nil, err
	}
	if t.quell, err = h.startNode(setup{name: "quell", devices: t.windows}); err != nil {
		return nil, err
	}
	t.candidates = []*candidate{haproxy, nginx, t.lua, reverse, &t.quell.candidate}
	began := time.Now()
	if err := h.openWindows(t.quell, 0, t.windows); err != nil {
		return nil, err
	}
	fmt.Printf("%s windows were opened in %v\n", thousands(int64(t.windows)), time.Since(began).Round(time.Millisecond))
	if err := t.check(h); err != nil {
		return nil, err
	}
	h.town = t
	return t, nil
}

// check makes sure that each candidate does what it is measured for.
func (t *town) check(h *harness) error {
	open, none := powerOutage(0, 1), powerOutage(elsewhere, 1)
	for _, c := range t.candidates {
		for _, m := range []*message{open, none, deviceAlert(700)} {
			status, decision, err := verdict(c, m.at(h.numbers(1)), http.DefaultClient)
			if err != nil || status != http.StatusOK {
				return fmt.Errorf("%s answers %d: %w: %s", c.name, status, err, c.tail())
			}
			if want := map[bool]string{true: "suppressed", false: "forwarded"}[m == open]; c.name == "quell" && decision != want {
				return fmt.Errorf("quell says %q, want %q", decision, want)
			}
		}
	}
	// The one with Lua answers itself, without the body that the next hop sends.
	for m, want := range map[*message]int64{open: 0, none: int64(len("taken"))} {
		resp, err := http.Post(t.lua.url(), "application/xml", strings.NewReader(string(m.at(h.numbers(1)))))
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
	ad1 := powerOutage(elsewhere, 1_000_000)
	signed, err := t.signer.sign(ad1)
	if err != nil {
		return err
	}
	kinds := []*message{ad1, signed, deviceAlert(700)}
	micros := make([]map[string]sample, len(kinds))
	var bytes, objects [3]sample
	for k := range kinds {
		micros[k] = map[string]sample{}
	}
	for round := range h.rounds + 1 {
		for k, m := range kinds {
			for _, c := range t.candidates {
				isQuell := c == &t.quell.candidate
				if h.quick && (k == 2 || k == 1 && !isQuell && c != t.lua) {
					continue
				}
				d := h.each
				if round == 0 { // to warm up
					d = time.Second
				}
				var b0, o0, b1, o1 float64
				if isQuell {
					if b0, o0, err = t.quell.allocated(); err != nil {
						return err
					}
				}
				us, n, err := h.measure(c, m, d)
				if err != nil {
					return err
				}
				if isQuell {
					if b1, o1, err = t.quell.allocated(); err != nil {
						return err
					}
				}
				if round == 0 {
					continue
				}
				micros[k][c.name] = append(micros[k][c.name], us)
				if isQuell {
					bytes[k] = append(bytes[k], (b1-b0)/float64(n))
					objects[k] = append(objects[k], (o1-o0)/float64(n))
				}
			}
		}
	}
	lines := [][]string{{"µs of processor time for each message", "AD1, " + thousands(int64(ad1.size())) + " bytes", "AD1 signed, " + thousands(int64(signed.size())) + " bytes", "device alert, 700 bytes"}}
	for _, c := range t.candidates {
		lines = append(lines, []string{c.name, micros[0][c.name].String(), micros[1][c.name].String(), micros[2][c.name].String()})
	}
	ratios := make([]sample, len(kinds))
	line := []string{"**quell against nginx + Lua**"}
	for k := range kinds {
		ratios[k] = micros[k]["quell"].over(micros[k][t.lua.name])
		line = append(line, ratios[k].String())
	}
	lines = append(lines, line,
		[]string{"bytes that quell allocates", bytes[0].String(), bytes[1].String(), bytes[2].String()},
		[]string{"allocations of quell", objects[0].String(), objects[1].String(), objects[2].String()})
	text := table(lines...)
	fmt.Print(text)
	h.doc.set("passed", text)
	for k, kind := range []struct {
		key, what      string
		bytes, objects float64
	}{{"1", "processor time per passed AD1", 100, 3}, {"1, signed", "the same, signed", 400, 8}} {
		r := ratios[k].median()
		h.doc.aim(aim{kind.key, kind.what, "nginx + Lua, the same check", "at most 1.4 times, then 1.0", ratios[k].String(), r <= 1.4})
		h.doc.aim(aim{kind.key + ", memory", "allocated for it", "–", fmt.Sprintf("at most %.0f bytes and %.0f allocations", kind.bytes, kind.objects),
			bytes[k].String() + " bytes, " + objects[k].String(), bytes[k].median() <= kind.bytes && objects[k].median() <= kind.objects})
	}
	h.passedAD1 = micros[0]["quell"]
	if h.quick && h.profile == "" {
		return nil
	}
	text, err = h.where(&t.quell.candidate, h.profile, "passed", ad1, h.passedAD1)
	if err != nil {
		return err
	}
	fmt.Print(text)
	h.doc.set("where", text)
	if h.quick {
		return nil
	}
	return h.sizes(t)
}

// sizes measures the cost against the size of the message, and draws it.
func (h *harness) sizes(t *town) error {
	sizes := []int{700, 1_700, 4_000, 8_000, 16_000, 64_000}
	micros := map[string][]sample{}
	for range h.rounds {
		for i, size := range sizes {
			m := deviceAlert(size)
			for _, c := range t.candidates {
				us, _, err := h.measure(c, m, max(time.Second, h.each/2))
				if err != nil {
					return err
				}
				if micros[c.name] == nil {
					micros[c.name] = make([]sample, len(sizes))
				}
				micros[c.name][i] = append(micros[c.name][i], us)
			}
		}
	}
	head := []string{"µs for a device alert of"}
	for _, size := range sizes {
		head = append(head, thousands(int64(size))+" bytes")
	}
	lines := [][]string{head}
	var curves []curve
	for _, c := range t.candidates {
		line, points := []string{c.name}, curve{name: c.name}
		for i, size := range sizes {
			line = append(line, micros[c.name][i].String())
			points.points = append(points.points, [2]float64{float64(size), micros[c.name][i].median()})
		}
		lines, curves = append(lines, line), append(curves, points)
	}
	text := table(lines...)
	fmt.Print(text)
	h.doc.set("sizes", text)
	h.svg = drawing(curves)
	return nil
}
