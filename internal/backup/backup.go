// Package backup backs up a store in SQLite while quell uses it, and puts a backup back.
//
// A backup is one file: a whole database, as it was at one instant. It has its name only when it is
// complete, checked and on the disk.
//
// Restore prepares the database in a folder of its own, beside the one that is there. What is there
// is changed only after that, in steps between which a crash loses nothing:
//
//  1. quell.db and its -wal get second names.
//  2. The -wal and -shm lose their first names. SQLite would mix them with another database.
//  3. The prepared database takes the name quell.db.
//
// After a crash between the second and the third step quell.db lacks what its -wal had. Then Restore
// is to be run again; the second names have all.
package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"quell/internal/datadir"
	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/windows"
)

const database = "quell.db"

var (
	// ErrNewer says that a backup is of a version of quell that is newer than this one.
	ErrNewer = errors.New("the backup is of a newer version of quell")
	// ErrNotWhole says that a file is a part of a database.
	ErrNotWhole = errors.New("beside it is a file with the newest data")

	errNoFile = errors.New("it is no file, but a folder, a pipe or a device")
)

// Backup says what Make has written.
type Backup struct {
	Bytes  int64
	SHA256 string // in hexadecimal
}

// Make writes a backup of the store in the data folder dir, which may be in use, into a new file
// that only this user can read. The error is fs.ErrExist if the file exists, store.ErrNone if there is
// no store, or sqldb.ErrDamaged. After an error there is no file.
func Make(ctx context.Context, dir, file string) (b Backup, err error) {
	from := filepath.Join(dir, database)
	if _, err := os.Stat(from); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w in %s", store.ErrNone, dir)
		}
		return b, err
	}
	if file, err = filepath.Abs(file); err != nil {
		return b, err
	}
	if _, err := os.Lstat(file); err == nil {
		return b, &fs.PathError{Op: "create", Path: file, Err: fs.ErrExist}
	}
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*.part") // private as well
	if err != nil {
		return b, err
	}
	part := f.Name()
	defer os.Remove(part)
	defer f.Close()
	if err := sqldb.BackUp(ctx, from, part); err != nil {
		return b, err
	}
	if err := f.Sync(); err != nil {
		return b, err
	}
	if err := check(ctx, part); err != nil {
		return b, err
	}
	sum := sha256.New()
	if b.Bytes, err = io.Copy(sum, f); err != nil {
		return b, err
	}
	b.SHA256 = hex.EncodeToString(sum.Sum(nil))
	if err := name(part, file); err != nil {
		return b, err
	}
	return b, datadir.Sync(filepath.Dir(file))
}

// name gives a file its name, unless another file has that by now. There is never a part of a file, nor
// an empty one, under the name, except for a moment where a file cannot have two names.
func name(part, file string) error {
	err := os.Link(part, file)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	mine, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	mine.Close()
	if err = os.Rename(part, file); err != nil {
		os.Remove(file)
	}
	return err
}

// check checks a database, and whether this version of quell knows its tables.
func check(ctx context.Context, file string) error {
	migrations, err := sqldb.CheckFile(ctx, file)
	if err != nil {
		return err
	}
	known, err := fs.Glob(store.Migrations, "migrations/*.sql")
	for i := range known {
		known[i] = path.Base(known[i])
	}
	for _, name := range migrations {
		if name = path.Base(name); !slices.Contains(known, name) {
			return fmt.Errorf("%w: this one does not know %s", ErrNewer, name)
		}
	}
	return err
}

// Options are what Restore needs.
type Options struct {
	File, Dir string
	Now       time.Time
	// KeepWindows leaves the windows of the backup as they are. Otherwise Restore closes those that
	// are not over, in the name of Who: a cancellation may have come after the backup.
	KeepWindows bool
	Who         string

	Log     *slog.Logger
	Reached func(step string) // called after each step, for tests; may be nil
}

// Restored says what Restore has done.
type Restored struct {
	Before string        // the new name of the database that was there; "" if there was none
	Switch outage.Switch // as the backup has it
	Closed int           // windows
	// Journal says that the node's journal has records, which quell writes into the store when
	// it starts.
	Journal bool
}

// Restore puts a backup into a data folder that no quell uses, in place of the database that is
// there, if any. Other files in the folder stay. The error may be datadir.ErrInUse, ErrNewer,
// ErrNotWhole or sqldb.ErrDamaged; after these nothing was changed.
func Restore(ctx context.Context, o Options) (r Restored, err error) {
	if info, err := os.Stat(o.File + "-wal"); err == nil && info.Size() > 0 {
		return r, fmt.Errorf("%s is no backup: %w, %s-wal", o.File, ErrNotWhole, o.File)
	}
	from, err := os.OpenFile(o.File, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would wait for somebody to write
	if err != nil {
		return r, err
	}
	defer from.Close()
	if info, err := from.Stat(); err != nil {
		return r, err
	} else if !info.Mode().IsRegular() {
		return r, fmt.Errorf("%s is no backup: %w", o.File, errNoFile)
	}
	lock, err := datadir.Lock(o.Dir)
	if err != nil {
		return r, err
	}
	defer lock.Close()
	if err := give(lock.Name(), o.Dir); err != nil {
		return r, err
	}
	staging := filepath.Join(o.Dir, "restore")
	if err := os.RemoveAll(staging); err != nil { // of a process that was killed
		return r, err
	}
	if err := os.Mkdir(staging, 0o700); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(staging)) }()
	staged := filepath.Join(staging, database)
	if err := copyTo(from, staged); err != nil {
		return r, err
	}
	if err := check(ctx, staged); err != nil {
		return r, fmt.Errorf("%s: %w", o.File, err)
	}
	if err := o.prepare(ctx, staging, &r); err != nil {
		return r, err
	}
	if info, err := os.Stat(staged + "-wal"); err == nil && info.Size() > 0 {
		return r, errors.New("the prepared store was not closed")
	}
	if err := errors.Join(give(staged, o.Dir), syncFile(staged)); err != nil {
		return r, err
	}
	if info, err := os.Stat(filepath.Join(o.Dir, "pending")); err == nil {
		r.Journal = info.Size() > 0
	}
	r.Before, err = o.swap(staged)
	return r, err
}

// prepare opens the store, which brings its tables up to date, and changes in it what must not be
// as it was.
func (o *Options) prepare(ctx context.Context, dir string, r *Restored) error {
	s, err := store.Open(ctx, store.Options{Dir: dir, Existing: true, Log: o.Log})
	if err != nil {
		return err
	}
	r.Switch = s.Ledger.Switch()
	if !o.KeepWindows {
		r.Closed, _, err = s.Windows.Close(ctx, windows.Which{All: true}, o.Who, "a backup was put back: what came after it is not known", o.Now, 0)
		if errors.Is(err, windows.ErrNoWindows) {
			err = nil
		}
	}
	return errors.Join(err, s.Close())
}

func (o *Options) reached(step string) {
	if o.Reached != nil {
		o.Reached(step)
	}
}

// swap puts the prepared database into the place of the one that is there.
func (o *Options) swap(staged string) (before string, err error) {
	now := filepath.Join(o.Dir, database)
	before = now + ".before-" + o.Now.UTC().Format("20060102T150405.000Z")
	for _, end := range []string{"", "-wal"} {
		if err := os.Link(now+end, before+end); errors.Is(err, fs.ErrNotExist) {
			if end == "" {
				before = ""
				break
			}
		} else if err != nil {
			return "", err
		}
	}
	if err := datadir.Sync(o.Dir); err != nil {
		return "", err
	}
	o.reached("kept")
	for _, end := range []string{"-wal", "-shm"} {
		if err := os.Remove(now + end); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return before, err
		}
	}
	if err := datadir.Sync(o.Dir); err != nil {
		return before, err
	}
	o.reached("removed")
	if err := os.Rename(staged, now); err != nil {
		return before, err
	}
	return before, datadir.Sync(o.Dir)
}

func copyTo(from io.Reader, to string) error {
	f, err := datadir.Open(to, os.O_WRONLY|os.O_EXCL)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Sync(), f.Close())
}

// give gives a file to the owner of the data folder, if root is doing this for them. That owner can put a
// link into the place of the file, which must not give them what it leads to.
func give(file, dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		return os.Lchown(file, int(owner.Uid), int(owner.Gid))
	}
	return nil
}

func syncFile(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
