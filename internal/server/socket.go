package server

import (
	"context"
	"fmt"
	"sync"
	"time"

	"quell/internal/access"
	"quell/internal/config"
	"quell/internal/gateway"
)

// socket is the console's Unix socket. A start does not fail without it: messages pass all the
// same, and "degraded" says so.
type socket struct {
	path string

	mu       sync.Mutex        // guards the fields below
	listener *gateway.Listener // nil: not open
	closed   bool
	err      error // why it is not open
}

// socketRetry is the pause after a try to open the socket.
const socketRetry = 10 * time.Second

// open opens the socket and serves it. This process must have the lock of the data folder: a
// socket there at which nobody listens is of a process that was killed.
func (k *socket) open(s *Server) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed || k.listener != nil {
		return nil
	}
	l, err := access.Listen(k.path)
	if k.err = err; err != nil {
		return fmt.Errorf("console.socket: %w", err)
	}
	k.listener = s.gateway.ServeOn("socket", l, s.guard)
	s.serve(k.listener)
	return nil
}

// close returns the listener, to be shut down, and lets none be opened any more.
func (k *socket) close() *gateway.Listener {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	return k.listener
}

func (k *socket) conditions() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err == nil {
		return nil
	}
	return []string{fmt.Sprintf("console.socket cannot be opened, so commands on this machine do not work: %v", k.err)}
}

// keepSocket opens the socket, and tries again in the background until that has worked.
func (s *Server) keepSocket(ctx context.Context) {
	err := s.socket.open(s)
	if err == nil {
		return
	}
	s.log.Error("the console's socket cannot be opened, will retry", "error", err)
	s.background.Go(func() {
		for {
			select {
			case <-time.After(socketRetry):
			case <-ctx.Done():
				return
			}
			if s.socket.open(s) == nil {
				s.log.Info("the console's socket is open now")
				return
			}
		}
	})
}

// accessSettings are the settings of a configuration about who may use the console.
func accessSettings(cfg config.Config) access.Settings {
	out := access.Settings{Clients: cfg.Console.ClientRoles}
	if o := cfg.Console.OIDC; o != nil {
		out.OIDC = &access.OIDCSettings{Issuer: o.Issuer, ClientID: o.ClientID, SecretFile: o.ClientSecretFile, URL: cfg.Console.URL, Groups: o.Roles.ByRole()}
	}
	return out
}
