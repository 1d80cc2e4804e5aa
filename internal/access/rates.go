package access

import (
	"container/list"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Rates limit how often each client of the console may ask. A client is a name, or the network
// that requests without a name come from.
type Rates struct {
	Now func() time.Time // time.Now if nil

	mu      sync.Mutex // guards the fields below
	clients map[string]*list.Element
	recent  list.List // of *client, the one that asked last first
}

// client is what is known of a client's rate.
type client struct {
	key   string
	rates [rateKinds]*rate.Limiter
}

// What a client has a rate of.
const (
	Reads     = iota // of a client that has a role
	Changes          // so that nobody who reads keeps himself from changing the switch
	Anonymous        // all of a client without a role
	wrong            // credentials
	asking           // for links
	rateKinds
)

// rateOf has how many requests a second each kind may have, and how many at once.
var rateOf = [rateKinds]struct {
	perSecond rate.Limit
	burst     int
}{
	Reads:     {100, 500},
	Changes:   {5, 50},
	Anonymous: {1, 30},
	wrong:     {0.1, 5},
	asking:    {0.1, 10},
}

// maxClients is how many clients are remembered. Beyond, the one that has been silent longest is
// forgotten.
const maxClients = 10_000

func (r *Rates) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}

// client returns a client. The caller holds r.mu.
func (r *Rates) client(key string) *client {
	if e, ok := r.clients[key]; ok {
		r.recent.MoveToFront(e)
		return e.Value.(*client)
	}
	if r.clients == nil {
		r.clients = map[string]*list.Element{}
	}
	if len(r.clients) >= maxClients {
		oldest := r.recent.Back()
		r.recent.Remove(oldest)
		delete(r.clients, oldest.Value.(*client).key)
	}
	c := &client{key: key}
	for i, k := range rateOf {
		c.rates[i] = rate.NewLimiter(k.perSecond, k.burst)
	}
	r.clients[key] = r.recent.PushFront(c)
	return c
}

// Allow reports whether a client may ask now. If not, wait says after how long it may again.
func (r *Rates) Allow(key string, kind int) (ok bool, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	res := r.client(key).rates[kind].ReserveN(now, 1)
	if wait = res.DelayFrom(now); wait > 0 {
		res.CancelAt(now)
	}
	return wait == 0, wait
}

// MayTry reports whether credentials of a client are to be checked.
func (r *Rates) MayTry(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.client(key).rates[wrong].TokensAt(r.now()) >= 1
}

// Failed records that the credentials of a client were wrong.
func (r *Rates) Failed(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.client(key).rates[wrong].AllowN(r.now(), 1)
}
