package reporter

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"quell/internal/assess"
	"quell/internal/datadir"
	"quell/internal/events"
	"quell/internal/outage"
	"quell/internal/report"
	"quell/internal/reportfile"
)

// render writes the files of a report, each to the writer that open returns, and returns them
// with their counts and sums. The same report always gives the same bytes.
func (r *Reporter) render(ctx context.Context, rep report.Report, open func(f report.File) (*bufio.Writer, error)) ([]report.File, error) {
	state, changes, err := r.Register.Events(ctx, rep)
	if err != nil {
		return nil, err
	}
	corrections, err := r.Register.Corrections(ctx, rep)
	if err != nil {
		return nil, err
	}
	changed, err := r.Register.Evidence(ctx, rep)
	if err != nil {
		return nil, err
	}
	type output struct {
		*reportfile.Writer
		buffer *bufio.Writer
	}
	outs := map[string]output{}
	for _, f := range rep.Files {
		b, err := open(f)
		if err != nil {
			return nil, err
		}
		o := output{reportfile.NewWriter(b), b}
		outs[f.Stream] = o
		if err := r.head(ctx, o.Writer, rep, f, state, changes, corrections, of(changed, f.Stream)); err != nil {
			return nil, err
		}
	}
	whole, several := outs[report.Consolidated], len(outs) > 1
	for e, err := range r.Ledger.EntriesAsOf(ctx, rep.FirstSeq, rep.LastSeq, rep.LastCorrection()) {
		if err == nil {
			err = whole.Entry(&e)
		}
		if err == nil && several {
			part, ok := outs[e.Stream()]
			if !ok {
				return nil, fmt.Errorf("entry %d is of distributor %s, which has no file in report %d", e.Seq, e.Stream(), rep.No)
			}
			err = part.Entry(&e)
		}
		if err != nil {
			return nil, err
		}
	}
	for i := range changed {
		for _, stream := range []string{report.Consolidated, changed[i].Stream()} {
			if o, ok := outs[stream]; ok {
				if err := o.Evidence(&changed[i]); err != nil {
					return nil, err
				}
			}
		}
	}
	files := append([]report.File(nil), rep.Files...)
	for i := range files {
		o, f := outs[files[i].Stream], &files[i]
		f.Records = o.Entries()
		if f.SHA256, err = o.Close(); err != nil {
			return nil, err
		}
		f.Size = o.Size()
		if err := o.buffer.Flush(); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// of returns how many changes of the evidence are in the file of a stream.
func of(changed []assess.Recorded, stream string) (n int) {
	for i := range changed {
		if stream == report.Consolidated || stream == changed[i].Stream() {
			n++
		}
	}
	return n
}

// head writes all records before the entries.
func (r *Reporter) head(ctx context.Context, w *reportfile.Writer, rep report.Report, f report.File, state, changes []events.Event, corrections []outage.Entry, changed int) error {
	h := reportfile.Header{System: rep.SystemID, Report: rep.No, Stream: f.Stream, Start: f.Start, End: rep.End, CutAt: rep.CutAt, FirstSeq: rep.FirstSeq, LastSeq: rep.LastSeq,
		DeviceList: rep.DeviceList, Window: rep.Window, Switch: rep.Switch, Cause: rep.Cause, Audit: rep.Audit, Evidence: changed > 0}
	if f.Previous != 0 {
		before, err := r.Register.File(ctx, f.Previous, f.Stream)
		if err != nil {
			return err
		}
		h.PreviousName, h.PreviousSHA256 = before.Name, before.SHA256
	}
	if err := w.Header(&h); err != nil {
		return err
	}
	for _, e := range state {
		if err := w.Event(e, true); err != nil {
			return err
		}
	}
	for _, e := range changes {
		if err := w.Event(e, false); err != nil {
			return err
		}
	}
	for i := range corrections {
		if f.Stream != report.Consolidated && f.Stream != corrections[i].Stream() {
			continue
		}
		if err := w.Correction(&corrections[i]); err != nil {
			return err
		}
	}
	return nil
}

// errDiffers says that a report that is written again has other bytes.
var errDiffers = errors.New("differs from the file that was first written")

// write makes the files of a report durable in the data folder, each under a temporary name
// first. It may be called again, also after a failure.
func (r *Reporter) write(ctx context.Context, rep report.Report) error {
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return err
	}
	var open []*os.File
	defer func() {
		for _, f := range open {
			f.Close()
		}
	}()
	r.reached("rendering")
	files, err := r.render(ctx, rep, func(f report.File) (*bufio.Writer, error) {
		out, err := datadir.Open(r.path(f)+".tmp", os.O_WRONLY|os.O_TRUNC)
		if err != nil {
			return nil, err
		}
		open = append(open, out)
		return bufio.NewWriterSize(out, 64<<10), nil
	})
	if err != nil {
		return err
	}
	for i, f := range files {
		if was := rep.Files[i].SHA256; was != "" && was != f.SHA256 {
			return fmt.Errorf("report %d: %s %w: SHA-256 %s, was %s", rep.No, f.Name, errDiffers, f.SHA256, was)
		}
		if err := open[i].Sync(); err != nil {
			return err
		}
	}
	r.reached("rendered")
	for _, f := range files {
		if err := os.Rename(r.path(f)+".tmp", r.path(f)); err != nil {
			return err
		}
	}
	if err := datadir.Sync(r.Dir); err != nil {
		return err
	}
	r.reached("in place")
	if err := r.Register.Written(ctx, rep.No, files, r.Now()); err != nil {
		return err
	}
	r.reached("written")
	for i, f := range files {
		if rep.Files[i].SHA256 == "" {
			r.Metrics.written(f)
		}
	}
	return nil
}

// path returns the path of a file in the data folder.
func (r *Reporter) path(f report.File) string { return filepath.Join(r.Dir, f.Name) }

// Open opens a file of a report. If it is not in the data folder any more, it is written again,
// if its entries are still in the log. The error may be report.ErrNoReport.
func (r *Reporter) Open(ctx context.Context, no int64, stream string) (*os.File, error) {
	f, err := r.Register.File(ctx, no, stream)
	if err != nil {
		return nil, err
	}
	if f.SHA256 == "" {
		return nil, fmt.Errorf("%s is not written yet", f.Name)
	}
	return r.open(ctx, f)
}

func (r *Reporter) open(ctx context.Context, f report.File) (*os.File, error) {
	out, err := os.Open(r.path(f))
	if !errors.Is(err, fs.ErrNotExist) {
		return out, err
	}
	if err := r.rewrite(ctx, f); err != nil {
		return nil, fmt.Errorf("%s is not in the data folder any more, and cannot be written again: %w", f.Name, err)
	}
	return os.Open(r.path(f))
}

// rewrite writes the report of a file again.
func (r *Reporter) rewrite(ctx context.Context, f report.File) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	rep, err := r.Register.Report(ctx, f.Report)
	if err != nil {
		return err
	}
	return r.write(ctx, rep)
}

// removeOldFiles removes old files now and every hour, until ctx ends.
func (r *Reporter) removeOldFiles(ctx context.Context) {
	for {
		pause := time.Hour
		if err := r.removeOldOnce(ctx); err != nil && ctx.Err() == nil {
			r.Log.Error("old report files cannot be removed", "error", err)
			pause = time.Minute
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// removeOldOnce removes files that were kept long enough and that no remote waits for, and
// temporary files of a write that was interrupted.
func (r *Reporter) removeOldOnce(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Nothing is written now, so temporary files are of a process that has ended.
	left, err := reportfile.Unfinished(r.Dir)
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	files, err := reportfile.In(r.Dir)
	if err != nil {
		return err
	}
	removed := 0
	for some := range slices.Chunk(files, 500) {
		names := make([]string, len(some))
		for i, path := range some {
			names[i] = filepath.Base(path)
		}
		old, err := r.Register.Disposable(ctx, names, r.Now().Add(-r.settings.Load().Keep), r.Remotes())
		if err != nil {
			return err
		}
		for _, name := range old {
			if err := os.Remove(filepath.Join(r.Dir, name)); err != nil {
				return err
			}
			removed++
		}
	}
	if removed > 0 {
		r.Log.Info("old report files removed", "files", removed)
	}
	return nil
}
