package gateway

import (
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/outage"

	"github.com/prometheus/client_golang/prometheus"
)

// nextHop is where the messages of a direction go, and how it stood with the last.
type nextHop struct {
	direction outage.Direction
	url       atomic.Pointer[url.URL]
	up        prometheus.Gauge

	failing atomic.Bool // whether mu guards anything that is to be told
	mu      sync.Mutex  // guards what follows
	since   time.Time   // when the first message failed after the last that did not
	failed  int         // messages since
	last    error
}

// point sets where messages go from now on.
func (n *nextHop) point(to *url.URL) {
	if was := n.url.Swap(to); was == nil || to == nil || *was != *to {
		n.answers()
	}
}

// fails notes that a message could not be delivered, or got no answer that can be
// passed on.
func (n *nextHop) fails(err error) {
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

// answers notes that a message was answered.
func (n *nextHop) answers() {
	if !n.failing.Load() {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failed, n.last = 0, nil
	n.failing.Store(false)
	n.up.Set(1)
}

// condition says that it does not take messages; "" if it does, or none came.
func (n *nextHop) condition() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.failed == 0 {
		return ""
	}
	return fmt.Sprintf("the %s next hop, %s, has taken none of %d messages since %s: %v",
		n.direction, n.url.Load(), n.failed, n.since.UTC().Format(time.RFC3339), n.last)
}
