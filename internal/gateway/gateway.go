// Package gateway is the motorway over HTTP: two reverse proxies, one for what
// goes south and one for what goes north. What passes is unchanged in body,
// path, query and status; hop-by-hop headers are each hop's own.
//
// A northbound answer carries the decision in the headers Quell-Decision and
// Quell-Reason. A message whose next hop fails is answered 502, or 504 for a
// time-out, so that the sender sends it again.
package gateway

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/motorway"
	"quell/internal/outage"
)

// Headers of northbound answers.
const (
	DecisionHeader = "Quell-Decision" // an outage.Outcome
	ReasonHeader   = "Quell-Reason"   // an outage.Reason
)

// How long the next hop may take to accept a connection and to begin its
// answer. A sender's own patience is usually shorter.
const (
	dialTimeout   = 5 * time.Second
	answerTimeout = 60 * time.Second
)

// Gateway makes the handlers of both directions.
type Gateway struct {
	m         *motorway.Motorway
	log       *slog.Logger
	transport http.RoundTripper
	south     atomic.Pointer[url.URL]
	north     atomic.Pointer[url.URL]
}

// New makes a gateway. SetNextHops is to be called before the first message.
func New(m *motorway.Motorway, log *slog.Logger) *Gateway {
	return &Gateway{m: m, log: log, transport: &http.Transport{
		DialContext:           (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: answerTimeout,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true, // the body's octets are the sender's
	}}
}

// SetNextHops sets where messages go from now on. The URLs may have a path,
// which goes before each message's own.
func (g *Gateway) SetNextHops(south, north *url.URL) {
	g.south.Store(south)
	g.north.Store(north)
}

// Southbound is the handler of what goes south.
func (g *Gateway) Southbound() http.Handler {
	proxy := g.proxy(&g.south, func(p *motorway.Passage, res *http.Response) {
		if !p.Tracked() {
			return
		}
		head, err := peek(&res.Body, res.ContentLength)
		if err == nil {
			head, err = plain(head, res.Header.Get("Content-Encoding"))
		}
		delivered := res.StatusCode >= 200 && res.StatusCode < 300 && err == nil
		g.m.Answered(res.Request.Context(), p, delivered, head)
	})
	return g.handler(func(ctx context.Context, b motorway.Body) (motorway.Passage, http.Header) {
		return g.m.Southbound(ctx, b), nil
	}, proxy)
}

// Northbound is the handler of what goes north.
func (g *Gateway) Northbound() http.Handler {
	proxy := g.proxy(&g.north, func(_ *motorway.Passage, res *http.Response) {
		res.Header.Del(DecisionHeader)
		res.Header.Del(ReasonHeader)
	})
	return g.handler(func(ctx context.Context, b motorway.Body) (motorway.Passage, http.Header) {
		p := g.m.Northbound(ctx, b)
		return p, http.Header{DecisionHeader: {string(p.Decision.Outcome)}, ReasonHeader: {string(p.Decision.Reason)}}
	}, proxy)
}

// answerWriter writes the answer to a sender. Its headers are put in when it begins:
// ReverseProxy forgets what was set before a status of 1xx.
type answerWriter struct {
	http.ResponseWriter
	header http.Header
	own    bool // quell's own answer, not the next hop's
}

func (a *answerWriter) WriteHeader(status int) {
	if status >= 200 {
		h := a.Header()
		maps.Copy(h, a.header)
		// net/http would add these to an answer of the next hop that lacks them.
		for _, name := range []string{"Content-Type", "Date"} {
			if _, ok := h[name]; !ok && !a.own {
				h[name] = nil
			}
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (a *answerWriter) Unwrap() http.ResponseWriter { return a.ResponseWriter }

type passageKey struct{}

func passageOf(r *http.Request) *motorway.Passage {
	return r.Context().Value(passageKey{}).(*motorway.Passage)
}

// handler looks at each message by the function decide, which also gives the
// headers of the answer, and passes it on to the proxy unless it is suppressed.
func (g *Gateway) handler(decide func(context.Context, motorway.Body) (motorway.Passage, http.Header), proxy http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := motorway.Body{XML: isXML(r)}
		if b.XML {
			head, err := peek(&r.Body, r.ContentLength)
			if err != nil {
				// The sender broke off: there is no message.
				http.Error(w, "quell: the message's body could not be read: "+err.Error(), http.StatusBadRequest)
				return
			}
			b.Head, b.Rest = head, len(head) == motorway.Look || r.ContentLength > int64(len(head))
			if !b.Rest {
				// Lets the transport send it again on a connection that the
				// next hop closed before anything was written.
				r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(head)), nil }
			}
		}
		p, header := decide(r.Context(), b)
		out := &answerWriter{ResponseWriter: w, header: header}
		if p.Decision.Outcome == outage.Suppressed {
			out.own = true
			out.WriteHeader(http.StatusOK)
			return
		}
		ctx := r.Context()
		if p.Tracked() {
			// Its answer must be known even if the sender has hung up. A
			// context that cannot end would not do: ReverseProxy would then
			// watch the sender's connection itself.
			var cancel context.CancelFunc
			ctx, cancel = context.WithCancel(context.WithoutCancel(ctx))
			defer cancel()
		}
		// Otherwise net/http would read and close what is left of the body as
		// soon as the answer begins, and the transport, which still reads it,
		// would take that for a failure and cut the answer off.
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			g.log.Warn("an answer that begins before its message has ended may be cut off", "error", err)
		}
		proxy.ServeHTTP(out, r.WithContext(context.WithValue(ctx, passageKey{}, &p)))
	})
}

// isXML reports whether a message may be DUIS: a POST of an XML media type, or
// of none, that is not compressed.
func isXML(r *http.Request) bool {
	if r.Method != http.MethodPost || r.Header.Get("Content-Encoding") != "" {
		return false
	}
	kind := r.Header.Get("Content-Type")
	if kind == "" {
		return true
	}
	media, _, err := mime.ParseMediaType(kind)
	return err == nil && (media == "application/xml" || media == "text/xml" || strings.HasSuffix(media, "+xml"))
}

// headSize is what is read of a message that is known to be too large: enough
// for its header, which the audit trail quotes.
const headSize = 4 << 10

// peek reads a body up to one octet more than a DUIS message may have, or only
// its beginning if it is known to be longer, and puts it back.
func peek(body *io.ReadCloser, length int64) ([]byte, error) {
	limit := int64(motorway.Look)
	if length >= limit {
		limit = headSize
	}
	capacity := int64(2 << 10)
	if length >= 0 {
		capacity = min(length, limit) + bytes.MinRead
	}
	head := bytes.NewBuffer(make([]byte, 0, capacity))
	_, err := head.ReadFrom(io.LimitReader(*body, limit))
	seen := head.Bytes()
	*body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(seen), *body), *body}
	return seen, err
}

// plain is the beginning of an answer without its compression. The error says
// that it cannot be read: whether the next hop took the message is then unknown.
func plain(head []byte, encoding string) ([]byte, error) {
	switch strings.ToLower(encoding) {
	case "", "identity":
		return head, nil
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(bytes.NewReader(head))
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(io.LimitReader(z, motorway.Look))
		if errors.Is(err, io.ErrUnexpectedEOF) && len(text) > 0 {
			err = nil // it is longer than was looked at
		}
		return text, err
	}
	return nil, fmt.Errorf("an answer in content encoding %q cannot be read", encoding)
}

// proxy makes the reverse proxy of a direction. answered sees the next hop's
// answer before the caller does.
func (g *Gateway) proxy(nextHop *atomic.Pointer[url.URL], answered func(*motorway.Passage, *http.Response)) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:    func(r *httputil.ProxyRequest) { rewrite(r, nextHop.Load()) },
		Transport:  g.transport,
		BufferPool: buffers{},
		ErrorLog:   slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
		ModifyResponse: func(res *http.Response) error {
			p := passageOf(res.Request)
			answered(p, res)
			g.m.Passed(p, res.StatusCode)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			p := passageOf(r)
			g.m.Answered(r.Context(), p, false, nil)
			g.m.Passed(p, 0)
			w.(*answerWriter).own = true
			status, cause := http.StatusBadGateway, "unreachable"
			var timeout net.Error
			switch {
			case errors.As(err, &timeout) && timeout.Timeout():
				status, cause = http.StatusGatewayTimeout, "timeout"
			case errors.Is(err, context.Canceled):
				cause = "sender-gone"
			}
			g.m.Metrics.NextHop.WithLabelValues(string(p.Direction), cause).Inc()
			g.log.Warn("message not delivered", "direction", p.Direction, "cause", cause, "error", err,
				"request", p.Message.RequestID, "response", p.Message.ResponseID)
			http.Error(w, fmt.Sprintf("quell: the next hop (%s) could not be reached, send the message again: %v", p.Direction, err), status)
		},
	}
}

// rewrite directs a request to the next hop, with nothing else changed. It
// undoes what ReverseProxy does for browsers' sake.
func rewrite(r *httputil.ProxyRequest, nextHop *url.URL) {
	in, out := r.In, r.Out
	out.Host = in.Host
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if v, ok := in.Header[name]; ok {
			out.Header[name] = v
		}
	}
	out.URL = &url.URL{Scheme: nextHop.Scheme, Host: nextHop.Host, RawQuery: in.URL.RawQuery, ForceQuery: in.URL.ForceQuery}
	path, _, _ := strings.Cut(in.RequestURI, "?")
	if full := strings.TrimSuffix(nextHop.EscapedPath(), "/") + path; strings.HasPrefix(path, "/") && !strings.HasPrefix(full, "//") {
		out.URL.Opaque = full // as it came, octet for octet
		return
	}
	out.URL.Path, out.URL.RawPath = in.URL.Path, in.URL.RawPath
}

// buffers lends ReverseProxy its copy buffers.
type buffers struct{}

var bufferPool = sync.Pool{New: func() any { return new([32 << 10]byte) }}

func (buffers) Get() []byte  { return bufferPool.Get().(*[32 << 10]byte)[:] }
func (buffers) Put(b []byte) { bufferPool.Put((*[32 << 10]byte)(b)) }
