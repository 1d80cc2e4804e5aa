package gateway

import (
	"context"
	"net/http"
)

// SendLate sends a northbound message that was suppressed before to the next hop, as the message
// came, and returns the answer. The body of r is in memory. The message is sent once; the error
// does not say whether it arrived, except that unsent means that no byte of it was sent.
func (g *Gateway) SendLate(r *http.Request) (res *http.Response, unsent bool, err error) {
	to := r.WithContext(context.WithValue(r.Context(), transitKey{}, &transit{}))
	to.RequestURI = ""
	to.Header = r.Header.Clone()
	setTarget(to, r, g.north.url.Load())
	if res, err = g.north.RoundTrip(to); err != nil {
		g.north.recordFailure(err)
		return nil, wasNotSent(err), err
	}
	g.north.recordAnswer()
	return res, false, nil
}
