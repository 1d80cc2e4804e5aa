package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

// recoverBatch is how many entries one transaction of RecoverEntries writes.
const recoverBatch = 250

// RecoverEntries adds entries that were delivered in reports and are not in the log, as after a
// database was restored from a backup. known is the number of the last entry in a report that
// the database has; last is that of the last entry that was delivered. An entry that was logged
// since the backup under a number between these gets a new number, at the end of the log. An entry
// that comes again, with another outcome, is corrected. If it fails, it may be called again.
func (l *Ledger) RecoverEntries(ctx context.Context, known, last int64, entries iter.Seq2[outage.Entry, error]) error {
	// From now on nothing is logged under a number that was delivered. Entries that were logged
	// since the backup get negative numbers for now.
	if err := l.db.Do(ctx, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) error {
		return tx.Later(ctx, `UPDATE counter SET value = ?1 WHERE name = 'suppression' AND value < ?1`, last)
	}); err != nil {
		return err
	}
	if err := l.renumberAll(ctx, `seq > ? AND seq <= ?`, []any{known, last}, func(seq, _ int64) int64 { return -seq }); err != nil {
		return err
	}
	var some []outage.Entry
	for e, err := range entries {
		if err != nil {
			return err
		}
		if some = append(some, e); len(some) == recoverBatch {
			if err := l.recoverAll(ctx, some); err != nil {
				return err
			}
			some = nil
		}
	}
	if err := l.recoverAll(ctx, some); err != nil {
		return err
	}
	return l.renumberAll(ctx, `seq < 0`, nil, func(_, next int64) int64 { return next })
}

// filePrecision is the precision of instants in report files.
const filePrecision = time.Millisecond

// recoverAll adds entries of delivered reports, under their numbers.
func (l *Ledger) recoverAll(ctx context.Context, list []outage.Entry) error {
	if len(list) == 0 {
		return nil
	}
	return l.db.Do(ctx, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) error {
		for _, e := range list {
			l.hubs.Add(e.CHF) // one too many does no harm
			if err := l.recoverEntry(ctx, tx, e); err != nil {
				return fmt.Errorf("entry %d: %w", e.Seq, err)
			}
		}
		return nil
	})
}

func (l *Ledger) recoverEntry(ctx context.Context, tx sqldb.Tx, e outage.Entry) error {
	known, err := scanEntries(tx.Query(ctx, `SELECT `+entryColumns+` FROM suppression WHERE alert_id = ? AND chf = ?`, e.AlertID, int64(e.CHF)))
	if err != nil {
		return err
	}
	for _, k := range known {
		if k.OutageStart.Truncate(filePrecision).Equal(e.OutageStart.Truncate(filePrecision)) { // it was in the backup, or a retry was logged since
			if k.Seq == e.Seq && (e.Outcome == outage.Forwarded || e.Outcome == outage.Released) { // corrected since
				return l.correctTo(ctx, tx, e.Outcome, ForwardedNote{AlertID: k.AlertID, CHF: k.CHF, OutageStart: k.OutageStart, Received: k.Received, Reason: outage.ReasonStoreUnavailable})
			}
			return errors.Join(l.renumber(ctx, tx, k.Seq, e.Seq), tx.Later(ctx, `UPDATE suppression SET outcome = ? WHERE seq = ? AND outcome = ?`, string(e.Outcome), e.Seq, string(outage.Suppressed)))
		}
	}
	optional := func(v *uint32) any {
		if v == nil {
			return nil
		}
		return int64(*v)
	}
	_, err = tx.Exec(ctx, `INSERT INTO suppression (`+entryColumns+`, activation_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)`,
		e.Seq, e.AlertID, e.AlertCode, int64(e.CHF), int64(e.ESME), e.MPxN, sqldb.Bool(e.MPxNValid), e.Distributor, sqldb.Micros(e.OutageStart), sqldb.Micros(e.Received),
		e.RequestID, string(e.Mode), sqldb.Micros(e.WindowStart), sqldb.Micros(e.WindowEnd), optional(e.Throttled.SequenceID), optional(e.Throttled.Count),
		string(e.Outcome), sqldb.Bool(e.StartedBefore), sqldb.Bool(e.Repeated))
	return err
}

// renumber gives an entry another number.
func (l *Ledger) renumber(ctx context.Context, tx sqldb.Tx, from, to int64) error {
	return errors.Join(
		tx.Later(ctx, `UPDATE correction SET seq = ? WHERE seq = ?`, to, from),
		tx.Later(ctx, `UPDATE suppression SET seq = ? WHERE seq = ?`, to, from))
}

// renumberAll gives new numbers to the entries for which cond is true, in order of abs(seq). The
// function number returns the new number, from the entry's number and the next free number.
// If it returns the free one, the counter moves on.
func (l *Ledger) renumberAll(ctx context.Context, cond string, args []any, number func(seq, next int64) int64) error {
	for n := recoverBatch; n == recoverBatch; {
		var err error
		n, err = sqldb.Write(ctx, l.db, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) (int, error) {
			seqs, err := sqldb.Numbers(tx.Query(ctx, `SELECT seq FROM suppression WHERE `+cond+` ORDER BY abs(seq) LIMIT ?`, append(args, recoverBatch)...))
			if err != nil {
				return 0, err
			}
			var next int64
			if err := tx.QueryRow(ctx, `SELECT value + 1 FROM counter WHERE name = 'suppression'`).Scan(&next); err != nil {
				return 0, err
			}
			for _, seq := range seqs {
				to := number(seq, next)
				if err := l.renumber(ctx, tx, seq, to); err != nil {
					return 0, err
				}
				if to == next {
					next++
				}
			}
			return len(seqs), tx.Later(ctx, `UPDATE counter SET value = ? WHERE name = 'suppression'`, next-1)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
