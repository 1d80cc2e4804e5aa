package web

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"quell/internal/console"
	"quell/internal/outage"
	"quell/internal/role"
	"quell/internal/search"
	"quell/internal/sqldb"
)

// suppress puts AD1s of the open window of filled into the log.
func suppress(t *testing.T, c *console.Console, n int, alertID string) {
	t.Helper()
	for i := range n {
		a := outage.Alert{ID: fmt.Sprint(alertID, i), Code: "AD1", CHF: hub, MPxN: supplyPoint, OutageStart: t0.Add(time.Duration(i) * time.Second), Received: t0.Add(time.Duration(i) * time.Second)}
		if d, err := c.Ledger.Decide(t.Context(), a, outage.Suppressed, 0); err != nil || d.Outcome != outage.Suppressed {
			t.Fatal(d, err)
		}
	}
}

// entriesOf returns the numbers of the entries that a page of the log lists.
func entriesOf(page string) (list []string) {
	for _, m := range regexp.MustCompile(`<th scope="row" data-label="Entry"><a href="/explain/entry/(\d+)">`).FindAllStringSubmatch(page, -1) {
		list = append(list, m[1])
	}
	return list
}

// TestLogFilter: the fields of the form are the conditions of the search, however an id is typed,
// and the page shows what was asked for.
func TestLogFilter(t *testing.T) {
	c, _ := filled(t)
	suppress(t, c, 2, "b")
	for query, want := range map[string]int{
		"": 3, "from=&to=&distributor=&hub=&meter=&outcome=&evidence=": 3,
		"hub=" + hub.String(): 3, "hub=887384570 02f961e": -1, "hub=88738457002f961e": 3, "hub=+88-73-84-57-00-2f-96-1e+": 3, "hub=88:73:84:57:00:2F:96:1E": 3, "hub=" + meter.String(): 0,
		"meter=00db1234567890a0": 3, "meter=" + hub.String(): 0, "distributor=12": 3, "distributor=10": 0, "distributor=unknown": 0,
		"outcome=suppressed": 3, "outcome=shadow": 0, "evidence=none": 3, "evidence=strong": 0,
		"from=2026-03-01": 3, "from=2026-03-02": 0, "to=2026-03-01+10:00": 0, "to=2026-03-01T10:00:01Z": 2, "from=2026-03-01+10:00:01+UTC": 1, "from=2026-03-01T10:00&to=2026-03-01T10:01": 3,
		"before=2": 1, "after=2": 1,
	} {
		w := ask(c, here, "", "GET", "/log?"+strings.ReplaceAll(query, " ", "%20"), nil)
		if have := entriesOf(w.Body.String()); want >= 0 && (w.Code != 200 || len(have) != want) || want < 0 && w.Code != 400 {
			t.Errorf("%q: %d, entries %q, want %d", query, w.Code, have, want)
		}
		checked(t, query, w)
		values, _ := url.ParseQuery(query)
		for name, v := range values {
			if text := strings.TrimSpace(v[0]); text != "" && name != "before" && name != "after" && !strings.Contains(w.Body.String(), `value="`+strings.ReplaceAll(text, "+", " ")+`"`) &&
				!strings.Contains(w.Body.String(), "<option selected>"+text+"<") {
				t.Errorf("%q: the form does not have %s=%q", query, name, text)
			}
		}
	}
}

// TestWrongInput: what cannot be read gets a sentence at its field, which names no other field, and
// is shown as it was typed.
func TestWrongInput(t *testing.T) {
	c, _ := filled(t)
	const hostile = `"><script>alert(1)</script>`
	for _, path := range []string{"/log?hub=", "/log?meter=", "/log?from=", "/log?to=", "/log?distributor=", "/log?outcome=", "/log?evidence=",
		"/activations/windows?id=", "/activations/windows?of=", "/activations/windows?from=", "/activations/meters?supplier=", "/activations/meters?from=", "/activations/meters?to=", "/activations/meters?which="} {
		name := regexp.MustCompile(`\?(\w+)=`).FindStringSubmatch(path)[1]
		for _, wrong := range []string{"x", hostile, "12000233059679", "00-00-00-00-00-00-00-00", "2026-13-01", "\xff"} {
			w := ask(c, here, "", "GET", path+url.QueryEscape(wrong), nil)
			page := w.Body.String()
			if w.Code != 400 || strings.Count(page, `class="fault"`) != 1 || !strings.Contains(page, `aria-invalid="true" aria-describedby="`+name+`-fault"`) || strings.Contains(page, "<script>") {
				t.Errorf("%s%s: %d %s", path, wrong, w.Code, text(w))
			}
			checked(t, path+wrong, w)
		}
	}
	for _, path := range []string{"/log?from=2026-03-02&to=2026-03-01", "/activations/windows?from=2026-03-02&to=2026-03-02", "/activations/windows?from=2126-03-02", "/activations/meters?from=2026-03-02&to=2026-03-01"} {
		if w := ask(c, here, "", "GET", path, nil); w.Code != 400 || !strings.Contains(text(w), "This must be after the first time.") {
			t.Errorf("%s: %d %s", path, w.Code, text(w))
		}
	}
	// The links to a time keep the other conditions, but not the times.
	w := ask(c, here, "", "GET", "/log?from=2020-01-01&to=2020-01-02&hub="+hub.String(), nil)
	if want := "/log?from=2026-03-01T09%3A01%3A00Z&amp;hub=" + hub.String() + `"`; !strings.Contains(w.Body.String(), want) {
		t.Errorf("no %s in %s", want, w.Body)
	}
	// These come from links, not from a form.
	for path, code := range map[string]int{"/log?before=x": 400, "/log?before=0": 400, "/log?before=5&after=5": 400, "/log?before=+5": 200, "/log?page=2": 400, "/log/entries.csv?hub=x": 400, "/log/entries.csv?before=-1": 400,
		"/activations?supplier=x": 400, "/activations/meters?after=-1": 400, "/activations/meters?after=99": 404} {
		w := ask(c, here, "", "GET", path, nil)
		if w.Code != code {
			t.Errorf("%s: %d, want %d: %s", path, w.Code, code, text(w))
		}
		if !strings.Contains(path, ".csv") {
			checked(t, path, w)
		}
	}
}

// TestLogPages: who follows the links from page to page sees each entry once, in both directions.
func TestLogPages(t *testing.T) {
	c, _ := filled(t)
	suppress(t, c, 2*50+5, "b")
	var all, back []string
	follow := func(path, rel string) (list []string) {
		for n := 0; path != "" && n < 10; n++ {
			w := ask(c, here, "", "GET", path, nil)
			checked(t, path, w)
			if have := entriesOf(w.Body.String()); rel == "next" {
				list = append(list, have...)
			} else {
				list = append(have, list...)
			}
			path = ""
			if m := regexp.MustCompile(`rel="` + rel + `" href="([^"]*)"`).FindStringSubmatch(w.Body.String()); m != nil {
				path = html.UnescapeString(m[1])
			}
		}
		return list
	}
	for i := 2*50 + 6; i > 0; i-- {
		all = append(all, fmt.Sprint(i))
	}
	for _, filter := range []string{"", "hub=" + hub.String() + "&", "from=2026-03-01&to=2026-03-02&outcome=suppressed&"} {
		if list := follow("/log?"+filter, "next"); !slices.Equal(list, all) {
			t.Errorf("%s: %q", filter, list)
		}
		if back = follow("/log?"+filter+"after=1", "prev"); !slices.Equal(back, all[:len(all)-1]) {
			t.Errorf("%s: newer: %q", filter, back)
		}
	}
}

// TestMasked: the log shows MPxNs masked to those who may see them, and to others not at all. That is
// no look-up.
func TestMasked(t *testing.T) {
	c, audit := filled(t)
	for token, masked := range map[string]bool{tokenOf(t, c, "viewer", role.Viewer): false, tokenOf(t, c, "analyst", role.Analyst): true} {
		audit.take()
		w := ask(c, far, token, "GET", "/log", nil)
		if list := audit.take(); w.Code != 200 || len(list) > 0 || strings.Contains(text(w), "12•••••••••••") != masked || strings.Contains(w.Body.String(), supplyPoint) {
			t.Errorf("masked %v: %d, audit %+v: %s", masked, w.Code, list, text(w))
		}
		checked(t, "/log", w)
	}
}

// TestExport: the file has the entries of the filter; the MPxNs only for who may see them, which is
// recorded.
func TestExport(t *testing.T) {
	c, audit := filled(t)
	suppress(t, c, 2*50, "b")
	for token, mpxn := range map[string]bool{tokenOf(t, c, "viewer", role.Viewer): false, tokenOf(t, c, "analyst", role.Analyst): true} {
		for query, lines := range map[string]int{"": 2*50 + 2, "before=3": 3, "hub=88738457002f961e&after=3": 2*50 - 1, "outcome=shadow": 1} {
			audit.take()
			w := ask(c, far, token, "GET", "/log/entries.csv?"+query, nil)
			list := audit.take()
			if w.Code != 200 || strings.Count(w.Body.String(), "\r\n") != lines || strings.Contains(w.Body.String(), supplyPoint) != (mpxn && lines > 1) || len(list) != map[bool]int{true: 1}[mpxn] {
				t.Errorf("%q, MPxNs %v: %d, %d lines, want %d; audit %+v", query, mpxn, w.Code, strings.Count(w.Body.String(), "\r\n"), lines, list)
			}
			if mpxn && len(list) == 1 && (list[0].What != "look-up" || !strings.HasPrefix(list[0].Object, "export of /log/entries.csv") || strings.Contains(query, "before") && !strings.Contains(list[0].Object, query)) {
				t.Errorf("%q: audit %+v", query, list)
			}
			if mpxn != strings.Contains(text(ask(c, far, token, "GET", "/log", nil)), "The export has them") {
				t.Errorf("the page says something else of MPxNs, %v", mpxn)
			}
			if !strings.HasPrefix(w.Header().Get("Content-Disposition"), "attachment") {
				t.Errorf("%v", w.Header())
			}
		}
	}
	audit.err = errors.New("the disk is full")
	if w := ask(c, root, "", "GET", "/log/entries.csv", nil); w.Code != 503 || strings.Contains(w.Body.String(), supplyPoint) {
		t.Errorf("without an audit log: %d %s", w.Code, w.Body)
	}
}

// fill puts n more entries into the log, at a distributor without any other.
func fill(t *testing.T, c *console.Console, n int) {
	t.Helper()
	err := c.DB.Do(t.Context(), sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) error {
		return tx.Script(ctx, fmt.Sprintf(`WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i <= %d) INSERT INTO suppression (seq, alert_id, alert_code, chf, esme, mpxn, mpxn_valid, distributor,
			outage_start, received_at, activation_id, request_id, mode, window_start, window_end, outcome, started_before, repeated)
			SELECT i, 'x' || i, 'AD1', 5, 6, '', 0, '10', 0, i * 1000000, 0, '', 'on-demand', 0, 0, 'suppressed', 0, 0 FROM n; UPDATE counter SET value = %[1]d + 1 WHERE name = 'suppression';`, n))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestExportBound: an export that does not have all entries says so in its last line, and where to go on.
func TestExportBound(t *testing.T) {
	c, _ := filled(t)
	fill(t, c, search.MaxExport+4)
	for query, last := range map[string]string{"": "not complete: go on at /log?before=6", "after=2": "not complete: go on at /log?after=100002", "before=100000": "1,"} {
		lines := strings.Split(strings.TrimSuffix(ask(c, here, "", "GET", "/log/entries.csv?"+query, nil).Body.String(), "\r\n"), "\r\n")
		if have := lines[len(lines)-1]; !strings.HasPrefix(have, last) || strings.HasPrefix(last, "not") && (have != last || len(lines) != search.MaxExport+2) {
			t.Errorf("%q: %d lines, the last is %q, want %q", query, len(lines), have, last)
		}
	}
}

// TestLogSearched: a page that has searched a part of the log without filling itself says how far, and
// leads on from there.
func TestLogSearched(t *testing.T) {
	c, _ := filled(t)
	fill(t, c, 44_999)
	// With evidence, a page looks at fewer entries.
	stops, last := 0, int64(45_001)
	for path := "/log?distributor=12&evidence=none"; ; stops++ {
		w := ask(c, here, "", "GET", path, nil)
		checked(t, path, w)
		m := regexp.MustCompile(`searched back to entry ([\d,]+)\. <a href="([^"]*)">Search further back`).FindStringSubmatch(w.Body.String())
		if m == nil {
			if have := entriesOf(w.Body.String()); !slices.Equal(have, []string{"1"}) || stops == 0 {
				t.Errorf("after %d stops: %q, %s", stops, have, text(w))
			}
			break
		}
		to, err := strconv.ParseInt(strings.ReplaceAll(m[1], ",", ""), 10, 64)
		if have := entriesOf(w.Body.String()); err != nil || to >= last || len(have) > 0 || !strings.Contains(text(w), "Nothing found yet") || strings.Contains(text(w), "No entry matches") || strings.Contains(text(w), "Older") {
			t.Fatalf("%s: %q, %s", path, have, text(w))
		}
		path, last = html.UnescapeString(m[2]), to
	}
	w := ask(c, here, "", "GET", "/log?distributor=12&evidence=none&after=2", nil)
	if m := regexp.MustCompile(`searched on to entry ([\d,]+)\. <a href="[^"]*after=(\d+)[^"]*">Search further on`).FindStringSubmatch(w.Body.String()); m == nil || strings.ReplaceAll(m[1], ",", "") != m[2] {
		t.Errorf("%s", text(w))
	}
	checked(t, "after", w)
}
