package guard

import (
	"cmp"
	"io"
	"net/http"
	"os"
	"time"
)

// bodyTimeout is how long a client may take to send the body of a request that has no files. The
// console has few connections: those who sent half a form would keep out the probes of load balancers.
const bodyTimeout = 30 * time.Second

// limitBody limits how long the body of a request without files may take to arrive.
func (g *Guard) limitBody(w http.ResponseWriter, r *http.Request) {
	LimitBody(w, r, cmp.Or(g.bodyTimeout, bodyTimeout))
}

// LimitBody limits how long the body of a request may take to arrive. A listener that waits for each
// byte sets another deadline before each, so the time is looked at after each too.
func LimitBody(w http.ResponseWriter, r *http.Request, limit time.Duration) {
	if r.ContentLength == 0 {
		return
	}
	body := &limitedBody{r.Body, http.NewResponseController(w), time.Now().Add(limit)}
	if body.control.SetReadDeadline(body.until) == nil { // a test's answer has none
		r.Body = body
	}
}

// limitedBody ends the limit with the body: otherwise it would end what the request asks for, too.
type limitedBody struct {
	io.ReadCloser
	control *http.ResponseController
	until   time.Time
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == io.EOF:
		b.control.SetReadDeadline(time.Time{})
	case err == nil && time.Now().After(b.until):
		err = os.ErrDeadlineExceeded
	}
	return n, err
}
