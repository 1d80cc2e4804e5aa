package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"quell/internal/outage"
)

// A store that was put back from a backup has lost what came after the backup: log
// entries, and reports that were delivered. What was delivered is taken back from its
// files, so that neither numbers of reports nor of entries are given out twice.

// Delivered are reports that were delivered and that the store does not know.
type Delivered struct {
	Reports []Report // in order, with their files
	// Entries are those of the reports, in order.
	Entries iter.Seq2[outage.Entry, error]
	// Next is the number of the next report: more than any that was given out.
	Next int64
	// Remotes says which remote takes which stream. They get the files once more: whether
	// each has them is found out that way.
	Remotes map[string]string
	Who     string
	Why     string
}

// nextReport is the setting that says which number the next report has at least.
const nextReport = "next_report"

// NextReport is the number that an operator has said the next report has at least;
// what was delivered under lower ones is known, or was given up. It is 0 if none has.
func (s *Store) NextReport(ctx context.Context) (int64, error) {
	no, err := readNextReport(ctx, s.reader)
	return no, wrapRead(err)
}

func readNextReport(ctx context.Context, q querier) (no int64, err error) {
	list, err := texts(q.QueryContext(ctx, `SELECT value FROM setting WHERE name = '`+nextReport+`'`))
	if err != nil || len(list) == 0 {
		return 0, err
	}
	return strconv.ParseInt(list[0], 10, 64)
}

// TakeBack takes over reports that were delivered, and the entries that they have. An
// entry that was logged since under one of their numbers gets another, at the end of
// the log. It may be called again where it failed. The error may be ErrStale.
func (s *Store) TakeBack(ctx context.Context, d Delivered) error {
	last, err := s.LastReport(ctx)
	if err != nil {
		return err
	}
	seq := last.LastSeq
	for _, r := range d.Reports {
		seq = max(seq, r.LastSeq)
	}
	// From now on nothing is logged under a number that was delivered, and what was
	// logged since the backup makes room, under negative numbers.
	if err := s.do(ctx, later, func(ctx context.Context) error {
		return s.conn.later(ctx, `UPDATE counter SET value = ?1 WHERE name = 'suppression' AND value < ?1`, seq)
	}); err != nil {
		return err
	}
	if err := s.renumberAll(ctx, `seq > ? AND seq <= ?`, []any{last.LastSeq, seq}, func(seq, _ int64) int64 { return -seq }); err != nil {
		return err
	}
	var some []outage.Entry
	for e, err := range d.Entries {
		if err != nil {
			return err
		}
		if some = append(some, e); len(some) == importBatch {
			if err := s.takeEntries(ctx, some); err != nil {
				return err
			}
			some = nil
		}
	}
	if err := s.takeEntries(ctx, some); err != nil {
		return err
	}
	if err := s.renumberAll(ctx, `seq < 0`, nil, func(_, next int64) int64 { return next }); err != nil {
		return err
	}
	stale, err := write(ctx, s, later, func(ctx context.Context) (stale bool, err error) {
		now, err := lastReport(ctx, s.conn)
		if stale = now.No != last.No; stale || err != nil {
			return stale, err
		}
		for _, r := range d.Reports {
			r.lastEvent, r.lastCorrection = last.lastEvent, last.lastCorrection // what came since is said in the next
			if err := s.insertReport(ctx, r); err != nil {
				return false, err
			}
			for _, f := range r.Files {
				if err := s.conn.later(ctx, `INSERT INTO report_file (stream, report_no, name, period_start, previous, records, size, sha256) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
					f.Stream, r.No, f.Name, micros(f.Start), f.Previous, f.Records, f.Size, f.SHA256); err != nil {
					return false, err
				}
				for remote, takes := range d.Remotes {
					if takes != f.Stream {
						continue
					}
					if err := s.insertDelivery(ctx, Delivery{Report: r.No, Stream: f.Stream, Remote: remote, State: StateWritten, At: s.Now()}); err != nil {
						return false, err
					}
				}
			}
		}
		if err := s.conn.later(ctx, `INSERT INTO setting (name, value) VALUES ('`+nextReport+`', ?1) ON CONFLICT (name) DO UPDATE SET value = ?1`, strconv.FormatInt(d.Next, 10)); err != nil {
			return false, err
		}
		return false, s.insertEvent(ctx, Event{At: s.Now(), Who: d.Who, What: "reports", Old: strconv.FormatInt(last.No+1, 10), New: strconv.FormatInt(d.Next, 10), Why: d.Why})
	})
	if err == nil && stale {
		err = ErrStale
	}
	return err
}

// filePrecision is that of instants in the files of reports.
const filePrecision = time.Millisecond

// takeEntries puts entries of reports that were delivered under their numbers.
func (s *Store) takeEntries(ctx context.Context, list []outage.Entry) error {
	if len(list) == 0 {
		return nil
	}
	_, err := write(ctx, s, later, func(ctx context.Context) ([]outage.Entry, error) {
		for _, e := range list {
			if err := s.takeEntry(ctx, e); err != nil {
				return nil, fmt.Errorf("entry %d: %w", e.Seq, err)
			}
		}
		return list, nil
	}, func(list []outage.Entry) {
		for _, e := range list {
			s.index.add(e.CHF)
		}
	})
	return err
}

func (s *Store) takeEntry(ctx context.Context, e outage.Entry) error {
	there, err := scanEntries(s.conn.QueryContext(ctx, `SELECT `+entryColumns+` FROM suppression WHERE alert_id = ? AND chf = ?`, e.AlertID, int64(e.CHF)))
	if err != nil {
		return err
	}
	for _, t := range there {
		if t.OutageStart.Truncate(filePrecision).Equal(e.OutageStart.Truncate(filePrecision)) { // it was in the backup, or a retry was logged since
			return s.renumber(ctx, t.Seq, e.Seq)
		}
	}
	optional := func(v *uint32) any {
		if v == nil {
			return nil
		}
		return int64(*v)
	}
	_, err = s.conn.ExecContext(ctx, `INSERT INTO suppression (`+entryColumns+`, activation_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)`,
		e.Seq, e.AlertID, e.AlertCode, int64(e.CHF), int64(e.ESME), e.MPxN, truth(e.MPxNValid), e.Distributor, micros(e.OutageStart), micros(e.Received),
		e.RequestID, string(e.Mode), micros(e.WindowStart), micros(e.WindowEnd), optional(e.Throttled.SequenceID), optional(e.Throttled.Count),
		string(e.Outcome), truth(e.StartedBefore), truth(e.Repeated))
	return err
}

// renumber gives an entry another number.
func (s *Store) renumber(ctx context.Context, from, to int64) error {
	return errors.Join(
		s.conn.later(ctx, `UPDATE correction SET seq = ? WHERE seq = ?`, to, from),
		s.conn.later(ctx, `UPDATE suppression SET seq = ? WHERE seq = ?`, to, from))
}

// renumberAll gives other numbers to the entries to which cond applies, the first
// logged first: what number says, which is told the entry's and the next that is free.
// Where it takes that, it is taken.
func (s *Store) renumberAll(ctx context.Context, cond string, args []any, number func(seq, next int64) int64) error {
	for n := importBatch; n == importBatch; {
		var err error
		n, err = write(ctx, s, later, func(ctx context.Context) (int, error) {
			seqs, err := numbers(s.conn.QueryContext(ctx, `SELECT seq FROM suppression WHERE `+cond+` ORDER BY abs(seq) LIMIT ?`, append(args, importBatch)...))
			if err != nil {
				return 0, err
			}
			var next int64
			if err := s.conn.QueryRowContext(ctx, `SELECT value + 1 FROM counter WHERE name = 'suppression'`).Scan(&next); err != nil {
				return 0, err
			}
			for _, seq := range seqs {
				to := number(seq, next)
				if err := s.renumber(ctx, seq, to); err != nil {
					return 0, err
				}
				if to == next {
					next++
				}
			}
			return len(seqs), s.conn.later(ctx, `UPDATE counter SET value = ? WHERE name = 'suppression'`, next-1)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
