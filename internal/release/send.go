package release

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"quell/internal/held"
	"quell/internal/outage"
)

// header says in a request to the next hop that it is an alert that was suppressed before. In
// answers to senders it has the decision.
const header = "Quell-Decision"

// maxAnswer is how much of an answer is read.
const maxAnswer = 64 << 10

// sendOne sends a message as it came. The error is nil if the next hop answered with success;
// status is 0 if there was no answer.
func sendOne(ctx context.Context, message []byte, send Send) (status int, err error) {
	r, body, err := held.Read(message)
	if err != nil {
		return http.StatusBadRequest, fmt.Errorf("the message that was kept cannot be read: %w", err)
	}
	r = r.WithContext(ctx)
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	for name := range r.Header {
		if http.CanonicalHeaderKey(name) == header {
			delete(r.Header, name)
		}
	}
	r.Header[header] = []string{string(outage.Released)}
	res, unsent, err := send(r)
	if err != nil {
		if !unsent {
			err = fmt.Errorf("it may have arrived: %w", err)
		}
		return 0, err
	}
	defer res.Body.Close()
	io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer)) // so that the connection can be used again
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return res.StatusCode, fmt.Errorf("the next hop answered with %s", res.Status)
	}
	return res.StatusCode, nil
}
