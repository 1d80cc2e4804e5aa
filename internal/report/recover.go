package report

import (
	"context"
	"iter"
	"strconv"
	"time"

	"quell/internal/assess"
	"quell/internal/events"
	"quell/internal/outage"
	"quell/internal/sqldb"
)

// A store that was restored from a backup has lost what came after the backup: log entries, and
// reports that were delivered. What was delivered is recovered from its files, so that no
// number of a report or an entry is used twice.

// Lost are reports that were delivered and that the database does not have.
type Lost struct {
	Reports []Report // in order, with their files
	// Entries are the entries of the reports, in order; and then those that the reports correct, as
	// they were corrected. The next report has these corrections once more.
	Entries iter.Seq2[outage.Entry, error]
	// Next is the number of the next report, above any that was used.
	Next int64
	// Remotes says which remote takes which stream. The files are delivered to them once
	// more, since it is not known which remote has which file.
	Remotes map[string]string
	At      time.Time // now
	Who     string
	Why     string
}

// nextReport is the setting with the lowest number that the next report may have.
const nextReport = "next_report"

// NextReport returns the lowest number that the next report may have, as an operator said after
// a restore; 0 if none did. Reports with lower numbers that were delivered are recovered, or
// given up.
func (reg *Register) NextReport(ctx context.Context) (int64, error) {
	no, err := readNextReport(ctx, reg.db)
	return no, sqldb.Unavailable(err)
}

func readNextReport(ctx context.Context, q sqldb.Querier) (no int64, err error) {
	list, err := sqldb.Texts(q.Query(ctx, `SELECT value FROM setting WHERE name = '`+nextReport+`'`))
	if err != nil || len(list) == 0 {
		return 0, err
	}
	return strconv.ParseInt(list[0], 10, 64)
}

// Recover adds reports that were delivered, and their entries. An entry that was logged under
// one of their numbers since the backup gets a new number, at the end of the log. If it fails,
// it may be called again. The error may be ErrStale.
func (reg *Register) Recover(ctx context.Context, d Lost) error {
	last, err := reg.Last(ctx)
	if err != nil {
		return err
	}
	seq := last.LastSeq
	for _, r := range d.Reports {
		seq = max(seq, r.LastSeq)
	}
	if err := reg.ledger.RecoverEntries(ctx, last.LastSeq, seq, d.Entries); err != nil {
		return err
	}
	e := events.Event{At: d.At, Who: d.Who, What: "reports", Old: strconv.FormatInt(last.No+1, 10), New: strconv.FormatInt(d.Next, 10), Why: d.Why}.By(ctx)
	return reg.db.Do(ctx, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) error {
		now, err := lastReport(ctx, tx)
		if err != nil {
			return err
		}
		if now.No != last.No {
			return sqldb.Unchanged(ErrStale)
		}
		if err := assess.Forget(ctx, tx, last.LastSeq); err != nil {
			return err
		}
		for _, r := range d.Reports {
			r.lastEvent, r.lastCorrection, r.lastEvidence = last.lastEvent, last.lastCorrection, last.lastEvidence // later ones are in the next report
			if err := reg.recoverReport(ctx, tx, r, d); err != nil {
				return err
			}
		}
		if err := tx.Later(ctx, `INSERT INTO setting (name, value) VALUES ('`+nextReport+`', ?1) ON CONFLICT (name) DO UPDATE SET value = ?1`, strconv.FormatInt(d.Next, 10)); err != nil {
			return err
		}
		return events.Insert(ctx, tx, e)
	})
}

func (reg *Register) recoverReport(ctx context.Context, tx sqldb.Tx, r Report, d Lost) error {
	if err := reg.insertReport(ctx, tx, r); err != nil {
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
			if err := reg.insertDelivery(ctx, tx, Delivery{Report: r.No, Stream: f.Stream, Remote: remote, State: StateWritten, At: d.At}); err != nil {
				return err
			}
		}
	}
	return nil
}
