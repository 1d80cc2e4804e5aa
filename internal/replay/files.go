package replay

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"quell/internal/devices"
	"quell/internal/outage"
)

// Files returns the sources that paths name, and their size. A folder names the files in it whose
// names end with .jsonl.zst or .jsonl. read, if it is not nil, is called with how many bytes were
// read.
func Files(paths []string, read func(n int)) (list []Source, size int64, err error) {
	add := func(path string, info os.FileInfo) {
		size += info.Size()
		list = append(list, Source{Name: path, Open: func() (io.ReadCloser, error) {
			f, err := os.Open(path)
			if err != nil {
				return nil, err
			}
			return &counted{f, read}, nil
		}})
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, 0, err
		}
		if !info.IsDir() {
			add(path, info)
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, 0, err
		}
		before := len(list)
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".jsonl.zst") || strings.HasSuffix(e.Name(), ".jsonl") {
				if info, err = e.Info(); err != nil {
					return nil, 0, err
				}
				add(filepath.Join(path, e.Name()), info)
			}
		}
		if len(list) == before {
			return nil, 0, fmt.Errorf("%s: there is no recording in this folder", path)
		}
	}
	return list, size, nil
}

type counted struct {
	*os.File
	read func(n int)
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.File.Read(b)
	if c.read != nil {
		c.read(n)
	}
	return n, err
}

// ReadList reads a device list from a file.
func ReadList(path string) (map[outage.DeviceID]bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list := map[outage.DeviceID]bool{}
	if err := devices.ReadList(f, func(id outage.DeviceID) error { list[id] = true; return nil }); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return list, nil
}

// ReadInventory reads an inventory from a file.
func ReadInventory(path string) (map[outage.DeviceID]*outage.Device, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	inventory := map[outage.DeviceID]*outage.Device{}
	setPlaces := devices.NewPlaces()
	if _, err := devices.ReadInventory(f, func(d outage.Device) error {
		setPlaces(&d)
		inventory[d.ID] = &d
		return nil
	}); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return inventory, nil
}
