package gateway

import (
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/fastpath"
	"quell/internal/outage"

	"github.com/prometheus/client_golang/prometheus"
)

// nextHop is where the messages of a direction go, and whether it is taking them.
type nextHop struct {
	direction outage.Direction
	url       atomic.Pointer[url.URL]
	carrier   atomic.Pointer[carrier]
	tls       atomic.Pointer[HopTLS]
	hops      atomic.Pointer[fastpath.Hops] // for messages of the common form; nil if there are none
	up        prometheus.Gauge

	failing atomic.Bool // failed is not 0
	mu      sync.Mutex  // guards the fields below
	since   time.Time   // when the first of the failed messages failed
	failed  int         // messages that have failed since the last success
	last    error       // of the last one
}

// setURL sets where messages go from now on.
func (n *nextHop) setURL(to *url.URL) {
	if was := n.url.Swap(to); was == nil || to == nil || *was != *to {
		n.recordAnswer()
	}
}

// RoundTrip sends a message to the next hop.
func (n *nextHop) RoundTrip(r *http.Request) (*http.Response, error) {
	return n.carrier.Load().RoundTrip(r)
}

// recordFailure records that a message could not be delivered, or that its answer cannot
// be forwarded.
func (n *nextHop) recordFailure(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.failed == 0 {
		n.since = time.Now()
	}
	n.failed++
	n.last = err
	n.failing.Store(true)
	n.up.Set(0)
}

// recordAnswer records that a message was answered.
func (n *nextHop) recordAnswer() {
	if !n.failing.Load() {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failed, n.last = 0, nil
	n.failing.Store(false)
	n.up.Set(1)
}

// condition says that the next hop does not take messages; "" if it does, or if none
// came.
func (n *nextHop) condition() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.failed == 0 {
		return ""
	}
	return fmt.Sprintf("the %s next hop, %s, has taken none of %d messages since %s: %v",
		n.direction, n.url.Load(), n.failed, n.since.UTC().Format(time.RFC3339), n.last)
}

// NextHopsUp says of each next hop whether it took and answered the last message that went there.
func (g *Gateway) NextHopsUp() (south, north bool) {
	return g.south.condition() == "", g.north.condition() == ""
}
