package sim

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"quell/internal/outage"
)

// through starts a server that passes everything on to the next hop. It calls before for
// each request.
func through(t *testing.T, hop *NextHop, before func(*http.Request)) (base string) {
	t.Helper()
	beyond := httptest.NewServer(hop)
	t.Cleanup(beyond.Close)
	to, err := url.Parse(beyond.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		before(r.In)
		r.SetURL(to)
	}})
	t.Cleanup(proxy.Close)
	return proxy.URL
}

// TestRunFindsDifferences runs a campaign against a server that suppresses nothing. Its first
// answer comes so late that the campaign starts again.
func TestRunFindsDifferences(t *testing.T) {
	t.Parallel()
	var first sync.Once
	stall := func(*http.Request) { first.Do(func() { time.Sleep(setupTime) }) }
	q := Quell{Window: setupTime, DSP: &NextHop{}, Users: &NextHop{}}
	q.South, q.North = through(t, q.DSP, stall), through(t, q.Users, stall)
	var logged []string
	results, err := q.Run(t.Context(), NewTown(1), func(line string) { logged = append(logged, line) })
	if err != nil {
		t.Fatal(err)
	}
	if len(logged) < 5 || !strings.HasPrefix(logged[1], errStalled.Error()) {
		t.Errorf("logged %q", logged)
	}
	if len(results) != len(kinds)+1 {
		t.Errorf("%d results", len(results))
	}
	for _, r := range results {
		switch r.Expected {
		case "1 passed", "nothing":
			if len(r.Differences) > 0 || r.Got != r.Expected {
				t.Errorf("a difference where there is none: %+v", r)
			}
		default:
			if len(r.Differences) == 0 || r.Got == r.Expected || r.Sent == 0 {
				t.Errorf("no difference found: %+v", r)
			}
		}
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	results, err := Quell{DSP: &NextHop{}, Users: &NextHop{}, Window: time.Second}.Run(ended, NewTown(1), func(string) {})
	if !errors.Is(err, context.Canceled) || results != nil {
		t.Errorf("%d results, error %v", len(results), err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := wait(soon, now().Add(time.Hour)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

// TestPlayStalls tests that play does not count an answer too near to the end of a phase, or
// one that a slow machine may explain.
func TestPlayStalls(t *testing.T) {
	reason := outage.ReasonNoWindow
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Quell-Decision", string(outage.Forwarded))
		w.Header().Set("Quell-Reason", string(reason))
	}))
	defer server.Close()
	play := func(end time.Time) error {
		town := NewTown(1)
		c := campaign{Quell: Quell{North: server.URL}, client: server.Client(), scenes: []*scene{{
			kind: &kind{steps: []step{{atOnce, ad1, forwarded(outage.ReasonNoWindow)}}}, town: town, home: town.homes[0][0][0]}}}
		return c.play(t.Context(), atOnce, end)
	}
	for _, end := range []time.Time{{}, now().Add(time.Minute)} {
		if err := play(end); err != nil {
			t.Errorf("end %v: %v", end, err)
		}
	}
	if err := play(now().Add(margin)); !errors.Is(err, errStalled) {
		t.Errorf("an answer less than a margin before the end: %v", err)
	}
	reason = outage.ReasonStoreUnavailable
	if err := play(time.Time{}); !errors.Is(err, errStalled) {
		t.Errorf("a store that did not answer: %v", err)
	}
}

func TestDifference(t *testing.T) {
	sum := [32]byte{1}
	whole := arrival{contentType: xml, body: sum}
	once, twice := []arrival{whole}, []arrival{whole, whole}
	changed, relabelled := whole, whole
	changed.body[5], relabelled.contentType = 1, ""
	noWindow, over := forwarded(outage.ReasonNoWindow), forwarded(outage.ReasonWindowOver)
	for _, c := range []struct {
		name      string
		want, got answer
		err       error
		arrivals  []arrival
		differs   bool
	}{
		{"suppressed", suppressed, suppressed, nil, nil, false},
		{"forwarded", noWindow, noWindow, nil, once, false},
		{"passed", passed, passed, nil, once, false},
		{"suppressed and delivered", suppressed, suppressed, nil, once, true},
		{"forwarded, but to be suppressed", suppressed, over, nil, once, true},
		{"lost", noWindow, noWindow, nil, nil, true},
		{"lost, but to be suppressed", suppressed, over, nil, nil, true},
		{"suppressed, but to be forwarded", noWindow, suppressed, nil, nil, true},
		{"no answer", suppressed, answer{}, errors.New("no route"), nil, true},
		{"delivered twice", noWindow, noWindow, nil, twice, true},
		{"changed", noWindow, noWindow, nil, []arrival{changed}, true},
		{"relabelled", noWindow, noWindow, nil, []arrival{relabelled}, true},
		{"another reason", noWindow, over, nil, once, true},
		{"another status", passed, answer{status: http.StatusBadGateway}, nil, once, true},
	} {
		m := message{contentType: xml, sum: sum, want: c.want, got: c.got, err: c.err}
		if d := m.difference(c.arrivals); (d != "") != c.differs {
			t.Errorf("%s: difference %q", c.name, d)
		}
	}
	m := message{contentType: xml, sum: sum, want: passed, got: passed, gotSum: [32]byte{1}}
	if m.difference(once) == "" {
		t.Error("an answer that was changed on the way back makes no difference")
	}
}

func TestUnexpected(t *testing.T) {
	if r := unexpected(0); len(r.Differences) > 0 || r.Got != r.Expected {
		t.Errorf("%+v", r)
	}
	if r := unexpected(2); len(r.Differences) == 0 || r.Got == r.Expected {
		t.Errorf("%+v", r)
	}
}
