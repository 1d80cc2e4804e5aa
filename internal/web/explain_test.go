package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"quell/internal/console"
	"quell/internal/evidence"
	"quell/internal/outage"
	"quell/internal/overview"
	"quell/internal/role"
	"quell/internal/sqldb"
)

// TestTyped: what people type and paste is read; what is none of it is refused.
func TestTyped(t *testing.T) {
	device := typed{Device: hub}
	message := typed{Message: request}
	for text, want := range map[string]typed{
		"88-73-84-57-00-2F-96-1E": device, "88:73:84:57:00:2f:96:1e": device, "88738457002f961e": device, " 8873 8457 002F 961E\t": device, "88–73–84–57–00–2f–96–1e": device, "'88738457002F961E'": device,
		"8873\u00a08457\u200b002f961e": device,
		"12 0002 3305 967":             {MPxN: supplyPoint}, "1200023305967": {MPxN: supplyPoint}, "12-00-023-305-967": {MPxN: supplyPoint}, "12": {MPxN: "12"},
		"01 801 100 12 0002 3305 967": {MPxN: supplyPoint}, // 21 digits, as a bill has them
		request:                       message, strings.ToLower(request): message, strings.ReplaceAll(request, "-", ""): message, strings.ReplaceAll(request, "-", ":"): message, " " + strings.ReplaceAll(request, ":", " : "): message,
		"content:0123456789abcdef": {Message: "content:0123456789abcdef"},
		"entry 12":                 {Entry: "12"}, "Entry #12": {Entry: "12"}, "#12": {Entry: "12"}, "entry 0012": {Entry: "12"}, "entry 0": {Entry: "0"}, "entry 7,500,001": {Entry: "7500001"},
	} {
		if have, err := readTyped(text); err != nil || have != want {
			t.Errorf("%q: %+v, %v; want %+v", text, have, err, want)
		}
	}
	for _, text := range []string{"", "x", "12000233059671", "88738457002F961", "88738457002F961G", "0000000000000000", "entry", "entry x", request + "x", strings.Repeat("8", 60), "<b>"} {
		if have, err := readTyped(text); err == nil {
			t.Errorf("%q is read as %+v", text, have)
		}
	}
}

// explained follows a typed id to its page.
func explainTyped(t *testing.T, c *console.Console, token, id string) (location string) {
	t.Helper()
	w := ask(c, far, token, "POST", "/explain", url.Values{"id": {id}})
	if w.Code != 303 {
		t.Fatalf("%q: %d %s", id, w.Code, text(w))
	}
	return w.Header().Get("Location")
}

// TestExplain: the journey of an analyst who has an MPxN with blanks: it leads to the hub, whose page
// says first what was done and why, without the MPxN in its address or on it. To see that is a
// look-up, and so is to ask for it.
func TestExplain(t *testing.T) {
	c, audit := filled(t)
	analyst, viewer := tokenOf(t, c, "analyst", role.Analyst), tokenOf(t, c, "viewer", role.Viewer)
	audit.take()
	to := explainTyped(t, c, analyst, "12 0002 3305 967")
	if to != "/explain/device/"+hub.String() {
		t.Errorf("it leads to %s", to)
	}
	if list := audit.take(); len(list) != 1 || list[0].What != "look-up" || list[0].Object != supplyPoint {
		t.Errorf("audit %+v", list)
	}
	w := ask(c, far, viewer, "GET", to, nil)
	checked(t, to, w)
	const says = "Suppressed: its meter 00-DB-12-34-56-78-90-A0 was activating firmware from 10:00:00 to 11:00:00 UTC on 1 March 2026, ordered by 88-73-84-57-00-2F-96-1E. That was the last AD1 in the log from here: entry 1."
	if page := text(w); w.Code != 200 || !strings.Contains(page, says) || !strings.Contains(page, "12•••••••••••") || strings.Contains(w.Body.String(), supplyPoint) {
		t.Errorf("%d %s", w.Code, page)
	}
	for _, lane := range []string{"Requests (11.3)", "Windows", "AD1s", "Outage and restoration"} {
		if !strings.Contains(w.Body.String(), `aria-label="`+lane) {
			t.Errorf("no lane %s", lane)
		}
	}
	if list := audit.take(); len(list) > 0 {
		t.Errorf("audit %+v", list)
	}
	w = ask(c, far, analyst, "POST", to+"/mpxn", nil)
	if list := audit.take(); w.Code != 200 || !strings.Contains(w.Body.String(), supplyPoint) || len(list) != 1 || list[0].What != "look-up" || list[0].Object != hub.String() {
		t.Errorf("%d, audit %+v", w.Code, list)
	}
	checked(t, "with MPxNs", w)
	audit.err = fmt.Errorf("no room")
	if w := ask(c, far, analyst, "POST", to+"/mpxn", nil); w.Code != 503 || strings.Contains(w.Body.String(), supplyPoint) {
		t.Errorf("without an audit: %d %s", w.Code, text(w))
	}
	if w := ask(c, far, analyst, "POST", "/explain", url.Values{"id": {supplyPoint}}); w.Code != 503 || w.Header().Get("Location") != "" {
		t.Errorf("without an audit: %d %s", w.Code, text(w))
	}
	audit.err = nil
	audit.take()

	for id, want := range map[string]string{
		"entry 1": "Entry 1 What to explain", strings.ToLower(request): "has the window 2026-03-01 10:00:00 UTC to 2026-03-01 11:00:00 UTC. The window counts.", "00db1234567890a0": "Meter 00-DB-12-34-56-78-90-A0",
		"0000000000000001": "The inventory does not know the device 00-00-00-00-00-00-00-01.", "content:0123456789abcdef": "Nothing is known of content:0123456789abcdef",
	} {
		w := ask(c, far, viewer, "GET", explainTyped(t, c, viewer, id), nil)
		checked(t, id, w)
		if w.Code != 200 || !strings.Contains(text(w), want) {
			t.Errorf("%q: %d %s", id, w.Code, text(w))
		}
	}
	// What the answer says does not take the place of what is known in words.
	if page := text(ask(c, far, viewer, "GET", "/explain/device/0000000000000001", nil)); !strings.Contains(page, "An AD1 of hub 00-00-00-00-00-00-00-01 received at 2026-03-01") {
		t.Error(page)
	}
	for _, x := range []struct {
		token, id string
		code      int
		says      string
	}{
		{viewer, supplyPoint, 403, "MPxNs are for analysts and above"}, {viewer, "99", 403, "MPxNs are for analysts and above"}, {analyst, "99", 404, "Nothing is known of this MPxN"},
		{viewer, "nonsense", 400, "This is no EUI-64"}, {viewer, "  ", 400, "Enter what to explain"},
	} {
		if w := ask(c, far, x.token, "POST", "/explain", url.Values{"id": {x.id}}); w.Code != x.code || !strings.Contains(text(w), x.says) {
			t.Errorf("%q: %d %s", x.id, w.Code, text(w))
		}
	}
	for path, code := range map[string]int{"/explain/entry/2": 404, "/explain/entry/x": 400, "/explain/entry/0": 400, "/explain/device/x": 400, "/explain/message/x": 400, "/explain/message/" + supplyPoint: 400} {
		w := ask(c, far, viewer, "GET", path, nil)
		checked(t, path, w)
		if w.Code != code {
			t.Errorf("%s: %d %s", path, w.Code, text(w))
		}
	}
}

// suppressNow has an alert suppressed that may be released, and returns the number of its entry.
func suppressNow(t *testing.T, c *console.Console) int64 {
	t.Helper()
	now := time.Now()
	r := outage.Request{ID: outage.RequestID{Originator: hub, Target: meter, Counter: uint64(now.UnixNano())}, Form: outage.ServiceRequest, Order: outage.Order{Kind: outage.OnDemand}, Received: now}
	c.Ledger.Record(t.Context(), r.Activation(hub, time.Hour))
	d, err := c.Ledger.Decide(t.Context(), outage.Alert{ID: "late", Code: "AD1", CHF: hub, MPxN: supplyPoint, OutageStart: now, Received: now, Message: []byte("a message")}, outage.Suppressed, 0)
	if err != nil {
		t.Fatal(err)
	}
	return d.Entry.Seq
}

// TestRelease: an operator releases the alert of an entry: with a reason, and after a page that
// repeats what will happen. Others cannot.
func TestRelease(t *testing.T) {
	c, audit := filled(t)
	entry := fmt.Sprintf("/explain/entry/%d", suppressNow(t, c))
	operator, analyst := tokenOf(t, c, "duty", role.Operator), tokenOf(t, c, "analyst", role.Analyst)
	if page := text(ask(c, far, analyst, "GET", entry, nil)); !strings.Contains(page, "somebody with the role operator can release it here") || strings.Contains(page, "Go on") {
		t.Errorf("%s", page)
	}
	for _, path := range []string{entry + "/release", entry + "/release/confirmed"} {
		if w := ask(c, far, analyst, "POST", path, url.Values{"why": {"INC1"}}); w.Code != 403 {
			t.Errorf("%s as analyst: %d", path, w.Code)
		}
		if w := ask(c, far, operator, "POST", path, url.Values{"why": {" "}}); w.Code != 400 || !strings.Contains(text(w), "Give a reason") {
			t.Errorf("%s without a reason: %d %s", path, w.Code, text(w))
		}
	}
	w := ask(c, far, operator, "GET", entry, nil)
	checked(t, entry, w)
	if !strings.Contains(w.Body.String(), `action="`+entry+`/release"`) {
		t.Errorf("no form: %s", text(w))
	}
	w = ask(c, far, operator, "POST", entry+"/release", url.Values{"why": {"INC1 <street>"}})
	checked(t, "confirmation", w)
	for _, says := range []string{"This will happen", "The AD1 of hub " + hub.String(), "It cannot be taken back.", "Your name (token:duty) and your reason are kept: “INC1 <street>”."} {
		if !strings.Contains(text(w), says) {
			t.Errorf("the confirmation does not say %q: %s", says, text(w))
		}
	}
	if list, err := c.Releases.Of(t.Context(), []int64{1, 2, 3}); err != nil || len(list) > 0 {
		t.Errorf("released before it was confirmed: %+v %v", list, err)
	}
	action := regexp.MustCompile(`<form method="post" action="(/explain[^"]*)">\s*<input type="hidden" name="why" value="INC1 &lt;street&gt;">`).FindStringSubmatch(w.Body.String())
	if action == nil {
		t.Fatalf("%s", w.Body)
	}
	audit.take()
	w = ask(c, far, operator, "POST", action[1], url.Values{"why": {"INC1 <street>"}})
	if w.Code != 303 || w.Header().Get("Location") != entry+"?done=release" {
		t.Fatalf("%d %s", w.Code, text(w))
	}
	if list := audit.take(); len(list) > 0 {
		t.Errorf("the change records itself, in its transaction: %+v", list)
	}
	w = ask(c, far, operator, "GET", entry+"?done=release", nil)
	checked(t, "released", w)
	if page := text(w); !strings.Contains(page, "The release is asked for.") || !strings.Contains(page, "token:duty asked on") || strings.Contains(page, "Go on") {
		t.Errorf("%s", page)
	}
	w = ask(c, far, operator, "POST", action[1], url.Values{"why": {"INC1"}})
	if list := audit.take(); w.Code != 409 || !strings.Contains(text(w), "It cannot be released: token:duty asked for that already") || len(list) != 1 || list[0].What != "release" || list[0].Outcome != refused || list[0].Detail == "" {
		t.Errorf("a second time: %d %s, audit %+v", w.Code, text(w), list)
	}
}

// writeAssessment writes the assessment of an entry, as the leader does.
func writeAssessment(t *testing.T, c *console.Console, a evidence.Assessment) {
	t.Helper()
	facts, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.DB.Do(t.Context(), sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) error {
		return errors.Join(
			tx.Later(ctx, `INSERT INTO evidence (seq, at, level, restored, facts) VALUES (?, ?, ?, 1, ?)`, a.Entry, sqldb.Micros(a.At), string(a.Level), string(facts)),
			tx.Later(ctx, `INSERT INTO evidence_change (seq, at, was, level, distributor, facts, text) VALUES (?, ?, 'none', ?, '12', ?, 'Its street is dark.')`, a.Entry, sqldb.Micros(a.At), string(a.Level), string(facts)))
	}); err != nil {
		t.Fatal(err)
	}
}

// TestSuspect: a suppressed alert that was probably genuine is on Now, with a link to what is known
// of it; when it is released it is no suspect any more.
func TestSuspect(t *testing.T) {
	c, _ := filled(t)
	writeAssessment(t, c, evidence.Assessment{Entry: 1, At: t0.Add(30 * time.Second), Level: evidence.Strong, Odds: 20,
		Facts: evidence.Facts{Heard: 5 * time.Minute, Restored: true, RestoredShare: 0.02, RestoredStart: t0.Add(-time.Minute), RestoredEnd: t0.Add(4 * time.Minute)}})
	w := ask(c, here, "", "GET", "/", nil)
	checked(t, "Now with a suspect", w)
	if have := section(t, w.Body.String(), "suspects"); !strings.Contains(have, "1 strong 2026-03-01 10:00:00 UTC 88-73-84-57-00-2F-96-1E 12 The home was heard again 5 minutes after the alert.") || !strings.Contains(w.Body.String(), `href="/explain/entry/1"`) {
		t.Errorf("%s", have)
	}
	w = ask(c, here, "", "GET", "/explain/entry/1", nil)
	checked(t, "Explain of a suspect", w)
	for _, says := range []string{"It was probably genuine: the evidence is strong.", "2026-03-01 10:05:00 UTC Home heard again", "2026-03-01 10:04:00 UTC Power restored As a restoration alert of the meter says.", "evidence: strong", "Evidence strong Entry 1: it was none before."} {
		if !strings.Contains(text(w), says) {
			t.Errorf("no %q: %s", says, text(w))
		}
	}
	if page := w.Body.String(); strings.Index(page, "Release the alert") > strings.Index(page, "Time line") {
		t.Error("the release of a suspect does not come first")
	}
	if err := c.DB.Do(t.Context(), sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) error {
		return tx.Later(ctx, `UPDATE suppression SET outcome = 'released' WHERE seq = 1`)
	}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(overview.Every)
	if have := section(t, ask(c, here, "", "GET", "/", nil).Body.String(), "suspects"); !strings.Contains(have, "No suppressed alert of the last 24 hours is known") {
		t.Errorf("released: %s", have)
	}
}
