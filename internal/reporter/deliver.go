package reporter

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"quell/internal/cluster"
	"quell/internal/remote"
	"quell/internal/report"
	"quell/internal/reportfile"
)

// The first and the longest pause between tries. Each pause is up to a half shorter or longer, at
// random.
const (
	firstPause = time.Second
	maxPause   = 5 * time.Minute
)

// tryTimeout bounds one try to deliver one file.
const tryTimeout = 10 * time.Minute

// waker wakes the delivery to one remote.
type waker struct {
	files chan struct{} // there are new files
	asked chan struct{} // somebody asks for a try now, even during the pause after a failure
}

func (r *Reporter) waker(name string) waker {
	r.wakeMu.Lock()
	defer r.wakeMu.Unlock()
	if r.wakers == nil {
		r.wakers = map[string]waker{}
	}
	w, ok := r.wakers[name]
	if !ok {
		w = waker{make(chan struct{}, 1), make(chan struct{}, 1)}
		r.wakers[name] = w
	}
	return w
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// wake wakes the deliveries that wait for new files.
func (r *Reporter) wake() {
	r.wakeMu.Lock()
	defer r.wakeMu.Unlock()
	for _, w := range r.wakers {
		signal(w.files)
	}
}

// pollEvery is how often to check whether another node has cut a report to deliver.
const pollEvery = 5 * time.Second

// deliverAll delivers to one remote until ctx ends. It calls compared when the files at the
// remote were compared with the store.
func (r *Reporter) deliverAll(ctx context.Context, to Remote, wake waker, compared func()) {
	defer compared()
	pause := firstPause
	for first := true; ; {
		if first {
			r.compareRemote(ctx, to)
			compared()
		}
		delivered, err := r.deliverWaiting(ctx, to, first)
		if ctx.Err() != nil {
			return
		}
		if err == nil || delivered > 0 {
			pause = firstPause
		}
		first = first && err != nil && delivered == 0
		files, retry := wake.files, time.After(pollEvery)
		var next time.Time
		if err != nil {
			wait := pause/2 + rand.N(pause)
			files, retry, next = nil, time.After(wait), time.Now().Add(wait)
			pause = min(2*pause, maxPause)
		}
		r.setTry(to.Name, next)
		select {
		case <-files:
		case <-wake.asked:
		case <-retry:
		case <-ctx.Done():
			return
		}
	}
}

// deliverWaiting tries to deliver the files that wait for a remote, the oldest first. It stops at
// the first failure, unless the failure is of only one file. first says that the first file may
// have been on its way when another node, or this one, ended.
func (r *Reporter) deliverWaiting(ctx context.Context, to Remote, first bool) (delivered int, failed error) {
	if err := r.checkHalted(); err != nil {
		return 0, err
	}
	if first { // the configuration may have changed
		if err := r.dropOtherStreams(ctx, to); err != nil {
			return 0, err
		}
	}
	for d, err := range r.undelivered(ctx, to) {
		if err != nil {
			return delivered, err
		}
		err := r.deliver(ctx, to, d, first && delivered == 0)
		switch {
		case errors.Is(err, cluster.ErrNotLeader):
			return delivered, err // the new leader delivers it
		case err == nil:
			delivered++
			continue
		case ctx.Err() != nil:
			return delivered, err
		}
		failed = err
		r.Metrics.Failures.WithLabelValues(to.Name).Inc()
		level, ofTheFile := r.Log.Warn, errors.Is(err, remote.ErrTaken) || errors.Is(err, errNoFile)
		if ofTheFile {
			level = r.Log.Error
		}
		level("report not delivered; quell retries", "remote", to.Name, "report", d.Report, "stream", d.Stream, "tries", d.Tries+1, "error", err)
		if !ofTheFile {
			return delivered, err
		}
	}
	return delivered, failed
}

// undeliveredPage is how many deliveries are read at once. It may be that none of a page can
// succeed.
var undeliveredPage = 1000

// undelivered reads the deliveries that wait for a remote, the oldest first.
func (r *Reporter) undelivered(ctx context.Context, to Remote) iter.Seq2[report.Delivery, error] {
	return func(yield func(report.Delivery, error) bool) {
		for after, more := int64(0), true; more; {
			list, err := r.Register.Undelivered(ctx, to.Name, to.Stream, after, undeliveredPage)
			if err != nil {
				yield(report.Delivery{}, err)
				return
			}
			for _, d := range list {
				if !yield(d, nil) {
					return
				}
				after = d.Report
			}
			more = len(list) == undeliveredPage
		}
	}
}

// dropOtherStreams drops deliveries that wait for a remote and are not of the stream that it
// takes. If its target and filter were changed under the same name, the new target must not get
// what was meant for the old one.
func (r *Reporter) dropOtherStreams(ctx context.Context, to Remote) error {
	n, err := r.Register.DropDeliveries(ctx, to.Name, to.Stream)
	if n > 0 {
		r.Log.Warn("files that waited for a remote are not delivered there: its filter has changed", "remote", to.Name, "filter", to.Stream, "files", n)
	}
	return err
}

// errNoFile says that a file is not available in the data folder.
var errNoFile = errors.New("the file cannot be read")

// deliver tries to deliver one file, and records its state.
func (r *Reporter) deliver(ctx context.Context, to Remote, d report.Delivery, first bool) error {
	try, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	d.Tries++
	record := func(state report.State, err error) error {
		d.State, d.At, d.Error = state, r.Now(), ""
		if err != nil {
			d.Error = err.Error()
		}
		return r.Register.SetDelivery(ctx, d)
	}
	f, err := r.Register.File(ctx, d.Report, d.Stream)
	if err != nil {
		return err
	}
	err = r.put(try, to, f, first, func(s remote.Step) {
		r.reached(s.String())
		if s == remote.Sent {
			// If it is not recorded, the next try finds out what is at the remote.
			err := record(report.StateSent, nil)
			if errors.Is(err, cluster.ErrNotLeader) {
				cancel() // the new leader sends the file too, and gives it its name
			} else if err != nil {
				r.Log.Warn("the state of a delivery could not be recorded", "remote", to.Name, "report", d.Report, "error", err)
			}
			r.reached("recorded as sent")
		}
	})
	if err != nil {
		return errors.Join(err, record(report.StateWritten, err))
	}
	if err := record(report.StateConfirmed, nil); err != nil {
		return err
	}
	r.reached("recorded as confirmed")
	r.Metrics.Delivered.WithLabelValues(to.Name).Inc()
	r.Log.Info("report delivered", "remote", to.Name, "report", d.Report, "file", f.Name, "bytes", f.Size, "tries", d.Tries)
	return nil
}

func (r *Reporter) put(ctx context.Context, to Remote, f report.File, first bool, reached func(remote.Step)) error {
	local, err := r.open(ctx, f)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoFile, err)
	}
	local.Close()
	file := remote.File{Name: f.Name, Path: r.path(f), Size: f.Size, SHA256: f.SHA256, RemoveLeftovers: first}
	if term := r.Cluster.Term(); term != 0 {
		file.Sender = strconv.FormatInt(term, 10)
	}
	err = remote.Put(ctx, to.Target, file, reached)
	if !errors.Is(err, remote.ErrChanged) {
		return err
	}
	r.Log.Error("a report file was damaged in the data folder, it is written again", "error", err)
	if err := r.rewrite(ctx, f); err != nil {
		return fmt.Errorf("%w: %w", errNoFile, err)
	}
	return remote.Put(ctx, to.Target, file, reached)
}

// ErrNoRemote says that there is no remote with a name, or none at all.
var ErrNoRemote = errors.New("no such remote")

// Send makes a report be delivered again: to one remote, or to all if the name is empty. It does
// not wait for the delivery. The error may be ErrNoRemote or report.ErrNoReport.
func (r *Reporter) Send(ctx context.Context, no int64, name string) error {
	set := r.settings.Load()
	if name != "" && !slices.ContainsFunc(set.Remotes, func(to Remote) bool { return to.Name == name }) {
		return fmt.Errorf("%w: %q", ErrNoRemote, name)
	}
	if len(set.Remotes) == 0 {
		return fmt.Errorf("%w: report.remotes names none", ErrNoRemote)
	}
	for _, to := range set.Remotes {
		if name != "" && to.Name != name {
			continue
		}
		if err := r.Register.Redeliver(ctx, no, to.Stream, to.Name, r.Now()); err != nil {
			return err
		}
		signal(r.waker(to.Name).asked)
	}
	return nil
}

// Retry ends the pauses after failures, so that all waiting files are tried now.
func (r *Reporter) Retry() {
	r.wakeMu.Lock()
	defer r.wakeMu.Unlock()
	for _, w := range r.wakers {
		signal(w.asked)
	}
}

// watchEvery is how often watch checks which files wait.
const watchEvery = 5 * time.Second

// watch reports remotes that are late, until ctx ends.
func (r *Reporter) watch(ctx context.Context) {
	late := map[string]bool{}
	for {
		waiting, err := r.Register.Waiting(ctx)
		if err == nil {
			r.alarm(waiting, late)
		}
		select {
		case <-time.After(watchEvery):
		case <-ctx.Done():
			return
		}
	}
}

// alarm sets the condition and the metrics of each remote. It logs once that a remote is late,
// and once that it no longer is; and once that files wait for a remote that is not used any more.
func (r *Reporter) alarm(waiting []report.Waiting, late map[string]bool) {
	set := r.settings.Load()
	if r.aheadSince == nil {
		r.aheadSince = map[string]time.Time{}
	}
	for _, to := range set.Remotes {
		var w report.Waiting
		if i := slices.IndexFunc(waiting, func(w report.Waiting) bool { return w.Remote == to.Name }); i >= 0 {
			w = waiting[i]
		}
		var age time.Duration
		if w.Files > 0 {
			age = max(0, r.Now().Sub(w.Oldest))
		}
		if w.Files == 0 || w.Oldest.Before(r.Now().Add(maxAhead)) {
			delete(r.aheadSince, to.Name)
		} else if seen, ok := r.aheadSince[to.Name]; ok { // cut while the clock was ahead
			age = max(0, r.Now().Sub(seen))
		} else {
			r.aheadSince[to.Name] = r.Now()
		}
		isLate := age >= set.AlarmAfter
		text := ""
		if isLate {
			text = fmt.Sprintf("remote %s has not confirmed %d report files; the oldest is of report %d, cut at %s", to.Name, w.Files, w.Report, reportfile.FormatTime(w.Oldest))
		}
		r.conditions.set("remote "+to.Name, text)
		r.Metrics.waiting(to.Name, w.Files, age, isLate)
		switch {
		case isLate && !late[to.Name]:
			r.Log.Error("REPORTS ARE NOT DELIVERED", "remote", to.Name, "files", w.Files, "oldest_report", w.Report, "cut", w.Oldest)
		case !isLate && late[to.Name]:
			r.Log.Info("reports are delivered again", "remote", to.Name)
		}
		late[to.Name] = isLate
	}
	for _, w := range waiting {
		if !late[w.Remote] && !slices.Contains(r.Remotes(), w.Remote) {
			late[w.Remote] = true
			r.Log.Warn("report files wait for a remote that is not in the configuration", "remote", w.Remote, "files", w.Files, "oldest_report", w.Report)
		}
	}
}

// Remotes returns the names of the remotes in use.
func (r *Reporter) Remotes() (names []string) {
	for _, to := range r.settings.Load().Remotes {
		names = append(names, to.Name)
	}
	return names
}
