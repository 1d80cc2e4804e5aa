package guard

import (
	"io"
	"net/http"
	"time"
)

// bodyTimeout is how long a client may take to send the body of a request that has no files. The
// console has few connections: those who sent half a form would keep out the probes of load balancers.
const bodyTimeout = 30 * time.Second

// limitBody limits how long the body of a request may take to arrive. page.Upload sets a longer time.
func (g *Guard) limitBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 {
		return
	}
	limit := g.bodyTimeout
	if limit == 0 {
		limit = bodyTimeout
	}
	control := http.NewResponseController(w)
	if control.SetReadDeadline(time.Now().Add(limit)) == nil { // a test's answer has none
		r.Body = &limitedBody{r.Body, control}
	}
}

// limitedBody ends the limit with the body: otherwise it would end what the request asks for, too.
type limitedBody struct {
	io.ReadCloser
	control *http.ResponseController
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}
