package reporter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"quell/internal/outage"
	"quell/internal/remote"
	"quell/internal/report"
	"quell/internal/reportfile"
)

// A store that was restored from a backup does not know the reports that were cut after the
// backup. It would use their numbers again, with other contents, for remotes that have the
// first files. So the store is compared with the files of this node and of the remotes, by
// number. If the store lacks a report, nothing is cut or delivered until an operator runs
// "quell report resume".

// ErrRestored says that reports were delivered that the store does not know.
var ErrRestored = errors.New("the store does not know reports that were delivered, as after a backup was put back: " +
	"none is cut or delivered until \"quell report resume\" says which number comes next")

// ErrNotRestored says that there is nothing to resume.
var ErrNotRestored = errors.New("the store knows all reports that were delivered: there is nothing to resume")

// ErrResume says why reports cannot be resumed as asked.
var ErrResume = errors.New("reports are not resumed")

// unknownFiles are the report files that the store does not know, by place: the data folder or a
// remote.
type unknownFiles struct {
	mu      sync.Mutex // guards byPlace
	byPlace map[string][]reportfile.Name
}

// set sets which files at a place the store does not know.
func (u *unknownFiles) set(place string, list []reportfile.Name) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byPlace == nil {
		u.byPlace = map[string][]reportfile.Name{}
	}
	if u.byPlace[place] = list; len(list) == 0 {
		delete(u.byPlace, place)
	}
}

func (u *unknownFiles) clear() {
	u.mu.Lock()
	defer u.mu.Unlock()
	clear(u.byPlace)
}

// last returns the highest number of a report that the store does not know, 0 if there is none;
// and the name and place of a file of it.
func (u *unknownFiles) last() (no int64, name, place string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for at, list := range u.byPlace {
		for _, f := range list {
			if f.Report > no || f.Report == no && at < place {
				no, name, place = f.Report, f.Text, at
			}
		}
	}
	return no, name, place
}

// checkHalted returns ErrRestored while the store lacks reports.
func (r *Reporter) checkHalted() error {
	no, name, place := r.unknown.last()
	r.Metrics.Halted.Set(min(1, float64(no)))
	if no == 0 {
		r.conditions.set("restored", "")
		return nil
	}
	text := fmt.Sprintf("%v (%s has %s)", ErrRestored, place, name)
	if r.conditions.set("restored", text) {
		r.Log.Error("THE STORE LACKS REPORTS THAT WERE DELIVERED", "place", place, "file", name)
	}
	return fmt.Errorf("%w (%s has %s)", ErrRestored, place, name)
}

// newest is how many of the newest files at a place are compared by name. If the store knows
// these, it knows the older ones too.
const newest = 20

// findUnknown returns those of some files that the store does not know.
func (r *Reporter) findUnknown(ctx context.Context, files []reportfile.Name) (list []reportfile.Name, err error) {
	last, err := r.Register.Last(ctx)
	if err != nil {
		return nil, err
	}
	next, err := r.Register.NextReport(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(files, func(a, b reportfile.Name) int { return cmp.Compare(b.Report, a.Report) })
	for i, f := range files {
		switch {
		case f.Report < next:
			continue // it was recovered, or given up
		case f.Report > last.No:
			list = append(list, f)
			continue
		case i-len(list) >= newest:
			return list, nil
		}
		if known, err := r.knows(ctx, f); err != nil {
			return nil, err
		} else if !known {
			list = append(list, f)
		}
	}
	return list, nil
}

// knows reports whether the store knows a file of a report that is not after its last one. If the
// store does not have the report, it was old and was deleted, so the file counts as known.
func (r *Reporter) knows(ctx context.Context, f reportfile.Name) (bool, error) {
	known, err := r.Register.File(ctx, f.Report, f.Stream)
	if !errors.Is(err, report.ErrNoReport) {
		return known.Name == f.Text, err
	}
	_, err = r.Register.Report(ctx, f.Report)
	if errors.Is(err, report.ErrNoReport) {
		return true, nil
	}
	return false, err
}

// compareFolder compares the store with the files that this node has.
func (r *Reporter) compareFolder(ctx context.Context) error {
	paths, err := reportfile.In(r.Dir)
	if err != nil {
		return err
	}
	var files []reportfile.Name
	for _, path := range paths {
		if f, ok := reportfile.ParseName(filepath.Base(path)); ok {
			files = append(files, f)
		}
	}
	list, err := r.findUnknown(ctx, files)
	if err != nil {
		return err
	}
	r.unknown.set(r.Dir, list)
	return nil
}

// listTimeout bounds the wait for a remote to list its files.
const listTimeout = 10 * time.Second

// compareRemote compares the store with the files at a remote. If the remote does not list its
// files, it is not compared.
func (r *Reporter) compareRemote(ctx context.Context, to Remote) {
	limited, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	names, err := remote.Names(limited, to.Target)
	var list []reportfile.Name
	if err == nil {
		system := r.settings.Load().SystemID
		var files []reportfile.Name
		for _, name := range names {
			if f, ok := reportfile.ParseName(name); ok && f.Stream == to.Stream && f.System == system {
				files = append(files, f)
			}
		}
		list, err = r.findUnknown(ctx, files)
	}
	if err != nil {
		if ctx.Err() == nil {
			r.Log.Warn("the files at a remote could not be compared with the store", "remote", to.Name, "error", err)
		}
		return
	}
	r.unknown.set("remote "+to.Name, list)
}

// Resume makes reports continue after those that the store does not know, with the number next.
// It first recovers the reports of which this node has the files, with their entries. The error
// may be ErrNotRestored or ErrResume.
func (r *Reporter) Resume(ctx context.Context, next int64, who, why string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.compareFolder(ctx); err != nil {
		return err
	}
	last, name, place := r.unknown.last()
	if last == 0 {
		return ErrNotRestored
	}
	known, err := r.Register.Last(ctx)
	if err != nil {
		return err
	}
	if highest := max(last, known.No); next <= highest {
		if highest == last {
			return fmt.Errorf("%w: %s has %s, so the next number must be %d at least", ErrResume, place, name, highest+1)
		}
		return fmt.Errorf("%w: the last report is %d, so the next number must be %d at least", ErrResume, highest, highest+1)
	}
	d := report.Lost{Next: next, At: r.Now(), Who: who, Why: why, Remotes: r.settings.Load().streamOf()}
	var paths []string
	if d.Reports, paths, err = r.readUnknown(known.No); err != nil {
		return fmt.Errorf("%w: %w", ErrResume, err)
	}
	d.Entries = entriesOf(paths)
	if err := r.Register.Recover(ctx, d); err != nil {
		return err
	}
	r.unknown.clear()
	r.next.streams = nil
	r.Log.Warn("reports continue after those that the store did not know", "next", next, "taken_back", len(d.Reports), "who", who, "why", why)
	r.wake()
	return r.checkHalted()
}

// readUnknown reads the unknown files in the data folder that are of reports after a number. It
// returns the reports, and the paths of their consolidated files.
func (r *Reporter) readUnknown(after int64) (reports []report.Report, paths []string, err error) {
	r.unknown.mu.Lock()
	files := slices.Clone(r.unknown.byPlace[r.Dir])
	r.unknown.mu.Unlock()
	files = slices.DeleteFunc(files, func(f reportfile.Name) bool { return f.Report <= after })
	slices.SortFunc(files, func(a, b reportfile.Name) int {
		return cmp.Or(cmp.Compare(a.Report, b.Report), reportfile.ConsolidatedFirst(a.Stream, b.Stream))
	})
	for _, n := range files {
		path := filepath.Join(r.Dir, n.Text)
		f, err := reportfile.ReadFile(path, nil)
		if err != nil {
			return nil, nil, err
		}
		h := &f.Header
		if n.Stream == report.Consolidated {
			reports = append(reports, report.Report{No: h.Report, SystemID: h.System, Cause: h.Cause, Start: h.Start, End: h.End, CutAt: h.CutAt,
				FirstSeq: h.FirstSeq, LastSeq: h.LastSeq, Switch: h.Switch, DeviceList: h.DeviceList, Window: h.Window, Audit: h.Audit})
			paths = append(paths, path)
		}
		if len(reports) == 0 || reports[len(reports)-1].No != h.Report {
			return nil, nil, fmt.Errorf("%s is here, but not the consolidated file of its report: copy that to %s, or move this away", n.Text, r.Dir)
		}
		before, _ := reportfile.ParseName(h.PreviousName)
		whole := &reports[len(reports)-1]
		whole.Files = append(whole.Files, report.File{Report: h.Report, Stream: h.Stream, Name: f.Name, Start: h.Start, Previous: before.Report,
			Records: f.Entries, Size: f.Size, SHA256: f.SHA256})
	}
	return reports, paths, nil
}

// entriesOf reads the entries of files, one after the other, and then their corrections.
func entriesOf(paths []string) iter.Seq2[outage.Entry, error] {
	return func(yield func(outage.Entry, error) bool) {
		for _, of := range []func(reportfile.Record) *outage.Entry{
			func(rec reportfile.Record) *outage.Entry { return rec.Entry },
			func(rec reportfile.Record) *outage.Entry { return rec.Correction },
		} {
			for _, path := range paths {
				if !entriesIn(path, of, yield) {
					return
				}
			}
		}
	}
}

// entriesIn yields what of returns of the records of a file. It returns false at the end: if yield does, or
// after an error.
func entriesIn(path string, of func(reportfile.Record) *outage.Entry, yield func(outage.Entry, error) bool) (more bool) {
	f, err := os.Open(path)
	if err != nil {
		yield(outage.Entry{}, err)
		return false
	}
	defer f.Close()
	more = true
	if _, err = reportfile.Read(path, f, func(rec reportfile.Record) {
		if e := of(rec); e != nil && more {
			more = yield(*e, nil)
		}
	}); err != nil && more {
		yield(outage.Entry{}, err)
		return false
	}
	return more
}
