package report

import (
	"context"
	"iter"
	"strconv"
	"time"

	"quell/internal/events"
	"quell/internal/outage"
	"quell/internal/sqldb"
)

// A store that was put back from a backup has lost what came after the backup: log
// entries, and reports that were delivered. What was delivered is taken back from its
// files, so that neither numbers of reports nor of entries are given out twice.

// Lost are reports that were delivered and that the database does not know.
type Lost struct {
	Reports []Report // in order, with their files
	// Entries are those of the reports, in order.
	Entries iter.Seq2[outage.Entry, error]
	// Next is the number of the next report: more than any that was given out.
	Next int64
	// Remotes says which remote takes which stream. They get the files once more: whether
	// each has them is found out that way.
	Remotes map[string]string
	At      time.Time // now
	Who     string
	Why     string
}

// nextReport is the setting that says which number the next report has at least.
const nextReport = "next_report"

// NextReport is the number that an operator has said the next report has at least;
// what was delivered under lower ones is known, or was given up. It is 0 if none has.
func (g *Register) NextReport(ctx context.Context) (int64, error) {
	no, err := readNextReport(ctx, g.db)
	return no, sqldb.Unavailable(err)
}

func readNextReport(ctx context.Context, q sqldb.Querier) (no int64, err error) {
	list, err := sqldb.Texts(q.Query(ctx, `SELECT value FROM setting WHERE name = '`+nextReport+`'`))
	if err != nil || len(list) == 0 {
		return 0, err
	}
	return strconv.ParseInt(list[0], 10, 64)
}

// TakeBack takes over reports that were delivered, and the entries that they have. An
// entry that was logged since under one of their numbers gets another, at the end of
// the log. It may be called again where it failed. The error may be ErrStale.
func (g *Register) TakeBack(ctx context.Context, d Lost) error {
	last, err := g.Last(ctx)
	if err != nil {
		return err
	}
	seq := last.LastSeq
	for _, r := range d.Reports {
		seq = max(seq, r.LastSeq)
	}
	if err := g.ledger.TakeBack(ctx, last.LastSeq, seq, d.Entries); err != nil {
		return err
	}
	return g.db.Do(ctx, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) error {
		now, err := lastReport(ctx, tx)
		if err != nil {
			return err
		}
		if now.No != last.No {
			return sqldb.Unchanged(ErrStale)
		}
		for _, r := range d.Reports {
			r.lastEvent, r.lastCorrection = last.lastEvent, last.lastCorrection // what came since is said in the next
			if err := g.takeReport(ctx, tx, r, d); err != nil {
				return err
			}
		}
		if err := tx.Later(ctx, `INSERT INTO setting (name, value) VALUES ('`+nextReport+`', ?1) ON CONFLICT (name) DO UPDATE SET value = ?1`, strconv.FormatInt(d.Next, 10)); err != nil {
			return err
		}
		return events.Insert(ctx, tx, events.Event{At: d.At, Who: d.Who, What: "reports", Old: strconv.FormatInt(last.No+1, 10), New: strconv.FormatInt(d.Next, 10), Why: d.Why})
	})
}

func (g *Register) takeReport(ctx context.Context, tx sqldb.Tx, r Report, d Lost) error {
	if err := g.insertReport(ctx, tx, r); err != nil {
		return err
	}
	for _, f := range r.Files {
		if err := tx.Later(ctx, `INSERT INTO report_file (stream, report_no, name, period_start, previous, records, size, sha256) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			f.Stream, r.No, f.Name, sqldb.Micros(f.Start), f.Previous, f.Records, f.Size, f.SHA256); err != nil {
			return err
		}
		for remote, takes := range d.Remotes {
			if takes != f.Stream {
				continue
			}
			if err := g.insertDelivery(ctx, tx, Delivery{Report: r.No, Stream: f.Stream, Remote: remote, State: StateWritten, At: d.At}); err != nil {
				return err
			}
		}
	}
	return nil
}
