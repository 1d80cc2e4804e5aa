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

// Chain says what Verify found of the files of one stream.
type Chain struct {
	System, Stream string
	First, Last    int64  // report numbers
	Complete       bool   // it starts with the stream's first file
	Before         string // if not, the name of the file before it
	Files          int
	Entries        int64
	Gaps           int // periods without files of a distributor, since none were written then
	Newest         Header
}

// Verify checks report files by themselves: each file alone, how they follow each other (also
// after a change of the system's id), and files of distributors against the consolidated ones.
// If read is not nil, it is called with the number of bytes of each read. The error is the
// first *Fault, or one of reading.
//
// Files alone do not show that the newest files of all chains are missing; that somebody has
// written the newest file again, with its trailer, and removed the later ones; and that an
// empty newest file of a distributor is missing. If a receiver has noted the name and SHA-256
// of each file, that shows them.
func Verify(paths []string, read func(n int)) ([]Chain, error) {
	var files []Named
	for _, path := range paths {
		f, err := ReadFile(path, read)
		if err != nil {
			return nil, err
		}
		files = append(files, Named{path, f})
	}
	return VerifyRead(files)
}

// Named is a file that was read, and the name or path under which it came.
type Named struct {
	Path string
	*File
}

// CheckName returns a *Fault unless the file has the name that its header implies.
func (n Named) CheckName() error {
	if n.Name != filepath.Base(n.Path) {
		return &Fault{n.Path, 1, fmt.Errorf("says that it is %s", n.Name)}
	}
	return nil
}

// VerifyRead is Verify for files that were read, each without a fault.
func VerifyRead(read []Named) ([]Chain, error) {
	var files []located
	for _, n := range read {
		if err := n.CheckName(); err != nil {
			return nil, err
		}
		files = append(files, located{n.File, n.Path, ""})
	}
	log := findLogs(files)
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
		} else if err := checkFollows(&files[i-1], &f); err != nil {
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
	return chains, checkDistributors(files)
}

// findLogs finds out which systems are of one log. If a file names a file of another system as
// the one before it, the system's id was changed. The returned function gives the log of a
// system, which is named after one of its systems.
func findLogs(files []located) func(system string) string {
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

// systemOf returns the system in the name of a file; "" if there is none.
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

// ConsolidatedFirst compares streams: the consolidated one comes first.
func ConsolidatedFirst(a, b string) int {
	rank := func(s string) int {
		if s == report.Consolidated {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a, b))
}

// checkFollows returns an error unless b is the next file of its stream after a.
func checkFollows(a, b *located) error {
	x, y := &a.Header, &b.Header
	switch {
	case x.Report == y.Report:
		return fmt.Errorf("the report number %d is there twice, here and in %s", y.Report, a.path)
	case x.Stream == report.Consolidated && y.Report == x.Report+2:
		return fmt.Errorf("report %d is missing before it", x.Report+1)
	case x.Stream == report.Consolidated && y.Report > x.Report+2:
		return fmt.Errorf("reports %d to %d are missing before it", x.Report+1, y.Report-1)
	case y.PreviousName != a.Name:
		return fmt.Errorf("%q is missing before it", y.PreviousName)
	case y.PreviousSHA256 != a.SHA256:
		return fmt.Errorf("the file before it, %s, was changed: its SHA-256 is %s, and was %s", a.path, a.SHA256, y.PreviousSHA256)
	case y.Start.Before(x.End), x.Stream == report.Consolidated && y.Start.After(x.End):
		return fmt.Errorf("its period begins at %s, but the one before ends at %s", FormatTime(y.Start), FormatTime(x.End))
	case y.FirstSeq <= x.LastSeq:
		return fmt.Errorf("its entries begin with %d, but those of the file before end with %d", y.FirstSeq, x.LastSeq)
	case x.Stream == report.Consolidated && y.FirstSeq != x.LastSeq+1:
		return fmt.Errorf("its entries begin with %d, but those of the file before end with %d", y.FirstSeq, x.LastSeq)
	}
	return nil
}

// CheckLink checks that the consolidated file at a path follows a report as the register has it: by
// number, time and entries, and by the name and the SHA-256 of its consolidated file. It reads only
// the header of the file. The error is a *Fault, or one of reading, which may be fs.ErrNotExist.
func CheckLink(path string, before report.Report) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h, err := readHeader(path, f)
	if err != nil {
		return err
	}
	was := before.Files[0]
	x := &located{&File{Name: was.Name, SHA256: was.SHA256, Header: Header{Report: before.No, Stream: was.Stream, Start: before.Start, End: before.End, FirstSeq: before.FirstSeq, LastSeq: before.LastSeq}}, was.Name, ""}
	if err := checkFollows(x, &located{&File{Header: h}, path, ""}); err != nil {
		return &Fault{path, 1, err}
	}
	return nil
}

// checkDistributors checks the files of distributors against the consolidated files that are
// given. Each must have the same records of the distributor as the consolidated file of its
// report. If the distributor's files leave out a report that has entries of it, their periods
// must show that.
func checkDistributors(files []located) error {
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
			if err := checkDistributor(whole, chain); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkDistributor checks one distributor's chain.
func checkDistributor(whole, chain []located) error {
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
		case at == 0: // the chain says that reports before its first are missing
		case at == len(chain) && *want != part{}: // a report with any record of a distributor has a file of it
			has := "corrections or evidence"
			if want.entries > 0 {
				has = fmt.Sprint(want.entries, " entries")
			}
			return &Fault{w.path, 0, fmt.Errorf("has %s of distributor %s, whose files end with report %d: a later one is missing, or none are written any more (per_distributor)",
				has, stream, chain[at-1].Header.Report)}
		case at < len(chain) && want.entries > 0 && chain[at].Header.Start.Before(w.Header.End): // its period says that there were no entries
			return &Fault{chain[at].path, 1, fmt.Errorf("its period begins at %s, but %s has %d entries of distributor %s that are in none of its files",
				FormatTime(chain[at].Header.Start), w.path, want.entries, stream)}
		}
	}
	return nil
}

// ReadFile reads the file at a path, as Read does. If read is not nil, it is called with the
// number of bytes of each read.
func ReadFile(path string, read func(int)) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Read(path, &progress{f, read}, nil)
}

// progress reads a file, and calls read.
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

// List returns the files that paths name; for a folder, the files in it whose names begin like
// those of report files. size is that of all files together.
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

// In returns the files of a folder whose names begin like those of report files.
func In(dir string) ([]string, error) {
	return filepath.Glob(filepath.Join(escapeGlob(dir), formatName+"_*.csv"))
}

// Unfinished returns the files of a folder that are not written to their end.
func Unfinished(dir string) ([]string, error) {
	return filepath.Glob(filepath.Join(escapeGlob(dir), formatName+"_*.tmp"))
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}
