package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"quell/internal/motorway"
	"quell/internal/smki"

	"log/slog"
)

// signers keeps the certificates of those who sign messages up to date with their folder.
type signers struct {
	m    *motorway.Motorway
	log  *slog.Logger
	wake chan struct{} // has a token when the folder may be another one

	dir  string   // that was read last
	seen [32]byte // the names, sizes and times of its files then

	mu      sync.Mutex // guards trouble
	trouble error      // what is wrong with the folder; nil if nothing is
}

// lookEvery is how often the folder is looked at.
const lookEvery = time.Minute

// run reads the folder now, when it was changed, and when reload was called, until ctx ends. dir
// returns the folder that the configuration names; "" if it names none. run calls done after the
// first time.
func (s *signers) run(ctx context.Context, dir func() string, done func()) {
	for {
		s.look(dir())
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
		s.dir = ""
		s.m.SetCertificates(nil)
		s.report(nil)
		return
	}
	seen, err := fingerprint(dir)
	if err == nil && dir == s.dir && seen == s.seen {
		return
	}
	certificates, faults := (*smki.Certificates)(nil), err
	if err == nil {
		certificates, faults = smki.Load(dir)
	}
	switch {
	case certificates != nil:
		s.dir, s.seen = dir, seen
		s.m.SetCertificates(certificates)
		s.log.Info("the certificates of signers were read", "folder", dir, "certificates", certificates.Len())
		if faults == nil && certificates.Len() == 0 {
			faults = errors.New("the folder has no certificate")
		}
	case dir != s.dir:
		s.m.SetCertificates(nil)
		s.dir = ""
	}
	s.report(faults)
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

// conditions says what is wrong with the folder; nil if nothing is.
func (s *signers) conditions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trouble == nil {
		return nil
	}
	return []string{"certificates: " + strings.ReplaceAll(s.trouble.Error(), "\n", "; ")}
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
