// Package sim shows a running quell at work. It makes up a town, runs a firmware
// campaign in it, sends what its suppliers, hubs and meters would send, stands in
// for the next hops, and compares what became of each message with what should have.
//
// It knows quell only from outside: it speaks HTTP, and imports nothing but the
// formats of messages and the words of the domain.
package sim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"quell/internal/outage"
)

// Quell is the quell that runs, and the stand-ins that it forwards to. It must know the
// town's inventory and device list, be switched on, and have seen nothing of the town.
type Quell struct {
	South, North string        // base URLs of its listeners
	Window       time.Duration // its setting, 1 s or more
	DSP, Users   *NextHop
}

// Result is what came of one kind of traffic. Expected and Got are short texts for a
// table, such as "1 passed, 2 suppressed, 1 forwarded": requests pass south, the rest
// is of what went north.
type Result struct {
	Name          string
	Sent          int
	Expected, Got string
	Differences   []string // the first few; none if all is as it should be
}

const (
	// tries is how often a campaign may be run until the machine is quick enough.
	tries = 3
	// lead is the time for what is sent before the future-dated windows begin, less a
	// second at most, since they begin with a full second.
	lead = 3 * time.Second
	// margin is kept from the boundaries of windows.
	margin = 200 * time.Millisecond
	// maxDifferences is how many are told of a kind.
	maxDifferences = 5
)

// errStalled says that an answer came too late to say on which side of a boundary of a
// window its message reached quell.
var errStalled = errors.New("the machine stalled")

// Run runs the campaign and says what came of each kind of traffic. It takes as long as
// lead and the window together. say is told what happens, a line at a time.
//
// If the machine stalls so long that a message may have met the other side of a window's
// boundary, all of it is run again in other homes, three times at most. The error says
// that it could not be done: ctx ended, or the machine stalled each time. Differences are
// no error.
func (q Quell) Run(ctx context.Context, t *Town, say func(line string)) ([]Result, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: 32, DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	arrived := 0 // of what was sent, at the next hops
	for try := 1; ; try++ {
		c := campaign{Quell: q, client: client}
		for i := range kinds {
			for _, h := range t.homes[try-1][i] {
				c.scenes = append(c.scenes, &scene{kind: &kinds[i], town: t, home: h})
			}
		}
		err := c.run(ctx, say)
		results, n := c.results()
		arrived += n
		switch {
		case err == nil:
			return append(results, strangers(q.DSP.total()+q.Users.total()-arrived)), nil
		case !errors.Is(err, errStalled) || try == tries:
			return nil, err
		}
		say(err.Error() + "; again, in other homes")
	}
}

// phase is when a message is sent. All of one are answered before the next begins.
type phase int

const (
	atOnce phase = iota // before the future-dated windows begin, while those on demand are open
	begun               // while the future-dated windows are open
	over                // when all windows are over
)

func (p phase) String() string {
	return [...]string{"at once", "in the future-dated windows", "after the windows"}[p]
}

// campaign is one try.
type campaign struct {
	Quell
	client *http.Client
	scenes []*scene
}

// scene is one home in a campaign, and what was sent of it.
type scene struct {
	kind  *kind
	town  *Town
	home  *home
	begin time.Time // of future-dated windows, in full seconds
	mails []*mail
}

// run sends the messages of each phase, at such times that a window can be told from no
// window: no window on demand is over before the future-dated ones begin.
func (c *campaign) run(ctx context.Context, say func(string)) error {
	start := now()
	begin := start.Add(lead).Truncate(time.Second)
	for _, s := range c.scenes {
		s.begin = begin
	}
	say("firmware activations go south, AD1s and all else go north")
	end := begin
	if first := start.Add(c.Window); first.Before(end) {
		end = first
	}
	if err := c.play(ctx, atOnce, end); err != nil {
		return err
	}
	if err := wait(ctx, begin); err != nil {
		return err
	}
	say("the future-dated activations begin")
	if err := c.play(ctx, begun, begin.Add(c.Window)); err != nil {
		return err
	}
	if err := wait(ctx, begin.Add(c.Window)); err != nil {
		return err
	}
	say("all windows are over")
	return c.play(ctx, over, time.Time{})
}

// wait waits until a margin after at.
func wait(ctx context.Context, at time.Time) error {
	for d := at.Add(margin).Sub(now()); d > 0; d = at.Add(margin).Sub(now()) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// play sends what is of the phase, of all homes at once and of each home in order. The
// error is errStalled if the last answer came later than a margin before the end; a zero
// end is none.
func (c *campaign) play(ctx context.Context, p phase, end time.Time) error {
	var wg sync.WaitGroup
	for _, s := range c.scenes {
		wg.Go(func() {
			for _, step := range s.kind.steps {
				if step.at == p && ctx.Err() == nil {
					m := s.mail(step)
					s.mails = append(s.mails, m)
					c.post(ctx, m)
				}
			}
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	if late := now().Sub(end.Add(-margin)); !end.IsZero() && late > 0 {
		return fmt.Errorf("%w: the last answer came %v too late", errStalled, late.Round(time.Millisecond))
	}
	for _, s := range c.scenes {
		for _, m := range s.mails {
			if m.got.reason == outage.ReasonStoreUnavailable {
				return fmt.Errorf("%w: the store did not answer in time", errStalled)
			}
		}
	}
	return nil
}

// now reads the wall clock alone, as quell does: a monotonic reading would differ from
// it when the clock is set.
func now() time.Time { return time.Now().Round(0) }

// mail is one message on its way, and what is to come of it.
type mail struct {
	what        string
	direction   outage.Direction
	uri         string // no other message has it
	contentType string
	body        []byte // nil once it is sent
	want        answer

	sum    [sha256.Size]byte // of the body
	err    error             // no answer
	got    answer
	gotSum [sha256.Size]byte // of the answer's body
}

// answer is what a sender is told. South has no outcome and no reason.
type answer struct {
	status  int
	outcome outage.Outcome
	reason  outage.Reason
}

func (a answer) String() string {
	return strings.TrimSpace(fmt.Sprintf("%d %s %s", a.status, a.outcome, a.reason))
}

func (s *scene) mail(step step) *mail {
	direction := outage.North
	if step.want.outcome == "" {
		direction = outage.South
	}
	return &mail{what: fmt.Sprintf("%s, %s", step.send.what, step.at), direction: direction, uri: fmt.Sprintf("%smessage=%d", step.send.path, s.town.count()),
		contentType: step.send.contentType, body: step.send.body(s), want: step.want}
}

// post sends a message and takes the answer.
func (c *campaign) post(ctx context.Context, m *mail) {
	base := c.South
	if m.direction == outage.North {
		base = c.North
	}
	m.sum = sha256.Sum256(m.body)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+m.uri, bytes.NewReader(m.body))
	if err != nil {
		m.err = err
		return
	}
	m.body = nil
	req.Header.Set("Content-Type", m.contentType)
	res, err := c.client.Do(req)
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
	_, m.err = io.Copy(sum, res.Body)
	sum.Sum(m.gotSum[:0])
}

// fate is what should become of a message.
func (m *mail) fate() string {
	if m.direction == outage.South {
		return "passed"
	}
	return string(m.want.outcome)
}

// difference says how what became of a message differs from what should have, given what
// of it reached the next hop; it is "" if all is as it should be.
func (m *mail) difference(arrivals []arrival) string {
	switch {
	case m.err != nil:
		return fmt.Sprintf("no answer: %v", m.err)
	case m.got.outcome == outage.Suppressed && len(arrivals) > 0:
		return fmt.Sprintf("answered %s, but it reached the next hop", m.got)
	case m.got.outcome != outage.Suppressed && len(arrivals) == 0:
		return fmt.Sprintf("answered %s, but it did not reach the next hop", m.got)
	case m.got != m.want:
		return fmt.Sprintf("answered %s, not %s", m.got, m.want)
	case len(arrivals) == 0:
		return ""
	case len(arrivals) > 1:
		return fmt.Sprintf("it reached the next hop %d times", len(arrivals))
	case arrivals[0].body != m.sum || arrivals[0].contentType != m.contentType:
		return "it was changed on the way"
	case arrivals[0].answer != m.gotSum:
		return "the answer is not the next hop's"
	}
	return ""
}

// results says what came of each kind, and how many of the messages arrived.
func (c *campaign) results() (list []Result, arrived int) {
	for i := range kinds {
		r := Result{Name: kinds[i].name}
		expected, got := tally{}, tally{}
		for _, s := range c.scenes {
			if s.kind != &kinds[i] {
				continue
			}
			for _, m := range s.mails {
				hop := c.DSP
				if m.direction == outage.North {
					hop = c.Users
				}
				arrivals := hop.arrived(m.uri)
				arrived += len(arrivals)
				r.Sent++
				expected[m.fate()]++
				if d := m.difference(arrivals); d == "" {
					got[m.fate()]++
				} else if got["different"]++; got["different"] <= maxDifferences {
					r.Differences = append(r.Differences, m.what+": "+d)
				}
			}
		}
		r.Expected, r.Got = expected.String(), got.String()
		list = append(list, r)
	}
	return list, arrived
}

// strangers is the result for what reached the next hops and was not sent.
func strangers(n int) Result {
	r := Result{Name: "anything else", Expected: "nothing", Got: "nothing"}
	if n != 0 {
		r.Got = fmt.Sprintf("%d different", n)
		r.Differences = []string{"messages reached the next hops that were not sent"}
	}
	return r
}

// tally counts fates.
type tally map[string]int

func (t tally) String() string {
	var parts []string
	for _, fate := range []string{"passed", "suppressed", "forwarded", "different"} {
		if n := t[fate]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, fate))
		}
	}
	return strings.Join(parts, ", ")
}
