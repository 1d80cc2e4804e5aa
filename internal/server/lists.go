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
	"quell/internal/sqldb"

	"github.com/prometheus/client_golang/prometheus"
)

// lists is what is wrong with the files that the configuration names.
type lists struct {
	mu      sync.Mutex        // guards what follows
	trouble map[string]string // by key of the configuration
}

// keep notes what came of bringing the files of a key, nil if they are in force. It
// returns the errors that are not of the files: the store's, and of the end of ctx.
func (l *lists) keep(ctx context.Context, log *slog.Logger, key string, err error) error {
	if err != nil && (errors.Is(err, sqldb.ErrUnavailable) || ctx.Err() != nil) {
		return fmt.Errorf("%s: %w", key, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.trouble[key]
	delete(l.trouble, key)
	if err == nil {
		return nil
	}
	if err.Error() != was {
		log.Error("import failed, what was in force stays; the file is looked at again from time to time", "key", key, "error", err)
	}
	if l.trouble == nil {
		l.trouble = map[string]string{}
	}
	l.trouble[key] = err.Error()
	return nil
}

// count registers a metric of what is wrong.
func (l *lists) count(r prometheus.Registerer) {
	for _, key := range []string{"device_list", "inventory"} {
		gauge(r, "configured_file_refused", "1 while the file that a key of the configuration names is not in force, since it is missing, faulty, empty or shrunk.",
			prometheus.Labels{"key": key}, func() bool {
				l.mu.Lock()
				defer l.mu.Unlock()
				return l.trouble[key] != ""
			})
	}
}

// refused reports whether anything is wrong.
func (l *lists) refused() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.trouble) > 0
}

// conditions says what is wrong, in order of the key.
func (l *lists) conditions() (list []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(l.trouble)) {
		list = append(list, fmt.Sprintf("%s: the file is not in force, what was in force stays: %s", key, l.trouble[key]))
	}
	return list
}

// CheckLists reads the files that a configuration names as an import would, and says
// how many devices each has. The error is all that is wrong with them.
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
		fmt.Fprintf(w, "%s: %d devices in %s\n", key, n, name)
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
	return errors.Join(errs...)
}
