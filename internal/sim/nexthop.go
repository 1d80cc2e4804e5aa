package sim

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net/http"
	"slices"
	"sync"

	"quell/internal/duis"
)

// NextHop stands in for a next hop of quell: the DSP in the south, Service Users in the
// north. It remembers the messages that reach it, and answers with status 200. A DUIS
// request gets an sr:Response with the code in the parameter "answer" of the query, or I99.
// Anything else gets an empty body. It is safe for concurrent use.
type NextHop struct {
	// OnMessage, if set, is called for each complete message, with what could be read of it.
	// The message is not remembered then. Several goroutines may call it at once.
	OnMessage func(r *http.Request, m duis.Message, size int)

	mu       sync.Mutex // guards the fields below
	arrivals map[string][]arrival
	count    int
}

// arrival is one complete message that reached a NextHop, with its answer.
type arrival struct {
	contentType string
	body        [sha256.Size]byte // SHA-256
	answer      [sha256.Size]byte // SHA-256 of the answer's body
}

// arrived returns what arrived under a URI with its query, in order.
func (h *NextHop) arrived(uri string) []arrival {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.arrivals[uri])
}

// total returns how many messages arrived.
func (h *NextHop) total() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.count
}

// ServeHTTP takes one message. A message that breaks off is answered 400 and not remembered.
func (h *NextHop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var answer []byte
	m, err := duis.Read(body)
	if err == nil && m.Root == duis.RootRequest {
		code := r.URL.Query().Get("answer")
		if code == "" {
			code = "I99"
		}
		answer = duis.AppendAnswer(nil, m.RequestID, now(), code)
		// AppendAnswer knows only 11.3.
		answer = bytes.ReplaceAll(answer, []byte(">11.3<"), []byte(">"+m.ServiceReferenceVariant+"<"))
		w.Header().Set("Content-Type", xml)
	}
	if h.OnMessage != nil {
		h.OnMessage(r, m, len(body))
	} else {
		h.note(r.RequestURI, arrival{r.Header.Get("Content-Type"), sha256.Sum256(body), sha256.Sum256(answer)})
	}
	w.Write(answer) // an error means that the sender has gone
}

func (h *NextHop) note(uri string, a arrival) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.arrivals == nil {
		h.arrivals = map[string][]arrival{}
	}
	h.arrivals[uri] = append(h.arrivals[uri], a)
	h.count++
}
