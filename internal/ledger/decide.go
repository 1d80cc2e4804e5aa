package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/windows"
)

// A decision waits for the writer.
type decision struct {
	alert  outage.Alert
	shadow bool   // it is to be forwarded whatever is decided
	row    []byte // its row of decideSQL's parameter
	state  atomic.Int32
	done   chan struct{}
	result Decision
	err    error
}

// Decision is what Decide answers. Entry is the alert's entry in the
// suppression log; its sequence number is 0 when there is none.
type Decision struct {
	outage.Decision
	Entry outage.Entry
	// Retry says that the alert had been decided before.
	Retry bool
}

// The states of a decision. It is abandoned when its alert has gone forward.
const (
	waiting int32 = iota
	decided
	abandoned
)

// decideSQL decides a batch of alerts and logs those that are suppressed: it
// inserts an entry for each alert whose hub has an open window and which has
// not been decided before, and returns the entries. Its parameter is a JSON
// array of rows as appendRow writes them.
//
// An alert that is in the batch twice is taken once. Of several open windows the
// earliest to begin counts. One outage may be told to several users, so an entry
// is repeated in the window if its outage is not the first of it; where that is in
// the batch too, repeatedSQL finds out.
const decideSQL = `
WITH alert AS MATERIALIZED (
    SELECT key AS ord, value->>0 AS id, value->>1 AS code, CAST(value->>2 AS BIGINT) AS chf, value->>3 AS mpxn,
           CAST(value->>4 AS BIGINT) AS mpxn_valid, value->>5 AS distributor, CAST(value->>6 AS BIGINT) AS outage_start,
           CAST(value->>7 AS BIGINT) AS received_at, CAST(value->>8 AS BIGINT) AS throttled_sequence,
           CAST(value->>9 AS BIGINT) AS throttled_count, value->>10 AS outcome, CAST(value->>11 AS BIGINT) AS tolerance
    FROM json_each(?)
), hit AS (
    SELECT alert.*, w.id AS activation_id, w.esme, w.request_id, w.mode, w.starts_at, w.ends_at,
           row_number() OVER (PARTITION BY alert.id, alert.chf, alert.outage_start ORDER BY alert.ord, w.starts_at, w.id) AS pick
    FROM alert JOIN activation w ON w.chf = alert.chf
    WHERE w.standing = 1 AND w.starts_at <= alert.received_at AND alert.received_at < w.ends_at
      AND NOT EXISTS (SELECT 1 FROM forwarded f WHERE f.alert_id = alert.id AND f.chf = alert.chf AND f.outage_start IN (alert.outage_start, ` + unknownStart + `))
      AND NOT EXISTS (SELECT 1 FROM suppression s WHERE s.alert_id = alert.id AND s.chf = alert.chf AND s.outage_start = alert.outage_start)
)
INSERT INTO suppression (seq, alert_id, alert_code, chf, esme, mpxn, mpxn_valid, distributor, outage_start, received_at,
    activation_id, request_id, mode, window_start, window_end, throttled_sequence, throttled_count, outcome, started_before, repeated)
SELECT (SELECT value FROM counter WHERE name = 'suppression') + row_number() OVER (ORDER BY ord),
    id, code, chf, esme, mpxn, mpxn_valid, distributor, outage_start, received_at,
    activation_id, request_id, mode, starts_at, ends_at, throttled_sequence, throttled_count, outcome,
    CAST(starts_at - outage_start > tolerance AS INTEGER),
    CAST(outage_start <> coalesce((SELECT s.outage_start FROM suppression s WHERE s.esme = hit.esme AND s.activation_id = hit.activation_id ORDER BY s.seq LIMIT 1),
        outage_start) AS INTEGER)
FROM hit WHERE pick = 1
RETURNING ` + entryColumns

// repeatedSQL marks those of the new entries that are repeated in their window, and
// returns their numbers. It is run behind decideSQL where the batch has several alerts
// of a hub: to find out for all in one statement would cost every alert a tenth of its
// time.
const repeatedSQL = `UPDATE suppression SET repeated = 1 WHERE seq > (SELECT value FROM counter WHERE name = 'suppression') AND repeated = 0 AND outage_start <>
    (SELECT s.outage_start FROM suppression s WHERE s.esme = suppression.esme AND s.activation_id = suppression.activation_id ORDER BY s.seq LIMIT 1)
RETURNING seq`

// severalOfAHub reports whether any two decisions are on alerts of one hub.
func severalOfAHub(ds []*decision) bool {
	if len(ds) < 2 {
		return false
	}
	hubs := make(map[outage.DeviceID]struct{}, len(ds))
	for _, d := range ds {
		hubs[d.alert.CHF] = struct{}{}
	}
	return len(hubs) < len(ds)
}

// markRepeated takes over what repeatedSQL returned.
func markRepeated(list []outage.Entry, seqs []int64) {
	for i := range list {
		list[i].Repeated = list[i].Repeated || slices.Contains(seqs, list[i].Seq)
	}
}

// countSQL moves the counter on to the last entry. It is run in the transaction
// of decideSQL, behind all that asks for it.
const countSQL = `UPDATE counter SET value = (SELECT max(seq) FROM suppression)
WHERE name = 'suppression' AND value < (SELECT max(seq) FROM suppression)`

// appendRow appends the alert's row of decideSQL's parameter.
func appendRow(b []byte, a *outage.Alert, outcome outage.Outcome, tolerance time.Duration) []byte {
	d, valid := outage.DistributorOf(a.MPxN)
	number := func(v int64) { b = strconv.AppendInt(append(b, ','), v, 10) }
	text := func(s string) { b = sqldb.AppendText(append(b, ','), s) }
	optional := func(v *uint32) {
		if v == nil {
			b = append(b, ",null"...)
		} else {
			number(int64(*v))
		}
	}
	b = sqldb.AppendText(append(b, '['), a.ID)
	text(a.Code)
	number(int64(a.CHF))
	text(a.MPxN)
	number(int64(sqldb.Bool(valid)))
	text(d.ID)
	number(sqldb.Micros(a.OutageStart))
	number(sqldb.Micros(a.Received))
	optional(a.Throttled.SequenceID)
	optional(a.Throttled.Count)
	text(string(outcome))
	number(tolerance.Microseconds())
	return append(b, ']')
}

// Decide decides on an AD1 and, when a window is open, logs it with the given
// outcome (Suppressed, or Shadow), in one transaction with the decision. It
// returns only after the commit. An alert that was decided before gets the
// same decision, whatever has become of its window; one that was forwarded
// stays forwarded. With the outcome Shadow one that was suppressed goes forward,
// and its entry is corrected.
//
// If the store fails, or ctx ends first, the alert is to be forwarded: the
// error is then sqldb.ErrUnavailable, the journal holds that fact, and an entry that
// was or will be committed is corrected to outcome forwarded.
func (l *Ledger) Decide(ctx context.Context, a outage.Alert, outcome outage.Outcome, tolerance time.Duration) (Decision, error) {
	if why, ok := l.waiting.of(&a); ok {
		return forwarded(why, true), nil
	}
	d := &decision{alert: a, shadow: outcome == outage.Shadow, done: make(chan struct{})}
	d.row = appendRow(make([]byte, 0, 256), &a, outcome, tolerance)
	err := error(sqldb.ErrUnavailable)
	if l.decisions.Add(d) {
		select {
		case <-d.done:
			err = d.err
		case <-ctx.Done():
			if d.state.Swap(abandoned) == decided {
				<-d.done // it came in the same instant
				err = d.err
			} else {
				err = fmt.Errorf("%w: %w", sqldb.ErrUnavailable, context.Cause(ctx))
			}
		}
	}
	if err == nil {
		return d.result, nil
	}
	l.remember(ctx, record{Forwarded: &ForwardedNote{a.ID, a.CHF, a.OutageStart, a.Received, outage.ReasonStoreUnavailable}})
	return Decision{}, err
}

// rowsOf is decideSQL's parameter for decisions.
func rowsOf(ds []*decision) string {
	rows := make([]byte, 0, 256*len(ds))
	for i, d := range ds {
		rows = append(append(rows, "[,"[min(i, 1)]), d.row...)
	}
	return string(append(rows, ']'))
}

// writeDecisions decides a batch in a transaction. If all decisions of the last batch were
// suppressions, it asks for those alone, so that the batch goes with its commit in one
// packet: a lone alert across a network then takes little longer than a lone commit. What is
// not suppressed needs another transaction then.
func (l *Ledger) writeDecisions(ctx context.Context, tx sqldb.Tx, ds []*decision) error {
	l.trip = nil
	if l.oneTrip && l.opts.BeforeCommit == nil {
		l.trip = new([]outage.Entry)
		return l.suppress(ctx, tx, ds, l.trip)
	}
	if err := l.decideBatch(ctx, tx, ds); err != nil {
		return err
	}
	if l.opts.BeforeCommit != nil {
		l.opts.BeforeCommit()
	}
	return nil
}

// undecided says which decisions need another transaction after a commit.
func (l *Ledger) undecided(ds []*decision) (done, left []*decision) {
	if l.trip == nil {
		return ds, nil
	}
	done, left = takeEntries(ds, *l.trip)
	l.trip, l.oneTrip = nil, len(left) == 0
	return done, left
}

// decided tells who waits for decisions that they are committed, or are not.
func (l *Ledger) decided(ds []*decision, err error) {
	if l.opts.OnDecided != nil {
		l.opts.OnDecided(len(ds), err)
	}
	for _, d := range ds {
		d.err = err
		d.state.Store(decided) // if it was abandoned, nobody looks any more
		close(d.done)
	}
}

// suppress logs those of some alerts that are to be suppressed. The list of their entries is
// filled by the commit at the latest.
func (l *Ledger) suppress(ctx context.Context, tx sqldb.Tx, ds []*decision, list *[]outage.Entry) error {
	err := tx.LaterRows(ctx, func(rows sqldb.Rows) (err error) {
		*list, err = scanEntries(rows, nil)
		return err
	}, decideSQL, rowsOf(ds))
	if err != nil {
		return err
	}
	if severalOfAHub(ds) {
		err := tx.LaterRows(ctx, func(rows sqldb.Rows) error {
			seqs, err := sqldb.Numbers(rows, nil)
			markRepeated(*list, seqs)
			return err
		}, repeatedSQL)
		if err != nil {
			return err
		}
	}
	return tx.Later(ctx, countSQL)
}

// decideBatch decides a batch.
func (l *Ledger) decideBatch(ctx context.Context, tx sqldb.Tx, ds []*decision) error {
	list, err := scanEntries(tx.Query(ctx, decideSQL, rowsOf(ds)))
	if err != nil {
		return err
	}
	if len(list) > 1 && severalOfAHub(ds) {
		seqs, err := sqldb.Numbers(tx.Query(ctx, repeatedSQL))
		if err != nil {
			return err
		}
		markRepeated(list, seqs)
	}
	if len(list) > 0 {
		if err := tx.Later(ctx, countSQL); err != nil {
			return err
		}
	}
	_, rest := takeEntries(ds, list)
	l.oneTrip = l.db.Remote() && len(rest) == 0
	return l.decideRest(ctx, tx, rest)
}

// alertKey is what tells an alert from others: a ResponseID may be used again.
// Only AD1s are decided, so the alert's code is not in it.
type alertKey struct {
	id    string
	chf   outage.DeviceID
	start int64 // of the outage, in microseconds; noStart in a note of an earlier version
}

// noStart stands for the start of an outage that is not known: any is the same.
const (
	noStart      = math.MinInt64 + 1
	unknownStart = "-9223372036854775807" // in SQL
)

func keyOfAlert(a *outage.Alert) alertKey { return alertKey{a.ID, a.CHF, sqldb.Micros(a.OutageStart)} }

func keyOfEntry(e *outage.Entry) alertKey {
	return alertKey{e.AlertID, e.CHF, sqldb.Micros(e.OutageStart)}
}

func (f *ForwardedNote) key() alertKey { return alertKey{f.AlertID, f.CHF, f.start()} }

func (f *ForwardedNote) start() int64 {
	if f.OutageStart.IsZero() {
		return noStart
	}
	return f.OutageStart.UnixMicro()
}

// takeEntries gives new entries to the decisions that they are of, and returns
// the others.
func takeEntries(ds []*decision, list []outage.Entry) (decided, rest []*decision) {
	entries := make(map[alertKey]outage.Entry, len(list))
	for _, e := range list {
		entries[keyOfEntry(&e)] = e
	}
	told := make(map[alertKey]bool, len(list))
	for _, d := range ds {
		key := keyOfAlert(&d.alert)
		e, ok := entries[key]
		if !ok || d.shadow && e.Outcome == outage.Suppressed { // made by another in the batch, before the switch was turned
			rest = append(rest, d)
			continue
		}
		// An alert that is in the batch twice is decided once.
		retry := told[key] || sqldb.Micros(d.alert.Received) != sqldb.Micros(e.Received)
		told[key] = told[key] || !retry
		d.result = suppressed(e, retry)
		decided = append(decided, d)
	}
	return decided, rest
}

func suppressed(e outage.Entry, retry bool) Decision {
	return Decision{Decision: outage.Decision{Outcome: e.Outcome, Reason: outage.ReasonWindowOpen}, Entry: e, Retry: retry}
}

func forwarded(why outage.Reason, retry bool) Decision {
	return Decision{Decision: outage.Decision{Outcome: outage.Forwarded, Reason: why}, Retry: retry}
}

// decideRest finds out why alerts got no new entry: they were forwarded before,
// they have an entry, or no window is open. It notes those that are forwarded
// for the first time.
func (l *Ledger) decideRest(ctx context.Context, tx sqldb.Tx, rest []*decision) error {
	if len(rest) == 0 {
		return nil
	}
	keys := make([]byte, 0, 100*len(rest))
	var chfs []int64
	for i, d := range rest {
		keys = append(sqldb.AppendText(append(keys, "[,"[min(i, 1)], '['), d.alert.ID), ',')
		keys = append(strconv.AppendInt(keys, int64(d.alert.CHF), 10), ',')
		keys = append(strconv.AppendInt(keys, sqldb.Micros(d.alert.OutageStart), 10), ']')
		chfs = append(chfs, int64(d.alert.CHF))
	}
	keys = append(keys, ']')
	was := map[alertKey]Decision{}
	entries, err := scanEntries(tx.Query(ctx, `SELECT `+entryColumns+` FROM suppression
		WHERE (alert_id, chf, outage_start) IN (SELECT value->>0, CAST(value->>1 AS BIGINT), CAST(value->>2 AS BIGINT) FROM json_each(?))`, string(keys)))
	if err != nil {
		return err
	}
	for _, e := range entries {
		was[keyOfEntry(&e)] = suppressed(e, true)
	}
	notes, err := scanForwarded(tx.Query(ctx, `SELECT `+forwardedColumns+` FROM forwarded
		WHERE (alert_id, chf, outage_start) IN (SELECT value->>0, CAST(value->>1 AS BIGINT), CAST(value->>2 AS BIGINT) FROM json_each(?1)
			UNION ALL SELECT value->>0, CAST(value->>1 AS BIGINT), `+unknownStart+` FROM json_each(?1))`, string(keys)))
	if err != nil {
		return err
	}
	for _, f := range notes {
		was[f.key()] = forwarded(f.Reason, true)
	}
	acts, err := windows.OfHubs(ctx, tx, chfs)
	if err != nil {
		return err
	}
	notes = notes[:0]
	var corrections []ForwardedNote
	for _, d := range rest {
		a := &d.alert
		key := keyOfAlert(a)
		before, ok := was[key]
		if !ok {
			before, ok = was[alertKey{a.ID, a.CHF, noStart}]
		}
		if ok {
			if d.shadow && before.Outcome == outage.Suppressed {
				before = forwarded(outage.ReasonInShadow, true)
				was[key] = before
				corrections = append(corrections, ForwardedNote{a.ID, a.CHF, a.OutageStart, a.Received, before.Reason})
			}
			d.result = before
			continue
		}
		decision, _ := outage.Decide(acts[a.CHF], a.Received)
		if decision.Outcome != outage.Forwarded {
			// decideSQL found no open window, and the rules find one.
			l.log.Error("the store and the rules disagree, the alert is forwarded", "alert", a.ID, "chf", a.CHF, "received", a.Received)
			decision.Reason = outage.ReasonStoreUnavailable
		}
		d.result = forwarded(decision.Reason, false)
		was[key] = forwarded(decision.Reason, true) // it may be in the batch twice
		notes = append(notes, ForwardedNote{a.ID, a.CHF, a.OutageStart, a.Received, decision.Reason})
	}
	return errors.Join(l.insertForwarded(ctx, tx, notes), l.correct(ctx, tx, corrections...))
}

// ForwardedNote is the note that an alert was forwarded, and why.
type ForwardedNote struct {
	AlertID     string          `json:"alert_id"`
	CHF         outage.DeviceID `json:"chf_id"`
	OutageStart time.Time       `json:"outage_start,omitzero"` // zero in what an earlier version wrote
	Received    time.Time       `json:"received_at"`
	Reason      outage.Reason   `json:"reason"`
}

// insertForwarded inserts the notes of alerts that have none.
func (l *Ledger) insertForwarded(ctx context.Context, tx sqldb.Tx, list []ForwardedNote) error {
	if len(list) == 0 {
		return nil
	}
	rows := make([]byte, 0, 160*len(list))
	for i, f := range list {
		rows = append(rows, "[,"[min(i, 1)], '[')
		rows = append(sqldb.AppendText(rows, f.AlertID), ',')
		rows = append(strconv.AppendInt(rows, int64(f.CHF), 10), ',')
		rows = append(strconv.AppendInt(rows, f.start(), 10), ',')
		rows = append(strconv.AppendInt(rows, sqldb.Micros(f.Received), 10), ',')
		rows = append(sqldb.AppendText(rows, string(f.Reason)), ']')
	}
	return tx.Later(ctx, `INSERT INTO forwarded (alert_id, chf, outage_start, received_at, reason)
		SELECT value->>0, CAST(value->>1 AS BIGINT), CAST(value->>2 AS BIGINT), CAST(value->>3 AS BIGINT), value->>4 FROM json_each(?) WHERE TRUE ON CONFLICT DO NOTHING`, string(append(rows, ']')))
}

// correct notes alerts that went forward, and corrects the entries of those that
// have one. A report that has the entry already says so later, by the
// correction.
func (l *Ledger) correct(ctx context.Context, tx sqldb.Tx, list ...ForwardedNote) error {
	var rows []byte
	for _, f := range list {
		if !l.db.Remote() && !l.MayHold(f.CHF) {
			continue // a hub that this node does not know has no entries; other nodes may be ahead of it
		}
		rows = append(append(rows, "[,"[min(len(rows), 1)]), '[')
		rows = append(sqldb.AppendText(rows, f.AlertID), ',')
		rows = append(strconv.AppendInt(rows, sqldb.Micros(f.Received), 10), ',')
		rows = append(strconv.AppendInt(rows, int64(f.CHF), 10), ',')
		rows = append(strconv.AppendInt(rows, f.start(), 10), ']')
	}
	if len(rows) > 0 {
		text := string(append(rows, ']'))
		if err := tx.Later(ctx, `INSERT INTO correction (seq, at) SELECT s.seq, max(CAST(value->>1 AS BIGINT)) FROM json_each(?1)
			JOIN suppression s ON `+corrected+` WHERE s.outcome = ?2 GROUP BY s.seq ORDER BY s.seq`, text, string(outage.Suppressed)); err != nil {
			return err
		}
		if err := tx.Later(ctx, `UPDATE suppression SET outcome = ?2 WHERE outcome = ?3 AND seq IN (SELECT s.seq FROM json_each(?1) JOIN suppression s ON `+corrected+`)`,
			text, string(outage.Forwarded), string(outage.Suppressed)); err != nil {
			return err
		}
	}
	return l.insertForwarded(ctx, tx, list)
}

// corrected says which entry s a row of correct is of; one without a start is of
// an earlier version's journal.
const corrected = `s.alert_id = value->>0 AND s.chf = CAST(value->>2 AS BIGINT) AND CAST(value->>3 AS BIGINT) IN (s.outage_start, ` + unknownStart + `)`
