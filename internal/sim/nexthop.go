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

// NextHop stands in for what is beyond quell: the DSP in the south, Service Users in the
// north. It notes what reaches it, and answers with status 200: a DUIS request gets an
// sr:Response with the code that the query's "answer" names, or I99; anything else gets
// an empty body. It is safe for use by many goroutines.
type NextHop struct {
	// Told, if set, is told of each message that arrived whole, with what can be read of
	// it, and nothing is noted: for traffic without end. Several goroutines may call it
	// at once.
	Told func(r *http.Request, m duis.Message, size int)

	mu       sync.Mutex // guards what follows
	arrivals map[string][]arrival
	count    int
}

// arrival is one message that reached a NextHop whole, and what it answered.
type arrival struct {
	contentType string
	body        [sha256.Size]byte // SHA-256
	answer      [sha256.Size]byte // SHA-256 of the answer's body
}

// arrived returns what arrived with the URI, its query included, in order.
func (h *NextHop) arrived(uri string) []arrival {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.arrivals[uri])
}

// total is how many messages arrived.
func (h *NextHop) total() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.count
}

// ServeHTTP takes one message. One that breaks off is answered 400 and not noted.
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
	if h.Told != nil {
		h.Told(r, m, len(body))
	} else {
		h.note(r.RequestURI, arrival{r.Header.Get("Content-Type"), sha256.Sum256(body), sha256.Sum256(answer)})
	}
	w.Write(answer) // a sender that has gone has no use for it
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
