// Package sim shows a running quell at work. It invents a town, and sends what suppliers,
// hubs and meters would send during a firmware campaign. It stands in for the next hops, and
// compares what happened to each message with what should have happened.
//
// It uses quell only through HTTP, and imports nothing but the formats of messages, their
// signatures and the domain.
package sim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"quell/internal/outage"
)

// Quell is a running quell, with stand-ins for its next hops. It must have imported the
// town's inventory and device list, its switch must be on, and it must not have seen any
// message of the town.
type Quell struct {
	South, North string        // base URLs of its listeners
	Window       time.Duration // its setting "window"; 1 s or more
	DSP, Users   *NextHop
	TLS          *tls.Config // with which senders connect; nil if the URLs are http
}

// Result is the result of one kind of traffic. Expected and Got are short texts for a
// table, such as "1 passed, 2 suppressed, 1 forwarded". Southbound messages pass; northbound
// ones are suppressed or forwarded.
type Result struct {
	Name          string
	Sent          int
	Expected, Got string
	Differences   []string // the first few; none if all is as expected
	Hubs          []outage.DeviceID

	suppressed []*message
}

// Delivered returns how many of the suppressed messages of a kind have reached a next hop since,
// each once and unchanged.
func (r *Result) Delivered(to *NextHop) (n int) {
	for _, m := range r.suppressed {
		if a := to.arrived(m.uri); len(a) == 1 && a[0].body == m.sum && a[0].contentType == m.contentType {
			n++
		}
	}
	return n
}

const (
	// tries is how often a campaign is run at most, until the machine is fast enough.
	tries = 5
	// setupTime is the time until the future-dated windows start. They start at a full
	// second, so up to a second less. Each further try has as much more, up to the window.
	setupTime = 5 * time.Second
	// margin is the time between a message and the boundary of a window, at least.
	margin = 200 * time.Millisecond
	// maxDifferences is how many differences of a kind are reported.
	maxDifferences = 5
)

// errStalled says that an answer came too late: its message may have reached quell on the
// other side of a window's boundary.
var errStalled = errors.New("the machine stalled")

// Run runs the campaign and returns the result of each kind of traffic. It takes setupTime
// and the window together, if one try is enough. It calls log with a line for each step.
//
// If the machine is so slow that a message may have reached quell on the other side of a
// window's boundary, Run starts again in other homes, up to the number of tries. It returns
// an error if ctx ends, or if the machine was too slow each time. Differences are no error.
func (q Quell) Run(ctx context.Context, t *Town, log func(line string)) ([]Result, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: 32, DisableCompression: true, TLSClientConfig: q.TLS, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	arrived := 0 // at the next hops, of the messages that were sent
	for try := 1; ; try++ {
		c := campaign{Quell: q, client: client, setup: max(setupTime, min(time.Duration(try)*setupTime, q.Window))}
		for i := range kinds {
			for _, h := range t.homes[try-1][i] {
				c.scenes = append(c.scenes, &scene{kind: &kinds[i], town: t, home: h})
			}
		}
		err := c.run(ctx, log)
		results, n := c.results()
		arrived += n
		switch {
		case err == nil:
			return append(results, unexpected(q.DSP.total()+q.Users.total()-arrived)), nil
		case !errors.Is(err, errStalled) || try == tries:
			return nil, err
		}
		log(err.Error() + "; starting again in other homes")
	}
}

// phase is when a message is sent. All messages of a phase are answered before the next
// phase begins.
type phase int

const (
	atOnce  phase = iota // before the future-dated windows start, while those on demand are open
	started              // while the future-dated windows are open
	over                 // when all windows are over
)

func (p phase) String() string {
	return [...]string{"at once", "in the future-dated windows", "after the windows"}[p]
}

// campaign is one try of the campaign.
type campaign struct {
	Quell
	client *http.Client
	setup  time.Duration // until the future-dated windows start
	scenes []*scene
}

// scene is one home in a campaign, and the messages about it.
type scene struct {
	kind     *kind
	town     *Town
	home     *home
	begin    time.Time // of the future-dated windows; a full second
	messages []*message
}

// run sends the messages of each phase. The times are such that each message is clearly
// inside or outside a window: no window on demand is over before the future-dated ones start.
func (c *campaign) run(ctx context.Context, log func(string)) error {
	start := now()
	begin := start.Add(c.setup).Truncate(time.Second)
	for _, s := range c.scenes {
		s.begin = begin
	}
	log("firmware activations go south; AD1s and other messages go north")
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
	log("the future-dated windows start")
	if err := c.play(ctx, started, begin.Add(c.Window)); err != nil {
		return err
	}
	if err := wait(ctx, begin.Add(c.Window)); err != nil {
		return err
	}
	log("all windows are over")
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

// play sends the messages of a phase: those of different homes at the same time, those of
// one home in order. The error is errStalled if the last answer came less than a margin
// before the end. A zero end is no limit.
func (c *campaign) play(ctx context.Context, p phase, end time.Time) error {
	var wg sync.WaitGroup
	for _, s := range c.scenes {
		wg.Go(func() {
			for _, step := range s.kind.steps {
				if step.at == p && ctx.Err() == nil {
					m := s.message(step)
					s.messages = append(s.messages, m)
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
		for _, m := range s.messages {
			if m.got.reason == outage.ReasonStoreUnavailable {
				return fmt.Errorf("%w: the store did not answer in time", errStalled)
			}
		}
	}
	return nil
}

// now reads the wall clock only, as quell does: a monotonic reading differs from it after
// the clock was set.
func now() time.Time { return time.Now().Round(0) }

// message is one message, with the expected and the real answer.
type message struct {
	what        string
	direction   outage.Direction
	uri         string // unique
	contentType string
	body        []byte // nil after it is sent
	want        answer

	sum    [sha256.Size]byte // of the body
	err    error             // why there is no answer
	got    answer
	gotSum [sha256.Size]byte // of the answer's body
}

// answer is what a sender gets. Southbound, outcome and reason are empty.
type answer struct {
	status  int
	outcome outage.Outcome
	reason  outage.Reason
}

func (a answer) String() string {
	return strings.TrimSpace(fmt.Sprintf("%d %s %s", a.status, a.outcome, a.reason))
}

func (s *scene) message(step step) *message {
	direction := outage.North
	if step.want.outcome == "" {
		direction = outage.South
	}
	return &message{what: fmt.Sprintf("%s, %s", step.send.what, step.at), direction: direction, uri: fmt.Sprintf("%smessage=%d", step.send.path, s.town.count()),
		contentType: step.send.contentType, body: step.send.body(s), want: step.want}
}

// post sends a message and reads the answer.
func (c *campaign) post(ctx context.Context, m *message) {
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

// expected returns what should happen to a message.
func (m *message) expected() string {
	if m.direction == outage.South {
		return "passed"
	}
	return string(m.want.outcome)
}

// difference says how what happened to a message differs from what should have happened;
// "" if it does not. arrivals is what reached the next hop.
func (m *message) difference(arrivals []arrival) string {
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

// results returns the result of each kind, and how many of the messages arrived.
func (c *campaign) results() (list []Result, arrived int) {
	for i := range kinds {
		r := Result{Name: kinds[i].name}
		expected, got := tally{}, tally{}
		for _, s := range c.scenes {
			if s.kind != &kinds[i] {
				continue
			}
			r.Hubs = append(r.Hubs, s.home.meter.CHF)
			for _, m := range s.messages {
				hop := c.DSP
				if m.direction == outage.North {
					hop = c.Users
				}
				arrivals := hop.arrived(m.uri)
				arrived += len(arrivals)
				r.Sent++
				if m.got.outcome == outage.Suppressed {
					r.suppressed = append(r.suppressed, m)
				}
				expected[m.expected()]++
				if d := m.difference(arrivals); d == "" {
					got[m.expected()]++
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

// unexpected returns the result for n messages that reached the next hops and were not sent.
func unexpected(n int) Result {
	r := Result{Name: "anything else", Expected: "nothing", Got: "nothing"}
	if n != 0 {
		r.Got = fmt.Sprintf("%d different", n)
		r.Differences = []string{"messages reached the next hops that were not sent"}
	}
	return r
}

// tally counts messages by what happened to them.
type tally map[string]int

func (t tally) String() string {
	var parts []string
	for _, what := range []string{"passed", "suppressed", "forwarded", "different"} {
		if n := t[what]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, what))
		}
	}
	return strings.Join(parts, ", ")
}
