package report

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"quell/internal/store"
)

// Chain is what was found of the files of one stream.
type Chain struct {
	System, Stream string
	First, Last    int64  // report numbers
	Complete       bool   // it begins with the stream's first file
	Before         string // else the name of the file before it
	Files          int
	Entries        int64
	Newest         Header
}

// Verify checks report files by themselves alone: each one in itself, and how
// they follow each other. read is told how many octets were read each time,
// if it is not nil. The error is the first *Fault, or one of reading. What
// Verify cannot know is whether there are younger files than the last.
func Verify(paths []string, read func(octets int)) ([]Chain, error) {
	var files []located
	for _, path := range paths {
		f, err := readPath(path, read)
		if err != nil {
			return nil, err
		}
		if f.Name != filepath.Base(path) {
			return nil, &Fault{path, 1, fmt.Errorf("says that it is %s", f.Name)}
		}
		files = append(files, located{f, path})
	}
	slices.SortStableFunc(files, func(a, b located) int {
		x, y := &a.Header, &b.Header
		return cmp.Or(cmp.Compare(x.System, y.System), consolidatedFirst(x.Stream, y.Stream), cmp.Compare(x.Report, y.Report))
	})
	files = slices.CompactFunc(files, func(a, b located) bool { return a.Name == b.Name && a.SHA256 == b.SHA256 }) // copies
	var chains []Chain
	for i, f := range files {
		if i == 0 || files[i-1].Header.System != f.Header.System || files[i-1].Header.Stream != f.Header.Stream {
			if f.Header.PreviousName == "" && f.Header.Stream == store.Consolidated && f.Header.Report != 1 {
				return nil, &Fault{f.path, 1, fmt.Errorf("report %d names no file before it", f.Header.Report)}
			}
			chains = append(chains, Chain{System: f.Header.System, Stream: f.Header.Stream, First: f.Header.Report,
				Complete: f.Header.PreviousName == "", Before: f.Header.PreviousName})
		} else if err := follows(&files[i-1], &f); err != nil {
			return nil, &Fault{f.path, 1, err}
		}
		c := &chains[len(chains)-1]
		c.Last, c.Newest = f.Header.Report, f.Header
		c.Files++
		c.Entries += f.Entries
	}
	return chains, sameEntries(files)
}

type located struct {
	*File
	path string
}

func consolidatedFirst(a, b string) int {
	rank := func(s string) int {
		if s == store.Consolidated {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a, b))
}

// follows says why b is not the file of its stream that was written next after
// a.
func follows(a, b *located) error {
	x, y := &a.Header, &b.Header
	switch {
	case x.Report == y.Report:
		return fmt.Errorf("the number %d a second time, after %s", y.Report, a.path)
	case x.Stream == store.Consolidated && y.Report == x.Report+2:
		return fmt.Errorf("report %d is missing before it", x.Report+1)
	case x.Stream == store.Consolidated && y.Report > x.Report+2:
		return fmt.Errorf("reports %d to %d are missing before it", x.Report+1, y.Report-1)
	case y.PreviousName != a.Name:
		return fmt.Errorf("%q is missing before it", y.PreviousName)
	case y.PreviousSHA256 != a.SHA256:
		return fmt.Errorf("the file before it, %s, was changed: its SHA-256 is %s, and was %s", a.path, a.SHA256, y.PreviousSHA256)
	case !y.Start.Equal(x.End):
		return fmt.Errorf("its period begins at %s, that before it ends at %s", formatTime(y.Start), formatTime(x.End))
	case y.FirstSeq <= x.LastSeq:
		return fmt.Errorf("its entries begin with %d, those before it end with %d", y.FirstSeq, x.LastSeq)
	case x.Stream == store.Consolidated && y.FirstSeq != x.LastSeq+1:
		return fmt.Errorf("its entries begin with %d, those before it end with %d", y.FirstSeq, x.LastSeq)
	}
	return nil
}

// sameEntries checks the files of distributors against the consolidated file of
// their report, where that is there.
func sameEntries(files []located) error {
	type key struct {
		system string
		report int64
	}
	whole := map[key]located{}
	for _, f := range files { // consolidated files come first
		k := key{f.Header.System, f.Header.Report}
		if f.Header.Stream == store.Consolidated {
			whole[k] = f
		} else if w, ok := whole[k]; ok && w.streams[f.Header.Stream] != f.Entries {
			return &Fault{f.path, 0, fmt.Errorf("has %d entries, %s has %d of its distributor", f.Entries, w.path, w.streams[f.Header.Stream])}
		}
	}
	return nil
}

func readPath(path string, read func(int)) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Read(path, &progress{f, read}, nil)
}

// progress reads a file, and tells how much of it is read the first time.
type progress struct {
	*os.File
	read func(int)
}

func (p *progress) Read(b []byte) (int, error) {
	n, err := p.File.Read(b)
	if p.read != nil {
		p.read(n)
	}
	return n, err
}

func (p *progress) Seek(offset int64, whence int) (int64, error) {
	p.read = nil // what follows is read a second time
	return p.File.Seek(offset, whence)
}

// Find lists the report files that paths name: files as they are, and of a
// folder those whose names begin as those of report files do. size is that of
// them all.
func Find(paths []string) (files []string, size int64, err error) {
	seen := map[string]bool{}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, 0, err
		}
		found := []string{path}
		if info.IsDir() {
			if found, err = filepath.Glob(filepath.Join(escapeGlob(path), formatName+"_*.csv")); err != nil {
				return nil, 0, err
			}
			if len(found) == 0 {
				return nil, 0, fmt.Errorf("%s: no report files (%s_*.csv) in this folder", path, formatName)
			}
		}
		for _, f := range found {
			if info, err = os.Stat(f); err != nil {
				return nil, 0, err
			}
			if info.IsDir() {
				return nil, 0, &Fault{f, 0, errors.New("is a folder")}
			}
			if !seen[f] {
				seen[f] = true
				files = append(files, f)
				size += info.Size()
			}
		}
	}
	return files, size, nil
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}
