package motorway

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"quell/internal/datadir"
)

// The trail's files: a new one after trailSize bytes, trailKeep old ones kept.
const (
	trailSize = 100 << 20
	trailKeep = 20
)

// trailTime is what an old file has in its name; names are in the order of time.
const trailTime = "2006-01-02T15-04-05.000"

// trailFile is the file of a trail. It is written by one goroutine, which may
// hang in any of its calls.
type trailFile struct {
	path   string
	log    *slog.Logger
	max    int64
	reopen atomic.Bool // before the next write

	file *os.File // nil: not open
	size int64
}

// Write appends whole lines. An error may leave some of them written, and says
// how many bytes; the next Write opens the file again.
func (f *trailFile) Write(text []byte) (int, error) {
	if err := f.ready(int64(len(text))); err != nil || f.file == nil {
		return 0, err
	}
	n, err := f.file.Write(text)
	if err != nil {
		// A line that is only half there would spoil the one that comes after
		// it, if that is in another file or the process ends before.
		if whole := bytes.LastIndexByte(text[:n], '\n') + 1; whole < n && f.file.Truncate(f.size+int64(whole)) == nil {
			n = whole
		}
		f.close()
	}
	f.size += int64(n)
	return n, err
}

// ready opens the file for a number of bytes to come, if need be a new one. For
// none, it opens no file that was not open.
func (f *trailFile) ready(more int64) error {
	asked := f.reopen.Swap(false)
	if f.file != nil {
		there, err := f.there()
		if err != nil {
			return err
		}
		if !there && !asked {
			f.log.Warn("the file of the service audit trail was moved or deleted, a new one is begun", "file", f.path)
		}
		if !there || asked {
			f.close()
			more = max(more, 1)
		}
	}
	if f.file == nil && more > 0 {
		if err := f.open(); err != nil {
			return err
		}
	}
	if f.size > 0 && f.size+more > f.max {
		return f.rotate()
	}
	return nil
}

// there reports whether the open file is the one that has its name, and takes
// over its size, which others may have changed.
func (f *trailFile) there() (bool, error) {
	named, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	open, err := f.file.Stat()
	if err != nil {
		return false, err
	}
	f.size = open.Size()
	return os.SameFile(named, open), nil
}

func (f *trailFile) open() error {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return err
	}
	file, err := datadir.Open(f.path, os.O_WRONLY|os.O_APPEND)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	f.file, f.size = file, info.Size()
	return nil
}

func (f *trailFile) close() {
	if f.file != nil {
		f.file.Close() // each write has said whether it succeeded
		f.file = nil
	}
}

// rotate gives the file another name, begins a new one and deletes the oldest.
func (f *trailFile) rotate() error {
	f.close()
	stem, ext := strings.TrimSuffix(f.path, filepath.Ext(f.path))+"-", filepath.Ext(f.path)
	at := time.Now().UTC()
	for {
		_, err := os.Lstat(stem + at.Format(trailTime) + ext)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return err
		}
		at = at.Add(time.Millisecond)
	}
	if err := os.Rename(f.path, stem+at.Format(trailTime)+ext); err != nil {
		return err
	}
	if err := f.open(); err != nil {
		return err
	}
	old, err := filepath.Glob(stem + "*" + ext)
	slices.Sort(old)
	for _, name := range old[:max(0, len(old)-trailKeep)] {
		err = errors.Join(err, os.Remove(name))
	}
	if err != nil {
		f.log.Error("old files of the service audit trail cannot be removed", "error", err)
	}
	return nil
}
