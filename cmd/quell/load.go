package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"time"

	"quell/internal/config"
	"quell/internal/inventory"
	"quell/internal/store"
)

// load tells other nodes what must be equal on all of them, and imports the
// device list and the inventory that the configuration names, or the device list
// that is built in, unless they are in force already. Afterwards it finds out, in
// the background, whether the manufacturers of the listed meters are tracked.
func (s *system) load(ctx context.Context, cfg *config.Config) error {
	err := s.loadFiles(ctx, cfg)
	if err == nil {
		s.background.Go(func() { s.console.CheckManufacturers(ctx) }) // logs what it finds; "degraded" has its error
	}
	return err
}

// loadFiles brings both. The error is the store's, or that ctx has ended: a file
// that is missing, faulty, empty or shrunk leaves what was in force, and is a
// condition until it is read again.
func (s *system) loadFiles(ctx context.Context, cfg *config.Config) error {
	same := config.Same(*cfg)
	var digest string
	var err error
	if cfg.DeviceList != "" {
		digest, err = digestFiles([]string{cfg.DeviceList})
		same["device_list"] = digest
	}
	s.store.Describe(same)
	if err == nil {
		err = s.loadList(ctx, cfg, digest)
	}
	if err := s.lists.keep(ctx, s.log, "device_list", err); err != nil {
		return err
	}
	if len(cfg.Inventory) == 0 {
		return s.lists.keep(ctx, s.log, "inventory", nil)
	}
	if digest, err = digestFiles(cfg.Inventory); err == nil {
		err = s.bringFiles(ctx, "inventory", cfg.Inventory, digest, func(next func() (store.File, error)) (store.Import, error) {
			return s.store.ImportInventory(ctx, importer, s.store.Now(), next, store.Careful)
		})
	}
	return s.lists.keep(ctx, s.log, "inventory", err)
}

// loadList imports the device list, whose file, if there is one, has a digest.
func (s *system) loadList(ctx context.Context, cfg *config.Config, digest string) error {
	if cfg.DeviceList != "" {
		return s.bringFiles(ctx, "devices", []string{cfg.DeviceList}, digest, func(next func() (store.File, error)) (store.Import, error) {
			f, err := next()
			if err != nil {
				return store.Import{}, err
			}
			return s.store.ImportList(ctx, importer, s.store.Now(), f, store.Careful)
		})
	}
	if _, size := inventory.Builtin(); size == 0 {
		return nil
	}
	// It takes the place of none but its own like.
	return s.bring(ctx, "devices", func(have store.Import) bool {
		return have.No != 0 && (have.Source != builtinSource || have.SHA256 == digestBuiltin())
	}, func() (store.Import, error) {
		builtin, _ := inventory.Builtin()
		return s.store.ImportList(ctx, importer, s.store.Now(), store.File{Name: builtinSource, Reader: builtin})
	})
}

// importer is who imports what the configuration names.
const importer = "quell"

// builtinSource names the built-in device list as the source of an import.
const builtinSource = "built in"

func digestBuiltin() string {
	list, _ := inventory.Builtin()
	sum := sha256.New()
	io.Copy(sum, list)
	return hex.EncodeToString(sum.Sum(nil))
}

// bringFiles imports files unless they are what is in force, by their digest.
func (s *system) bringFiles(ctx context.Context, kind string, names []string, digest string, run func(next func() (store.File, error)) (store.Import, error)) error {
	return s.bring(ctx, kind, func(have store.Import) bool { return have.SHA256 == digest }, func() (store.Import, error) {
		s.log.Info("importing", "kind", kind, "files", names)
		next, done := openFiles(names)
		defer done()
		return run(next)
	})
}

// bring runs an import unless what is in force will do. If another node imports,
// it is waited for: it may be the same.
func (s *system) bring(ctx context.Context, kind string, willDo func(store.Import) bool, run func() (store.Import, error)) error {
	for {
		have, err := s.store.LastImport(ctx, kind)
		if err != nil || willDo(have) {
			return err
		}
		im, err := run()
		if err == nil {
			s.log.Info("imported", "kind", kind, "devices", im.Rows, "skipped", im.Skipped, "source", im.Source, "sha256", im.SHA256)
		}
		if !errors.Is(err, store.ErrImporting) {
			return err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// openFiles opens one file after the other; done closes the last.
func openFiles(names []string) (next func() (store.File, error), done func()) {
	var current *os.File
	return func() (store.File, error) {
		current.Close()
		if len(names) == 0 {
			return store.File{}, io.EOF
		}
		f, err := os.Open(names[0])
		if err != nil {
			return store.File{}, err
		}
		current, names = f, names[1:]
		return store.File{Name: f.Name(), Reader: f}, nil
	}, func() { current.Close() }
}

// digestFiles is the digest that an import of files has.
func digestFiles(names []string) (string, error) {
	sum := sha256.New()
	next, done := openFiles(names)
	defer done()
	for {
		f, err := next()
		if err == io.EOF {
			return hex.EncodeToString(sum.Sum(nil)), nil
		}
		if err == nil {
			_, err = io.Copy(sum, f)
		}
		if err != nil {
			return "", err
		}
	}
}
