package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"quell/internal/duis"
	"quell/internal/outage"
	"quell/internal/sim"
)

var stubCommand = command{
	name: "stub", usage: "LISTEN", short: "Stand in for a next hop, in tests: take any message, and print a line for each",
	run: stub,
}

// stub serves a stand-in for a next hop until ctx ends.
func stub(ctx context.Context, e *env, args []string) error {
	fs := e.flags("LISTEN is the address that it takes messages at, such as 127.0.0.1:9079. Give it as southbound.next_hop or\n" +
		"northbound.next_hop. A request is answered 200 with an acknowledgement (I99), anything else 200 with an empty body.\n" +
		"A line has the time, the method and the path, the size, and what the message is. Nothing is kept.\n" +
		"It is for tests alone: what it takes goes no further.")
	rest, err := parse(fs, args)
	if err != nil || len(rest) != 1 {
		return orUsage(err, "needs one address to listen at")
	}
	l, err := net.Listen("tcp", rest[0])
	if err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "listening at http://%s\n", l.Addr())
	var mu sync.Mutex // one line after the other
	srv := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: &sim.NextHop{Told: func(r *http.Request, m duis.Message, size int) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(e.stdout, "%s  %s %s  %d bytes: %s\n", time.Now().UTC().Format("15:04:05.000Z"), r.Method, r.RequestURI, size, messageText(&m))
	}}}
	defer context.AfterFunc(ctx, func() { srv.Close() })()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// messageText says in a few words what a message is. It has no MPxN.
func messageText(m *duis.Message) string {
	id := m.RequestID
	if m.ResponseID != (outage.RequestID{}) {
		id = m.ResponseID
	}
	switch {
	case m.Root == duis.RootOther:
		return "no DUIS message"
	case m.Root == duis.RootRequest:
		return fmt.Sprintf("request %s, %s", m.ServiceReferenceVariant, id)
	case m.Body == duis.BodyPowerOutage:
		return fmt.Sprintf("alert %s of hub %s, %s", m.AlertCode, m.Outage.CHF, id)
	case m.AlertCode != "":
		return fmt.Sprintf("alert %s, %s", m.AlertCode, id)
	}
	return fmt.Sprintf("response %s %s, %s", m.ServiceReferenceVariant, m.ResponseCode, id)
}
