package motorway

import (
	"bytes"
	"cmp"
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

const (
	trailSize = 100 << 20 // bytes, after which a new file is started
	trailKeep = 20        // old files that are kept
)

// trailTime is the form of the time in the name of an old file. Names sort by time.
const trailTime = "2006-01-02T15-04-05.000"

// trailFile is the file of a trail. One goroutine writes it, and may hang in any call.
type trailFile struct {
	path   string
	log    *slog.Logger
	max    int64
	reopen atomic.Bool // before the next write

	file *os.File // nil if it is not open
	size int64
}

// Write appends complete lines. If it fails, it returns how many bytes are written, and the
// next Write opens the file again.
func (f *trailFile) Write(text []byte) (int, error) {
	if err := f.ready(int64(len(text))); err != nil || f.file == nil {
		return 0, err
	}
	n, err := f.file.Write(text)
	if err != nil {
		// Remove an incomplete line: its end may go into another file, or never come.
		if whole := bytes.LastIndexByte(text[:n], '\n') + 1; whole < n && f.file.Truncate(f.size+int64(whole)) == nil {
			n = whole
		}
		f.close()
	}
	f.size += int64(n)
	return n, err
}

// ready makes sure that the file is open and has room for more bytes; it may start a new
// file. If more is 0, it opens no file that was not open.
func (f *trailFile) ready(more int64) error {
	asked := f.reopen.Swap(false)
	if f.file != nil {
		inPlace, err := f.inPlace()
		if err != nil {
			return err
		}
		if !inPlace && !asked {
			f.log.Warn("the file of the service audit trail was moved or deleted, a new one is started", "file", f.path)
		}
		if !inPlace || asked {
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

// inPlace reports whether the open file still has its name. It reads the size again, which
// another program may have changed.
func (f *trailFile) inPlace() (bool, error) {
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
		f.file.Close() // each Write has returned its own error
		f.file = nil
	}
}

// rotate renames the file, starts a new one, and deletes the oldest.
func (f *trailFile) rotate() error {
	f.close()
	stem, ext := strings.TrimSuffix(f.path, filepath.Ext(f.path))+"-", filepath.Ext(f.path)
	old, err := filepath.Glob(stem + "*" + ext)
	if err != nil {
		return err
	}
	slices.Sort(old)
	at := time.Now().UTC()
	if len(old) > 0 {
		// Names must sort in the order of the files, even if the clock was set back.
		name := strings.TrimSuffix(strings.TrimPrefix(old[len(old)-1], stem), ext)
		if last, err := time.Parse(trailTime, name); err == nil && at.Sub(last) < time.Millisecond {
			at = last.Add(time.Millisecond)
		}
	}
	renamed := stem + at.Format(trailTime) + ext
	if _, err := os.Lstat(renamed); !errors.Is(err, fs.ErrNotExist) {
		return cmp.Or(err, fs.ErrExist)
	}
	if err := os.Rename(f.path, renamed); err != nil {
		return err
	}
	if err := f.open(); err != nil {
		return err
	}
	old = append(old, renamed)
	for _, name := range old[:max(0, len(old)-trailKeep)] {
		err = errors.Join(err, os.Remove(name))
	}
	if err != nil {
		f.log.Error("old files of the service audit trail cannot be removed", "error", err)
	}
	return nil
}
