package assess

import (
	"context"
	"time"

	"quell/internal/evidence"
	"quell/internal/outage"
	"quell/internal/sighting"
	"quell/internal/sqldb"
)

// Pages of what is read at once.
const (
	rowPage   = 100
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

	seen     []evidence.Sighting // read, and not yet added
	moreSeen bool                // there may be more rows
	ofLog    []evidence.Sighting
	moreLog  bool
	latest   time.Time // of what was added
	advanced time.Time

	unwritten []evidence.Assessment // those of an entry in order

	paced bool      // it rests in between; see rest
	turn  time.Time // when it rested last
}

// resting is how much longer it rests than it works. Assessments may wait for a minute or two, and
// messages may not: in a campaign the assessor would else take a whole core from them.
const resting = 3

// rest rests, if it is time to.
func (w *work) rest(ctx context.Context) {
	took := time.Since(w.turn)
	if !w.paced || took < 20*time.Millisecond {
		return
	}
	select {
	case <-time.After(resting * took):
	case <-ctx.Done():
	}
	w.turn = time.Now()
}

// begin makes an engine, and gives it what there was up to what is in the table learned.
func (a *Assessor) begin(ctx context.Context, now time.Time, paced bool) (*work, error) {
	w := &work{engine: evidence.New(evidence.Options{Hubs: a.hubsIn(ctx)}), orders: orders{}, paced: paced, turn: time.Now()}
	learned, row, entry, at, err := a.readLearned(ctx)
	if err != nil {
		return nil, err
	}
	if learned != nil {
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
		if len(w.seen) == 0 && w.moreSeen {
			w.rest(ctx)
			if err := a.readRows(ctx, w, row); err != nil {
				return err
			}
		}
		if len(w.ofLog) == 0 && w.moreLog {
			w.rest(ctx)
			if err := a.readLog(ctx, w, entry); err != nil {
				return err
			}
		}
		var next *evidence.Sighting
		switch {
		case len(w.seen) == 0 && w.moreSeen || len(w.ofLog) == 0 && w.moreLog:
			continue // a page without anything
		case len(w.seen) == 0 && len(w.ofLog) == 0:
			return nil
		case len(w.ofLog) == 0 || len(w.seen) > 0 && !w.ofLog[0].Received.Before(w.seen[0].Received):
			next, w.seen = &w.seen[0], w.seen[1:]
		default:
			next, w.ofLog = &w.ofLog[0], w.ofLog[1:]
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
			w.rest(ctx)
		}
		w.engine.Add(*next)
	}
}

// readRows reads the next page of sightings, up to a row unless that is negative.
func (a *Assessor) readRows(ctx context.Context, w *work, upTo int64) error {
	rows, err := a.Sightings.After(ctx, w.row, rowPage)
	if err != nil {
		return err
	}
	w.moreSeen = len(rows) == rowPage
	var list []sighting.Seen
	last := w.row
	for _, r := range rows {
		if upTo >= 0 && r.ID > upTo {
			w.moreSeen = false
			break
		}
		last = r.ID
		list = append(list, r.Seen...)
	}
	seen, err := a.place(ctx, list)
	if err != nil {
		return err
	}
	w.row = last
	for _, s := range seen {
		w.seen = append(w.seen, w.orders.resolve(s)...)
	}
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
	w.ofLog = append(w.ofLog, lost...)
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

// resolve returns what the engine gets for a sighting.
func (o orders) resolve(s evidence.Sighting) []evidence.Sighting {
	list := []evidence.Sighting{s}
	switch {
	case s.Kind == evidence.NotRun && s.Request == (outage.RequestID{}): // a cancellation
		list = o.replaced(nil, &s, s.Why)
	case s.Kind == evidence.Ordered && s.Form == outage.SignedPreCommand:
		list = append(o.replaced(nil, &s, "another request took its place"), list...)
		if s.Start.After(s.Received) && (len(o) < maxOrders || o[s.Meter] != nil) {
			o[s.Meter] = append(o[s.Meter], order{s.Request, s.Start})
		}
	}
	return list
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
