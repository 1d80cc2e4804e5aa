package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
)

// secure is row 9: TLS on both sides. quell verifies the signatures of AD1s whose hub may
// have a window, and passes the others on. nginx verifies none.
func (h *harness) secure() error {
	const windows = 1000
	s, err := newSigner()
	if err != nil {
		return err
	}
	certificates := filepath.Join(h.dir, "certificates")
	if err := os.Mkdir(certificates, 0o755); err != nil {
		return err
	}
	if err := s.write(certificates); err != nil {
		return err
	}
	nginx, err := h.plainNginx(true)
	if err != nil {
		return err
	}
	defer nginx.stop(nginx.end)
	quell, err := h.startNode(setup{name: "quell-tls", devices: windows, tls: true})
	if err != nil {
		return err
	}
	defer quell.stop(quell.end)
	if err := h.openWindows(quell, 0, windows); err != nil {
		return err
	}
	ca, err := os.ReadFile(filepath.Join(h.dir, "ca.crt"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}

	passed, err := s.sign(powerOutage(elsewhere, 1_000_000))
	if err != nil {
		return err
	}
	// An AD1 of a hub with a window is suppressed if its signature is right, and passes if not.
	right, _, err := s.signEach(powerOutage(0, windows), h.numbers(1), 1)
	if err != nil {
		return err
	}
	wrong, err := s.sign(powerOutage(0, windows))
	if err != nil {
		return err
	}
	for _, check := range []struct {
		c        *candidate
		message  []byte
		decision string
	}{
		{nginx, passed.at(h.numbers(1)), ""},
		{&quell.candidate, passed.at(h.numbers(1)), "forwarded"},
		{&quell.candidate, right, "suppressed"},
		{&quell.candidate, wrong.at(h.numbers(1)), "forwarded"},
	} {
		status, decision, err := verdict(check.c, check.message, client)
		if err != nil || status != http.StatusOK || decision != check.decision {
			return fmt.Errorf("%s answers %d and says %q, want %q: %w: %s", check.c.name, status, decision, check.decision, err, check.c.tail())
		}
	}

	// Each message with a right signature can be sent once: enough for all rounds.
	stored, perRound := filepath.Join(h.dir, "signed"), int(h.each.Seconds()*8_000)
	all, size, err := s.signEach(powerOutage(0, windows), h.numbers(int64(perRound*h.rounds)), perRound*h.rounds)
	if err != nil {
		return err
	}
	if err := os.WriteFile(stored, all, 0o644); err != nil {
		return err
	}
	micros := map[string]sample{}
	var verified sample
	for round := range h.rounds + 1 {
		for _, c := range []*candidate{nginx, &quell.candidate} {
			us, _, err := h.measure(c, passed, h.each)
			if err != nil {
				return err
			}
			if round > 0 {
				micros[c.name] = append(micros[c.name], us)
			}
		}
		if round == 0 {
			continue
		}
		before, err := quell.metrics()
		if err != nil {
			return err
		}
		script := storedIn(stored, size, (round-1)*perRound, quell.addr)
		us, n, err := h.measureScript(&quell.candidate, script, h.each)
		if err != nil {
			return err
		}
		if n > int64(perRound) {
			return fmt.Errorf("%d messages were sent, and %d were prepared", n, perRound)
		}
		after, err := quell.metrics()
		if err != nil {
			return err
		}
		if got := decided(after, "suppressed") - decided(before, "suppressed"); got < float64(n) {
			return fmt.Errorf("quell suppressed %.0f of %d alerts with right signatures", got, n)
		}
		verified = append(verified, us)
	}
	ratio := micros["quell"].over(micros[nginx.name])
	text := table(
		[]string{"µs of processor time for each AD1 of " + thousands(int64(passed.size())) + " bytes, signed", "median (spread)"},
		[]string{"nginx, TLS on both sides, nothing inspected", micros[nginx.name].String()},
		[]string{"quell, TLS on both sides, hubs without a window", micros["quell"].String()},
		[]string{"**quell against nginx**", ratio.String()},
		[]string{"quell, hubs with a window: the signature is verified, and the alert suppressed", verified.String()})
	fmt.Print(text)
	h.doc.set("secure", text)
	h.doc.aim(aim{"9", "TLS on both sides, signatures verified where they count", "nginx with TLS on both sides", "at most 1.5 times", ratio.String(), ratio.median() <= 1.5})
	return nil
}
