package sim

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"quell/internal/duis"
	"quell/internal/outage"
)

// post posts a body to a next hop and returns the answer.
func post(h *NextHop, uri string, body io.Reader) (status int, answer []byte) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, uri, body)
	r.Header.Set("Content-Type", xml)
	h.ServeHTTP(w, r)
	return w.Code, w.Body.Bytes()
}

func TestNextHop(t *testing.T) {
	var hop NextHop
	town := NewTown(1)
	home := town.homes[0][0][0]
	request := town.signedPreCommand(home, outage.Order{Kind: outage.OnDemand})
	for uri, want := range map[string]string{"/api/v1/serviceS?message=1&x=%20": "I99", "/api/v1/serviceS?answer=E19&message=2": "E19"} {
		status, answer := post(&hop, uri, bytes.NewReader(request))
		m, err := duis.Read(answer)
		if status != http.StatusOK || err != nil || m.ResponseCode != want || m.RequestID.Target != home.meter.ID || m.ServiceReferenceVariant != "11.3" {
			t.Errorf("%s answers %d %+v, %v", uri, status, m, err)
		}
		if have, want := hop.arrived(uri), []arrival{{xml, sha256.Sum256(request), sha256.Sum256(answer)}}; !slices.Equal(have, want) {
			t.Errorf("have %+v\nwant %+v", have, want)
		}
	}
	for i, body := range []string{"", "no XML", string(request[:500]), string(town.commandFailure(home, now()))} {
		if status, answer := post(&hop, "/north", strings.NewReader(body)); status != http.StatusOK || len(answer) > 0 || len(hop.arrived("/north")) != i+1 {
			t.Errorf("%.40q is answered %d %q, or not remembered", body, status, answer)
		}
	}
	if status, _ := post(&hop, "/broken", iotest.ErrReader(errors.New("broken off"))); status != http.StatusBadRequest || len(hop.arrived("/broken")) != 0 {
		t.Errorf("a message that breaks off is answered %d, or remembered", status)
	}
	if n := hop.total(); n != 6 {
		t.Errorf("%d arrivals in all; want 6", n)
	}
}

func TestOnMessage(t *testing.T) {
	var uri string
	var size int
	var m duis.Message
	hop := NextHop{OnMessage: func(r *http.Request, read duis.Message, n int) { uri, m, size = r.RequestURI, read, n }}
	id := outage.RequestID{Originator: 1, Target: 2, Counter: 3}
	request := duis.AppendRequest(nil, id, 1, "4.6", "4.6.1", "<sr:RetrieveImportDailyReadLog/>")
	status, answer := post(&hop, "/x?y", bytes.NewReader(request))
	if status != http.StatusOK || !bytes.Contains(answer, []byte("Variant>4.6.1<")) {
		t.Errorf("answers %d %s", status, answer)
	}
	if m.RequestID != id || uri != "/x?y" || size != len(request) || hop.total() != 0 {
		t.Errorf("called with %s, %d bytes, %+v; %d arrivals", uri, size, m, hop.total())
	}
}
