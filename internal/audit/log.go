package audit

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"quell/internal/sqldb"
)

// Log is the audit log of a database. Its methods may be called from any goroutine.
type Log struct {
	db  *sqldb.DB
	now func() time.Time
	log *slog.Logger
	refusals
}

// New returns the log of a database.
func New(db *sqldb.DB, now func() time.Time, log *slog.Logger) *Log {
	l := &Log{db: db, now: now, log: log}
	l.refusals.init()
	return l
}

// Write adds records that belong to no change of the store, in a transaction of their own. A
// record without a time gets the present one. The error is sqldb.ErrUnavailable; the records may
// be there all the same.
func (l *Log) Write(ctx context.Context, list ...Record) error {
	for i := range list {
		if list[i].At.IsZero() {
			list[i].At = l.now()
		}
	}
	return l.write(ctx, sqldb.Retry, false, list)
}

// write writes records, unless again says that an earlier try may have written them, and it has.
func (l *Log) write(ctx context.Context, how sqldb.How, again bool, list []Record) error {
	return l.db.Do(ctx, how, func(ctx context.Context, tx sqldb.Tx) error {
		if again {
			there, err := recent(ctx, tx, list[len(list)-1])
			if there || err != nil {
				return err // the answer to an earlier try was lost
			}
		}
		again = true
		for _, r := range list {
			if err := Append(ctx, tx, r); err != nil {
				return err
			}
		}
		return nil
	})
}

// AppendOnce is Append for a change that may be made again after an answer was lost: it does
// nothing if the record is among the last ones.
func AppendOnce(ctx context.Context, tx sqldb.Tx, r Record) error {
	if there, err := recent(ctx, tx, r); there || err != nil {
		return err
	}
	return Append(ctx, tx, r)
}

// recentRecords is how many records may be written between a try and the next.
const recentRecords = 10_000

// recent reports whether a record is among the last ones.
func recent(ctx context.Context, tx sqldb.Tx, r Record) (there bool, err error) {
	r = r.storable()
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM audit WHERE no > (SELECT no FROM audit_chain WHERE which = 'head') - ?
		AND at = ? AND who = ? AND origin = ? AND what = ? AND object = ? AND outcome = ? AND count = ?)`,
		recentRecords, sqldb.Micros(r.At), r.Who, r.From, r.What, r.Object, string(r.Outcome), r.Count).Scan(&there)
	return there, err
}

// Page is some records, and the ends of the chain at the same instant.
type Page struct {
	Records []Record `json:"records"` // in order
	Head    Head     `json:"head"`    // the last record of all
	Anchor  Head     `json:"anchor"`  // the last record that was deleted as too old
	// Last is the highest number of a record, which is that of the head.
	Last int64 `json:"last"`
}

var errNoChain = errors.New("the audit log has lost its head or its anchor")

// Page returns up to limit records with numbers above after, in order. The error is
// sqldb.ErrUnavailable.
func (l *Log) Page(ctx context.Context, after int64, limit int) (p Page, err error) {
	rows, err := l.db.Query(ctx, `SELECT h.no, h.hash, n.no, n.hash, (SELECT coalesce(max(no), 0) FROM audit),
			coalesce(a.no, 0), coalesce(a.at, 0), coalesce(a.who, ''), coalesce(a.role, ''), coalesce(a.origin, ''), coalesce(a.what, ''), coalesce(a.object, ''),
			coalesce(a.outcome, ''), coalesce(a.why, ''), coalesce(a.detail, ''), coalesce(a.count, 0), coalesce(a.hash, '')
		FROM audit_chain h CROSS JOIN audit_chain n LEFT JOIN (SELECT * FROM audit WHERE no > ?1 ORDER BY no LIMIT ?2) AS a ON TRUE
		WHERE h.which = 'head' AND n.which = 'anchor' ORDER BY a.no`, after, limit)
	some := false
	list, err := sqldb.Scan(rows, err, func(rows sqldb.Rows, r *Record) error {
		var at int64
		err := rows.Scan(&p.Head.No, &p.Head.Hash, &p.Anchor.No, &p.Anchor.Hash, &p.Last,
			&r.No, &at, &r.Who, &r.Role, &r.From, &r.What, &r.Object, (*string)(&r.Outcome), &r.Why, &r.Detail, &r.Count, &r.Hash)
		r.At = sqldb.Instant(at)
		some = true
		return err
	})
	if err == nil && !some {
		err = errNoChain
	}
	if len(list) == 1 && list[0].Hash == "" && list[0].No == 0 {
		list = nil // only the ends
	}
	p.Records = append([]Record{}, list...)
	return p, sqldb.Unavailable(err)
}

// ReadHead returns the head of the log.
func ReadHead(ctx context.Context, q sqldb.Querier) (h Head, err error) {
	err = q.QueryRow(ctx, `SELECT no, hash FROM audit_chain WHERE which = 'head'`).Scan(&h.No, &h.Hash)
	return h, err
}

// deleted is the word for a deletion of old records. Its object is the anchor then.
const deleted = "audit-deleted"

// housekeepBatch is how many records one transaction deletes: few, since decisions wait for it.
const housekeepBatch = 250

// Housekeep deletes records from before an instant, from the front up to the first that is not,
// and returns how many. check is called in each transaction, and its error is returned.
func (l *Log) Housekeep(ctx context.Context, before time.Time, check func(context.Context, sqldb.Tx) error) (total int, err error) {
	for n := housekeepBatch; n == housekeepBatch; total += n {
		n, err = sqldb.Write(ctx, l.db, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) (int, error) {
			if err := check(ctx, tx); err != nil {
				return 0, err
			}
			return l.deleteBatch(ctx, tx, before)
		})
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func (l *Log) deleteBatch(ctx context.Context, tx sqldb.Tx, before time.Time) (n int, err error) {
	rows, err := tx.Query(ctx, `SELECT no, at, hash FROM audit ORDER BY no LIMIT ?`, housekeepBatch)
	type row struct {
		Head
		at int64
	}
	list, err := sqldb.Scan(rows, err, func(rows sqldb.Rows, r *row) error { return rows.Scan(&r.No, &r.at, &r.Hash) })
	if err != nil {
		return 0, err
	}
	for n < len(list) && sqldb.Instant(list[n].at).Before(before) {
		n++
	}
	if n == 0 {
		return 0, nil
	}
	last := list[n-1].Head
	return n, errors.Join(
		tx.Later(ctx, `UPDATE audit_chain SET no = ?, hash = ? WHERE which = 'anchor'`, last.No, last.Hash),
		tx.Later(ctx, `DELETE FROM audit WHERE no <= ?`, last.No),
		Append(ctx, tx, Record{At: l.now(), Who: Quell, From: Quell, What: deleted, Object: last.String(), Outcome: Done, Why: "housekeeping", Count: int64(n)}))
}

// Sent returns the number of the last record that was delivered to syslog. If none ever was, that
// is the anchor: syslog gets all records that are kept.
func (l *Log) Sent(ctx context.Context) (no int64, err error) {
	return sqldb.Write(ctx, l.db, sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) (no int64, err error) {
		if err = tx.Later(ctx, `INSERT INTO audit_chain (which, no, hash) SELECT 'sent', no, '' FROM audit_chain WHERE which = 'anchor' ON CONFLICT DO NOTHING`); err != nil {
			return 0, err
		}
		err = tx.QueryRow(ctx, `SELECT no FROM audit_chain WHERE which = 'sent'`).Scan(&no)
		return no, err
	})
}

// SetSent notes that a record, and all before it, were delivered to syslog.
func (l *Log) SetSent(ctx context.Context, no int64) error {
	return l.db.Do(ctx, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) error {
		return tx.Later(ctx, `UPDATE audit_chain SET no = ?1 WHERE which = 'sent' AND no < ?1`, no)
	})
}
