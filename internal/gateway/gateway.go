// Package gateway is the motorway over HTTP: two reverse proxies, one for what
// goes south and one for what goes north. What passes is unchanged in body,
// path, query and status; hop-by-hop headers are each hop's own.
//
// A northbound answer carries the decision in the headers Quell-Decision and
// Quell-Reason. A message whose next hop fails is answered 502, or 504 for a
// time-out, so that the sender sends it again.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"

	"quell/internal/motorway"
	"quell/internal/outage"
)

// Headers of northbound answers.
const (
	DecisionHeader = "Quell-Decision" // an outage.Outcome, or Undelivered
	ReasonHeader   = "Quell-Reason"   // an outage.Reason
)

// Undelivered is the decision's header of an answer that quell gives itself since
// the message, which was to go forward, is not known to have reached the next
// hop. It is no outage.Outcome: those are what the log keeps of decisions, and a
// message that is sent again gets the same one.
const Undelivered = "undelivered"

// Gateway makes the handlers of both directions.
type Gateway struct {
	m       *motorway.Motorway
	log     *slog.Logger
	limits  Limits
	carrier *carrier
	south   nextHop
	north   nextHop
	ended   context.Context // of messages that nobody waits for any more
	end     context.CancelFunc

	mu    sync.Mutex // guards doors
	doors []*door
}

// New makes a gateway. SetNextHops is to be called before the first message.
func New(m *motorway.Motorway, log *slog.Logger, limits Limits) *Gateway {
	g := &Gateway{m: m, log: log, limits: limits.orDefault()}
	for n, d := range map[*nextHop]outage.Direction{&g.south: outage.South, &g.north: outage.North} {
		n.direction, n.up = d, m.Metrics.NextHopUp.WithLabelValues(string(d))
		n.up.Set(1)
	}
	g.ended, g.end = context.WithCancel(context.Background())
	g.carrier = g.newCarrier()
	return g
}

// CutOff gives up what next hops have not answered yet: senders are answered 502,
// and their 11.3s have no window. It is for the end of the program.
func (g *Gateway) CutOff() { g.end() }

// SetNextHops sets where messages go from now on. The URLs may have a path,
// which goes before each message's own.
func (g *Gateway) SetNextHops(south, north *url.URL) {
	g.south.point(south)
	g.north.point(north)
}

// Southbound is the handler of what goes south.
func (g *Gateway) Southbound() http.Handler {
	proxy := g.proxy(&g.south, func(t *transit, res *http.Response) {
		if !t.Tracked() {
			return
		}
		head, err := peek(res.Body, min(res.ContentLength, motorway.Look-1)) // all that is read, however long it is
		res.Body = putBack(head, res.Body)
		if err == nil {
			head, err = plain(head, res.Header.Get("Content-Encoding"))
		}
		d := motorway.InDoubt
		switch {
		case res.StatusCode >= 400 && res.StatusCode < 500 && res.StatusCode != http.StatusRequestTimeout:
			d = motorway.Refused // a sender may follow another that quell does not see
		case res.StatusCode < 300 && err == nil:
			d = motorway.Delivered
		}
		g.m.Answered(res.Request.Context(), &t.Passage, d, head)
	})
	return g.handler(outage.South, func(ctx context.Context, b motorway.Body) (motorway.Passage, http.Header) {
		return g.m.Southbound(ctx, b), nil
	}, proxy)
}

// Northbound is the handler of what goes north.
func (g *Gateway) Northbound() http.Handler {
	proxy := g.proxy(&g.north, func(_ *transit, res *http.Response) {
		res.Header.Del(DecisionHeader)
		res.Header.Del(ReasonHeader)
	})
	return g.handler(outage.North, func(ctx context.Context, b motorway.Body) (motorway.Passage, http.Header) {
		p := g.m.Northbound(ctx, b)
		return p, http.Header{DecisionHeader: {string(p.Decision.Outcome)}, ReasonHeader: {string(p.Decision.Reason)}}
	}, proxy)
}

// answerWriter writes the answer to a sender. Its headers are put in when it begins:
// ReverseProxy forgets what was set before a status of 1xx.
type answerWriter struct {
	http.ResponseWriter
	in     *incoming // the message that is answered; nil if it has no body
	header http.Header
	own    bool // quell's own answer, not the next hop's
}

func (a *answerWriter) WriteHeader(status int) {
	if status < 200 && a.in != nil && (a.in.asked != nil || status == http.StatusContinue && a.in.request.Header.Get("Expect") != "") {
		// net/http asks the sender for the body itself, as soon as it is read, and
		// would write both at once. What comes before an answer is a hint.
		return
	}
	if status >= 200 {
		h := a.Header()
		maps.Copy(h, a.header)
		// net/http would add these to an answer of the next hop that lacks them.
		for _, name := range []string{"Content-Type", "Date"} {
			if _, ok := h[name]; !ok && !a.own {
				h[name] = nil
			}
		}
		if !a.in.whole() {
			// What is left of the message must not be taken for the next one.
			h.Set("Connection", "close")
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (a *answerWriter) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// transit is one message on its way through the gateway.
type transit struct {
	motorway.Passage
	out  *answerWriter
	in   *incoming // nil if the message has no body
	head []byte    // what was read of the body before the decision
	held bool      // that is all of it

	answer *watched // the next hop's answer; nil while there is none, or without a body
}

type transitKey struct{}

func transitOf(r *http.Request) *transit { return r.Context().Value(transitKey{}).(*transit) }

// handler looks at each message by the function decide, which also gives the
// headers of the answer, and passes it on to the proxy unless it is suppressed.
func (g *Gateway) handler(d outage.Direction, decide func(context.Context, motorway.Body) (motorway.Passage, http.Header), proxy http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in := receive(w, r, g.limits.Sender)
		defer in.Close()
		t := &transit{out: &answerWriter{ResponseWriter: w, in: in}, in: in}
		if status, why := tunnel(r); status != 0 {
			g.refuse(t.out, d, "tunnel", status, why)
			return
		}
		b := motorway.Body{XML: isXML(r)}
		if b.XML && in != nil {
			var err error
			if b.Head, err = peek(in, r.ContentLength); err != nil {
				// There is no message.
				status, cause := http.StatusBadRequest, "broken-off"
				if timedOut(err) {
					status, cause = http.StatusRequestTimeout, "stalled"
				}
				g.refuse(t.out, d, cause, status, "the message's body could not be read: "+err.Error())
				return
			}
			b.Rest = len(b.Head) == motorway.Look || r.ContentLength > int64(len(b.Head))
			t.head, t.held = b.Head, !b.Rest
		}
		t.Passage, t.out.header = decide(r.Context(), b)
		if t.Decision.Outcome == outage.Suppressed {
			t.out.own = true
			t.out.WriteHeader(http.StatusOK)
			return
		}
		ctx := r.Context()
		if t.Tracked() {
			// Its answer must be known even if the sender has hung up. A
			// context that cannot end would not do: ReverseProxy would then
			// watch the sender's connection itself.
			var cancel context.CancelFunc
			ctx, cancel = context.WithCancel(context.WithoutCancel(ctx))
			defer cancel()
			defer context.AfterFunc(g.ended, cancel)()
		}
		defer g.noteStall(t)
		// A copy: net/http goes on to use its own request, with its own body.
		proxy.ServeHTTP(t.out, r.WithContext(context.WithValue(ctx, transitKey{}, t)))
	})
}

// noteStall says so if a next hop stopped within its answer. The sender's
// connection is cut then, so that it sees that the answer is not whole.
func (g *Gateway) noteStall(t *transit) {
	if t.answer == nil || !t.answer.stalled.Load() {
		return
	}
	g.m.Metrics.NextHop.WithLabelValues(string(t.Direction), "stalled").Inc()
	g.log.Warn("the next hop stopped within its answer", "direction", t.Direction, "request", t.Message.RequestID, "response", t.Message.ResponseID)
}

// refuse answers what is no message.
func (g *Gateway) refuse(out *answerWriter, d outage.Direction, cause string, status int, why string) {
	g.m.Metrics.Refused.WithLabelValues(string(d), cause).Inc()
	g.log.Warn("refused", "direction", d, "cause", cause, "status", status, "why", why)
	out.own = true
	out.Header().Set("Connection", "close")
	http.Error(out, "quell: "+why, status)
}

// tunnel says how to refuse a request for a tunnel, through which anything might
// pass unseen; 0 if it is none. What merely offers another protocol is a message
// as it is, and passes without the offer: one with a body, or one that offers
// HTTP/2, as some clients do each time.
func tunnel(r *http.Request) (status int, why string) {
	const text = ": quell passes messages of HTTP/1.1, no tunnels"
	switch {
	case r.Method == http.MethodConnect:
		return http.StatusNotImplemented, "CONNECT" + text
	case r.Method == "PRI" || r.ProtoMajor != 1:
		return http.StatusHTTPVersionNotSupported, r.Proto + text
	case r.ContentLength == 0 && slices.Contains(tokens(r.Header["Connection"]), "upgrade") && !offersHTTP(r.Header["Upgrade"]):
		return http.StatusNotImplemented, "Upgrade" + text
	}
	return 0, ""
}

// offersHTTP reports whether all that a sender offers to switch to is HTTP again,
// in another version or by TLS.
func offersHTTP(upgrade []string) bool {
	for _, offer := range tokens(upgrade) {
		if name, _, _ := strings.Cut(offer, "/"); name != "h2c" && name != "tls" && name != "http" {
			return false
		}
	}
	return true
}

// tokens are the items of a header that is a list, in lower case.
func tokens(values []string) (list []string) {
	for _, v := range values {
		for item := range strings.SplitSeq(v, ",") {
			if item = strings.ToLower(strings.TrimSpace(item)); item != "" {
				list = append(list, item)
			}
		}
	}
	return list
}

func timedOut(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// isXML reports whether a message may be DUIS: a POST of an XML media type, or
// of none, that is not compressed.
func isXML(r *http.Request) bool {
	if encoding := r.Header.Get("Content-Encoding"); r.Method != http.MethodPost || encoding != "" && !strings.EqualFold(encoding, "identity") {
		return false
	}
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";") // whatever its parameters are
	media = strings.ToLower(strings.TrimSpace(media))
	return media == "" || media == "application/xml" || media == "text/xml" || strings.HasSuffix(media, "+xml")
}

// errAnswer is of a next hop's answer that no HTTP message may be.
type errAnswer int

func (e errAnswer) Error() string {
	return fmt.Sprintf("the next hop answered with status %03d", int(e))
}

// proxy makes the reverse proxy of a direction. answered sees the next hop's
// answer before the caller does.
func (g *Gateway) proxy(hop *nextHop, answered func(*transit, *http.Response)) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:    func(r *httputil.ProxyRequest) { rewrite(r, hop.url.Load()) },
		Transport:  g.carrier,
		BufferPool: buffers{},
		ErrorLog:   slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
		ModifyResponse: func(res *http.Response) error {
			if res.StatusCode < 200 || res.StatusCode > 999 {
				return errAnswer(res.StatusCode) // a tunnel that nobody asked for, or no status at all
			}
			hop.answers()
			t := transitOf(res.Request)
			t.in.answered()
			if res.Body != http.NoBody {
				t.answer = &watched{ReadCloser: res.Body, idle: g.limits.NextHop}
				res.Body = t.answer
			}
			answered(t, res)
			g.m.Passed(&t.Passage, res.StatusCode)
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, r *http.Request, err error) {
			g.undelivered(hop, transitOf(r), r.Context(), err)
		},
	}
}

// undelivered answers a message that is not known to have reached the next hop.
func (g *Gateway) undelivered(hop *nextHop, t *transit, ctx context.Context, err error) {
	d := motorway.InDoubt
	if dial := (*net.OpError)(nil); errors.As(err, &dial) && dial.Op == "dial" || errors.Is(err, errOwnListener) {
		d = motorway.Refused // nothing of it was sent
	}
	g.m.Answered(ctx, &t.Passage, d, nil)
	g.m.Passed(&t.Passage, 0)
	status, cause := http.StatusBadGateway, "unreachable"
	why := fmt.Sprintf("the next hop (%s) could not be reached, send the message again", t.Direction)
	var bad errAnswer
	if errors.Is(err, context.Canceled) && g.ended.Err() == nil {
		t.in.settle() // net/http gives a message up a moment before its Read says why
	}
	switch sender := t.in.err(); {
	case sender != nil && timedOut(sender):
		status, cause, why = http.StatusRequestTimeout, "sender-stalled", "the message's body could not be read"
	case sender != nil || errors.Is(err, context.Canceled) && g.ended.Err() == nil:
		cause = "sender-gone"
	case errors.Is(err, context.Canceled):
		cause = "stopped"
	case errors.Is(err, errOwnListener):
		cause = "own-listener"
	case errors.As(err, &bad), errors.Is(err, errUnasked):
		cause, why = "answer", fmt.Sprintf("the answer of the next hop (%s) cannot be passed on, send the message again", t.Direction)
	case timedOut(err):
		status, cause = http.StatusGatewayTimeout, "timeout"
	}
	switch cause {
	case "unreachable", "own-listener", "answer", "timeout":
		hop.fails(err)
	}
	g.m.Metrics.NextHop.WithLabelValues(string(t.Direction), cause).Inc()
	g.log.Warn("message not delivered", "direction", t.Direction, "cause", cause, "error", err,
		"request", t.Message.RequestID, "response", t.Message.ResponseID)
	if t.Direction == outage.North {
		t.out.header[DecisionHeader] = []string{Undelivered}
	}
	t.out.own = true
	http.Error(t.out, "quell: "+why+": "+err.Error(), status)
}

// buffers lends ReverseProxy its copy buffers.
type buffers struct{}

var bufferPool = sync.Pool{New: func() any { return new([32 << 10]byte) }}

func (buffers) Get() []byte  { return bufferPool.Get().(*[32 << 10]byte)[:] }
func (buffers) Put(b []byte) { bufferPool.Put((*[32 << 10]byte)(b)) }
