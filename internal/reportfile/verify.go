package reportfile

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"quell/internal/report"
)

// Chain is what was found of the files of one stream.
type Chain struct {
	System, Stream string
	First, Last    int64  // report numbers
	Complete       bool   // it begins with the stream's first file
	Before         string // else the name of the file before it
	Files          int
	Entries        int64
	Gaps           int // periods that a distributor's files leave out, since there were none of it then
	Newest         Header
}

// Verify checks report files by themselves alone: each one in itself, how they
// follow each other, also where the system's id was changed, and those of
// distributors against the consolidated ones. read is told how many bytes were read
// each time, if it is not nil. The error is the first *Fault, or one of reading.
//
// What no look at files alone can find: that the newest files of all chains are
// missing; that the newest file was written anew, with its trailer, by somebody who
// left the later ones out; and that an empty newest file of a distributor is missing.
// What a receiver has noted of a file's name and SHA-256 finds these.
func Verify(paths []string, read func(n int)) ([]Chain, error) {
	var files []located
	for _, path := range paths {
		f, err := ReadFile(path, read)
		if err != nil {
			return nil, err
		}
		if f.Name != filepath.Base(path) {
			return nil, &Fault{path, 1, fmt.Errorf("says that it is %s", f.Name)}
		}
		files = append(files, located{f, path, ""})
	}
	log := logsOf(files)
	for i := range files {
		files[i].log = log(files[i].Header.System)
	}
	slices.SortStableFunc(files, func(a, b located) int {
		x, y := &a.Header, &b.Header
		return cmp.Or(cmp.Compare(a.log, b.log), ConsolidatedFirst(x.Stream, y.Stream), cmp.Compare(x.Report, y.Report))
	})
	files = slices.CompactFunc(files, func(a, b located) bool { return a.Name == b.Name && a.SHA256 == b.SHA256 }) // copies
	var chains []Chain
	for i, f := range files {
		if i == 0 || files[i-1].log != f.log || files[i-1].Header.Stream != f.Header.Stream {
			if f.Header.PreviousName == "" && f.Header.Stream == report.Consolidated && f.Header.Report != 1 {
				return nil, &Fault{f.path, 1, fmt.Errorf("report %d names no file before it", f.Header.Report)}
			}
			chains = append(chains, Chain{System: f.Header.System, Stream: f.Header.Stream, First: f.Header.Report,
				Complete: f.Header.PreviousName == "", Before: f.Header.PreviousName})
		} else if err := follows(&files[i-1], &f); err != nil {
			return nil, &Fault{f.path, 1, err}
		}
		c := &chains[len(chains)-1]
		if c.Files > 0 && c.Newest.System != f.Header.System {
			c.System += ", then " + f.Header.System
		}
		if c.Files > 0 && f.Header.Start.After(c.Newest.End) {
			c.Gaps++
		}
		c.Last, c.Newest = f.Header.Report, f.Header
		c.Files++
		c.Entries += f.Entries
	}
	return chains, sameEntries(files)
}

// logsOf finds out which systems are of one log: where a file names one of another
// system as the file before it, the system's id was changed. The function says of a
// system which log it is of, by the name of one of its systems.
func logsOf(files []located) func(system string) string {
	joined := map[string]string{}
	find := func(s string) string {
		for joined[s] != "" {
			s = joined[s]
		}
		return s
	}
	for _, f := range files {
		a, b := find(f.Header.System), find(cmp.Or(systemOf(f.Header.PreviousName), f.Header.System))
		if a != b {
			joined[max(a, b)] = min(a, b)
		}
	}
	return find
}

// systemOf is the system in the name of a file, "" if there is none.
func systemOf(name string) string {
	if parts := strings.Split(name, "_"); len(parts) > 4 && parts[0] == formatName {
		return parts[1]
	}
	return ""
}

type located struct {
	*File
	path string
	log  string
}

func ConsolidatedFirst(a, b string) int {
	rank := func(s string) int {
		if s == report.Consolidated {
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
	case x.Stream == report.Consolidated && y.Report == x.Report+2:
		return fmt.Errorf("report %d is missing before it", x.Report+1)
	case x.Stream == report.Consolidated && y.Report > x.Report+2:
		return fmt.Errorf("reports %d to %d are missing before it", x.Report+1, y.Report-1)
	case y.PreviousName != a.Name:
		return fmt.Errorf("%q is missing before it", y.PreviousName)
	case y.PreviousSHA256 != a.SHA256:
		return fmt.Errorf("the file before it, %s, was changed: its SHA-256 is %s, and was %s", a.path, a.SHA256, y.PreviousSHA256)
	case y.Start.Before(x.End), x.Stream == report.Consolidated && y.Start.After(x.End):
		return fmt.Errorf("its period begins at %s, that before it ends at %s", FormatTime(y.Start), FormatTime(x.End))
	case y.FirstSeq <= x.LastSeq:
		return fmt.Errorf("its entries begin with %d, those before it end with %d", y.FirstSeq, x.LastSeq)
	case x.Stream == report.Consolidated && y.FirstSeq != x.LastSeq+1:
		return fmt.Errorf("its entries begin with %d, those before it end with %d", y.FirstSeq, x.LastSeq)
	}
	return nil
}

// sameEntries checks the files of distributors against the consolidated files that
// are there: each has what its report's has of the distributor, and no report has
// entries of the distributor that its files leave out without saying so.
func sameEntries(files []located) error {
	var whole []located // of the log, in order
	for i := 0; i < len(files); {
		chain := files[i:]
		if n := slices.IndexFunc(chain, func(f located) bool { return f.log != chain[0].log || f.Header.Stream != chain[0].Header.Stream }); n >= 0 {
			chain = chain[:n]
		}
		i += len(chain)
		if chain[0].Header.Stream == report.Consolidated {
			whole = chain // it comes first
		} else if len(whole) > 0 && whole[0].log == chain[0].log {
			if err := sameParts(whole, chain); err != nil {
				return err
			}
		}
	}
	return nil
}

// sameParts checks one distributor's chain.
func sameParts(whole, chain []located) error {
	stream := chain[0].Header.Stream
	for _, w := range whole {
		want, report := w.part(stream), w.Header.Report
		at, found := slices.BinarySearchFunc(chain, report, func(f located, no int64) int { return cmp.Compare(f.Header.Report, no) })
		switch {
		case found:
			f := chain[at]
			have := f.part(stream)
			switch {
			case have.entries != want.entries:
				return &Fault{f.path, 0, fmt.Errorf("has %d entries, %s has %d of its distributor", have.entries, w.path, want.entries)}
			case have.sum != want.sum, f.events != w.events:
				return &Fault{f.path, 0, fmt.Errorf("contradicts %s: the records are not the same", w.path)}
			}
		case want.entries == 0, at == 0: // what came before the first is said by the chain
		case at == len(chain):
			return &Fault{w.path, 0, fmt.Errorf("has %d entries of distributor %s, whose files end with report %d: a later one is missing, or none are written any more (per_distributor)",
				want.entries, stream, chain[at-1].Header.Report)}
		case chain[at].Header.Start.Before(w.Header.End): // and so says that there were none
			return &Fault{chain[at].path, 1, fmt.Errorf("its period begins at %s, but %s has %d entries of distributor %s that are in none of its files",
				FormatTime(chain[at].Header.Start), w.path, want.entries, stream)}
		}
	}
	return nil
}

// ReadFile reads the file of a path, as Read does. read is told how many bytes were read each
// time, if it is not nil.
func ReadFile(path string, read func(int)) (*File, error) {
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

// List lists the report files that paths name: files as they are, and of a
// folder those whose names begin as those of report files do. size is that of
// them all.
func List(paths []string) (files []string, size int64, err error) {
	seen := map[string]bool{}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, 0, err
		}
		found := []string{path}
		if info.IsDir() {
			if found, err = In(path); err != nil {
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

// In lists the files of a folder whose names begin as those of report files do.
func In(dir string) ([]string, error) {
	return filepath.Glob(filepath.Join(escapeGlob(dir), formatName+"_*.csv"))
}

// Unfinished lists the files of a folder that were being written.
func Unfinished(dir string) ([]string, error) {
	return filepath.Glob(filepath.Join(escapeGlob(dir), formatName+"_*.tmp"))
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}
