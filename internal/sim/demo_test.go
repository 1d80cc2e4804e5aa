package sim

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"quell/internal/outage"
)

// through starts a server that passes everything on to the next hop.
func through(t *testing.T, hop *NextHop) (base string) {
	t.Helper()
	beyond := httptest.NewServer(hop)
	t.Cleanup(beyond.Close)
	to, err := url.Parse(beyond.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }})
	t.Cleanup(proxy.Close)
	return proxy.URL
}

// TestDemoFindsDifferences runs Demo against something that is no quell: it
// suppresses nothing, and says nothing of decisions.
func TestDemoFindsDifferences(t *testing.T) {
	t.Parallel()
	south, north := NewDSP(), NewServiceUsers()
	town := NewTown(1)
	e := Endpoints{South: through(t, south) + "/", North: through(t, north), Window: MinWindow}
	var seen []string
	began := time.Now()
	kinds, err := Demo(t.Context(), e, south, north, town, func(done, total int, what string) {
		seen = append(seen, what)
		if done != len(seen) || total != len(scripts) {
			t.Errorf("progress %d of %d after %d of %d kinds", done, total, len(seen), len(scripts))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 35*time.Second {
		t.Errorf("it took %v", took)
	}
	if len(kinds) != len(scripts)+1 || len(seen) != len(scripts) {
		t.Errorf("%d kinds, progress on %q", len(kinds), seen)
	}
	for _, k := range kinds {
		t.Logf("%+v", k)
		stalled := slices.ContainsFunc(k.Detail, func(s string) bool { return strings.HasPrefix(s, "try 3") })
		switch {
		case stalled:
			t.Logf("%s: the machine stalled", k.Name)
		case k.Expected == "1 passed" || k.Expected == "nothing":
			if !k.OK || k.Got != k.Expected || len(k.Detail) > 0 {
				t.Errorf("%s: a difference where there is none: %+v", k.Name, k)
			}
		case k.OK || k.Got == k.Expected || len(k.Detail) == 0 || strings.Contains(k.Got, fateSuppressed) || k.Sent == 0:
			t.Errorf("%s: no difference found: %+v", k.Name, k)
		}
	}
}

func TestDemoRefuses(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, run := range map[string]func() ([]Kind, error){
		"a short window": func() ([]Kind, error) {
			return Demo(t.Context(), Endpoints{Window: MinWindow - 1}, NewDSP(), NewServiceUsers(), NewTown(1), nil)
		},
		"a small town": func() ([]Kind, error) {
			return Demo(t.Context(), Endpoints{Window: MinWindow}, NewDSP(), NewServiceUsers(), newTown(1, 20), nil)
		},
		"a context that ended": func() ([]Kind, error) {
			return Demo(ended, Endpoints{Window: MinWindow}, NewDSP(), NewServiceUsers(), NewTown(1), nil)
		},
	} {
		if kinds, err := run(); err == nil || kinds != nil {
			t.Errorf("%s: %d kinds, error %v", name, len(kinds), err)
		}
	}
}

func TestStrangers(t *testing.T) {
	if k := strangers(0); !k.OK {
		t.Errorf("%+v", k)
	}
	if k := strangers(2); k.OK || k.Got == k.Expected {
		t.Errorf("%+v", k)
	}
}

func TestFate(t *testing.T) {
	sum := [32]byte{1}
	arrival := Arrival{Method: http.MethodPost, ContentType: "application/xml", SHA256: sum}
	changed, once, twice := arrival, []Arrival{arrival}, []Arrival{arrival, arrival}
	changed.SHA256[5] = 1
	north := mail{direction: outage.North, method: http.MethodPost, contentType: "application/xml", sum: sum}
	for _, c := range []struct {
		want, got answer
		err       error
		arrivals  []Arrival
		fate      string
		differs   bool
	}{
		{want: suppressed, got: suppressed, fate: fateSuppressed},
		{want: noWindow, got: noWindow, arrivals: once, fate: fateForwarded},
		{want: suppressed, got: suppressed, arrivals: once, fate: fateBoth, differs: true},
		{want: suppressed, got: over, arrivals: once, fate: fateForwarded, differs: true},
		{want: suppressed, got: over, fate: fateLost, differs: true},
		{want: suppressed, got: answer{}, err: errors.New("no route"), fate: fateUnanswered, differs: true},
		{want: noWindow, got: suppressed, fate: fateSuppressed, differs: true},
		{want: noWindow, got: noWindow, fate: fateLost, differs: true},
		{want: noWindow, got: noWindow, arrivals: twice, fate: fateTwice, differs: true},
		{want: noWindow, got: noWindow, arrivals: []Arrival{changed}, fate: fateChanged, differs: true},
		{want: noWindow, got: over, arrivals: once, fate: fateOther, differs: true},
		{want: noWindow, got: answer{status: http.StatusBadGateway}, arrivals: once, fate: fateOther, differs: true},
	} {
		m := north
		m.want, m.got, m.err = c.want, c.got, c.err
		fate, difference := m.fate(c.arrivals)
		if fate != c.fate || (difference != "") != c.differs {
			t.Errorf("want %s, got %s, %d arrivals: %s %q; want %s", c.want, c.got, len(c.arrivals), fate, difference, c.fate)
		}
	}
	south := mail{direction: outage.South, method: http.MethodPost, contentType: "application/xml", sum: sum, want: passed, got: passed}
	if fate, difference := south.fate(once); fate != fatePassed || difference != "" {
		t.Errorf("a request that passed: %s %q", fate, difference)
	}
	south.gotSum[0] = 1
	if fate, difference := south.fate(once); fate != fateOther || difference == "" {
		t.Errorf("an answer on the way back changed: %s %q", fate, difference)
	}
}

func TestTally(t *testing.T) {
	var counts tally
	for _, fate := range []string{fateForwarded, fateLost, fateSuppressed, fateForwarded, fatePassed} {
		counts.add(fate)
	}
	if have, want := counts.String(), "1 passed, 1 suppressed, 2 forwarded, 1 lost"; have != want {
		t.Errorf("have %q\nwant %q", have, want)
	}
}
