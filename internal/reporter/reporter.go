// Package reporter cuts reports of the suppression log, writes their files, and delivers them
// to remotes.
//
// A cut is recorded in the register before anything is written. From then on the contents of
// the report are fixed, and writing it always gives the same bytes. Every step from there to a
// remote's confirmation may be repeated: what a crash leaves behind is overwritten, or found to
// be right.
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
	Empty          bool // an empty period still produces a file
	PerDistributor bool
	Remotes        []Remote
	AlarmAfter     time.Duration
	Keep           time.Duration // how long files stay in the data folder
	Window         time.Duration // the length of windows in force, for the header
}

// Remote is where the files of one stream go.
type Remote struct {
	Name   string
	Target string // in rclone's notation
	Stream string // report.Consolidated, a distributor's id, or outage.UnknownDistributor
}

// streamOf returns which stream each remote takes.
func (s *Settings) streamOf() map[string]string {
	streams := map[string]string{}
	for _, to := range s.Remotes {
		streams[to.Name] = to.Stream
	}
	return streams
}

// Reporter cuts and delivers the reports of one register. Set its fields before the first call
// of a method; Reached may be nil.
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
	// Reached, for tests of crashes, is called with each step of a report on its way.
	Reached func(step string)

	settings   atomic.Pointer[Settings]
	conditions conditions
	unknown    unknownFiles

	mu   sync.Mutex // held while a report is cut or written; guards next
	next nextReport

	// aheadSince says, by remote, since when a report waits that was cut in the future. Only
	// the goroutine of watch uses it.
	aheadSince map[string]time.Time

	wakeMu sync.Mutex // guards the fields below
	wakers map[string]waker
	tries  map[string]time.Time // when a remote is tried again after a failure
}

// Set puts settings into force. New remotes are used only when Run is called again.
func (r *Reporter) Set(s Settings) { r.settings.Store(&s) }

func (r *Reporter) reached(step string) {
	if r.Reached != nil {
		r.Reached(step)
	}
}

// nextReport is what was collected for the next report so far.
type nextReport struct {
	last     report.Report
	boundary time.Time // the last round time that was reported, or found to be empty
	seq      int64     // the last entry
	// The last correction, and the last event.
	correction, event int64
	evidence          int64           // the last change of an entry's evidence
	bytes             int64           // the size of the consolidated file
	latest            time.Time       // the latest time of receipt
	streams           map[string]bool // of the entries; nil until startNext
}

// overhead is an allowance for the parts of a file that are not counted.
const overhead = 2 << 10

// tick is how often the log is read.
const tick = time.Second

// Run cuts, writes and delivers reports until ctx ends, while this node is the leader. It
// removes old files of this node in any case.
func (r *Reporter) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { r.removeOldFiles(ctx) })
	r.Cluster.WhileLeader(ctx, r.runAsLeader)
}

// runAsLeader is Run while this node is the leader. It first finishes what it finds unfinished.
func (r *Reporter) runAsLeader(ctx context.Context) {
	if r.Ready(ctx) != nil {
		return
	}
	forget := func() {
		r.Metrics.forget() // of remotes that may be gone
		r.conditions.clear()
		r.unknown.clear()
		for _, to := range r.settings.Load().Remotes {
			r.setTry(to.Name, time.Time{})
		}
	}
	forget()
	defer forget()
	var wg sync.WaitGroup
	defer wg.Wait()
	r.mu.Lock()
	r.next.streams = nil // others may have cut reports since this node was the leader
	r.mu.Unlock()
	var compared sync.WaitGroup // until all remotes are compared
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
			continue // another node has cut a report by command
		case err != nil && !failing:
			r.Log.Error("reports cannot be cut or written; quell retries every second", "error", err)
		case err == nil && failing:
			r.Log.Info("reports are cut and written again")
		}
		failing = err != nil
		if failing {
			r.conditions.set("cut", "reports cannot be cut or written: "+err.Error())
		} else {
			r.conditions.set("cut", "")
		}
		select {
		case <-time.After(r.pause()):
		case <-ctx.Done():
			return
		}
	}
}

// pause returns the time until the next step: a tick, or less if a round time comes sooner.
func (r *Reporter) pause() time.Duration {
	every := r.settings.Load().Every
	now := r.Now()
	return min(tick, max(now.Truncate(every).Add(every).Sub(now), time.Millisecond))
}

// step writes reports that are cut and not written, cuts those that are due, and writes them.
func (r *Reporter) step(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		if err := r.checkRestored(ctx); err != nil {
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

// checkRestored compares the store with the files that this node has, unless that was done since
// the last cut. The error is ErrRestored if the store lacks reports.
func (r *Reporter) checkRestored(ctx context.Context) error {
	if r.next.streams == nil {
		if err := r.compareFolder(ctx); err != nil {
			return err
		}
	}
	return r.checkHalted()
}

// Cut cuts a report of all that is in no report yet, and writes its files. If that is too large,
// it cuts and writes several; the last one is returned. Any node may do so. The leader delivers
// the files.
func (r *Reporter) Cut(ctx context.Context) (report.Report, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.Cluster.IsLeader() {
		r.next.streams = nil // what was collected when this node was the leader is out of date
	}
	for {
		if err := r.checkRestored(ctx); err != nil {
			return report.Report{}, err
		}
		cause, err := r.collect(ctx, time.Time{})
		if err != nil {
			return report.Report{}, err
		}
		end := r.next.latest
		if cause != report.CauseSize {
			cause = report.CauseAsked
		}
		if cause == report.CauseAsked || end.IsZero() {
			if now := r.Now(); now.After(end) {
				end = now
			}
		}
		rep, err := r.cut(ctx, cause, justAfter(end))
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

// justAfter returns the first instant after t in the precision of files.
func justAfter(t time.Time) time.Time { return t.Truncate(time.Millisecond).Add(time.Millisecond) }

// cutDue cuts a report if one is due, by time or by size.
func (r *Reporter) cutDue(ctx context.Context) (bool, error) {
	next := &r.next
	if err := r.startNext(ctx); err != nil {
		return false, err
	}
	every := r.settings.Load().Every
	now := r.Now().UTC()
	r.checkClock(now)
	boundary := now.Truncate(every)
	if next.boundary.After(now.Add(maxAhead)) {
		// The clock was ahead. Use the time when the last report was cut, if that is past.
		next.boundary = next.last.CutAt
		if next.boundary.After(now) {
			next.boundary = boundary
		}
	}
	r.Metrics.Due.Set(float64(next.boundary.Truncate(every).Add(every).Unix()))
	due := boundary.After(next.boundary)
	if !due {
		boundary = boundary.Add(every)
	}
	cause, err := r.collect(ctx, boundary)
	switch {
	case err != nil:
		return false, err
	case cause == report.CauseSize:
		end := next.latest
		if end.IsZero() { // only events or corrections
			end = now
		}
		_, err = r.cut(ctx, cause, justAfter(end))
	case due:
		end := boundary
		if !next.latest.Before(end) { // an entry that was received while the clock was ahead
			end = justAfter(next.latest)
		}
		_, err = r.cut(ctx, report.CauseTime, end)
	default:
		return false, nil
	}
	return err == nil, err
}

// checkClock sets a condition while the last report's period ends in the future: the clock was
// ahead when the report was cut, or is behind now.
func (r *Reporter) checkClock(now time.Time) {
	last := r.next.last
	ahead := max(0, last.End.Sub(now))
	r.Metrics.Ahead.Set(ahead.Seconds())
	text := ""
	if ahead > maxAhead {
		text = fmt.Sprintf("the period of report %d ends at %s, which is in the future: the clock was ahead then, or is behind now; reports are cut by the present clock",
			last.No, reportfile.FormatTime(last.End))
	}
	if r.conditions.set("clock", text) && text != "" {
		r.Log.Error("THE CLOCK WAS AHEAD: a report's period ends in the future", "report", last.No, "end", last.End, "now", now)
	}
}

// startNext sets r.next to the end of the last report, unless that was done since the last cut.
func (r *Reporter) startNext(ctx context.Context) error {
	if r.next.streams != nil {
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
	r.next = nextReport{last: last, boundary: last.End, seq: last.LastSeq, correction: last.LastCorrection(), event: last.LastEvent(), evidence: last.LastEvidence(), bytes: overhead, streams: map[string]bool{}}
	return nil
}

// collect adds to r.next what is in no report yet, up to the first entry that belongs to a later
// report: because it was received at the boundary or later, if that is not zero; or because the
// file would become too large. An entry with a time of receipt in the future belongs to this one.
func (r *Reporter) collect(ctx context.Context, boundary time.Time) (report.Cause, error) {
	if err := r.startNext(ctx); err != nil {
		return "", err
	}
	next, maxBytes := &r.next, r.settings.Load().MaxBytes
	if full, err := r.collectEvents(ctx, maxBytes); full || err != nil {
		return report.CauseSize, err
	}
	if full, err := r.collectCorrections(ctx, maxBytes); full || err != nil {
		return report.CauseSize, err
	}
	if full, err := r.collectEvidence(ctx, maxBytes); full || err != nil {
		return report.CauseSize, err
	}
	measure, now := reportfile.NewWriter(io.Discard), r.Now()
	for e, err := range r.Ledger.EntriesBetween(ctx, next.seq+1, math.MaxInt64) {
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
		if !next.add(measure.Size()-before, maxBytes) {
			return report.CauseSize, nil
		}
		next.seq = e.Seq
		next.streams[e.Stream()] = true
		if e.Received.After(next.latest) {
			next.latest = e.Received
		}
	}
	return "", nil
}

// collectEvents adds events that are in no report, up to the first for which the file has no
// room.
func (r *Reporter) collectEvents(ctx context.Context, maxBytes int64) (full bool, err error) {
	next := &r.next
	measure := reportfile.NewWriter(io.Discard)
	for n := collectPage; n == collectPage; {
		list, err := r.Register.EventsAfter(ctx, next.event, collectPage)
		if err != nil {
			return false, err
		}
		for _, e := range list {
			before := measure.Size()
			if err := measure.Event(e, false); err != nil {
				return false, err
			}
			if !next.add(measure.Size()-before, maxBytes) {
				return true, nil
			}
			next.event = e.ID
		}
		n = len(list)
	}
	return false, nil
}

// add counts the size of a record, if the file has room for it. The first record always has.
func (n *nextReport) add(size, maxBytes int64) bool {
	if n.bytes+size > maxBytes && n.bytes > overhead {
		return false
	}
	n.bytes += size
	return true
}

// collectPage is how many events or corrections are read at once.
const collectPage = 500

// collectCorrections adds corrections that are in no report, up to the first for which the file
// has no room.
func (r *Reporter) collectCorrections(ctx context.Context, maxBytes int64) (full bool, err error) {
	next := &r.next
	measure := reportfile.NewWriter(io.Discard)
	for {
		numbers, of, err := r.Ledger.CorrectionsAfter(ctx, next.correction, next.last.LastSeq, collectPage)
		if err != nil {
			return false, err
		}
		for _, no := range numbers {
			if e, ok := of[no]; ok { // otherwise it corrects an entry of this report
				before := measure.Size()
				if err := measure.Correction(&e); err != nil {
					return false, err
				}
				if !next.add(measure.Size()-before, maxBytes) {
					return true, nil
				}
			}
			next.correction = no
		}
		if len(numbers) < collectPage {
			return false, nil
		}
	}
}

// collectEvidence adds changes of the evidence on entries that are in no report, up to the first for
// which the file has no room, or of an entry that was not collected yet.
func (r *Reporter) collectEvidence(ctx context.Context, maxBytes int64) (full bool, err error) {
	next := &r.next
	measure := reportfile.NewWriter(io.Discard)
	for {
		list, err := r.Register.EvidenceAfter(ctx, next.evidence, collectPage)
		if err != nil {
			return false, err
		}
		for i := range list {
			if list[i].Entry > next.seq {
				return false, nil
			}
			before := measure.Size()
			if err := measure.Evidence(&list[i]); err != nil {
				return false, err
			}
			if !next.add(measure.Size()-before, maxBytes) {
				return true, nil
			}
			next.evidence = list[i].ID
		}
		if len(list) < collectPage {
			return false, nil
		}
	}
}

// cut records a report of what was collected.
func (r *Reporter) cut(ctx context.Context, cause report.Cause, end time.Time) (report.Report, error) {
	next, set := &r.next, r.settings.Load()
	c := report.CutOptions{After: next.last.No, SystemID: set.SystemID, Cause: cause, Start: next.last.End, End: end.Truncate(time.Millisecond), At: r.Now().Truncate(time.Millisecond),
		LastSeq: next.seq, LastCorrection: cmp.Or(next.correction, -1), LastEvent: cmp.Or(next.event, -1), LastEvidence: cmp.Or(next.evidence, -1), Window: set.Window, SkipEmpty: !set.Empty, Remotes: set.streamOf(),
		Name: func(r report.Report, f report.File) string {
			return reportfile.NameOf(r.SystemID, f.Start, r.End, r.No, f.Stream)
		}}
	if set.PerDistributor {
		c.Streams = []string{}
		for s := range next.streams {
			c.Streams = append(c.Streams, s)
		}
	}
	rep, err := r.Register.Cut(ctx, c)
	if err == nil && rep.No == 0 {
		next.boundary = end // nothing to report
		return rep, nil
	}
	next.streams = nil // start again, also after an error
	if err != nil {
		return rep, err
	}
	r.reached("cut")
	r.Metrics.Cut.WithLabelValues(string(cause)).Inc()
	r.Log.Info("report cut", "report", rep.No, "cause", cause, "from", rep.Start, "to", rep.End, "entries", rep.LastSeq-rep.FirstSeq+1, "files", len(rep.Files))
	return rep, nil
}
