package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"quell/bench/load"
	"quell/bench/page"
	"quell/bench/rig"
)

// secure is row 9: TLS on both sides. quell verifies the signatures of AD1s whose hub may
// have a window, and passes the others on. nginx verifies none.
func (h *harness) secure() error {
	const windows = 1000
	s, err := load.NewSigner()
	if err != nil {
		return err
	}
	certificates := filepath.Join(h.Dir, "certificates")
	if err := os.Mkdir(certificates, 0o755); err != nil {
		return err
	}
	if err := s.Write(certificates); err != nil {
		return err
	}
	nginx, err := h.PlainNginx(true)
	if err != nil {
		return err
	}
	defer nginx.Stop(nginx.End)
	quell, err := h.StartNode(rig.Setup{Name: "quell-tls", Devices: windows, TLS: true})
	if err != nil {
		return err
	}
	defer quell.Stop(quell.End)
	if err := h.OpenWindows(quell, 0, windows); err != nil {
		return err
	}
	passed, err := s.Sign(load.PowerOutage(load.Elsewhere, 1_000_000))
	if err != nil {
		return err
	}
	if err := h.checkSecure(s, nginx, &quell.Candidate, passed, windows); err != nil {
		return err
	}

	// Each message with a right signature can be sent once: enough for all rounds.
	const (
		perRound = 20_000
		each     = time.Second
	)
	stored := filepath.Join(h.Dir, "signed")
	all, size, err := s.SignEach(load.PowerOutage(0, windows), h.Numbers(int64(perRound*h.rounds)), perRound*h.rounds)
	if err != nil {
		return err
	}
	if err := os.WriteFile(stored, all, 0o644); err != nil {
		return err
	}
	micros := map[string]page.Sample{}
	var verified page.Sample
	for round := range h.rounds + 1 {
		for _, c := range []*rig.Candidate{nginx, &quell.Candidate} {
			us, _, err := h.Measure(c, passed, h.each)
			if err != nil {
				return err
			}
			if round > 0 {
				micros[c.Name] = append(micros[c.Name], us)
			}
		}
		if round == 0 {
			continue
		}
		us, n, err := h.measureVerified(quell, load.StoredIn(stored, size, (round-1)*perRound, quell.Addr), each)
		if err != nil {
			return err
		}
		if n > perRound {
			return fmt.Errorf("%d messages were sent, and %d were prepared", n, perRound)
		}
		verified = append(verified, us)
		if _, err := h.assessed([]*rig.Node{quell}, nil); err != nil {
			return err
		}
	}
	ratio := micros["quell"].Over(micros[nginx.Name])
	text := page.Table(
		[]string{"µs of processor time for each AD1 of " + page.Thousands(int64(passed.Size())) + " bytes, signed", "median (spread)"},
		[]string{"nginx, TLS on both sides, nothing inspected", micros[nginx.Name].String()},
		[]string{"quell, TLS on both sides, hubs without a window", micros["quell"].String()},
		[]string{"**quell against nginx**", ratio.String()},
		[]string{"quell, hubs with a window: the signature is verified, and the alert suppressed", verified.String()})
	fmt.Print(text)
	h.set("secure", text)
	h.doc.Aim("9", "TLS on both sides, signatures verified where they count", "nginx with TLS on both sides", "at most 1.5 times", ratio.String(), ratio.Median() <= 1.5)
	return nil
}

// checkSecure makes sure that both proxies pass a signed AD1 of a hub without a window on, and
// that quell suppresses one of a hub with a window if its signature is right, and only then.
func (h *harness) checkSecure(s *load.Signer, nginx, quell *rig.Candidate, passed *load.Message, windows uint32) error {
	ca, err := os.ReadFile(filepath.Join(h.Dir, "ca.crt"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	right, _, err := s.SignEach(load.PowerOutage(0, windows), h.Numbers(1), 1)
	if err != nil {
		return err
	}
	wrong, err := s.Sign(load.PowerOutage(0, windows))
	if err != nil {
		return err
	}
	for _, check := range []struct {
		c        *rig.Candidate
		message  []byte
		decision string
	}{
		{nginx, passed.At(h.Numbers(1)), ""},
		{quell, passed.At(h.Numbers(1)), "forwarded"},
		{quell, right, "suppressed"},
		{quell, wrong.At(h.Numbers(1)), "forwarded"},
	} {
		decision, reason, err := rig.Verdict(check.c, check.message, client)
		if err != nil || decision != check.decision {
			return fmt.Errorf("%s says %q (%s), want %q: %v", check.c.Name, decision, reason, check.decision, err)
		}
	}
	return nil
}

// measureVerified measures alerts with right signatures, of hubs with a window. It fails
// unless quell suppresses them all.
func (h *harness) measureVerified(quell *rig.Node, script string, d time.Duration) (micros float64, messages int64, err error) {
	before, err := quell.Metrics()
	if err != nil {
		return 0, 0, err
	}
	micros, messages, err = h.MeasureScript(&quell.Candidate, script, d)
	if err != nil {
		return 0, 0, err
	}
	after, err := quell.Metrics()
	if err != nil {
		return 0, 0, err
	}
	if got := decided(after, "suppressed") - decided(before, "suppressed"); got < float64(messages) {
		return 0, 0, fmt.Errorf("quell suppressed %.0f of %d alerts with right signatures", got, messages)
	}
	return micros, messages, nil
}
