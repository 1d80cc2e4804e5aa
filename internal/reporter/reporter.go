// Package reporter makes the suppression log leave as files: it cuts reports, writes their
// files, and delivers them to remotes.
//
// A cut is recorded in the register before anything is written. From then on what is in the
// report is fixed, and writing it gives the same bytes however often it is tried. Every step
// from there to a remote's confirmation may be repeated: what a crash leaves behind is
// overwritten, or found to be right.
package reporter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/cluster"
	"quell/internal/ledger"
	"quell/internal/report"
	"quell/internal/reportfile"
)

// Settings say when reports are cut and where they go.
type Settings struct {
	SystemID       string
	Every          time.Duration
	MaxBytes       int64
	Empty          bool // whether a period without entries yields a file
	PerDistributor bool
	Remotes        []Remote
	AlarmAfter     time.Duration
	Keep           time.Duration // of files in the data folder
	Window         time.Duration // in force, as the header says it
}

// Remote is where the files of one stream go.
type Remote struct {
	Name   string
	Target string // as rclone writes it
	Stream string // report.Consolidated, a distributor's id, or outage.UnknownDistributor
}

// takes says which remote takes which stream.
func (s *Settings) takes() map[string]string {
	takes := map[string]string{}
	for _, to := range s.Remotes {
		takes[to.Name] = to.Stream
	}
	return takes
}

// Reporter cuts and delivers the reports of one report. Its fields are set before
// the first call of a method; Reached may be nil.
type Reporter struct {
	Register *report.Register
	Ledger   *ledger.Ledger
	Cluster  *cluster.Cluster
	// Ready waits until the database can be used, or ctx ends.
	Ready   func(ctx context.Context) error
	Dir     string // of the files
	Now     func() time.Time
	Log     *slog.Logger
	Metrics *Metrics
	// Reached, for tests of crashes, is told each step of a report on its way.
	Reached func(step string)

	settings   atomic.Pointer[Settings]
	conditions conditions
	strangers  strangers

	mu     sync.Mutex // held while a report is cut or written; guards what follows
	follow following

	seen map[string]time.Time // by remote: when files that were cut beyond now were seen to wait; of the goroutine of watch

	wakeMu sync.Mutex // guards what follows
	wakers map[string]waker
}

// Set puts settings into force. Those of remotes count for Run only when it is
// called again.
func (r *Reporter) Set(s Settings) { r.settings.Store(&s) }

func (r *Reporter) reached(step string) {
	if r.Reached != nil {
		r.Reached(step)
	}
}

// following is how far the cutter has looked at the entries that are in no
// report yet.
type following struct {
	last     report.Report
	boundary time.Time // the last round time that was reported, or found to be empty
	seq      int64
	// The last correction, and the last event, that were looked at.
	correction, event int64
	bytes             int64
	latest            time.Time // receipt
	streams           map[string]bool
}

// overhead is an allowance for what a file has besides entries.
const overhead = 2 << 10

// tick is how often the log is looked at.
const tick = time.Second

// Run cuts, writes and delivers reports until ctx ends: while this node leads, if
// there are others. It clears away old files of this node in any case.
func (r *Reporter) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { r.tidyAll(ctx) })
	r.Cluster.WhileLeader(ctx, r.lead)
}

// lead is Run while this node leads. It first goes on with what it finds
// unfinished.
func (r *Reporter) lead(ctx context.Context) {
	if r.Ready(ctx) != nil {
		return
	}
	forget := func() {
		r.Metrics.forget() // remotes that there were before
		r.conditions.forget()
		r.strangers.forget()
	}
	forget()
	defer forget()
	var wg sync.WaitGroup
	defer wg.Wait()
	r.mu.Lock()
	r.follow.streams = nil // others may have cut since this node led last
	r.mu.Unlock()
	var compared sync.WaitGroup // of remotes
	for _, to := range r.settings.Load().Remotes {
		wake := r.waker(to.Name)
		compared.Add(1)
		wg.Go(func() { r.deliverAll(ctx, to, wake, sync.OnceFunc(compared.Done)) })
	}
	wg.Go(func() { r.watch(ctx) })
	compared.Wait() // within listTimeout
	failing := false
	for {
		err := r.step(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, report.ErrStale):
			continue // another node cut one by command
		case err != nil && !failing:
			r.Log.Error("reports cannot be cut or written; it is tried again every second", "error", err)
		case err == nil && failing:
			r.Log.Info("reports are cut and written again")
		}
		failing = err != nil
		if failing {
			r.conditions.say("cut", "reports cannot be cut or written: "+err.Error())
		} else {
			r.conditions.say("cut", "")
		}
		select {
		case <-time.After(r.pause()):
		case <-ctx.Done():
			return
		}
	}
}

// pause is the time up to the next look: a tick, or less where a round time
// comes sooner.
func (r *Reporter) pause() time.Duration {
	every := r.settings.Load().Every
	now := r.Now()
	return min(tick, max(now.Truncate(every).Add(every).Sub(now), time.Millisecond))
}

// step writes what is cut and not written, cuts what is due, and writes that.
func (r *Reporter) step(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		if err := r.compared(ctx); err != nil {
			return err
		}
		unwritten, err := r.Register.Unwritten(ctx)
		if err != nil {
			return err
		}
		for _, rep := range unwritten {
			if err := r.write(ctx, rep); err != nil {
				return err
			}
		}
		if len(unwritten) > 0 {
			r.wake()
		}
		cut, err := r.cutDue(ctx)
		if err != nil || !cut {
			return err
		}
	}
}

// compared compares the store with the files that this node has, if a report was cut
// since. The error is ErrRestored if the store lacks any.
func (r *Reporter) compared(ctx context.Context) error {
	if r.follow.streams == nil {
		if err := r.compareFolder(ctx); err != nil {
			return err
		}
	}
	return r.halted()
}

// Cut cuts a report of all that is in none yet, after as many as the size calls
// for, and writes its files. Any node may; it is delivered by the one that leads.
func (r *Reporter) Cut(ctx context.Context) (report.Report, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.Cluster.IsLeader() {
		r.follow.streams = nil // what was looked at when this node led is stale
	}
	for {
		if err := r.compared(ctx); err != nil {
			return report.Report{}, err
		}
		cause, err := r.look(ctx, time.Time{})
		if err != nil {
			return report.Report{}, err
		}
		end := r.follow.latest
		if cause != report.CauseSize {
			cause = report.CauseAsked
		}
		if cause == report.CauseAsked || end.IsZero() {
			if now := r.Now(); now.After(end) {
				end = now
			}
		}
		rep, err := r.cut(ctx, cause, after(end))
		if errors.Is(err, report.ErrStale) {
			continue
		}
		if err == nil {
			err = r.write(ctx, rep)
		}
		if err != nil {
			return rep, err
		}
		r.wake()
		if cause == report.CauseAsked {
			return r.Register.Report(ctx, rep.No)
		}
	}
}

// after is the first instant of the files' precision behind t.
func after(t time.Time) time.Time { return t.Truncate(time.Millisecond).Add(time.Millisecond) }

// cutDue cuts a report if one is due, by time or by size.
func (r *Reporter) cutDue(ctx context.Context) (bool, error) {
	f := &r.follow
	if err := r.begin(ctx); err != nil {
		return false, err
	}
	every := r.settings.Load().Every
	now := r.Now().UTC()
	r.checkClock(now)
	boundary := now.Truncate(every)
	if f.boundary.After(now.Add(maxAhead)) {
		// By the clock of now: since the report before was cut, if that is known.
		f.boundary = f.last.CutAt
		if f.boundary.After(now) {
			f.boundary = boundary
		}
	}
	due := boundary.After(f.boundary)
	if !due {
		boundary = boundary.Add(every)
	}
	cause, err := r.look(ctx, boundary)
	switch {
	case err != nil:
		return false, err
	case cause == report.CauseSize:
		end := f.latest
		if end.IsZero() { // of events or corrections alone
			end = now
		}
		_, err = r.cut(ctx, cause, after(end))
	case due:
		end := boundary
		if !f.latest.Before(end) { // an entry of a time when the clock was ahead
			end = after(f.latest)
		}
		_, err = r.cut(ctx, report.CauseTime, end)
	default:
		return false, nil
	}
	return err == nil, err
}

// checkClock says so while the last report's period ends beyond now: the clock was
// ahead when it was cut, or is behind now.
func (r *Reporter) checkClock(now time.Time) {
	last := r.follow.last
	ahead := max(0, last.End.Sub(now))
	r.Metrics.Ahead.Set(ahead.Seconds())
	text := ""
	if ahead > maxAhead {
		text = fmt.Sprintf("the period of report %d ends at %s, which is beyond now: the clock was ahead then, or is behind now; reports are cut by the clock of now",
			last.No, reportfile.FormatTime(last.End))
	}
	if r.conditions.say("clock", text) && text != "" {
		r.Log.Error("THE CLOCK WAS AHEAD: a report's period ends beyond now", "report", last.No, "end", last.End, "now", now)
	}
}

// begin finds out where the report before ends, if that is not known.
func (r *Reporter) begin(ctx context.Context) error {
	f := &r.follow
	if f.streams != nil {
		return nil
	}
	last, err := r.Register.Last(ctx)
	if err != nil {
		return err
	}
	if last.No == 0 {
		if last.End, err = r.Register.LogStart(ctx); err != nil {
			return err
		}
		if last.End.IsZero() {
			last.End = r.Now()
		}
		last.End = last.End.Truncate(time.Millisecond)
	}
	*f = following{last: last, boundary: last.End, seq: last.LastSeq, correction: last.LastCorrection(), event: last.LastEvent(), bytes: overhead, streams: map[string]bool{}}
	return nil
}

// look goes on looking at entries that are in no report, up to the first that
// belongs into the next one: since it was received at the boundary or later, if
// that is not zero, or since the file would become too large. One that was received
// beyond now is not waited for.
func (r *Reporter) look(ctx context.Context, boundary time.Time) (report.Cause, error) {
	if err := r.begin(ctx); err != nil {
		return "", err
	}
	f, most := &r.follow, r.settings.Load().MaxBytes
	if full, err := r.lookAtEvents(ctx, most); full || err != nil {
		return report.CauseSize, err
	}
	if full, err := r.lookAtCorrections(ctx, most); full || err != nil {
		return report.CauseSize, err
	}
	measure, now := reportfile.NewWriter(io.Discard), r.Now()
	for e, err := range r.Ledger.EntriesBetween(ctx, f.seq+1, math.MaxInt64) {
		if err != nil {
			return "", err
		}
		if !boundary.IsZero() && !e.Received.Before(boundary) && !e.Received.After(now.Add(maxAhead)) {
			return report.CauseTime, nil
		}
		before := measure.Size()
		if err := measure.Entry(&e); err != nil {
			return "", err
		}
		if !f.add(measure.Size()-before, most) {
			return report.CauseSize, nil
		}
		f.seq = e.Seq
		f.streams[e.Stream()] = true
		if e.Received.After(f.latest) {
			f.latest = e.Received
		}
	}
	return "", nil
}

// lookAtEvents goes on looking at events that are in no report, up to the first for
// which the file has no room.
func (r *Reporter) lookAtEvents(ctx context.Context, most int64) (full bool, err error) {
	f := &r.follow
	measure := reportfile.NewWriter(io.Discard)
	for n := lookPage; n == lookPage; {
		list, err := r.Register.EventsAfter(ctx, f.event, lookPage)
		if err != nil {
			return false, err
		}
		for _, e := range list {
			before := measure.Size()
			if err := measure.Event(e, false); err != nil {
				return false, err
			}
			if !f.add(measure.Size()-before, most) {
				return true, nil
			}
			f.event = e.ID
		}
		n = len(list)
	}
	return false, nil
}

// add counts what a record takes in the file, if there is room.
func (f *following) add(size, most int64) bool {
	if f.bytes+size > most && f.bytes > overhead {
		return false
	}
	f.bytes += size
	return true
}

// lookPage is how many events or corrections are read at once.
const lookPage = 500

// lookAtCorrections goes on looking at corrections that are in no report, up to the
// first for which the file has no room.
func (r *Reporter) lookAtCorrections(ctx context.Context, most int64) (full bool, err error) {
	f := &r.follow
	measure := reportfile.NewWriter(io.Discard)
	for {
		numbers, of, err := r.Ledger.CorrectionsAfter(ctx, f.correction, f.last.LastSeq, lookPage)
		if err != nil {
			return false, err
		}
		for _, no := range numbers {
			if e, ok := of[no]; ok { // else it is of an entry of this report
				before := measure.Size()
				if err := measure.Correction(&e); err != nil {
					return false, err
				}
				if !f.add(measure.Size()-before, most) {
					return true, nil
				}
			}
			f.correction = no
		}
		if len(numbers) < lookPage {
			return false, nil
		}
	}
}

// cut records a report of the entries that were looked at.
func (r *Reporter) cut(ctx context.Context, cause report.Cause, end time.Time) (report.Report, error) {
	f, set := &r.follow, r.settings.Load()
	c := report.CutOptions{After: f.last.No, SystemID: set.SystemID, Cause: cause, Start: f.last.End, End: end.Truncate(time.Millisecond), At: r.Now().Truncate(time.Millisecond),
		LastSeq: f.seq, LastCorrection: cmp.Or(f.correction, -1), LastEvent: cmp.Or(f.event, -1), Window: set.Window, SkipEmpty: !set.Empty, Remotes: set.takes(),
		Name: func(r report.Report, f report.File) string {
			return reportfile.NameOf(r.SystemID, f.Start, r.End, r.No, f.Stream)
		}}
	if set.PerDistributor {
		c.Streams = []string{}
		for s := range f.streams {
			c.Streams = append(c.Streams, s)
		}
	}
	rep, err := r.Register.Cut(ctx, c)
	if err == nil && rep.No == 0 {
		f.boundary = end // nothing to report
		return rep, nil
	}
	f.streams = nil // begin again, whatever came of it
	if err != nil {
		return rep, err
	}
	r.reached("cut")
	r.Metrics.Cut.WithLabelValues(string(cause)).Inc()
	r.Log.Info("report cut", "report", rep.No, "cause", cause, "from", rep.Start, "to", rep.End, "entries", rep.LastSeq-rep.FirstSeq+1, "files", len(rep.Files))
	return rep, nil
}
