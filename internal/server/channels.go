package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"quell/internal/channel"
	"quell/internal/config"
	"quell/internal/gateway"
	"quell/internal/outage"
)

// checkFilesEvery is how often the files of certificates are read.
const checkFilesEvery = time.Second

// listenerTLS returns how each listener speaks TLS, by name; nil for one that does not.
// Without its certificates a listener could take no message, so this is a fault of the
// configuration.
func listenerTLS(cfg *config.Config, log *slog.Logger) (map[string]*gateway.ListenerTLS, error) {
	list := map[string]*gateway.ListenerTLS{}
	var errs []error
	for _, l := range []struct {
		name  string
		files channel.Files
		allow []string
		need  bool
		tls12 bool
	}{
		{"southbound", channel.Files{Cert: cfg.Southbound.TLS.Cert, Key: cfg.Southbound.TLS.Key, CA: cfg.Southbound.TLS.ClientCA}, cfg.Southbound.TLS.Allow, true, cfg.Southbound.TLS.TLS12},
		{"northbound", channel.Files{Cert: cfg.Northbound.TLS.Cert, Key: cfg.Northbound.TLS.Key, CA: cfg.Northbound.TLS.ClientCA}, cfg.Northbound.TLS.Allow, true, cfg.Northbound.TLS.TLS12},
		{"console", channel.Files{Cert: cfg.Console.TLS.Cert, Key: cfg.Console.TLS.Key, CA: cfg.Console.TLS.ClientCA}, nil, false, cfg.Console.TLS.TLS12},
	} {
		if l.files.Cert == "" {
			continue
		}
		source, err := channel.Open(l.name+".tls", l.files, log)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s.tls: %w", l.name, err))
			continue
		}
		names, _ := channel.ParseNames(l.allow) // they were checked before
		list[l.name] = &gateway.ListenerTLS{Source: source, Names: names, Need: l.need, TLS12: l.tls12}
	}
	return list, errors.Join(errs...)
}

// hopFiles returns the files of the TLS with a next hop, and whether it may be TLS 1.2.
func hopFiles(cfg *config.Config, d outage.Direction) (channel.Files, bool) {
	t := cfg.Southbound.NextHopTLS
	if d == outage.North {
		t = cfg.Northbound.NextHopTLS
	}
	return channel.Files{Cert: t.Cert, Key: t.Key, CA: t.CA}, t.TLS12
}

// hopTLS returns how messages go to the next hops whose settings are not those of was; nil
// means all. The error names the files that cannot be used. Then what belongs to them waits
// until they can be.
func (s *Server) hopTLS(was, cfg *config.Config) (map[outage.Direction]gateway.HopTLS, error) {
	list := map[outage.Direction]gateway.HopTLS{}
	var errs []error
	for _, d := range []outage.Direction{outage.South, outage.North} {
		files, tls12 := hopFiles(cfg, d)
		if was != nil {
			if f, t := hopFiles(was, d); f == files && t == tls12 {
				continue
			}
		}
		t := gateway.HopTLS{TLS12: tls12}
		if files != (channel.Files{}) {
			name := string(d) + ".next_hop_tls"
			var err error
			if t.Source, err = channel.Open(name, files, s.log); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		}
		list[d] = t
	}
	return list, errors.Join(errs...)
}

// allow sets the names of clients that may send messages.
func (s *Server) allow(was, cfg *config.Config) {
	for _, l := range []struct {
		at        *gateway.Listener
		was, list []string
	}{{s.south, was.Southbound.TLS.Allow, cfg.Southbound.TLS.Allow}, {s.north, was.Northbound.TLS.Allow, cfg.Northbound.TLS.Allow}} {
		if !slices.Equal(l.was, l.list) {
			names, _ := channel.ParseNames(l.list)
			l.at.Allow(names)
		}
	}
}

// watchFiles reads the files of certificates again and again, until ctx ends. A file may
// hang, so nobody waits for this to end.
func (s *Server) watchFiles(ctx context.Context) {
	for {
		select {
		case <-time.After(checkFilesEvery):
			s.gateway.CheckFiles()
		case <-ctx.Done():
			return
		}
	}
}

// CheckChannels reads all files of certificates that a configuration names, and returns
// what is wrong with them.
func CheckChannels(cfg *config.Config) error {
	log := slog.New(slog.DiscardHandler)
	_, err := listenerTLS(cfg, log)
	errs := []error{err}
	for _, d := range []outage.Direction{outage.South, outage.North} {
		if files, _ := hopFiles(cfg, d); files != (channel.Files{}) {
			if _, err := channel.Open("", files, log); err != nil {
				errs = append(errs, fmt.Errorf("%s.next_hop_tls: %w", d, err))
			}
		}
	}
	return errors.Join(errs...)
}
