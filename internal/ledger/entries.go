package ledger

import (
	"context"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"time"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

// LastCorrection returns the number of the last correction; 0 if there is none.
func LastCorrection(ctx context.Context, q sqldb.Querier) (no int64, err error) {
	err = q.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM correction`).Scan(&no)
	return no, err
}

// FirstEntry returns the number of the first entry in the log, or of the next entry if the log
// is empty.
func FirstEntry(ctx context.Context, q sqldb.Querier) (seq int64, err error) {
	err = q.QueryRow(ctx, `SELECT coalesce(min(seq), (SELECT value + 1 FROM counter WHERE name = 'suppression')) FROM suppression`).Scan(&seq)
	return seq, err
}

// FirstReceived returns when the first entry in the log was received; the zero time if the log
// is empty.
func FirstReceived(ctx context.Context, q sqldb.Querier) (time.Time, error) {
	var at int64
	err := q.QueryRow(ctx, `SELECT coalesce((SELECT received_at FROM suppression WHERE seq = (SELECT min(seq) FROM suppression)), 0)`).Scan(&at)
	return sqldb.Instant(at), err
}

// Corrections returns the entries with seq < below that have a correction with after < id ≤
// last, as they are now.
func Corrections(ctx context.Context, q sqldb.Querier, after, last, below int64) ([]outage.Entry, error) {
	return scanEntries(q.Query(ctx, `SELECT `+entryColumns+` FROM suppression WHERE seq IN
		(SELECT seq FROM correction WHERE id > ? AND id <= ? AND seq < ?) ORDER BY seq`, after, last, below))
}

// CorrectionsAfter returns the numbers of up to limit corrections with numbers above no, in
// order; and by that number the corrected entries with seq ≤ last, as they are now.
func (l *Ledger) CorrectionsAfter(ctx context.Context, no, last int64, limit int) (numbers []int64, of map[int64]outage.Entry, err error) {
	type key struct{ no, seq int64 }
	rows, err := l.db.Query(ctx, `SELECT id, seq FROM correction WHERE id > ? ORDER BY id LIMIT ?`, no, limit)
	keys, err := sqldb.Scan(rows, err, func(rows sqldb.Rows, k *key) error { return rows.Scan(&k.no, &k.seq) })
	if err != nil {
		return nil, nil, sqldb.Unavailable(err)
	}
	var seqs []int64
	for _, k := range keys {
		numbers, seqs = append(numbers, k.no), append(seqs, k.seq)
	}
	list, err := scanEntries(l.db.Query(ctx, `SELECT `+entryColumns+` FROM suppression
		WHERE seq <= ? AND seq IN (SELECT CAST(value->>0 AS BIGINT) FROM json_each(?))`, last, sqldb.Column(seqs)))
	if err != nil {
		return nil, nil, sqldb.Unavailable(err)
	}
	entries := map[int64]outage.Entry{}
	for _, e := range list {
		entries[e.Seq] = e
	}
	of = map[int64]outage.Entry{}
	for _, k := range keys {
		if e, ok := entries[k.seq]; ok {
			of[k.no] = e
		}
	}
	return numbers, of, nil
}

// entrySpan is how many sequence numbers one query reads, and entryReads how many such queries
// run at once.
const (
	entrySpan  = 5000
	entryReads = 2
)

// entryColumnsAsOf is entryColumns with the outcome that an entry had before the corrections
// with numbers above its parameter.
var entryColumnsAsOf = strings.Replace(entryColumns, ` outcome,`, fmt.Sprintf(` CASE WHEN outcome IN ('%s', '%s') AND EXISTS (SELECT 1 FROM correction c
	WHERE c.seq = suppression.seq AND c.id > ?) THEN '%s' ELSE outcome END,`, outage.Forwarded, outage.Released, outage.Suppressed), 1)

// EntriesAsOf reads the entries with sequence numbers from first to last, in order, each with
// the outcome that it had after the correction with the given number. It yields an error if an
// entry is not there any more.
func (l *Ledger) EntriesAsOf(ctx context.Context, first, last, correction int64) iter.Seq2[outage.Entry, error] {
	return func(yield func(outage.Entry, error) bool) {
		next := first
		for e, err := range l.entries(ctx, entryColumnsAsOf, []any{correction}, first, last, "") {
			if err == nil && e.Seq != next {
				err = fmt.Errorf("entry %d is not there any more", next)
			}
			next++
			if !yield(e, err) || err != nil {
				return
			}
		}
		if next <= last {
			yield(outage.Entry{}, fmt.Errorf("entry %d is not there any more", next))
		}
	}
}

// EntriesBetween reads the entries with sequence numbers from first to last, in order. While the
// caller uses some, the next are read.
func (l *Ledger) EntriesBetween(ctx context.Context, first, last int64) iter.Seq2[outage.Entry, error] {
	return l.entries(ctx, entryColumns, nil, first, last, "")
}

// EntriesReceived reads the entries received in [from, to), in the order of their sequence
// numbers. A zero time is no bound. It reads the whole log.
func (l *Ledger) EntriesReceived(ctx context.Context, from, to time.Time) iter.Seq2[outage.Entry, error] {
	first, end := int64(math.MinInt64), int64(math.MaxInt64)
	if !from.IsZero() {
		first = sqldb.Micros(from)
	}
	if !to.IsZero() {
		end = sqldb.Micros(to)
	}
	return l.entries(ctx, entryColumns, nil, 1, math.MaxInt64, " AND received_at >= ? AND received_at < ?", first, end)
}

// endsSQL finds the first and the last entry. SQLite would read the whole log for both in one SELECT.
const endsSQL = `SELECT coalesce((SELECT min(seq) FROM suppression), 1), coalesce((SELECT max(seq) FROM suppression), 0)`

// entries reads columns of the entries from first to last for which cond is true. values are the
// parameters of columns, args those of cond.
func (l *Ledger) entries(ctx context.Context, columns string, values []any, first, last int64, cond string, args ...any) iter.Seq2[outage.Entry, error] {
	type result struct {
		list []outage.Entry
		err  error
	}
	return func(yield func(outage.Entry, error) bool) {
		var least, most int64
		if err := l.db.QueryRow(ctx, endsSQL).Scan(&least, &most); err != nil {
			yield(outage.Entry{}, sqldb.Unavailable(err))
			return
		}
		next, last := max(first, least), min(last, most)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // ends the queries that nobody waits for any more
		var reads []chan result
		for next <= last || len(reads) > 0 {
			for ; next <= last && len(reads) < entryReads; next += entrySpan {
				all := slices.Concat(values, []any{next, min(next+entrySpan-1, last)}, args)
				read := make(chan result, 1)
				reads = append(reads, read)
				go func() {
					list, err := scanEntries(l.db.Query(ctx, `SELECT `+columns+` FROM suppression
						WHERE seq BETWEEN ? AND ?`+cond+` ORDER BY seq`, all...))
					read <- result{list, sqldb.Unavailable(err)}
				}()
			}
			r := <-reads[0]
			reads = reads[1:]
			for _, e := range r.list {
				if !yield(e, nil) {
					return
				}
			}
			if r.err != nil {
				yield(outage.Entry{}, r.err)
				return
			}
		}
	}
}
