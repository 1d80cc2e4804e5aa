package adviser

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"quell/internal/datadir"
)

// keepWeeks is how many weekly reports are kept.
const keepWeeks = 60

// WriteWeekly writes the advice on the list into a file of the folder dir, once in each week of
// the calendar (ISO 8601, UTC), if anything was learned. It returns the file's path, or "" if
// there is nothing to write. A file is whole or not there.
func (a *Adviser) WriteWeekly(ctx context.Context, dir string) (path string, err error) {
	year, week := a.Now().UTC().ISOWeek()
	path = filepath.Join(dir, fmt.Sprintf("list-%04d-W%02d.txt", year, week))
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	l, err := a.List(ctx)
	if err != nil || l.LearnedUntil.IsZero() || l.NoBaseRate {
		return "", err
	}
	var b bytes.Buffer
	l.Print(&b)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	f, err := datadir.Open(path+".part", os.O_WRONLY|os.O_TRUNC)
	if err != nil {
		return "", err
	}
	_, err = f.Write(b.Bytes())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", err
	}
	if err = errors.Join(os.Rename(path+".part", path), datadir.Sync(dir)); err != nil {
		return "", err
	}
	old, err := fs.Glob(os.DirFS(dir), "list-*-W*.txt") // of names alone: the folder's may have a [
	slices.Sort(old)
	for _, o := range old[:max(0, len(old)-keepWeeks)] {
		err = errors.Join(err, os.Remove(filepath.Join(dir, o)))
	}
	return path, err
}
