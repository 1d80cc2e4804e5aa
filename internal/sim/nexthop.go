package sim

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"quell/internal/duis"
	"quell/internal/outage"
)

// NextHop stands in for what lies beyond quell: it notes what reaches it, and
// answers. It is safe for use by many goroutines.
type NextHop struct {
	dsp  bool
	told func(Arrival, duis.Message) // of a stub; nil: arrivals are noted

	mu       sync.Mutex // guards what follows
	arrivals map[string][]Arrival
	refused  map[outage.RequestID]string
}

// Arrival is one message that reached a NextHop whole, and what it answered.
type Arrival struct {
	At          time.Time // when it was there whole
	Method, URI string    // the URI with its query, as it came
	ContentType string
	Size        int64
	SHA256      [sha256.Size]byte // of the body
	Status      int
	Answer      [sha256.Size]byte // SHA-256 of the answer's body
}

// NewDSP makes the next hop of what goes south. It answers a DUIS request with
// 200 and an sr:Response that acknowledges it (I99) or, if told to Refuse it,
// refuses it; anything else with 400.
func NewDSP() *NextHop {
	return &NextHop{dsp: true, arrivals: map[string][]Arrival{}, refused: map[outage.RequestID]string{}}
}

// NewServiceUsers makes the next hop of what goes north. It answers anything
// with 200 and an empty body.
func NewServiceUsers() *NextHop { return &NextHop{arrivals: map[string][]Arrival{}} }

// NewStub makes the next hop of either way, for as long as there is traffic: it
// answers a DUIS request as a DSP does, and anything else with 200 and an empty
// body. It notes no arrival, but gives each to told, which may be called by several
// goroutines at once, with what can be read of the message.
func NewStub(told func(Arrival, duis.Message)) *NextHop { return &NextHop{told: told} }

// Refuse has a DSP answer requests of an id with the response code, such as
// "E19", from now on; "" lifts that.
func (h *NextHop) Refuse(id outage.RequestID, code string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refused[id] = code
}

// Arrivals returns what arrived with the URI, in order.
func (h *NextHop) Arrivals(uri string) []Arrival {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.arrivals[uri])
}

// Count is how many messages arrived.
func (h *NextHop) Count() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.arrivals {
		n += len(a)
	}
	return n
}

// ServeHTTP takes one message. One that breaks off is answered 400 and not noted.
func (h *NextHop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := arriving{sum: sha256.New()}
	if _, err := io.Copy(&body, r.Body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a := Arrival{At: now(), Method: r.Method, URI: r.RequestURI, ContentType: r.Header.Get("Content-Type"), Size: body.size, Status: http.StatusOK}
	body.sum.Sum(a.SHA256[:0])
	var m duis.Message
	var answer []byte
	if h.dsp || h.told != nil {
		m, a.Status, answer = h.answer(&body, a.At)
	}
	a.Answer = sha256.Sum256(answer)
	if h.told != nil {
		h.told(a, m)
	} else {
		h.note(a)
	}
	if len(answer) > 0 {
		w.Header().Set("Content-Type", "application/xml")
	}
	w.WriteHeader(a.Status)
	w.Write(answer) // a sender that has gone has no use for it
}

func (h *NextHop) note(a Arrival) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.arrivals[a.URI] = append(h.arrivals[a.URI], a)
}

// answer reads a message and says what a DSP or a stub answers.
func (h *NextHop) answer(body *arriving, at time.Time) (m duis.Message, status int, answer []byte) {
	// The error does not matter: of a firmware image there is only the head.
	m, err := duis.Read(body.head)
	if m.Root != duis.RootRequest || m.RequestID == (outage.RequestID{}) || err != nil && body.size == int64(len(body.head)) {
		if h.dsp {
			return m, http.StatusBadRequest, []byte("not a DUIS request\n")
		}
		return m, http.StatusOK, nil
	}
	h.mu.Lock()
	code := h.refused[m.RequestID]
	h.mu.Unlock()
	if code == "" {
		code = "I99"
	}
	answer = duis.AppendAnswer(nil, m.RequestID, at, code)
	if srv := m.ServiceReferenceVariant; srv != "" { // AppendAnswer knows only 11.3
		answer = bytes.ReplaceAll(answer, []byte(">11.3<"), []byte(">"+srv+"<"))
	}
	return m, http.StatusOK, answer
}

// arriving is a body that arrives: its digest, its size, and its beginning, or
// all of it if it is no longer than headSize.
type arriving struct {
	sum  hash.Hash
	size int64
	head []byte
}

// headSize is enough for the longest 11.3.
const headSize = 8 << 10

func (b *arriving) Write(p []byte) (int, error) {
	b.size += int64(len(p))
	if room := headSize - len(b.head); room > 0 {
		b.head = append(b.head, p[:min(room, len(p))]...)
	}
	return b.sum.Write(p)
}
