package recording

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"quell/internal/datadir"

	"github.com/klauspost/compress/zstd"
)

const (
	fileSize = 64 << 20  // bytes, after which a new file is started
	fileAge  = time.Hour // after which a new file is started

	suffix = ".jsonl.zst"
	// fileTime is the form of the time in the name of a file. Names sort by time.
	fileTime = "20060102T150405.000000Z"
)

// writer compresses lines, and writes them into files. One goroutine uses it, and may hang in
// any call.
type writer struct {
	dir, keyPath string
	run          string
	log          *slog.Logger
	limits       func() *Limits

	key      []byte
	encoder  *zstd.Encoder
	parser   Parser
	line     Line
	settings Line   // the last one with settings
	plain    []byte // what a frame has
	frame    []byte

	file   *os.File // nil if it is not open
	size   int64
	opened time.Time
}

func newWriter(dir, run string, log *slog.Logger, limits func() *Limits) *writer {
	// These options are valid, so there is no error.
	encoder, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	return &writer{dir: filepath.Join(dir, "recordings"), keyPath: filepath.Join(dir, "recording.key"), run: run, log: log, limits: limits, encoder: encoder}
}

// Write writes complete lines as one frame. If it fails, nothing of it is in the file, and the
// next Write opens a new one.
func (w *writer) Write(text []byte) (int, error) {
	if len(text) == 0 {
		return 0, nil
	}
	if w.key == nil {
		key, err := w.readKey()
		if err != nil {
			return 0, err
		}
		w.key = key
	}
	if w.file != nil && (w.size+int64(len(text))/4 > w.most() || time.Since(w.opened) > fileAge) {
		w.close()
	}
	w.plain = w.plain[:0]
	before := w.settings
	if w.file == nil {
		if err := w.open(); err != nil {
			return 0, err
		}
		if err := w.parser.Parse(text[:bytes.IndexByte(text, '\n')], &w.line); err == nil && w.line.Kind != Settings && w.settings.Kind != "" {
			w.settings.At = w.line.At
			w.plain = w.settings.Append(w.plain)
		}
	}
	for line := range bytes.Lines(text) {
		w.add(line)
	}
	w.frame = w.encoder.EncodeAll(w.plain, w.frame[:0])
	if n, err := w.file.Write(w.frame); err != nil {
		// Remove an incomplete frame: the same lines go into another file.
		if n > 0 {
			err = errors.Join(err, w.file.Truncate(w.size))
		}
		w.close()
		w.settings = before
		return 0, err
	}
	w.size += int64(len(w.frame))
	return len(text), nil
}

const settingsPrefix = `{"kind":"settings"`

// add adds a line to the frame, without its MPxN.
func (w *writer) add(line []byte) {
	switch {
	case bytes.HasPrefix(line, []byte(settingsPrefix)):
		if err := w.parser.Parse(line, &w.settings); err != nil {
			w.log.Error("the settings in the recording cannot be read again", "error", err)
		}
	case bytes.HasPrefix(line, []byte("{"+mpxnField)):
		l := &w.line
		if err := w.parser.Parse(line, l); err != nil {
			w.log.Error("a line of the recording cannot be read again, it is left out", "error", err) // it may have an MPxN
			return
		}
		l.Document = withoutMPxN(l.Document, l.mpxn, pseudonym(w.key, l.mpxn))
		l.mpxn = ""
		w.plain = l.Append(w.plain)
		return
	}
	w.plain = append(w.plain, line...)
}

func (w *writer) readKey() ([]byte, error) {
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		return nil, err
	}
	key, err := readKey(w.keyPath)
	if err != nil {
		return nil, fmt.Errorf("the key of recordings: %w", err)
	}
	return key, nil
}

// most is how large a file becomes.
func (w *writer) most() int64 { return min(fileSize, w.limits().MaxBytes/4) }

// open starts a new file, and deletes old ones.
func (w *writer) open() error {
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		return err
	}
	for at := time.Now().UTC(); ; at = at.Add(time.Microsecond) {
		f, err := datadir.Open(filepath.Join(w.dir, at.Format(fileTime)+"-"+w.run+suffix), os.O_WRONLY|os.O_EXCL)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		w.file, w.size, w.opened = f, 0, time.Now()
		if err := w.clean(filepath.Base(f.Name())); err != nil {
			w.log.Error("old files of the recording cannot be removed", "error", err)
		}
		return nil
	}
}

// clean deletes files that are too old, and the oldest while there are too many; never the one
// that is being written.
func (w *writer) clean(own string) error {
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(b.Name(), a.Name()) }) // the newest first
	limits := w.limits()
	before := time.Now().Add(-limits.Keep)
	left := limits.MaxBytes - w.most() // for the file that is being written
	var errs []error
	for _, e := range entries {
		if e.Name() == own || !strings.HasSuffix(e.Name(), suffix) || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			left -= info.Size()
			if left >= 0 && info.ModTime().After(before) {
				continue
			}
			err = os.Remove(filepath.Join(w.dir, e.Name()))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (w *writer) close() {
	if w.file != nil {
		w.file.Close() // each Write has returned its own error
		w.file = nil
	}
}
