package assess

import (
	"context"
	"slices"
	"time"

	"quell/internal/evidence"
	"quell/internal/outage"
	"quell/internal/sighting"
	"quell/internal/sqldb"
)

// Pages of what is read at once.
const (
	rowPage   = 10 // of some thousand sightings each in a storm
	entryPage = 1000
)

// advanceEvery is how often the engine is asked for assessments while it reads: no time of that
// length has so much traffic that the answer takes long.
const advanceEvery = time.Second

// work is an engine, and how far it has read.
type work struct {
	engine *evidence.Engine
	orders orders
	// Rows of sightings and entries up to these are read.
	row, entry int64
	saved      time.Time // when what was learned was written
	learnedRow int64     // the positions that were written then
	learnedEnt int64

	seen     readAhead
	moreSeen bool // there may be more rows
	ofLog    readAhead
	moreLog  bool
	latest   time.Time // of what was added
	advanced time.Time

	unwritten []evidence.Assessment // those of an entry in order

	paced    bool      // it rests in between; see rest
	turn     time.Time // when it rested last
	patience time.Time // until then it waits while alerts come in a rush

	limit time.Time // what is later than that was written while a clock was ahead, and does not count
}

// mostAhead is how far the clock of one who wrote something may be ahead.
const mostAhead = time.Hour

// readAhead has sightings that are read, and not yet added. A storm has millions: so its memory is used
// again.
type readAhead struct {
	list []evidence.Sighting
	next int
}

func (r *readAhead) empty() bool { return r.next == len(r.list) }

func (r *readAhead) first() *evidence.Sighting { return &r.list[r.next] }

func (r *readAhead) take() *evidence.Sighting {
	r.next++
	return &r.list[r.next-1]
}

// begin empties it, and returns the list to append to.
func (r *readAhead) begin() []evidence.Sighting {
	r.next = 0
	return r.list[:0]
}

// Assessments may wait for a minute or two, and messages may not: in a campaign the assessor would
// else take a whole core from them. So it works for a turn at most, and rests for longer than that;
// in a rush it does nothing else, for so long that what is due after five minutes is in time.
const (
	turn        = 20 * time.Millisecond
	resting     = 3 // times as long as it worked
	longestRest = 2 * time.Minute
)

// rest rests, if it is time to.
func (a *Assessor) rest(ctx context.Context, w *work) {
	took := time.Since(w.turn)
	if !w.paced || took < turn {
		return
	}
	pause(ctx, resting*took)
	a.waitInRush(ctx, w)
	w.turn = time.Now()
}

// waitInRush waits while alerts come in a rush, as long as there is patience.
func (a *Assessor) waitInRush(ctx context.Context, w *work) {
	for ctx.Err() == nil && a.rush.Load() && time.Now().Before(w.patience) {
		pause(ctx, every)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// begin makes an engine, and gives it what there was up to what is in the table learned.
func (a *Assessor) begin(ctx context.Context, now time.Time, paced bool) (*work, error) {
	w := &work{engine: evidence.New(evidence.Options{Hubs: a.hubsIn(ctx)}), orders: orders{}, paced: paced, turn: time.Now()}
	learned, row, entry, at, err := a.readLearned(ctx)
	if err != nil {
		return nil, err
	}
	w.limit = now.Add(mostAhead)
	if at.After(w.limit) {
		at = now
	}
	if learned != nil {
		if learned.Until.After(w.limit) {
			learned.Until = now
		}
		w.engine.SetLearning(learned) // until that time the engine learns nothing again
	}
	if w.entry, err = a.entryBefore(ctx, now.Add(-lookBack)); err != nil {
		return nil, err
	}
	if row > 0 || entry > 0 {
		if err := a.read(ctx, w, row, entry, func([]evidence.Assessment) error { return nil }); err != nil {
			return nil, err
		}
		w.engine.Advance(at)
		w.advanced = at
	}
	w.row, w.entry = max(w.row, row), max(w.entry, entry)
	w.learnedRow, w.learnedEnt, w.saved = row, entry, at
	return w, nil
}

// lookBack is how old an entry may be that an engine gets when it begins: its last assessment is due
// 24 hours after it was received, and the sightings of an hour before it are still there. If nobody
// assessed for longer, as when quell did not run, older entries are left as they are: without the
// sightings that are deleted by then the engine would come to another result, which would be wrong.
const lookBack = sighting.Keep - time.Hour

// step reads what is new, and writes what the engine says at an instant.
func (a *Assessor) step(ctx context.Context, w *work, now time.Time) error {
	w.limit = now.Add(mostAhead)
	if err := a.checkNumbers(ctx, w); err != nil {
		return err
	}
	if err := a.read(ctx, w, -1, -1, func(list []evidence.Assessment) error {
		w.unwritten = append(w.unwritten, list...)
		if len(w.unwritten) < quietBatch {
			return nil
		}
		return a.write(ctx, w) // so that no campaign waits in memory
	}); err != nil {
		return err
	}
	w.unwritten = append(w.unwritten, w.engine.Advance(now)...)
	w.advanced = now
	if err := a.write(ctx, w); err != nil {
		return err
	}
	if since := now.Sub(w.saved); since >= time.Hour || since >= saveEvery && (w.row > w.learnedRow || w.entry > w.learnedEnt) {
		if err := a.save(ctx, w, now); err != nil {
			return err
		}
	}
	a.last.Store(now.UnixMicro())
	return nil
}

// read gives the engine the sightings and entries up to a row and an entry; all that there are if
// those are negative. It adds them in the order in which they were received, as far as it can.
func (a *Assessor) read(ctx context.Context, w *work, row, entry int64, say func([]evidence.Assessment) error) error {
	w.moreSeen, w.moreLog = true, true
	for {
		if w.seen.empty() && w.moreSeen {
			a.rest(ctx, w)
			if err := a.readRows(ctx, w, row); err != nil {
				return err
			}
		}
		if w.ofLog.empty() && w.moreLog {
			a.rest(ctx, w)
			if err := a.readLog(ctx, w, entry); err != nil {
				return err
			}
		}
		var from *readAhead
		switch {
		case w.seen.empty() && w.moreSeen || w.ofLog.empty() && w.moreLog:
			continue // a page without anything
		case w.seen.empty() && w.ofLog.empty():
			return nil
		case w.ofLog.empty() || !w.seen.empty() && !w.ofLog.first().Received.Before(w.seen.first().Received):
			from = &w.seen
		default:
			from = &w.ofLog
		}
		next := from.first() // taken when say has not failed: the next step begins with it
		if next.Received.After(w.limit) {
			from.take()
			continue
		}
		if next.Received.After(w.latest) {
			w.latest = next.Received
		}
		if w.latest.Sub(w.advanced) >= advanceEvery {
			list := w.engine.Advance(w.latest)
			w.advanced = w.latest
			if err := say(list); err != nil {
				return err
			}
			a.rest(ctx, w)
		}
		w.engine.Add(*from.take())
	}
}

// readRows reads the next page of sightings, up to a row unless that is negative.
func (a *Assessor) readRows(ctx context.Context, w *work, upTo int64) error {
	rows, err := a.Sightings.After(ctx, w.row, rowPage)
	if err != nil {
		return err
	}
	w.moreSeen = len(rows) == rowPage
	if n := slices.IndexFunc(rows, func(r sighting.Row) bool { return upTo >= 0 && r.ID > upTo }); n >= 0 {
		rows, w.moreSeen = rows[:n], false
	}
	if err := a.place(ctx, rows); err != nil {
		return err
	}
	list := w.seen.begin()
	for i := range rows {
		for j := range rows[i].Seen {
			list = w.orders.resolve(list, &rows[i].Seen[j].Sighting)
		}
		w.row = rows[i].ID
	}
	w.seen.list = list
	return nil
}

// readLog reads the next page of entries, up to one unless that is negative.
func (a *Assessor) readLog(ctx context.Context, w *work, upTo int64) error {
	entries, err := a.Ledger.EntriesAfter(ctx, w.entry, entryPage)
	if err != nil {
		return err
	}
	w.moreLog = len(entries) == entryPage
	var list []outage.Entry
	for _, e := range entries {
		if upTo >= 0 && e.Seq > upTo {
			w.moreLog = false
			break
		}
		list = append(list, e)
	}
	lost, err := a.placeEntries(ctx, list)
	if err != nil {
		return err
	}
	if len(list) > 0 {
		w.entry = list[len(list)-1].Seq
	}
	w.ofLog.list = append(w.ofLog.begin(), lost...)
	return nil
}

// entryBefore returns the number before the first entry received at an instant or later; that of the
// last entry if there is none.
func (a *Assessor) entryBefore(ctx context.Context, at time.Time) (seq int64, err error) {
	err = a.DB.QueryRow(ctx, `SELECT coalesce((SELECT min(seq) - 1 FROM suppression WHERE received_at >= ?), (SELECT max(seq) FROM suppression), 0)`,
		sqldb.Micros(at)).Scan(&seq)
	return seq, sqldb.Unavailable(err)
}

// orders are the requests that each meter may have pending, so that a cancellation, or another
// request that takes their place, says of them that they did not run.
type orders map[outage.DeviceID][]order

type order struct {
	request outage.RequestID
	start   time.Time
}

// maxOrders bounds how many meters have pending requests in memory: 64 MB or so. Those beyond are
// not followed.
const maxOrders = 500_000

// resolve appends what the engine gets for a sighting.
func (o orders) resolve(list []evidence.Sighting, s *evidence.Sighting) []evidence.Sighting {
	switch {
	case s.Kind == evidence.NotRun && s.Request == (outage.RequestID{}): // a cancellation
		return o.replaced(list, s, s.Why)
	case s.Kind == evidence.Ordered && s.Form == outage.SignedPreCommand:
		list = o.replaced(list, s, "another request took its place")
		if s.Start.After(s.Received) && (len(o) < maxOrders || o[s.Meter] != nil) {
			o[s.Meter] = append(o[s.Meter], order{s.Request, s.Start})
		}
	}
	return append(list, *s)
}

// replaced appends a NotRun for each request that was pending when s was received.
func (o orders) replaced(list []evidence.Sighting, s *evidence.Sighting, why string) []evidence.Sighting {
	for _, x := range o[s.Meter] {
		if x.start.After(s.Received) && x.request != s.Request {
			list = append(list, evidence.Sighting{Kind: evidence.NotRun, Received: s.Received, Home: s.Home, Meter: s.Meter, Request: x.request, Why: why})
		}
	}
	delete(o, s.Meter)
	return list
}
