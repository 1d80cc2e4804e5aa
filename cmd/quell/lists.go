package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"quell/internal/store"
)

// lists is what is wrong with the files that the configuration names.
type lists struct {
	mu      sync.Mutex        // guards what follows
	trouble map[string]string // by key of the configuration
}

// keep notes what came of bringing the files of a key, nil if they are in force. It
// returns the errors that are not of the files: the store's, and of the end of ctx.
func (l *lists) keep(ctx context.Context, log *slog.Logger, key string, err error) error {
	if err != nil && (errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil) {
		return fmt.Errorf("%s: %w", key, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.trouble, key)
	if err == nil {
		return nil
	}
	log.Error("import failed, what was in force stays", "key", key, "error", err)
	if l.trouble == nil {
		l.trouble = map[string]string{}
	}
	l.trouble[key] = err.Error()
	return nil
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
