// Package datadir is the data folder of a node. One process uses it at a time, nobody else
// may read its files, and new files in it can be made durable.
package datadir

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// ErrInUse says that another process has the data folder.
var ErrInUse = errors.New("the data folder is in use by another quell")

// Lock creates the folder if it is missing, and locks it for this process, until the file
// is closed or the process ends in any way. The error may be ErrInUse.
func Lock(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	// It may be root who locks the folder of another user, whose link must not lead to root's files.
	f, err := Open(filepath.Join(dir, "lock"), os.O_RDWR|syscall.O_NOFOLLOW)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		pid := make([]byte, 20)
		n, _ := f.Read(pid)
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w (process %s)", dir, ErrInUse, pid[:n])
		}
		return nil, fmt.Errorf("data folder: lock: %w", err)
	}
	f.Truncate(0)
	fmt.Fprintf(f, "%d", os.Getpid())
	return f, nil
}

// Open opens a file as os.OpenFile does, and creates it if it is missing. Nobody else can
// read it, since files of the data folder hold personal data: not even if the umask, the
// folder, or the program that created it would allow that.
func Open(path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, flag|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(0o600); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Sync makes the list of files in a folder durable.
func Sync(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// WriteWhole writes a file as a whole, or leaves none; it may be outside of the data folder, and others
// may read it. What is no file, as /dev/stdout, stays.
func WriteWhole(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	if err := cmp.Or(write(w), w.Flush(), f.Close()); err != nil {
		if info, e := os.Lstat(path); e == nil && info.Mode().IsRegular() {
			os.Remove(path)
		}
		return err
	}
	return nil
}
