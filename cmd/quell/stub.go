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
	name: "stub", usage: "LISTEN", short: "Stand in for a next hop in tests: accept any message, and print a line for each",
	run: stub,
}

// stub serves a stand-in for a next hop until ctx ends.
func stub(ctx context.Context, e *env, args []string) error {
	fs := e.flags("LISTEN is the address of the stub, such as 127.0.0.1:9079. Use it as southbound.next_hop or northbound.next_hop.\n" +
		"The stub answers a DUIS request with 200 and an acknowledgement (I99), anything else with 200 and an empty body.\n" +
		"A line has the time, the method and the path, the size, and what the message is. The stub stores nothing.\n" +
		"It is for tests only: it passes no message on.")
	rest, err := parse(fs, args)
	if err != nil || len(rest) != 1 {
		return orUsage(err, "needs one address to listen on")
	}
	l, err := net.Listen("tcp", rest[0])
	if err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "listening on http://%s\n", l.Addr())
	var mu sync.Mutex // one line at a time
	srv := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: &sim.NextHop{OnMessage: func(r *http.Request, m duis.Message, size int) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(e.stdout, "%s  %s %s  %d bytes: %s\n", time.Now().UTC().Format("15:04:05.000Z"), r.Method, printable(r.RequestURI), size, printable(messageText(&m)))
	}}}
	defer context.AfterFunc(ctx, func() { srv.Close() })()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// messageText says in a few words what a message is, without an MPxN.
func messageText(m *duis.Message) string {
	id := m.RequestID
	if m.ResponseID != (outage.RequestID{}) {
		id = m.ResponseID
	}
	switch {
	case m.Root == duis.RootOther:
		return "not a DUIS message"
	case m.Root == duis.RootRequest:
		return fmt.Sprintf("request %s, %s", m.ServiceReferenceVariant, id)
	case m.Body == duis.BodyPowerOutage:
		return fmt.Sprintf("alert %s of hub %s, %s", m.AlertCode, m.Outage.CHF, id)
	case m.AlertCode != "":
		return fmt.Sprintf("alert %s, %s", m.AlertCode, id)
	}
	return fmt.Sprintf("response %s %s, %s", m.ServiceReferenceVariant, m.ResponseCode, id)
}
