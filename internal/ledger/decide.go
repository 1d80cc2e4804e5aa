package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"quell/internal/held"
	"quell/internal/outage"
	"quell/internal/passed"
	"quell/internal/sqldb"
	"quell/internal/windows"
)

// A decision waits for the writer.
type decision struct {
	alert  outage.Alert
	key    uint64 // of a note that it passed
	shadow bool   // the alert is forwarded whatever is decided
	row    []byte // its row in decideSQL's parameter
	tried  bool   // a transaction with it has failed, unless it was left
	state  atomic.Int32
	done   chan struct{}
	result Decision
	err    error
}

// Decision is the result of Decide. Entry is the alert's entry in the suppression log; its
// sequence number is 0 if there is none.
type Decision struct {
	outage.Decision
	Entry outage.Entry
	// Retry says that the alert was decided before.
	Retry bool
}

// The states of a decision. It is abandoned when Decide has stopped waiting for it.
const (
	undecided int32 = iota
	decided
	abandoned
)

// decideSQL decides a batch of alerts, and logs those that are suppressed: it inserts an entry
// for each alert whose hub has an open window and that was not decided before, and returns the
// entries. Its parameter is a JSON array of rows that appendRow writes, of each alert once.
//
// Of several open windows, the one that starts first counts. An entry is repeated if its outage
// is not the first one in its window: so several alerts of the first outage, to several users,
// are not repeated. If the first outage is in the same batch, repeatedSQL marks the others.
const decideSQL = `
WITH alert AS MATERIALIZED (
    SELECT key AS ord, value->>0 AS id, value->>1 AS code, CAST(value->>2 AS BIGINT) AS chf, value->>3 AS mpxn,
           CAST(value->>4 AS BIGINT) AS mpxn_valid, value->>5 AS distributor, CAST(value->>6 AS BIGINT) AS outage_start,
           CAST(value->>7 AS BIGINT) AS received_at, CAST(value->>8 AS BIGINT) AS throttled_sequence,
           CAST(value->>9 AS BIGINT) AS throttled_count, value->>10 AS outcome, CAST(value->>11 AS BIGINT) AS tolerance
    FROM jsonb_each(?)
), hit AS (
    SELECT alert.*, w.id AS activation_id, w.esme, w.request_id, w.mode, w.starts_at, w.ends_at
    FROM alert JOIN activation w ON w.id = (SELECT w.id FROM activation w WHERE w.chf = alert.chf
        AND w.standing = 1 AND w.starts_at <= alert.received_at AND alert.received_at < w.ends_at ORDER BY w.starts_at, w.id LIMIT 1)
    WHERE NOT EXISTS (SELECT 1 FROM forwarded f WHERE f.alert_id = alert.id AND f.chf = alert.chf AND f.outage_start IN (alert.outage_start, ` + passed.UnknownStart + `))
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
FROM hit
RETURNING ` + entryColumns

// repeatedSQL marks the new entries that are repeated in their window, and returns their
// numbers. It runs after decideSQL if the batch has several alerts of a hub. In decideSQL itself
// this would cost every alert a tenth of its time.
const repeatedSQL = `UPDATE suppression SET repeated = 1 WHERE seq > (SELECT value FROM counter WHERE name = 'suppression') AND repeated = 0 AND outage_start <>
    (SELECT s.outage_start FROM suppression s WHERE s.esme = suppression.esme AND s.activation_id = suppression.activation_id ORDER BY s.seq LIMIT 1)
RETURNING seq`

// markRepeated marks the entries whose numbers repeatedSQL returned.
func markRepeated(list []outage.Entry, seqs []int64) {
	for i := range list {
		list[i].Repeated = list[i].Repeated || slices.Contains(seqs, list[i].Seq)
	}
}

// countSQL sets the counter to the last entry. It runs in the transaction of decideSQL, after
// all statements that read the counter.
const countSQL = `UPDATE counter SET value = (SELECT max(seq) FROM suppression)
WHERE name = 'suppression' AND value < (SELECT max(seq) FROM suppression)`

// appendRow appends the alert's row for decideSQL's parameter.
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

// Decide decides on an AD1. If a window is open, it logs the alert with the given outcome
// (Suppressed or Shadow), in one transaction with the decision. It returns after the commit. An
// alert that was decided before gets the same decision, whatever has happened to its window; one
// that was forwarded stays forwarded. With the outcome Shadow, an alert that was suppressed
// before goes forward, and its entry is corrected.
//
// If the store fails, or ctx ends first, the caller must forward the alert. The error is then
// sqldb.ErrUnavailable, the journal holds that fact, and an entry that was or will be committed
// is corrected to the outcome forwarded.
func (l *Ledger) Decide(ctx context.Context, a outage.Alert, outcome outage.Outcome, tolerance time.Duration) (Decision, error) {
	d := &decision{alert: a, key: passed.Key(a.ID, a.CHF, a.OutageStart), shadow: outcome == outage.Shadow, done: make(chan struct{})}
	if why, ok := l.Passed.Of(d.key); ok {
		// If it has an entry (another alert has the same key, or another node has decided), that
		// is corrected.
		l.NoteForwarded(passed.NoteOf(&a, why))
		return forwarded(why, true), nil
	}
	d.row = appendRow(make([]byte, 0, 256), &a, outcome, tolerance)
	err := error(sqldb.ErrUnavailable)
	if l.decisions.Add(d) {
		select {
		case <-d.done:
			err = d.err
		case <-ctx.Done():
			if d.state.Swap(abandoned) == decided {
				<-d.done // it was decided at the same instant
				err = d.err
			} else {
				err = fmt.Errorf("%w: %w", sqldb.ErrUnavailable, context.Cause(ctx))
			}
		}
	}
	if err == nil {
		return d.result, nil
	}
	note := passed.NoteOf(&a, outage.ReasonStoreUnavailable)
	l.remember(ctx, record{Forwarded: &note})
	return Decision{}, err
}

// rowsOf returns decideSQL's parameter for some decisions, and whether several alerts are of one
// hub.
func rowsOf(ds []*decision) (text string, several bool) {
	rows := make([]byte, 0, 256*len(ds))
	alerts, hubs := make(map[alertKey]bool, len(ds)), make(map[outage.DeviceID]bool, len(ds))
	for i, d := range ds {
		if key := keyOfAlert(&d.alert); !alerts[key] {
			several = several || hubs[key.chf]
			alerts[key], hubs[key.chf] = true, true
			rows = append(append(rows, "[,"[min(i, 1)]), d.row...)
		}
	}
	return string(append(rows, ']')), several
}

// writeDecisions decides a batch in a transaction. If all alerts of the last batch were
// suppressed, it runs only the statements for suppressed alerts, so that the batch and its commit
// go in one packet: across a network a single alert then takes little longer than a commit. An
// alert that is not suppressed then needs another transaction.
func (l *Ledger) writeDecisions(ctx context.Context, tx sqldb.Tx, ds []*decision) error {
	l.expected = nil
	if !l.Passed.IsLoaded() {
		return l.decideRest(ctx, tx, ds) // they may have passed before: nothing is suppressed
	}
	if l.db.Remote() {
		if err := l.Passed.ReadLater(ctx, tx); err != nil {
			return err
		}
	}
	if l.expectSuppressed && l.opts.BeforeCommit == nil {
		l.expected = new([]outage.Entry)
		return errors.Join(l.suppress(ctx, tx, ds, l.expected), l.hold(ctx, tx, ds))
	}
	decided, err := l.decideBatch(ctx, tx, ds)
	if err == nil {
		err = l.hold(ctx, tx, decided)
	}
	if err != nil {
		return err
	}
	if l.opts.BeforeCommit != nil {
		l.opts.BeforeCommit()
	}
	return nil
}

// hold keeps the messages of alerts that are suppressed. A decision does not depend on that: if
// the database refuses it, the next transactions keep none, for a minute.
func (l *Ledger) hold(ctx context.Context, tx sqldb.Tx, ds []*decision) (err error) {
	list := make([]held.Message, 0, len(ds))
	for _, d := range ds {
		if d.tried {
			l.stopHolding(errors.New("the store refused a transaction with some"))
		}
		if d.tried = true; d.alert.Message != nil && !d.result.Retry && !d.shadow {
			list = append(list, held.Message{Key: d.key, Received: d.alert.Received, Bytes: d.alert.Message})
		}
	}
	if len(list) == 0 || time.Now().Before(l.noHold) {
		return nil
	}
	if err = held.Insert(ctx, tx, list); err != nil && !l.db.Remote() {
		l.stopHolding(err)
		err = nil // SQLite has undone the statement alone, or the commit fails
	}
	return err
}

func (l *Ledger) stopHolding(err error) {
	l.noHold = time.Now().Add(time.Minute)
	l.log.Error("suppressed alerts of the next minute are not kept, and cannot be released", "error", err)
}

// undecided returns the decisions that need another transaction after a commit.
func (l *Ledger) undecided(ds []*decision) (done, left []*decision) {
	if l.expected == nil {
		return ds, nil
	}
	done, left = l.matchEntries(ds, *l.expected)
	for _, d := range left {
		d.tried = false
	}
	l.expected, l.expectSuppressed = nil, len(left) == 0
	return done, left
}

// decisionsDone ends the wait for decisions, which are committed or have failed.
func (l *Ledger) decisionsDone(ds []*decision, err error) {
	if l.opts.OnDecided != nil {
		l.opts.OnDecided(len(ds), err)
	}
	if err != nil && l.db.Remote() && l.db.Refuses(err) {
		l.stopHolding(err)
	}
	for _, d := range ds {
		d.err = err
		d.state.Store(decided) // if it was abandoned, nobody reads this
		close(d.done)
	}
}

// suppress logs the alerts that are to be suppressed. After the commit, list has their entries.
func (l *Ledger) suppress(ctx context.Context, tx sqldb.Tx, ds []*decision, list *[]outage.Entry) error {
	rows, several := rowsOf(ds)
	err := tx.LaterRows(ctx, func(rows sqldb.Rows) (err error) {
		*list, err = scanEntries(rows, nil)
		return err
	}, decideSQL, rows)
	if err != nil {
		return err
	}
	if several {
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

// decideBatch decides all alerts of a batch, and returns the decisions on those that have a new entry.
func (l *Ledger) decideBatch(ctx context.Context, tx sqldb.Tx, ds []*decision) (decided []*decision, err error) {
	rows, several := rowsOf(ds)
	list, err := scanEntries(tx.Query(ctx, decideSQL, rows))
	if err != nil {
		return nil, err
	}
	if len(list) > 1 && several {
		seqs, err := sqldb.Numbers(tx.Query(ctx, repeatedSQL))
		if err != nil {
			return nil, err
		}
		markRepeated(list, seqs)
	}
	if len(list) > 0 {
		if err := tx.Later(ctx, countSQL); err != nil {
			return nil, err
		}
	}
	decided, rest := l.matchEntries(ds, list)
	l.expectSuppressed = l.db.Remote() && len(rest) == 0
	return decided, l.decideRest(ctx, tx, rest)
}

// alertKey identifies an alert, since a ResponseID may be used again. Only AD1s are decided, so
// it does not have the alert's code.
type alertKey struct {
	id    string
	chf   outage.DeviceID
	start int64 // of the outage, in microseconds; passed.NoStart in a note of an earlier version
}

func keyOfAlert(a *outage.Alert) alertKey { return alertKey{a.ID, a.CHF, sqldb.Micros(a.OutageStart)} }

func keyOfEntry(e *outage.Entry) alertKey {
	return alertKey{e.AlertID, e.CHF, sqldb.Micros(e.OutageStart)}
}

// matchEntries gives each new entry to its decision. rest are the decisions without an entry, and
// those on alerts that passed at another node.
func (l *Ledger) matchEntries(ds []*decision, list []outage.Entry) (decided, rest []*decision) {
	entries := make(map[alertKey]outage.Entry, len(list))
	for _, e := range list {
		entries[keyOfEntry(&e)] = e
	}
	seen := make(map[alertKey]bool, len(list))
	for _, d := range ds {
		key := keyOfAlert(&d.alert)
		e, ok := entries[key]
		_, went := l.Passed.Before(d.key)
		if !ok || went || d.shadow && e.Outcome == outage.Suppressed { // the entry of another try in the batch, before the switch was changed
			rest = append(rest, d)
			continue
		}
		// An alert that is in the batch twice is decided once.
		retry := seen[key] || sqldb.Micros(d.alert.Received) != sqldb.Micros(e.Received)
		seen[key] = seen[key] || !retry
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

// decideRest finds out why alerts got no new entry: they were forwarded before, they have an
// entry, or no window is open. It notes the alerts that are forwarded for the first time.
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
	notes, err := passed.Forwarded(ctx, tx, string(keys))
	if err != nil {
		return err
	}
	for _, f := range notes {
		was[alertKey{f.AlertID, f.CHF, f.Start()}] = forwarded(f.Reason, true)
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
			before, ok = was[alertKey{a.ID, a.CHF, passed.NoStart}]
		}
		if ok {
			why, went := l.Passed.Before(d.key)
			if d.shadow {
				why, went = outage.ReasonInShadow, true
			}
			if went && before.Outcome == outage.Suppressed {
				before = forwarded(why, true)
				was[key] = before
				corrections = append(corrections, passed.NoteOf(a, before.Reason))
			}
			d.result = before
			continue
		}
		decision, _ := outage.Decide(acts[a.CHF], a.Received)
		if decision.Outcome != outage.Forwarded {
			if l.Passed.IsLoaded() { // decideSQL found no open window, but the rules find one
				l.log.Error("the store and the rules disagree, the alert is forwarded", "alert", a.ID, "chf", a.CHF, "received", a.Received)
			}
			decision.Reason = outage.ReasonStoreUnavailable
		}
		d.result = forwarded(decision.Reason, false)
		was[key] = forwarded(decision.Reason, true) // the alert may be in the batch twice
		notes = append(notes, passed.NoteOf(a, decision.Reason))
	}
	return errors.Join(passed.InsertForwarded(ctx, tx, notes), l.correct(ctx, tx, corrections...))
}

// Release notes that a suppressed alert was delivered late, and corrects its entry to that outcome,
// unless it was delivered before. A retry of it is forwarded.
func (l *Ledger) Release(ctx context.Context, tx sqldb.Tx, f ForwardedNote) error {
	return l.correctTo(ctx, tx, outage.Released, f)
}

// correct notes alerts that went forward, and corrects their entries, if they have any. If a
// report has the entry already, a later report has the correction.
func (l *Ledger) correct(ctx context.Context, tx sqldb.Tx, list ...ForwardedNote) error {
	return l.correctTo(ctx, tx, outage.Forwarded, list...)
}

func (l *Ledger) correctTo(ctx context.Context, tx sqldb.Tx, to outage.Outcome, list ...ForwardedNote) error {
	var rows []byte
	for _, f := range list {
		if !l.db.Remote() && !l.MayHaveWindow(f.CHF) {
			continue // no entries: a single node knows all hubs that have entries
		}
		rows = append(append(rows, "[,"[min(len(rows), 1)]), '[')
		rows = append(sqldb.AppendText(rows, f.AlertID), ',')
		rows = append(strconv.AppendInt(rows, sqldb.Micros(f.Received), 10), ',')
		rows = append(strconv.AppendInt(rows, int64(f.CHF), 10), ',')
		rows = append(strconv.AppendInt(rows, f.Start(), 10), ']')
	}
	if len(rows) > 0 {
		text := string(append(rows, ']'))
		if err := errors.Join(tx.Later(ctx, addCorrectionsSQL, text, string(outage.Suppressed)), tx.Later(ctx, correctSQL, text, string(outage.Suppressed), string(to))); err != nil {
			return err
		}
	}
	return passed.InsertForwarded(ctx, tx, list)
}

// The statements of correct. A LEFT JOIN goes from the rows to the log, whatever the planner thinks
// of the log's size, if nothing rules out NULL. A row without a start is from an earlier version.
const (
	suppressedRows = `json_each(?1) LEFT JOIN suppression s ON s.alert_id = value->>0 AND s.chf = CAST(value->>2 AS BIGINT)
		AND CAST(value->>3 AS BIGINT) IN (s.outage_start, ` + passed.UnknownStart + `) WHERE coalesce(s.outcome, '') = ?2`
	addCorrectionsSQL = `INSERT INTO correction (seq, at) SELECT s.seq, max(CAST(value->>1 AS BIGINT)) FROM ` + suppressedRows + ` GROUP BY s.seq ORDER BY s.seq`
	correctSQL        = `UPDATE suppression SET outcome = ?3 WHERE seq IN (SELECT coalesce(s.seq, 0) FROM ` + suppressedRows + `)`
)
