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

// loader loads into the store what the newest configuration names: the first value of the
// switch, the device list and the inventory.
type loader struct {
	files files
	wake  chan struct{} // has a token when the configuration may have changed

	mu     sync.Mutex         // guards the fields below
	stop   context.CancelFunc // ends the load that is under way; nil if there is none
	loaded bool               // a load has succeeded since the start, even if it refused files
}

// A file that was refused is read again after a pause, which grows from retryFirst to
// retryLast.
const (
	retryFirst = 10 * time.Second
	retryLast  = 5 * time.Minute
)

// runLoader loads what the configuration names: now, after each change of the
// configuration, and again while the store is not available or a file is refused. It calls
// done after the first load.
func (s *Server) runLoader(ctx context.Context, done func()) {
	l, logged := &s.loader, ""
	for pause := retryFirst; ctx.Err() == nil; {
		loading, stop := context.WithCancel(ctx)
		l.mu.Lock()
		l.stop = stop
		l.mu.Unlock()
		err := s.load(loading, s.cfg.Load())
		l.mu.Lock()
		l.stop = nil
		l.loaded = l.loaded || err == nil
		l.mu.Unlock()
		if err != nil && loading.Err() == nil && err.Error() != logged {
			logged = err.Error()
			s.log.Error("the switch and the lists of the configuration cannot be written to the store, will retry", "error", err)
		}
		stop()
		var retry <-chan time.Time
		switch {
		case err != nil:
			retry = time.After(time.Second)
		case s.faults.any():
			retry = time.After(pause)
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
		case <-retry:
		case <-ctx.Done():
		}
	}
}

// reload loads a changed configuration. If it names other files, the load that is under way
// is ended; otherwise the new one comes after that.
func (l *loader) reload(was, now *config.Config) {
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

// loading reports whether no load has succeeded since the start.
func (l *loader) loading() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.loaded
}

// starting reports whether the start is not complete: the store is not open, its hubs are
// not known, or the configured files are not read.
func (s *Server) starting() bool {
	return s.running != nil && (s.loader.loading() || !s.store.Started())
}

// load waits for the store, and loads what the configuration names. Afterwards it finds
// out, in the background, whether the manufacturers of the listed meters are tracked. The
// error is that of the store, or the end of ctx.
func (s *Server) load(ctx context.Context, cfg *config.Config) error {
	if err := s.store.Ready(ctx); err != nil {
		return err
	}
	if err := s.m.Resume(ctx); err != nil {
		return err
	}
	if err := s.store.Ledger.FirstSwitch(ctx, cfg.Switch, "quell", "first value, from the configuration", s.store.Cluster.Now()); err != nil {
		return err
	}
	if err := s.loadFiles(ctx, cfg); err != nil {
		return err
	}
	s.background.Go(func() { s.console.Manufacturers.Run(s.running) }) // it logs the result; an error is in "degraded"
	return nil
}

// loadFiles imports the inventory and the device list that the configuration names, or the
// device list that is built in, unless they are in force already. It also tells the other
// nodes the settings that must be equal. If a file is missing, faulty, empty or shrunk, what
// was in force stays, and "degraded" says so until the file can be imported. The error is
// that of the store, or the end of ctx.
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
	if err := s.faults.note(ctx, s.log, "device_list", err); err != nil {
		return err
	}
	if len(cfg.Inventory) == 0 {
		return s.faults.note(ctx, s.log, "inventory", nil)
	}
	if digest, err = s.loader.files.digest(ctx, cfg.Inventory); err == nil {
		err = s.importFiles(ctx, "inventory", cfg.Inventory, digest, func(next func() (devices.File, error)) (devices.Import, error) {
			return s.store.Devices.ImportInventory(ctx, importer, s.store.Cluster.Now(), next, devices.RefuseShrinking)
		})
	}
	return s.faults.note(ctx, s.log, "inventory", err)
}

// loadList imports the device list: the file with this digest, if the configuration names
// one, or the list that is built in.
func (s *Server) loadList(ctx context.Context, cfg *config.Config, digest string) error {
	if cfg.DeviceList != "" {
		return s.importFiles(ctx, "devices", []string{cfg.DeviceList}, digest, func(next func() (devices.File, error)) (devices.Import, error) {
			f, err := next()
			if err != nil {
				return devices.Import{}, err
			}
			return s.store.Devices.ImportList(ctx, importer, s.store.Cluster.Now(), f, devices.RefuseShrinking)
		})
	}
	if _, size := devices.Builtin(); size == 0 {
		return nil
	}
	// It replaces only a list that was built in too.
	return s.importUnless(ctx, "devices", func(have devices.Import) bool {
		return have.No != 0 && (have.Source != builtinSource || have.SHA256 == DigestBuiltin())
	}, func() (devices.Import, error) {
		builtin, _ := devices.Builtin()
		return s.store.Devices.ImportList(ctx, importer, s.store.Cluster.Now(), devices.File{Name: builtinSource, Reader: builtin})
	})
}

// importer is the name under which configured files are imported.
const importer = "quell"

// builtinSource is the source of an import of the device list that is built in.
const builtinSource = "built in"

// DigestBuiltin returns the SHA-256 of the device list that is built in, in hexadecimal.
func DigestBuiltin() string {
	list, _ := devices.Builtin()
	sum := sha256.New()
	io.Copy(sum, list)
	return hex.EncodeToString(sum.Sum(nil))
}

// importFiles imports files, unless those in force have the same digest.
func (s *Server) importFiles(ctx context.Context, kind string, names []string, digest string, run func(next func() (devices.File, error)) (devices.Import, error)) error {
	return s.importUnless(ctx, kind, func(have devices.Import) bool { return have.SHA256 == digest }, func() (devices.Import, error) {
		s.log.Info("importing", "kind", kind, "files", names)
		next, done := s.loader.files.each(ctx, names)
		defer done()
		return run(next)
	})
}

// importUnless runs an import, unless enough says that the import in force is good enough.
// It waits for an import of another node, which may import the same.
func (s *Server) importUnless(ctx context.Context, kind string, enough func(devices.Import) bool, run func() (devices.Import, error)) error {
	for {
		have, err := s.store.Devices.LastImport(ctx, kind)
		if err != nil || enough(have) {
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
