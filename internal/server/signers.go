package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"quell/internal/config"
	"quell/internal/motorway"
	"quell/internal/outage"
	"quell/internal/smki"
)

// signers keeps the certificates of those who sign messages up to date with their folder.
type signers struct {
	m      *motorway.Motorway
	config func() *config.Config
	log    *slog.Logger
	wake   chan struct{} // has a token when the folder may be another one

	changed func(n int) // called when other certificates than before are in force

	dir  string   // that was read last
	seen [32]byte // the names, sizes and times of its files then
	have *smki.Certificates
	bad  error // what did not serve

	mu       sync.Mutex // guards the fields below
	trouble  error      // what is wrong with the folder; nil if nothing is
	expiring []string   // suppliers without a certificate, or whose last one expires soon
}

// lookEvery is how often the folder is looked at.
const lookEvery = time.Minute

// run reads the folder now, when it was changed, and when reload was called, until ctx ends. It
// calls done after the first time.
func (s *signers) run(ctx context.Context, done func()) {
	for {
		cfg := s.config()
		s.look(cfg.Certificates)
		s.checkSuppliers(cfg)
		if done != nil {
			done()
			done = nil
		}
		select {
		case <-s.wake:
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return
		}
	}
}

// expiresSoon is how long before its end a certificate is reported.
const expiresSoon = 14 * 24 * time.Hour

// checkSuppliers finds out which of the configured suppliers have no valid certificate, or soon
// will have none.
func (s *signers) checkSuppliers(cfg *config.Config) {
	var list []string
	if cfg.Southbound.Signatures != outage.SignaturesOff && s.have != nil {
		now := s.m.Now()
		for _, id := range cfg.Originators() {
			switch until := s.have.ValidUntil(id, now); {
			case until.IsZero():
				list = append(list, fmt.Sprintf("certificates: there is no valid one of supplier %s, whose 11.3s open no window", id))
			case until.Before(now.Add(expiresSoon)):
				list = append(list, fmt.Sprintf("certificates: the last one of supplier %s expires at %s", id, until.UTC().Format(time.RFC3339)))
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expiring = list
}

// reload makes run look at the folder now.
func (s *signers) reload() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// look reads the folder if it was changed. If it cannot be read, what was read before stays in
// force, unless that is of another folder.
func (s *signers) look(dir string) {
	if dir == "" {
		s.set(dir, nil)
		s.report(nil)
		return
	}
	seen, err := fingerprint(dir)
	if err == nil && dir == s.dir && seen == s.seen {
		s.report(s.bad)
		return
	}
	certificates, faults := (*smki.Certificates)(nil), err
	if err == nil {
		certificates, faults = smki.Load(dir)
	}
	switch {
	case certificates != nil:
		s.log.Info("the certificates of signers were read", "folder", dir, "certificates", certificates.Len())
		if faults == nil && certificates.Len() == 0 {
			faults = errors.New("the folder has no certificate")
		}
		s.set(dir, certificates)
		s.seen, s.bad = seen, faults
	case dir != s.dir:
		s.set("", nil)
	}
	s.report(faults)
}

func (s *signers) set(dir string, certificates *smki.Certificates) {
	if s.have != nil || certificates != nil {
		s.changed(certificates.Len())
	}
	s.dir, s.have = dir, certificates
	s.m.SetCertificates(certificates)
}

func (s *signers) report(trouble error) {
	s.mu.Lock()
	was := s.trouble
	s.trouble = trouble
	s.mu.Unlock()
	if trouble != nil && (was == nil || was.Error() != trouble.Error()) {
		s.log.Error("certificates of signers cannot be read; messages that need them are treated as signed by someone unknown", "error", trouble)
	}
}

// conditions says what is wrong with the folder, or with what is in it; nil if nothing is.
func (s *signers) conditions() (list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trouble != nil {
		list = append(list, "certificates: "+strings.ReplaceAll(s.trouble.Error(), "\n", "; "))
	}
	return append(list, s.expiring...)
}

// fingerprint returns a digest of the names, sizes and times of the files in a folder.
func fingerprint(dir string) (sum [32]byte, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return sum, err
	}
	h := sha256.New()
	for _, e := range entries {
		if i, err := os.Stat(filepath.Join(dir, e.Name())); err == nil { // of what a link leads to
			fmt.Fprintf(h, "%q %d %d\n", e.Name(), i.Size(), i.ModTime().UnixNano())
		}
	}
	return [32]byte(h.Sum(nil)), nil
}
