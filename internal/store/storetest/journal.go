package storetest

import (
	"errors"
	"os"
	"sync"

	"quell/internal/datadir"
	"quell/internal/journal"
	"quell/internal/store"
)

// JournalFile is the file of a journal, which can be made to fail and to hang.
type JournalFile struct {
	*os.File
	mu     sync.Mutex // held while the file hangs; guards the next fields
	broken bool
	Syncs  int
}

// Use makes a store use the file for its journal.
func (f *JournalFile) Use(o *store.Options) {
	o.OpenJournal = func(path string) (_ journal.File, err error) {
		f.File, err = datadir.Open(path, os.O_RDWR)
		return f, err
	}
}

// Break makes all writes fail, until Repair is called.
func (f *JournalFile) Break() { f.set(true) }

// Repair ends Break.
func (f *JournalFile) Repair() { f.set(false) }

func (f *JournalFile) set(broken bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = broken
}

// Hang makes writes wait until release is called.
func (f *JournalFile) Hang() (release func()) {
	f.mu.Lock()
	return sync.OnceFunc(f.mu.Unlock)
}

var errBroken = errors.New("input/output error")

func (f *JournalFile) WriteAt(b []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken {
		return 0, errBroken
	}
	return f.File.WriteAt(b, off)
}

func (f *JournalFile) Sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken {
		return errBroken
	}
	f.Syncs++
	return f.File.Sync()
}
