package sim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"quell/internal/outage"
)

// now reads the wall clock alone, as quell does: a monotonic reading would
// differ from it when the clock is set.
func now() time.Time { return time.Now().Round(0) }

// errStalled says that a message was sent, or answered, too close to a
// boundary of a window, or beyond it, to say what should become of it.
var errStalled = errors.New("the machine stalled")

// play is one try of one kind: what it sends, and what comes of it. The first
// failure ends it; what is sent afterwards is not.
type play struct {
	*stage
	cast
	ctx  context.Context
	name string // begins the query of each message
	try  int    // from 1

	mu    sync.Mutex // guards what follows
	mails []*mail
	err   error
}

// mail is one message, and what is to come of it.
type mail struct {
	what        string
	direction   outage.Direction
	method      string
	path        string
	contentType string // none if ""
	encoding    string // Content-Encoding
	body        []byte // nil once it is sent
	want        answer

	uri            string
	sum            [sha256.Size]byte
	sent, answered time.Time
	err            error // no answer
	got            answer
	gotSum         [sha256.Size]byte // of the answer's body
}

// answer is what a sender is told. South has no outcome and no reason.
type answer struct {
	status  int
	outcome outage.Outcome
	reason  outage.Reason
}

var (
	passed     = answer{status: http.StatusOK}
	suppressed = answer{http.StatusOK, outage.Suppressed, outage.ReasonWindowOpen}
)

func forwarded(reason outage.Reason) answer {
	return answer{http.StatusOK, outage.Forwarded, reason}
}

func (a answer) String() string {
	if a.outcome == "" && a.reason == "" {
		return fmt.Sprint(a.status)
	}
	return fmt.Sprintf("%d %s %s", a.status, a.outcome, a.reason)
}

// gate is when a message may be sent and has to be answered, so that it
// certainly reaches quell on one side of a boundary. Zero is no boundary.
type gate struct{ after, before time.Time }

// atOnce is the gate of a message whose time does not matter.
var atOnce gate

// window is what the sender of an activation knows of its window: it begins
// between first and last.
type window struct {
	first, last time.Time
	length      time.Duration
}

func (w window) notBegun() gate { return gate{before: w.first} }
func (w window) open() gate     { return gate{w.last, w.first.Add(w.length)} }
func (w window) over() gate     { return gate{after: w.last.Add(w.length)} }

// and is the gate that is open when both are.
func (g gate) and(h gate) gate {
	if h.after.After(g.after) {
		g.after = h.after
	}
	if g.before.IsZero() || !h.before.IsZero() && h.before.Before(g.before) {
		g.before = h.before
	}
	return g
}

// fail ends the play. The first error counts.
func (p *play) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
}

func (p *play) failed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err != nil
}

// wait waits until the clock shows at.
func (p *play) wait(at time.Time) {
	for d := at.Sub(now()); d > 0 && !p.failed(); d = at.Sub(now()) {
		timer := time.NewTimer(d)
		select {
		case <-timer.C:
		case <-p.ctx.Done():
			p.fail(p.ctx.Err())
		}
		timer.Stop()
	}
}

// send sends a message as soon as the gate is open, a margin behind its
// beginning, and not later than a margin before its end.
func (p *play) send(g gate, m *mail) {
	if !g.after.IsZero() {
		p.wait(g.after.Add(p.margin))
	}
	if p.failed() {
		return
	}
	if late := now().Sub(g.before.Add(-p.margin)); !g.before.IsZero() && late > 0 {
		p.fail(fmt.Errorf("%w: %q could be sent only %v too late", errStalled, m.what, late.Round(time.Millisecond)))
		return
	}
	p.mu.Lock()
	m.uri = fmt.Sprintf("%s?message=%s-%d", m.path, p.name, len(p.mails)+1)
	p.mails = append(p.mails, m)
	p.mu.Unlock()
	p.post(m)
	switch {
	case p.ctx.Err() != nil:
		p.fail(p.ctx.Err())
	case !g.before.IsZero() && !m.answered.Before(g.before):
		p.fail(fmt.Errorf("%w: %q was answered after %v, behind the boundary", errStalled, m.what, m.answered.Sub(m.sent).Round(time.Millisecond)))
	case m.got.reason == outage.ReasonStoreUnavailable:
		p.fail(fmt.Errorf("%w: %q was answered %s after %v", errStalled, m.what, m.got.reason, m.answered.Sub(m.sent).Round(time.Millisecond)))
	}
}

// post sends a message and takes the answer.
func (p *play) post(m *mail) {
	base := p.South
	if m.direction == outage.North {
		base = p.North
	}
	m.sum = sha256.Sum256(m.body)
	req, err := http.NewRequestWithContext(p.ctx, m.method, base+m.uri, bytes.NewReader(m.body))
	if err != nil {
		m.err = err
		return
	}
	if m.contentType != "" {
		req.Header.Set("Content-Type", m.contentType)
	}
	if m.encoding != "" {
		req.Header.Set("Content-Encoding", m.encoding)
	}
	m.sent = now()
	defer func() { m.answered, m.body = now(), nil }()
	res, err := p.client.Do(req)
	if err != nil {
		m.err = err
		return
	}
	defer res.Body.Close()
	m.got.status = res.StatusCode
	if m.direction == outage.North {
		m.got.outcome = outage.Outcome(res.Header.Get("Quell-Decision"))
		m.got.reason = outage.Reason(res.Header.Get("Quell-Reason"))
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, res.Body); err != nil {
		m.err = err
	}
	sum.Sum(m.gotSum[:0])
}

// Fates of messages. Those of a difference say what it is.
const (
	fatePassed     = "passed" // south
	fateForwarded  = "forwarded"
	fateSuppressed = "suppressed"
	fateUnanswered = "unanswered"
	fateLost       = "lost"
	fateTwice      = "delivered twice"
	fateBoth       = "delivered though suppressed"
	fateChanged    = "changed on the way"
	fateOther      = "answered otherwise"
)

// expected is the fate that a message should have.
func (m *mail) expected() string {
	switch {
	case m.direction == outage.South:
		return fatePassed
	case m.want.outcome == outage.Suppressed:
		return fateSuppressed
	}
	return fateForwarded
}

// fate is what became of a message, given what of it reached the next hop, and
// how that differs from what should have; difference is "" if it does not.
func (m *mail) fate(arrivals []Arrival) (fate, difference string) {
	differs := func(fate, format string, args ...any) (string, string) {
		return fate, m.what + ": " + fmt.Sprintf(format, args...)
	}
	fate = fateForwarded
	if m.direction == outage.South {
		fate = fatePassed
	}
	says := m.got.outcome == outage.Suppressed
	switch {
	case m.err != nil:
		return differs(fateUnanswered, "no answer: %v", m.err)
	case says && len(arrivals) > 0:
		return differs(fateBoth, "answered %s, but it reached the next hop", m.got)
	case says:
		fate = fateSuppressed
	case len(arrivals) == 0:
		return differs(fateLost, "answered %s, but it did not reach the next hop", m.got)
	case len(arrivals) > 1:
		return differs(fateTwice, "it reached the next hop %d times", len(arrivals))
	case arrivals[0].SHA256 != m.sum || arrivals[0].Method != m.method || arrivals[0].ContentType != m.contentType:
		a := &arrivals[0]
		return differs(fateChanged, "it reached the next hop changed (%s, %q, %d bytes)", a.Method, a.ContentType, a.Size)
	}
	switch {
	case fate != m.expected():
		return differs(fate, "want %s, got %s", m.want, m.got)
	case m.got != m.want:
		return differs(fateOther, "want %s, got %s", m.want, m.got)
	case len(arrivals) == 1 && m.gotSum != arrivals[0].Answer:
		return differs(fateOther, "the answer is not the next hop's")
	}
	return fate, ""
}
