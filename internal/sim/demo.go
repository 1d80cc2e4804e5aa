// Package sim runs campaigns against a running quell: it sends real DUIS
// messages to its listeners over HTTP, as Service Users and communications
// service providers would, stands in for what lies beyond, and compares what
// became of each message with what should have.
//
// It knows quell only from outside, and imports nothing of it but the formats
// of messages and the words of the domain.
package sim

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Endpoints are the running system under test.
type Endpoints struct {
	South, North string        // base URLs of quell's listeners
	Window       time.Duration // quell's setting; at least MinWindow
}

// MinWindow is the shortest window that Demo can aim at.
const MinWindow = 2 * time.Second

// Kind is what came of one kind of traffic. Expected and Got are short texts
// for a table, such as "2 passed, 3 suppressed, 1 forwarded": requests pass
// south, the rest is of what went north.
type Kind struct {
	Name     string
	Sent     int
	Expected string
	Got      string
	OK       bool
	// Detail holds the first differences, after what is to be said of tries
	// that had to be given up since the machine stalled.
	Detail []string
}

// Tries and differences of one kind, at most.
const (
	maxTries   = 3
	maxDetails = 5
)

// stage is what all plays share.
type stage struct {
	Endpoints
	south, north *NextHop
	town         *Town
	campaign     uint64 // tells the messages of one Demo from another's
	client       *http.Client
	margin       time.Duration // kept from the boundaries of windows
	last         chan struct{} // holds a token for each last try that is under way: a few at a time
}

// Demo sends messages of all kinds and says what came of each kind. quell has
// to forward to the handlers south (a DSP) and north, to know the town's
// inventory and device list, to be switched on, and to have seen nothing of
// this town before. Its store_timeout should be a second or more, lest a
// machine that hesitates look like a store that failed.
//
// The kinds run at the same time, on hubs of their own. No message is sent
// close to a boundary of a window: a kind for which the machine stalled so
// long that this cannot be told is tried again on fresh hubs, up to three
// times in all. With a window of three seconds Demo takes about eight, and 40
// at most.
//
// progress, unless nil, is called after each kind, by one goroutine at a time.
// The error says that Demo could not be done: the window is too short, the
// town too small, or ctx ended. Differences are no error.
func Demo(ctx context.Context, e Endpoints, south, north *NextHop, t *Town, progress func(done, total int, what string)) ([]Kind, error) {
	if e.Window < MinWindow {
		return nil, fmt.Errorf("a window of %v is too short for the demonstration, which needs %v", e.Window, MinWindow)
	}
	e.South, e.North = strings.TrimSuffix(e.South, "/"), strings.TrimSuffix(e.North, "/")
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true, IdleConnTimeout: time.Minute}
	defer transport.CloseIdleConnections()
	s := &stage{Endpoints: e, south: south, north: north, town: t, campaign: t.count(), margin: max(e.Window*15/100, 300*time.Millisecond),
		client: &http.Client{Transport: transport, Timeout: 10 * time.Second}, last: make(chan struct{}, 3)}

	// The homes are given out in order, so that a first try is the same each time.
	casts := make([]cast, len(scripts))
	for i := range scripts {
		var err error
		if casts[i], err = s.cast(&scripts[i]); err != nil {
			return nil, fmt.Errorf("demonstration: %w", err)
		}
	}
	run, cancel := context.WithTimeout(ctx, 10*e.Window+10*time.Second)
	defer cancel()
	before := south.Count() + north.Count()
	kinds := make([]Kind, len(scripts), len(scripts)+1)
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex // guards done and known
		done  int
		known int
	)
	for i := range scripts {
		wg.Go(func() {
			kind, arrived := s.perform(run, i, casts[i])
			mu.Lock()
			defer mu.Unlock()
			kinds[i] = kind
			done, known = done+1, known+arrived
			if progress != nil {
				progress(done, len(scripts), kind.Name)
			}
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return append(kinds, strangers(south.Count()+north.Count()-before-known)), nil
}

// cast is the homes of one try of one kind.
type cast struct {
	homes []*Home
	storm *Traffic
}

func (s *stage) cast(c *script) (_ cast, err error) {
	var out cast
	if out.homes, err = s.town.take(c.homes...); err == nil && c.storm {
		out.storm, err = NewTraffic(s.campaign, s.town, stormHubs, stormShare)
	}
	return out, err
}

// strangers is the kind of what reached the next hops and nobody sent.
func strangers(n int) Kind {
	k := Kind{Name: "anything else", Expected: "nothing", Got: "nothing", OK: n == 0}
	if n != 0 {
		k.Got = fmt.Sprintf("%d at the next hops", n)
		k.Detail = []string{"messages reached the next hops that were not sent"}
	}
	return k
}

// perform plays a script until a try is not stalled. arrived is how many of
// its messages reached the next hops, of all tries.
func (s *stage) perform(ctx context.Context, script int, c cast) (k Kind, arrived int) {
	var notes []string
	for try := 1; ; try++ {
		if try == maxTries {
			s.last <- struct{}{}
			defer func() { <-s.last }()
		}
		p := &play{stage: s, ctx: ctx, name: fmt.Sprintf("%d.%d.%d", s.campaign, script+1, try), try: try, cast: c}
		scripts[script].run(p)
		var n int
		k, n = p.result(scripts[script].name)
		arrived += n
		if p.err == nil {
			break
		}
		k.OK = false
		notes = append(notes, fmt.Sprintf("try %d of %d: %v", try, maxTries, p.err))
		if !errors.Is(p.err, errStalled) || try == maxTries {
			k.Got = strings.TrimPrefix(k.Got+", not finished", ", ")
			break
		}
		var err error
		if c, err = s.cast(&scripts[script]); err != nil {
			notes = append(notes, err.Error())
			break
		}
	}
	k.Detail = append(notes, k.Detail...)
	return k, arrived
}

// result compares what a play sent with what reached the next hops.
func (p *play) result(name string) (k Kind, arrived int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k = Kind{Name: name, Sent: len(p.mails)}
	var expected, got tally
	var details []string
	for _, m := range p.mails {
		hop := p.south
		if m.expected() != fatePassed {
			hop = p.north
		}
		arrivals := hop.Arrivals(m.uri)
		arrived += len(arrivals)
		fate, difference := m.fate(arrivals)
		expected.add(m.expected())
		got.add(fate)
		if difference != "" {
			details = append(details, difference)
		}
	}
	k.Expected, k.Got, k.OK = expected.String(), got.String(), len(details) == 0
	if more := len(details) - maxDetails; more > 0 {
		details = append(details[:maxDetails], fmt.Sprintf("and %d more", more))
	}
	k.Detail = details
	return k, arrived
}

// tally counts fates.
type tally map[string]int

func (t *tally) add(fate string) {
	if *t == nil {
		*t = tally{}
	}
	(*t)[fate]++
}

// String lists the usual fates first.
func (t tally) String() string {
	order := []string{fatePassed, fateSuppressed, fateForwarded, fateOther, fateUnanswered, fateLost, fateTwice, fateBoth, fateChanged}
	var parts []string
	for _, fate := range order {
		if n := t[fate]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, fate))
		}
	}
	return strings.Join(parts, ", ")
}
