package sim

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"quell/internal/duis"
	"quell/internal/outage"
)

// tell posts a body to a next hop and returns the answer.
func tell(h *NextHop, uri string, body io.Reader) (status int, answer []byte) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, uri, body)
	r.Header.Set("Content-Type", "application/xml")
	h.ServeHTTP(w, r)
	return w.Code, w.Body.Bytes()
}

func TestDSP(t *testing.T) {
	town, dsp := newTown(1, 20), NewDSP()
	id := town.requestID(town.homes[0].Meters[0].ID)
	request := activation(id, outage.SignedPreCommand, immediately)
	const uri = "/api/v1/serviceS?message=1&x=%20"
	for i, c := range []struct{ refuse, want string }{{"", "I99"}, {"E19", "E19"}, {"", "I99"}} {
		dsp.Refuse(id, c.refuse)
		status, answer := tell(dsp, uri, bytes.NewReader(request))
		m, err := duis.Read(answer)
		if status != http.StatusOK || err != nil || m.ResponseCode != c.want || m.RequestID != id || m.ServiceReferenceVariant != "11.3" {
			t.Errorf("refusing by %q answers %d %+v, %v", c.refuse, status, m, err)
		}
		a := dsp.Arrivals(uri)
		if len(a) != i+1 {
			t.Fatalf("%d arrivals after %d", len(a), i+1)
		}
		a[i].At = now()
		want := Arrival{a[i].At, http.MethodPost, uri, "application/xml", int64(len(request)), sha256.Sum256(request), http.StatusOK, sha256.Sum256(answer)}
		if a[i] != want {
			t.Errorf("have %+v\nwant %+v", a[i], want)
		}
	}
	image := town.updateFirmware(town.homes[0], 1<<20)
	if status, answer := tell(dsp, "/image", bytes.NewReader(image)); status != http.StatusOK || !bytes.Contains(answer, []byte("Variant>11.1<")) {
		t.Errorf("a firmware image is answered %d %s", status, answer)
	}
	for _, bad := range []string{"", "no XML", string(request[:len(request)-1]), string(request) + "x", string(town.commandFailure(town.homes[0], now(), "N12"))} {
		if status, _ := tell(dsp, "/bad", strings.NewReader(bad)); status != http.StatusBadRequest {
			t.Errorf("%.40q is answered %d", bad, status)
		}
	}
	if n := len(dsp.Arrivals("/bad")); n != 5 {
		t.Errorf("%d of 5 that cannot be read are noted", n)
	}
	if status, _ := tell(dsp, "/broken", io.MultiReader(strings.NewReader("x"), iotest.ErrReader(errors.New("broken off")))); status != http.StatusBadRequest || len(dsp.Arrivals("/broken")) != 0 {
		t.Errorf("one that breaks off is answered %d, or noted", status)
	}
	if n := dsp.Count(); n != 9 {
		t.Errorf("%d arrivals in all; want 9", n)
	}
}

func TestServiceUsers(t *testing.T) {
	h := NewServiceUsers()
	for _, body := range []string{"", "anything"} {
		if status, answer := tell(h, "/"+body, strings.NewReader(body)); status != http.StatusOK || len(answer) > 0 {
			t.Errorf("%q is answered %d %q", body, status, answer)
		}
	}
	if h.Count() != 2 || h.Arrivals("/anything")[0].Size != 8 {
		t.Errorf("arrivals: %+v", h.arrivals)
	}
}

func TestNewStub(t *testing.T) {
	town := newTown(1, 20)
	id := town.requestID(town.homes[0].Meters[0].ID)
	var a Arrival
	var m duis.Message
	h := NewStub(func(arrived Arrival, read duis.Message) { a, m = arrived, read })
	request := activation(id, outage.SignedPreCommand, immediately)
	status, answer := tell(h, "/x", bytes.NewReader(request))
	answered, err := duis.Read(answer)
	if status != http.StatusOK || err != nil || answered.ResponseCode != "I99" || answered.RequestID != id {
		t.Errorf("a request is answered %d %s, %v", status, answer, err)
	}
	if m.RequestID != id || a.URI != "/x" || a.Size != int64(len(request)) || a.SHA256 != sha256.Sum256(request) || a.Status != status || a.Answer != sha256.Sum256(answer) {
		t.Errorf("told %+v, %+v", a, m)
	}
	image := town.updateFirmware(town.homes[0], 1<<20)
	if status, answer := tell(h, "/image", bytes.NewReader(image)); status != http.StatusOK || !bytes.Contains(answer, []byte("Variant>11.1<")) {
		t.Errorf("a firmware image is answered %d %s", status, answer)
	}
	for _, other := range [][]byte{town.commandFailure(town.homes[0], now(), "N12"), []byte("no XML"), nil} {
		if status, answer := tell(h, "/other", bytes.NewReader(other)); status != http.StatusOK || len(answer) > 0 || a.Size != int64(len(other)) {
			t.Errorf("%.40q is answered %d %q, told %+v", other, status, answer, a)
		}
	}
	if h.Count() != 0 {
		t.Errorf("it keeps %d arrivals", h.Count())
	}
}
