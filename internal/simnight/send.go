package simnight

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/evidence"
	"quell/internal/nation"
	"quell/internal/outage"
)

// A Sender sends a night to the listeners of a quell.
type Sender struct {
	Southbound, Northbound string  // their URLs
	Speed                  float64 // 1: as fast as the night is; 60: an hour of it in a minute
	Sent                   func()  // called after each message, by several goroutines; may be nil
}

// atOnce is how many messages are on their way at once. Those of one hub are not: they come in
// order.
const atOnce = 32

// Send sends the messages of a night, the first one now and the others as much later as they are, divided
// by the speed. Their contents have the times of now too, and ids that no other call has used. If
// the listeners are slower than that, it sends as fast as they answer. It returns how many
// messages had another answer than success. The error is that of the first message without any, and
// ends it.
func (s *Sender) Send(ctx context.Context, w *nation.World, n *nation.Night) (failed int, err error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: atOnce, Proxy: http.ProxyFromEnvironment}}
	defer client.CloseIdleConnections()
	urls := map[outage.Direction]string{outage.South: s.Southbound, outage.North: s.Northbound}
	var refused atomic.Int64
	var workers sync.WaitGroup
	var queues [atOnce]chan Message
	for i := range queues {
		queues[i] = make(chan Message, 16)
		workers.Go(func() {
			for m := range queues[i] {
				ok, err := post(ctx, client, urls[m.Direction], m.Document)
				if err != nil {
					stop(err) // the other messages fail too then
				} else if !ok {
					refused.Add(1)
				}
				if s.Sent != nil {
					s.Sent()
				}
			}
		})
	}
	for m := range messages(w, later(n, time.Now().UTC(), s.Speed), time.Duration(float64(retryAfter)/s.Speed)) {
		m.Document = bytes.Clone(m.Document)
		select {
		case <-time.After(time.Until(m.At)):
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		select {
		case queues[m.home.Hub%atOnce] <- m:
		case <-ctx.Done():
		}
	}
	for _, q := range queues {
		close(q)
	}
	workers.Wait()
	return int(refused.Load()), context.Cause(ctx)
}

func post(ctx context.Context, c *http.Client, url string, document []byte) (ok bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(document))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/xml")
	resp, err := c.Do(req)
	if err != nil {
		return false, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode/100 == 2, errors.Join(err, resp.Body.Close())
}

// later returns a night whose first message comes at an instant, and the others as much later as they are,
// divided by the speed.
func later(n *nation.Night, begin time.Time, speed float64) *nation.Night {
	if len(n.Sightings) == 0 {
		return n
	}
	first := n.Sightings[0].Received
	at := func(t time.Time) time.Time {
		if t.IsZero() {
			return t
		}
		return begin.Add(time.Duration(float64(t.Sub(first)) / speed))
	}
	moved := &nation.Night{Begin: at(n.Begin), End: at(n.End), Sightings: make([]evidence.Sighting, len(n.Sightings))}
	for i, s := range n.Sightings {
		// Two runs must not have a request in common: the second would be a retry.
		if s.Request.Counter != 0 {
			s.Request.Counter += uint64(begin.UnixMicro())
		}
		future := s.Start.After(s.Received)
		s.Received, s.Start, s.End = at(s.Received), at(s.Start), at(s.End)
		switch {
		case s.Kind == evidence.Lost:
			s.Start = s.Start.Truncate(time.Millisecond)
		case s.Kind == evidence.Ordered && future:
			s.Start = s.Start.Truncate(time.Second) // as the payload has it
		}
		moved.Sightings[i] = s
	}
	return moved
}

// Check says what is wrong with a sender; nil if nothing is.
func (s *Sender) Check() error {
	if s.Southbound == "" || s.Northbound == "" {
		return errors.New("name both listeners, --southbound and --northbound")
	}
	if !(s.Speed > 0 && s.Speed <= 1e6) {
		return fmt.Errorf("the speed must be more than 0, and at most 1,000,000")
	}
	return nil
}
