package gateway

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"quell/internal/duis"
	"quell/internal/events"
	"quell/internal/motorway"
	"quell/internal/outage"
	"quell/internal/report"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/windows"
)

// control plays a line that is not a message.
func (p *player) control(clauses []clause) bool {
	c, options := clauses[0], clauses[1:]
	if c[0] == "next" && p.nextHop(c, options) {
		return true
	}
	if c[0] == "housekeeping" {
		return p.housekeep(clauses)
	}
	if len(c) > 4 && c[0] == "switch" && c[2] == "by" {
		name, colon := strings.CutSuffix(c[3], ":")
		if _, err := p.w.store.Ledger.SetSwitch(p.Context(), outage.Switch(c[1]), name, strings.Join(c[4:], " "), p.now); err != nil || !colon || len(options) > 0 {
			p.fail("needs to be: switch POSITION by NAME: WHY, without commas (%v)", err)
		}
		return true
	}
	if len(options) > 0 {
		return false
	}
	if len(c) > 2 && c[0] == "import" && c[1] == "meter" {
		p.importMeter(c[2], c[3:])
		return true
	}
	if w, ok := c.match("day _"); ok {
		day, err := time.Parse("2006-01-02", w[0])
		if err != nil || !day.After(p.day) {
			p.fail("not a later day: %s", w[0])
		}
		p.day, p.now = day, day
		p.w.clock.Store(&day)
		return true
	}
	if w, ok := c.match("windows of _"); ok {
		p.windows(w[0])
		return true
	}
	do, ok := map[string]func(){
		"log":                                  p.log,
		"audit trail":                          p.auditTrail,
		"delivered":                            p.sayDelivered,
		"switch history":                       p.switchHistory,
		"store stalls":                         func() { p.stall(p.w.lock) },
		"store and inventory stall":            func() { p.stall(p.w.lock); p.w.rules.StoreTimeout = 0; p.w.setRules() },
		"store stalls before its commit":       func() { p.stall(func() { p.w.before.Store(new(make(chan struct{}))) }) },
		"store stalls after its commit":        func() { p.stall(func() { p.w.after.Store(new(make(chan struct{}))) }) },
		"store answers again":                  func() { p.resume(true) },
		"store answers again and nobody waits": func() { p.resume(false) },
		"report":                               p.report,
		"restart":                              func() { p.restart(false) },
		"crash and restart":                    func() { p.restart(true) },
	}[c.String()]
	if ok {
		do()
		return true
	}
	return p.setting(c)
}

func (p *player) nextHop(c clause, options []clause) bool {
	if len(c) < 4 || c[1] != "hop" || c[2] != "south" && c[2] != "north" {
		return false
	}
	d := outage.South
	if c[2] == "north" {
		d = outage.North
	}
	if w, ok := c[3:].match("answers request _ with _"); ok && d == outage.South {
		f := p.held[p.number(w[0])]
		if f == nil {
			p.fail("no request %s is held", w[0])
		}
		delete(p.held, p.number(w[0]))
		f.arrival.release <- p.answerOf(w[1], "", options)
		p.answered(f.m, <-f.done, []*arrival{f.arrival})
		return true
	}
	how, down := answer{status: 200, code: "I99"}, false
	if d == outage.North {
		how.code = ""
	}
	rest := c[3:]
	if w, ok := rest.match("answers bytes _"); ok {
		how = p.answerOf("200", "", options)
		how.bytes = &w[0]
	} else if w, ok := rest.match("answers _ with _"); ok {
		how = p.answerOf(w[0], w[1], options)
	} else if w, ok := rest.match("answers _"); ok {
		how = p.answerOf(w[0], "", options)
	} else if len(options) > 0 {
		p.fail("this part is not understood: %s", options[0])
	} else if _, ok := rest.match("is down"); ok {
		down = true
	} else if _, ok := rest.match("hangs up"); ok {
		how.hangUp = "before"
	} else if _, ok := rest.match("hangs up within its answer"); ok {
		how.hangUp = "within"
	} else if _, ok := rest.match("holds"); ok && d == outage.South {
		how.hold = true
	} else {
		return false
	}
	p.w.hops[d].set(how, down)
	p.w.direct()
	return true
}

// answerOf reads a next hop's answer: a ResponseCode, a status, or both.
func (p *player) answerOf(what, status string, options []clause) (a answer) {
	a.status = 200
	if n, err := strconv.Atoi(what); err == nil {
		a.status = n
	} else {
		a.code = what
	}
	if status != "" {
		a.status = int(p.number(status))
	}
	for _, o := range options {
		if _, ok := o.match("chunked"); ok {
			a.chunked = true
		} else if _, ok := o.match("gzipped"); ok {
			a.gzipped = true
		} else if w, ok := o.match("padded by _ KiB"); ok {
			a.padding = int(p.number(w[0])) << 10
		} else if _, ok := o.match("in UTF-16"); ok {
			a.utf16 = true
		} else if w, ok := o.match("type _"); ok {
			a.kind = w[0]
		} else if _, ok := o.match("no type"); ok {
			a.kind = "none"
		} else if w, ok := o.match("header _"); ok {
			name, value, _ := strings.Cut(w[0], ": ")
			a.header = [2]string{name, value}
		} else {
			p.fail("this part of an answer is not understood: %s", o)
		}
	}
	return a
}

func (p *player) housekeep(clauses []clause) bool {
	var keep []time.Duration
	for i, pattern := range []string{"housekeeping", "windows kept _", "log kept _"} {
		if i >= len(clauses) {
			return false
		}
		w, ok := clauses[i].match(pattern)
		if !ok {
			return false
		}
		if i > 0 {
			keep = append(keep, p.span(w[0]))
		}
	}
	h, err := p.w.store.Housekeep(p.Context(), store.Limits{WindowsBefore: p.now.Add(-keep[0]), LogBefore: p.now.Add(-keep[1])})
	if err != nil {
		p.fail("housekeeping: %v", err)
	}
	p.pruned = p.pruned || h.Entries > 0
	p.say("-> deleted: %d activations, %d entries, %d notes of forwarded alerts", h.Activations, h.Entries, h.Notes)
	return true
}

// report makes a report of the whole log, and marks its file as written.
func (p *player) report() {
	last, err := p.w.store.Reports.Last(p.Context())
	if err != nil {
		p.fail("report: %v", err)
	}
	r, err := p.w.store.Reports.Cut(p.Context(), report.CutOptions{After: last.No, SystemID: "timeline", Cause: report.CauseAsked, End: p.now, At: p.now,
		LastSeq: p.lastEntry, Name: func(report.Report, report.File) string { return "file" }})
	if err != nil {
		p.fail("report: %v", err)
	}
	r.Files[0].SHA256 = "as if"
	if err := p.w.store.Reports.Written(p.Context(), r.No, r.Files, p.now); err != nil {
		p.fail("report: %v", err)
	}
	p.say("-> report %d: entries %d to %d", r.No, r.FirstSeq, r.LastSeq)
}

func (p *player) log() {
	for _, e := range p.entries(0) {
		mpan := "not valid"
		if e.MPxNValid {
			mpan = "distributor " + e.Distributor
		}
		id := e.AlertID
		if content, ok := strings.CutPrefix(id, "content:"); ok {
			if raw, err := hex.DecodeString(content); err == nil && len(raw) == 32 {
				id = "known by its content"
			}
		}
		optional := func(n *uint32) string {
			if n == nil {
				return "-"
			}
			return strconv.Itoa(int(*n))
		}
		yes := map[bool]string{true: "yes", false: "no"}
		p.say("%d: %s %s of %s, received %s, outage began %s, MPxN %q %s, throttled count %s sequence %s", e.Seq, e.AlertCode, id, e.CHF,
			p.clockText(e.Received), p.clockText(e.OutageStart), e.MPxN, mpan, optional(e.Throttled.Count), optional(e.Throttled.SequenceID))
		p.say("   %s by %s, %s, %s to %s; started before activation: %s, repeated in window: %s; outcome %s", e.ESME, e.RequestID, e.Mode,
			p.clockText(e.WindowStart), p.clockText(e.WindowEnd), yes[e.StartedBefore], yes[e.Repeated], e.Outcome)
	}
}

func (p *player) windows(hub string) {
	all, err := p.w.store.Windows.Activations(p.Context(), windows.Filter{CHF: p.declared(hub)}, 1000)
	if err != nil {
		p.fail("windows: %v", err)
	}
	for _, a := range slices.Backward(all) {
		v := motorway.View(a)
		text := fmt.Sprintf("%d: %s %s, received %s: %s", v.ID, v.RequestID, v.Form, p.clockText(a.Received), p.activationText(a))
		if v.SupersededBy != 0 {
			text += fmt.Sprintf(", replaced by %d", v.SupersededBy)
		}
		p.say("%s", text)
	}
}

func (p *player) auditTrail() {
	for _, l := range p.w.trail(true) {
		text := fmt.Sprintf("%s %s", p.clockText(l.Time), l.Direction)
		for _, part := range []string{l.SRV, l.AlertCode, l.RequestID, l.ResponseID} {
			if part != "" {
				text += " " + part
			}
		}
		p.say("%s: %s, status %d", text, l.Reason, l.Status)
	}
}

// sayDelivered says what the next hops saw since it last did.
func (p *player) sayDelivered() {
	for _, d := range p.delivered {
		p.say("%s", d)
	}
	p.delivered = nil
}

func (p *player) switchHistory() {
	list, err := events.Latest(p.Context(), p.w.store.DB, 1000)
	if err != nil {
		p.fail("history: %v", err)
	}
	for _, e := range slices.Backward(list) {
		if e.What == "switch" {
			p.say("%s %s: %q to %q, %s", p.clockText(e.At), e.Who, e.Old, e.New, e.Why)
		}
	}
}

func (p *player) stall(how func()) {
	how()
	p.w.rules.StoreTimeout = impatient
	p.w.setRules()
}

func (p *player) resume(wait bool) {
	if p.w.unlock != nil && wait {
		// Everything that was given up must have failed before the lock is released.
		if p.w.store.DB.Ping(context.Background()) == nil {
			p.fail("the store did not stall")
		}
	}
	p.w.release()
	p.w.openGates()
	p.w.rules.StoreTimeout = patient
	p.w.setRules()
	if wait {
		p.w.settled()
		p.sayNew()
	}
}

// sayNew reports entries that no message has caused.
func (p *player) sayNew() {
	for _, e := range p.newEntries() {
		p.say("-> %s", e)
	}
}

func (p *player) restart(crash bool) {
	if len(p.held) > 0 && !crash {
		p.fail("requests are held")
	}
	clear(p.held) // their senders get no answer
	if crash && (p.w.before.Load() != nil || p.w.after.Load() != nil) {
		p.w.eventually("the journal has it", func() bool { return p.w.store.Ledger.Pending() > 0 })
	}
	if err := p.w.restart(crash); err != nil {
		p.fail("restart: %v", err)
	}
	p.sayNew()
}

// end checks what must be true at the end of every timeline: the log has no gap, no
// alert that it calls suppressed was delivered, and no number of a supply point is in
// the logs.
func (p *player) end() {
	if !p.w.started() {
		p.fail("nothing happens")
	}
	if len(p.held) > 0 {
		p.fail("requests are still held")
	}
	type alert struct {
		id    string
		hub   outage.DeviceID
		start time.Time
	}
	north := map[alert]bool{}
	for _, a := range p.w.hops[outage.North].seen(0) {
		if o := a.message.Outage; a.message.Body == duis.BodyPowerOutage {
			north[alert{a.message.AlertID(), o.CHF, o.Start.Truncate(sqldb.Precision)}] = true
		}
	}
	for i, e := range p.entries(0) {
		if !p.pruned && e.Seq != int64(i+1) {
			p.say("!! the log has a gap before entry %d", e.Seq)
		}
		delivered := north[alert{e.AlertID, e.CHF, e.OutageStart}]
		if e.Outcome == outage.Suppressed && delivered {
			p.say("!! entry %d says suppressed, but the alert was delivered", e.Seq)
		}
		if e.Outcome != outage.Suppressed && !delivered {
			p.say("!! entry %d says %s, but the alert was not delivered", e.Seq, e.Outcome)
		}
	}
	for _, m := range p.meters {
		if m.mpan != "" && strings.Contains(p.w.logs.text.String(), m.mpan) {
			p.say("!! the MPxN of %s is in the logs", m.name)
		}
	}
}
