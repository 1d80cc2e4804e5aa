// Package rotated writes lines to a file, and starts a new one when it is full, or when somebody has
// moved or deleted it.
package rotated

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"quell/internal/datadir"
)

// Keep is how many old files are kept.
const Keep = 20

// Time is the form of the time in the name of an old file. Names sort by time.
const Time = "2006-01-02T15-04-05.000"

// File is a file. The exported fields are set before its first use. One goroutine writes it, and
// may hang in any call.
type File struct {
	Path string
	What string // what it is, for the log
	Max  int64  // bytes, after which a new file is started
	Log  *slog.Logger

	reopen atomic.Bool // before the next write
	file   *os.File    // nil if it is not open
	size   int64
}

// Reopen has the next Write open the file again by its name, since another program may have moved
// it. Any goroutine may call it.
func (f *File) Reopen() { f.reopen.Store(true) }

// Write appends complete lines. If it fails, it returns how many bytes are written, and the
// next Write opens the file again.
func (f *File) Write(text []byte) (int, error) {
	if err := f.ready(int64(len(text))); err != nil || f.file == nil {
		return 0, err
	}
	n, err := f.file.Write(text)
	if err != nil {
		// Remove an incomplete line: its end may go into another file, or never come.
		if whole := bytes.LastIndexByte(text[:n], '\n') + 1; whole < n && f.file.Truncate(f.size+int64(whole)) == nil {
			n = whole
		}
		f.Close()
	}
	f.size += int64(n)
	return n, err
}

// ready makes sure that the file is open and has room for more bytes; it may start a new
// file. If more is 0, it opens no file that was not open.
func (f *File) ready(more int64) error {
	asked := f.reopen.Swap(false)
	if f.file != nil {
		inPlace, err := f.inPlace()
		if err != nil {
			return err
		}
		if !inPlace && !asked {
			f.Log.Warn("the file of "+f.What+" was moved or deleted, a new one is started", "file", f.Path)
		}
		if !inPlace || asked {
			f.Close()
			more = max(more, 1)
		}
	}
	if f.file == nil && more > 0 {
		if err := f.open(); err != nil {
			return err
		}
	}
	if f.size > 0 && f.size+more > f.Max {
		return f.rotate()
	}
	return nil
}

// inPlace reports whether the open file still has its name. It reads the size again, which
// another program may have changed.
func (f *File) inPlace() (bool, error) {
	named, err := os.Stat(f.Path)
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

func (f *File) open() error {
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o700); err != nil {
		return err
	}
	file, err := datadir.Open(f.Path, os.O_WRONLY|os.O_APPEND)
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

// Close closes the file. The next Write opens it again.
func (f *File) Close() {
	if f.file != nil {
		f.file.Close() // each Write has returned its own error
		f.file = nil
	}
}

// nameOfOld returns what is before and after the time in the name of an old file.
func (f *File) nameOfOld() (stem, ext string) {
	name := filepath.Base(f.Path)
	ext = filepath.Ext(name)
	return strings.TrimSuffix(name, ext) + "-", ext
}

// old returns the paths of the old files, the oldest first, and the time in the name of the last. Files of
// others, with a name that is alike, are none of them.
func (f *File) old() (paths []string, last time.Time, err error) {
	dir := filepath.Dir(f.Path)
	entries, err := os.ReadDir(dir) // in order
	stem, ext := f.nameOfOld()
	for _, e := range entries {
		text := strings.TrimSuffix(strings.TrimPrefix(e.Name(), stem), ext)
		if at, err := time.Parse(Time, text); err == nil && e.Name() == stem+text+ext {
			paths, last = append(paths, filepath.Join(dir, e.Name())), at
		}
	}
	return paths, last, err
}

// rotate renames the file, starts a new one, and deletes the oldest.
func (f *File) rotate() error {
	f.Close()
	old, last, err := f.old()
	if err != nil {
		return err
	}
	at := time.Now().UTC()
	if at.Sub(last) < time.Millisecond { // names must sort in the order of the files, even if the clock was set back
		at = last.Add(time.Millisecond)
	}
	stem, ext := f.nameOfOld()
	renamed := filepath.Join(filepath.Dir(f.Path), stem+at.Format(Time)+ext)
	if _, err := os.Lstat(renamed); !errors.Is(err, fs.ErrNotExist) {
		return cmp.Or(err, fs.ErrExist)
	}
	if err := os.Rename(f.Path, renamed); err != nil {
		return err
	}
	if err := f.open(); err != nil {
		return err
	}
	old = append(old, renamed)
	for _, name := range old[:max(0, len(old)-Keep)] {
		err = errors.Join(err, os.Remove(name))
	}
	if err != nil {
		f.Log.Error("old files of "+f.What+" cannot be removed", "error", err)
	}
	return nil
}
