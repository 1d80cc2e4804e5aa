package web

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"regexp"
	"time"
)

const (
	// maxStreams is how many pages may follow what happens at the same time, on a node.
	maxStreams = 100
	// streamFor is how long a stream lasts. The browser then opens another one, and is asked again
	// who it is.
	streamFor = time.Minute
)

// lineEnds are those that end a line of an event, apart from a newline: a text could otherwise end the
// message in its middle, or give orders such as "retry" to the browser.
var lineEnds = regexp.MustCompile(`\r\n?`)

var errStreams = errors.New("too many pages follow what happens at the same time: reload the page to see what is new")

// stream sends to the script of a page what its live part is, now and each time that it has
// changed, as server-sent events. It ends when the client goes, after streamFor, and when quell
// stops.
func (p *Web) stream(w http.ResponseWriter, r *http.Request, every time.Duration, read func(context.Context) ([]byte, error)) {
	if p.streams.Add(1) > maxStreams {
		p.streams.Add(-1)
		p.fail(w, r, http.StatusServiceUnavailable, errStreams)
		return
	}
	defer p.streams.Add(-1)
	ctx, cancel := context.WithTimeout(r.Context(), streamFor)
	defer cancel()
	defer context.AfterFunc(p.Console.Draining(), cancel)()
	w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	var before []byte
	start := "retry: 1000\n" // how long the browser waits, in milliseconds, before it opens the next one
	for {
		if start == "" && !p.Console.Guard.StillAllowed(r) { // they have logged out, perhaps
			return
		}
		text, err := read(ctx)
		if err != nil || ctx.Err() != nil {
			return
		}
		text = lineEnds.ReplaceAll(text, []byte("\n"))
		message := []byte(": nothing new\n\n")
		if !bytes.Equal(text, before) {
			message = append([]byte("data: "), bytes.ReplaceAll(bytes.TrimSpace(text), []byte("\n"), []byte("\ndata: "))...)
			message = append(message, "\n\n"...)
			before = text
		}
		if _, err := w.Write(append([]byte(start), message...)); err != nil {
			return
		}
		start = ""
		if err := control.Flush(); err != nil {
			return
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return
		}
	}
}
