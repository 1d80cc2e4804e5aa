// Package gateway is the motorway over HTTP: two reverse proxies, one southbound and
// one northbound. They forward messages with body, path, query and status unchanged.
// Hop-by-hop headers belong to each hop. Messages of the common form take the fast path
// (package fastpath), all others net/http; both decide by the same functions.
//
// A northbound answer has the decision in the headers Quell-Decision and Quell-Reason.
// If the next hop fails, the sender gets 502, or 504 after a time-out, so that it sends
// the message again.
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
	"strings"
	"sync"

	"quell/internal/channel"
	"quell/internal/fastpath"
	"quell/internal/form"
	"quell/internal/listener"
	"quell/internal/motorway"
	"quell/internal/outage"
)

// Headers of northbound answers.
const (
	DecisionHeader = "Quell-Decision" // an outage.Outcome, or Undelivered
	ReasonHeader   = "Quell-Reason"   // an outage.Reason
)

// Undelivered is the decision header if a message should have been forwarded, but is
// not known to have reached the next hop: quell answers it itself. It is not an
// outage.Outcome. Those are logged, and a message that is sent again gets the same
// one.
const Undelivered = "undelivered"

// Gateway makes the handlers of both directions.
type Gateway struct {
	m      *motorway.Motorway
	log    *slog.Logger
	limits Limits
	south  nextHop
	north  nextHop
	ended  context.Context // ends when messages are abandoned
	end    context.CancelFunc

	renewing sync.Mutex // held by renewCarrier: of two, the last one knows all that was set before

	mu       sync.Mutex // guards the fields below
	limiters []*listener.Limiter
	doors    []*channel.Door
}

// New makes a gateway. Call SetNextHops before the first message.
func New(m *motorway.Motorway, log *slog.Logger, limits Limits) *Gateway {
	g := &Gateway{m: m, log: log, limits: limits.orDefault()}
	for n, d := range map[*nextHop]outage.Direction{&g.south: outage.South, &g.north: outage.North} {
		n.direction, n.up = d, m.Metrics.NextHopUp.WithLabelValues(string(d))
		n.up.Set(1)
		g.SecureNextHop(d, HopTLS{})
	}
	g.ended, g.end = context.WithCancel(context.Background())
	return g
}

// AbandonMessages gives up the messages that next hops have not answered yet: their
// senders get 502, and 11.3s among them have no window. Call it when the program ends.
func (g *Gateway) AbandonMessages() { g.end() }

// SetNextHops sets where messages go from now on. If a URL has a path, it comes before
// the path of each message.
func (g *Gateway) SetNextHops(south, north *url.URL) {
	for n, to := range map[*nextHop]*url.URL{&g.south: south, &g.north: north} {
		n.setURL(to)
		g.renewCarrier(n)
	}
}

// way is one direction: how its messages are decided, and passed on.
type way struct {
	http.Handler
	hop    *nextHop
	decide func(context.Context, motorway.Body, *motorway.Passage)
}

// Southbound returns the handler of southbound messages.
func (g *Gateway) Southbound() http.Handler {
	proxy := g.proxy(&g.south, func(t *transit, res *http.Response) {
		if u := t.Update(); u != nil && res.StatusCode >= 200 && res.StatusCode < 300 {
			res.Body = u.Answer(res.Body)
		}
		if !t.Tracked() {
			return
		}
		head, err := peek(res.Body, min(res.ContentLength, motorway.MaxHead-1)) // not only headSize, however long the answer is
		res.Body = rejoin(head, res.Body)
		if err == nil {
			head, err = decompress(head, res.Header.Get("Content-Encoding"))
		}
		d := motorway.InDoubt
		switch {
		case res.StatusCode >= 400 && res.StatusCode < 500 && res.StatusCode != http.StatusRequestTimeout:
			d = motorway.Refused // but not 3xx: the sender may follow a redirect that quell does not see
		case res.StatusCode < 300 && err == nil:
			d = motorway.Delivered
		}
		g.m.Answered(res.Request.Context(), &t.Passage, d, head)
	})
	return g.newWay(&g.south, func(ctx context.Context, b motorway.Body, p *motorway.Passage) { *p = g.m.Southbound(ctx, b) }, proxy)
}

// Northbound returns the handler of northbound messages.
func (g *Gateway) Northbound() http.Handler {
	proxy := g.proxy(&g.north, func(_ *transit, res *http.Response) {
		res.Header.Del(DecisionHeader)
		res.Header.Del(ReasonHeader)
	})
	return g.newWay(&g.north, func(ctx context.Context, b motorway.Body, p *motorway.Passage) { *p = g.m.Northbound(ctx, b) }, proxy)
}

// answerWriter writes the answer to a sender. It adds its headers when the answer
// starts, since ReverseProxy drops headers that were set before a status of 1xx.
type answerWriter struct {
	http.ResponseWriter
	in     *incoming // the message; nil if it has no body
	header http.Header
	own    bool // quell's own answer, not the next hop's
	serial bool // the next message comes on the same connection, after this one: HTTP/1.1
}

func (a *answerWriter) WriteHeader(status int) {
	if status < 200 && a.in != nil && (a.in.asked != nil || status == http.StatusContinue && a.in.request.Header.Get("Expect") != "") {
		// Drop it. net/http itself asks the sender for the body as soon as the body is
		// read, and would write at the same time. A 1xx is only a hint.
		return
	}
	if status >= 200 {
		h := a.Header()
		maps.Copy(h, a.header)
		// If the next hop's answer lacks these headers, net/http must not add them.
		for _, name := range []string{"Content-Type", "Date"} {
			if _, ok := h[name]; !ok && !a.own {
				h[name] = nil
			}
		}
		if !a.in.isComplete() && a.serial {
			// The rest of the message must not be read as the next message.
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
	out      *answerWriter
	in       *incoming // nil if the message has no body
	head     []byte    // the part of the body that was read before the decision
	complete bool      // head is the whole body
	sent     net.Conn  // as fastpath.Begun has it; nil if the message is still to be sent

	answer *watchedAnswer // the next hop's answer; nil if there is none yet, or it has no body
}

type transitKey struct{}

func transitOf(r *http.Request) *transit { return r.Context().Value(transitKey{}).(*transit) }

// newWay makes a direction. decide is called for each message. The message is passed to the
// proxy unless it is suppressed.
func (g *Gateway) newWay(hop *nextHop, decide func(context.Context, motorway.Body, *motorway.Passage), proxy http.Handler) *way {
	d := hop.direction
	return &way{hop: hop, decide: decide, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in := newIncoming(w, r, g.limits.Sender)
		defer in.Close()
		t := &transit{out: &answerWriter{ResponseWriter: w, in: in, serial: r.ProtoMajor == 1}, in: in}
		if status, why := form.RefuseTunnel(r); status != 0 {
			g.refuse(t.out, d, "tunnel", status, why)
			return
		}
		if !form.HasOneLength(r) {
			g.refuse(t.out, d, "length", http.StatusBadRequest, "the message does not say one length")
			return
		}
		b := motorway.Body{XML: isXML(r), Request: r}
		if b.XML && in != nil {
			var err error
			if b.Head, err = peek(in, r.ContentLength); err != nil {
				// The message never arrived.
				status, cause := http.StatusBadRequest, "broken-off"
				if timedOut(err) {
					status, cause = http.StatusRequestTimeout, "stalled"
				}
				g.refuse(t.out, d, cause, status, "the message's body could not be read: "+err.Error())
				return
			}
			b.Rest = len(b.Head) == motorway.MaxHead || r.ContentLength > int64(len(b.Head))
			t.head, t.complete = b.Head, !b.Rest
		}
		if begun := begunOf(r); begun != nil {
			t.Passage, t.sent = begun.Passage, begun.Sent
		} else {
			decide(r.Context(), b, &t.Passage)
		}
		if u := t.Update(); u != nil {
			defer u.Refused() // unless it was answered
			if !t.complete {
				in.copied = u
			}
		}
		if d == outage.North {
			t.out.header = http.Header{DecisionHeader: {string(t.Decision.Outcome)}, ReasonHeader: {string(t.Decision.Reason)}}
		}
		if t.Decision.Outcome == outage.Suppressed {
			t.out.own = true
			t.out.WriteHeader(http.StatusOK)
			return
		}
		ctx := r.Context()
		if t.Tracked() {
			// quell must learn the answer even if the sender hangs up. The context
			// must still be one that can end: otherwise ReverseProxy would watch the
			// sender's connection itself.
			var cancel context.CancelFunc
			ctx, cancel = context.WithCancel(context.WithoutCancel(ctx))
			defer cancel()
			defer context.AfterFunc(g.ended, cancel)()
		}
		defer g.reportStall(t)
		// A copy: net/http continues to use its own request, with its own body.
		proxy.ServeHTTP(t.out, r.WithContext(context.WithValue(ctx, transitKey{}, t)))
	})}
}

// reportStall logs and counts a next hop that stopped in the middle of its answer. The
// sender's connection is closed then, so that it sees that the answer is not complete.
func (g *Gateway) reportStall(t *transit) {
	if t.answer == nil || !t.answer.stalled.Load() {
		return
	}
	g.m.Metrics.NextHop.WithLabelValues(string(t.Direction), "stalled").Inc()
	g.log.Warn("the next hop stopped in the middle of its answer", "direction", t.Direction, "request", t.Message.RequestID, "response", t.Message.ResponseID)
}

// refuse answers a request that is not a message.
func (g *Gateway) refuse(out *answerWriter, d outage.Direction, cause string, status int, why string) {
	g.m.Metrics.Refused.WithLabelValues(string(d), cause).Inc()
	g.log.Warn("message refused", "direction", d, "cause", cause, "status", status, "why", why)
	out.own = true
	if out.serial {
		out.Header().Set("Connection", "close")
	}
	http.Error(out, "quell: "+why, status)
}

func timedOut(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// isXML reports whether a message may be DUIS: an uncompressed POST with an XML media
// type, or with none.
func isXML(r *http.Request) bool {
	if encoding := r.Header.Get("Content-Encoding"); r.Method != http.MethodPost || encoding != "" && !strings.EqualFold(encoding, "identity") {
		return false
	}
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";") // without its parameters
	media = strings.ToLower(strings.TrimSpace(media))
	return media == "" || media == "application/xml" || media == "text/xml" || strings.HasSuffix(media, "+xml")
}

// errStatus says that a next hop's answer has a status that cannot be forwarded.
type errStatus int

func (e errStatus) Error() string {
	return fmt.Sprintf("the next hop answered with status %03d", int(e))
}

// proxy makes the reverse proxy of a direction. It calls answered with the next hop's
// answer before the sender gets it.
func (g *Gateway) proxy(hop *nextHop, answered func(*transit, *http.Response)) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:    func(r *httputil.ProxyRequest) { rewrite(r, hop.url.Load()) },
		Transport:  hop,
		BufferPool: buffers{},
		ErrorLog:   slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
		ModifyResponse: func(res *http.Response) error {
			if res.StatusCode < 200 || res.StatusCode > 999 {
				return errStatus(res.StatusCode) // a tunnel that nobody asked for, or not a status at all
			}
			hop.recordAnswer()
			t := transitOf(res.Request)
			t.in.answerStarted()
			if res.Body != http.NoBody {
				t.answer = &watchedAnswer{ReadCloser: res.Body, idle: g.limits.NextHop}
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

// undelivered answers the sender of a message that is not known to have reached the
// next hop.
func (g *Gateway) undelivered(hop *nextHop, t *transit, ctx context.Context, err error) {
	d := motorway.InDoubt
	if wasNotSent(err) {
		d = motorway.Refused
	}
	g.m.Answered(ctx, &t.Passage, d, nil)
	if errors.Is(err, context.Canceled) && g.ended.Err() == nil {
		t.in.waitForRead() // net/http gives up a message a moment before its Read says why
	}
	status, text := g.notDelivered(hop, &t.Passage, err, t.in.err())
	if t.Direction == outage.North {
		t.out.header[DecisionHeader] = []string{Undelivered}
	}
	t.out.own = true
	http.Error(t.out, text, status)
}

// wasNotSent reports whether an error says that no byte of a message was sent.
func wasNotSent(err error) bool {
	dial, secure := (*net.OpError)(nil), (*handshakeError)(nil)
	return errors.As(err, &dial) && dial.Op == "dial" || errors.Is(err, errOwnListener) || errors.As(err, &secure)
}

// notDelivered records that a message is not known to have reached the next hop, and returns
// what its sender gets. sender is why the message could not be read to its end; nil if it
// could.
func (g *Gateway) notDelivered(hop *nextHop, p *motorway.Passage, err, sender error) (status int, text string) {
	g.m.Passed(p, 0)
	status, cause := http.StatusBadGateway, "unreachable"
	why := fmt.Sprintf("the next hop (%s) could not be reached, send the message again", p.Direction)
	var bad errStatus
	var secure *handshakeError
	switch {
	case sender != nil && timedOut(sender):
		status, cause, why = http.StatusRequestTimeout, "sender-stalled", "the message's body could not be read"
	case sender != nil || errors.Is(err, fastpath.ErrSenderGone) || errors.Is(err, context.Canceled) && g.ended.Err() == nil:
		cause = "sender-gone"
	case errors.Is(err, context.Canceled):
		cause = "stopped"
	case errors.Is(err, errOwnListener):
		cause = "own-listener"
	case errors.As(err, &bad), errors.Is(err, errUnasked):
		cause, why = "answer", fmt.Sprintf("the answer of the next hop (%s) cannot be passed on, send the message again", p.Direction)
	case timedOut(err):
		status, cause = http.StatusGatewayTimeout, "timeout"
	case errors.As(err, &secure):
		cause = "tls"
	}
	switch cause {
	case "unreachable", "own-listener", "answer", "timeout", "tls":
		hop.recordFailure(err)
	}
	g.m.Metrics.NextHop.WithLabelValues(string(p.Direction), cause).Inc()
	g.log.Warn("message not delivered", "direction", p.Direction, "cause", cause, "error", err,
		"request", p.Message.RequestID, "response", p.Message.ResponseID)
	return status, "quell: " + why + ": " + err.Error()
}

// buffers is the pool of copy buffers for ReverseProxy.
type buffers struct{}

var bufferPool = sync.Pool{New: func() any { return new([32 << 10]byte) }}

func (buffers) Get() []byte  { return bufferPool.Get().(*[32 << 10]byte)[:] }
func (buffers) Put(b []byte) { bufferPool.Put((*[32 << 10]byte)(b)) }
