package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"quell/internal/config"
	"quell/internal/devices"
	"quell/internal/outage"
	"quell/internal/smki"
	"quell/internal/sqldb"

	"github.com/prometheus/client_golang/prometheus"
)

// fileFaults says what is wrong with the files that the configuration names.
type fileFaults struct {
	mu    sync.Mutex        // guards texts
	texts map[string]string // by key of the configuration
}

// note notes the result of an import of the files of a key: err is nil if they are in
// force. It returns an error that is not about the files: of the store, or the end of ctx.
func (f *fileFaults) note(ctx context.Context, log *slog.Logger, key string, err error) error {
	if err != nil && (errors.Is(err, sqldb.ErrUnavailable) || ctx.Err() != nil) {
		return fmt.Errorf("%s: %w", key, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.texts[key]
	delete(f.texts, key)
	if err == nil {
		return nil
	}
	if err.Error() != before {
		log.Error("import failed, what was in force stays; will retry", "key", key, "error", err)
	}
	if f.texts == nil {
		f.texts = map[string]string{}
	}
	f.texts[key] = err.Error()
	return nil
}

// register registers a metric for each key.
func (f *fileFaults) register(r prometheus.Registerer) {
	for _, key := range []string{"device_list", "inventory"} {
		gauge(r, "configured_file_refused", "1 while the file of a key of the configuration is not in force, because it is missing, faulty, empty or shrunk; else 0.",
			prometheus.Labels{"key": key}, func() bool {
				f.mu.Lock()
				defer f.mu.Unlock()
				return f.texts[key] != ""
			})
	}
}

// any reports whether a file is not in force.
func (f *fileFaults) any() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.texts) > 0
}

// conditions returns what is wrong, in order of the keys.
func (f *fileFaults) conditions() (list []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(f.texts)) {
		list = append(list, fmt.Sprintf("%s: the file is not in force, what was in force stays: %s", key, f.texts[key]))
	}
	return list
}

// CheckLists reads the files that a configuration names as an import would, and the
// certificates of signers. It writes to w how many devices and certificates there are, and
// what may not be intended. The error has all faults.
func CheckLists(ctx context.Context, w io.Writer, cfg *config.Config) error {
	from := files{idle: fileIdle}
	check := func(key, name string, read func(io.Reader) (int, error)) error {
		f, err := from.open(ctx, name)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		defer f.Close()
		n, err := read(f)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %s: %w", key, name, err)
		case n == 0:
			return fmt.Errorf("%s: %s: has no devices", key, name)
		}
		noun := "devices"
		if n == 1 {
			noun = "device"
		}
		fmt.Fprintf(w, "%s: %d %s in %s\n", key, n, noun, name)
		return nil
	}
	var errs []error
	if cfg.DeviceList != "" {
		errs = append(errs, check("device_list", cfg.DeviceList, func(r io.Reader) (n int, err error) {
			err = devices.ReadList(r, func(outage.DeviceID) error { n++; return nil })
			return n, err
		}))
	}
	for _, name := range cfg.Inventory {
		errs = append(errs, check("inventory", name, func(r io.Reader) (n int, err error) {
			_, err = devices.ReadInventory(r, func(outage.Device) error { n++; return nil })
			return n, err
		}))
	}
	if cfg.Certificates != "" {
		certificates, err := smki.Load(cfg.Certificates)
		if err != nil {
			errs = append(errs, fmt.Errorf("certificates: %w", err))
		}
		if certificates != nil {
			fmt.Fprintf(w, "certificates: %d in %s\n", certificates.Len(), cfg.Certificates)
		}
	}
	if len(cfg.Suppliers) == 0 {
		fmt.Fprintln(w, "Warning: suppliers: "+anySupplier)
	}
	return errors.Join(errs...)
}

// anySupplier warns of an empty list of suppliers.
const anySupplier = "the list is empty, so an 11.3 of any originator opens a window"
