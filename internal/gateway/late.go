package gateway

import (
	"bytes"
	"context"
	"io"
	"net/http"
)

// SendLate sends a northbound message that was suppressed before to the next hop, as the message
// came, and returns the answer. body is that of r, in memory. The message is sent once; the error
// does not say whether it arrived, except that unsent means that no byte of it was sent.
func (g *Gateway) SendLate(r *http.Request, body []byte) (res *http.Response, unsent bool, err error) {
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	to := r.WithContext(context.WithValue(r.Context(), transitKey{}, &transit{}))
	to.RequestURI = ""
	to.Header = r.Header.Clone()
	sendOnce(to.Header)
	setTarget(to, r, g.north.url.Load())
	if res, err = g.north.RoundTrip(to); err != nil {
		g.north.recordFailure(err)
		g.m.PassedLate(body, 0)
		return nil, wasNotSent(err), err
	}
	g.north.recordAnswer()
	g.m.PassedLate(body, res.StatusCode)
	return res, false, nil
}
