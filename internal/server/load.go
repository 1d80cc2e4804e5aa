package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"quell/internal/config"
	"quell/internal/devices"
)

// loader brings into the store what the newest configuration says of it.
type loader struct {
	files files
	wake  chan struct{} // holds a token when there may be something to do

	mu     sync.Mutex         // guards what follows
	stop   context.CancelFunc // of what is being brought; nil: nothing is
	loaded bool               // all was brought since the start, or refused
}

// These bound the pause after which a file that was refused is looked at again.
const (
	retryFirst = 10 * time.Second
	retryLast  = 5 * time.Minute
)

// runLoader does what the configuration asks of the store: now, whenever it was
// changed, and again while the store is not available or a file is refused. done is
// called when it has been done once.
func (s *Server) runLoader(ctx context.Context, done func()) {
	l, said := &s.loader, ""
	for pause := retryFirst; ctx.Err() == nil; {
		one, stop := context.WithCancel(ctx)
		l.mu.Lock()
		l.stop = stop
		l.mu.Unlock()
		err := s.prepare(one, s.cfg.Load())
		l.mu.Lock()
		l.stop = nil
		l.loaded = l.loaded || err == nil
		l.mu.Unlock()
		if err != nil && one.Err() == nil && err.Error() != said {
			said = err.Error()
			s.log.Error("the store cannot be told what the configuration says, this is tried again", "error", err)
		}
		stop()
		var again <-chan time.Time
		switch {
		case err != nil:
			again = time.After(time.Second)
		case s.lists.refused():
			again = time.After(pause)
			pause = min(2*pause, retryLast)
		default:
			pause = retryFirst
		}
		if err == nil && done != nil {
			done()
			done = nil
		}
		select {
		case <-l.wake:
			pause = retryFirst
		case <-again:
		case <-ctx.Done():
		}
	}
}

// changed has a changed configuration brought: at once if it names other files than
// those that are being brought, or else behind them.
func (l *loader) changed(was, now *config.Config) {
	select {
	case l.wake <- struct{}{}:
	default:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stop != nil && (was.DeviceList != now.DeviceList || !slices.Equal(was.Inventory, now.Inventory)) {
		l.stop()
	}
}

// loading reports whether the store has not been told yet what the configuration says.
func (l *loader) loading() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.loaded
}

// starting reports whether not all is there yet that a start brings.
func (s *Server) starting() bool {
	return s.running != nil && (s.loader.loading() || !s.store.Started())
}

// prepare waits for the store, and tells it what the configuration says. The error is
// the store's, or that ctx has ended.
func (s *Server) prepare(ctx context.Context, cfg *config.Config) error {
	if err := s.store.Ready(ctx); err != nil {
		return err
	}
	if err := s.m.Resume(ctx); err != nil {
		return err
	}
	if err := s.store.Ledger.FirstSwitch(ctx, cfg.Switch, "quell", "first value, from the configuration", s.store.Cluster.Now()); err != nil {
		return err
	}
	return s.load(ctx, cfg)
}

// load tells other nodes what must be equal on all of them, and imports the
// device list and the inventory that the configuration names, or the device list
// that is built in, unless they are in force already. Afterwards it finds out, in
// the background, whether the manufacturers of the listed meters are tracked.
func (s *Server) load(ctx context.Context, cfg *config.Config) error {
	err := s.loadFiles(ctx, cfg)
	if err == nil {
		s.background.Go(func() { s.console.CheckManufacturers(s.running) }) // logs what it finds; "degraded" has its error
	}
	return err
}

// loadFiles brings both. The error is the store's, or that ctx has ended: a file
// that is missing, faulty, empty or shrunk leaves what was in force, and is a
// condition until it is read again.
func (s *Server) loadFiles(ctx context.Context, cfg *config.Config) error {
	same := config.SharedSettings(*cfg)
	var digest string
	var err error
	if cfg.DeviceList != "" {
		digest, err = s.loader.files.digest(ctx, []string{cfg.DeviceList})
		same["device_list"] = digest
	}
	s.store.Cluster.SetSettings(same)
	if err == nil {
		err = s.loadList(ctx, cfg, digest)
	}
	if err := s.lists.keep(ctx, s.log, "device_list", err); err != nil {
		return err
	}
	if len(cfg.Inventory) == 0 {
		return s.lists.keep(ctx, s.log, "inventory", nil)
	}
	if digest, err = s.loader.files.digest(ctx, cfg.Inventory); err == nil {
		err = s.bringFiles(ctx, "inventory", cfg.Inventory, digest, func(next func() (devices.File, error)) (devices.Import, error) {
			return s.store.Devices.ImportInventory(ctx, importer, s.store.Cluster.Now(), next, devices.Careful)
		})
	}
	return s.lists.keep(ctx, s.log, "inventory", err)
}

// loadList imports the device list, whose file, if there is one, has a digest.
func (s *Server) loadList(ctx context.Context, cfg *config.Config, digest string) error {
	if cfg.DeviceList != "" {
		return s.bringFiles(ctx, "devices", []string{cfg.DeviceList}, digest, func(next func() (devices.File, error)) (devices.Import, error) {
			f, err := next()
			if err != nil {
				return devices.Import{}, err
			}
			return s.store.Devices.ImportList(ctx, importer, s.store.Cluster.Now(), f, devices.Careful)
		})
	}
	if _, size := devices.Builtin(); size == 0 {
		return nil
	}
	// It takes the place of none but its own like.
	return s.bring(ctx, "devices", func(have devices.Import) bool {
		return have.No != 0 && (have.Source != builtinSource || have.SHA256 == DigestBuiltin())
	}, func() (devices.Import, error) {
		builtin, _ := devices.Builtin()
		return s.store.Devices.ImportList(ctx, importer, s.store.Cluster.Now(), devices.File{Name: builtinSource, Reader: builtin})
	})
}

// importer is who imports what the configuration names.
const importer = "quell"

// builtinSource names the built-in device list as the source of an import.
const builtinSource = "built in"

// DigestBuiltin is the SHA-256 of the device list that is built in, in hexadecimal.
func DigestBuiltin() string {
	list, _ := devices.Builtin()
	sum := sha256.New()
	io.Copy(sum, list)
	return hex.EncodeToString(sum.Sum(nil))
}

// bringFiles imports files unless they are what is in force, by their digest.
func (s *Server) bringFiles(ctx context.Context, kind string, names []string, digest string, run func(next func() (devices.File, error)) (devices.Import, error)) error {
	return s.bring(ctx, kind, func(have devices.Import) bool { return have.SHA256 == digest }, func() (devices.Import, error) {
		s.log.Info("importing", "kind", kind, "files", names)
		next, done := s.loader.files.each(ctx, names)
		defer done()
		return run(next)
	})
}

// bring runs an import unless what is in force will do. If another node imports,
// it is waited for: it may be the same.
func (s *Server) bring(ctx context.Context, kind string, willDo func(devices.Import) bool, run func() (devices.Import, error)) error {
	for {
		have, err := s.store.Devices.LastImport(ctx, kind)
		if err != nil || willDo(have) {
			return err
		}
		im, err := run()
		if err == nil {
			s.log.Info("imported", "kind", kind, "devices", im.Rows, "skipped", im.Skipped, "source", im.Source, "sha256", im.SHA256)
		}
		if !errors.Is(err, devices.ErrImporting) {
			return err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
