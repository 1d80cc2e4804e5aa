package load

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// wrk sends the same messages as At makes, one after the other, and each once.
func TestWrk(t *testing.T) {
	if _, err := exec.LookPath("wrk"); err != nil {
		t.Skip("there is no wrk; scripts/bench.sh installs it")
	}
	var mu sync.Mutex
	var bodies [][]byte
	receive := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(2 * time.Millisecond) // so that wrk does not use up what is stored
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		bodies = append(bodies, body)
	})
	const host = "127.0.0.1"
	signer, err := NewSigner()
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(PowerOutage(Elsewhere, 700))
	if err != nil {
		t.Fatal(err)
	}
	const from = 1234
	stored := filepath.Join(t.TempDir(), "stored")
	var all []byte
	for i := range int64(60_000) {
		all = append(all, signed.At(from+1+i)...)
	}
	if err := os.WriteFile(stored, all, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, script := range map[string]string{"scripted": Scripted(signed, host, from), "stored": StoredIn(stored, signed.Size(), 0, host)} {
		bodies = nil
		server := httptest.NewServer(receive)
		n, err := Wrk(t.Context(), t.TempDir(), server.URL, script, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		server.Close() // which waits for what wrk left behind
		if len(bodies) < int(n) || len(bodies) > int(n)+Connections {
			t.Errorf("%s: %d messages came, and wrk says %d", name, len(bodies), n)
		}
		came := map[string]bool{}
		for _, body := range bodies {
			came[string(body)] = true
		}
		if len(came) != len(bodies) {
			t.Errorf("%s: %d messages are %d different ones", name, len(bodies), len(came))
		}
		// wrk asks its script once before it sends, and may ask for some that it does not send.
		missing := 0
		for i := range int64(n) {
			if !came[string(signed.At(from+1+i))] {
				missing++
			}
		}
		if missing > 2*Connections {
			t.Errorf("%s: %d of the first %d messages did not come; one that came: %s", name, missing, n, bytes.Join(bodies[:1], nil))
		}
	}
}
