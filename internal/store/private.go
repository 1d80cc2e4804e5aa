package store

import (
	"errors"
	"io/fs"
	"os"
)

// OpenPrivate opens a file as os.OpenFile does, and creates it if it is missing. It
// can be read by nobody else, whatever the umask, the folder, and the program that
// created it say: files of the data folder hold personal data.
func OpenPrivate(path string, flag int) (*os.File, error) {
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

// makePrivate creates the file of a database, which SQLite would let others read,
// and takes from others what they may read of one that there is. SQLite gives its
// -wal and -shm the same mode.
func makePrivate(path string) error {
	f, err := OpenPrivate(path, os.O_RDWR)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	for _, end := range []string{"-wal", "-shm", "-journal"} {
		if err := os.Chmod(path+end, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
