package report

import (
	"context"
	"database/sql"
	"time"

	"quell/internal/events"
	"quell/internal/ledger"
	"quell/internal/sqldb"
)

// housekeepBatch is how many rows one transaction deletes: few, since decisions wait for it.
const housekeepBatch = 250

// Delivered returns the last entry, and the last correction, up to which all are in reports that
// are written, and confirmed by each remote of remotes that they were cut for.
func (reg *Register) Delivered(ctx context.Context, remotes []string) (seq, correction int64, err error) {
	if seq, err = reported(ctx, reg.db, remotes); err != nil {
		return 0, 0, sqldb.Unavailable(err)
	}
	err = reg.db.QueryRow(ctx, `SELECT coalesce((SELECT last_correction FROM report WHERE no < coalesce((SELECT min(no) FROM (
			SELECT min(report_no) AS no FROM report_file WHERE sha256 = ''
			UNION ALL SELECT min(report_no) FROM delivery WHERE state <> 'confirmed' AND remote IN (SELECT value->>0 FROM json_each(?))) AS waiting),
		9223372036854775807) ORDER BY no DESC LIMIT 1), 0)`, sqldb.Column(remotes)).Scan(&correction)
	return seq, correction, sqldb.Unavailable(err)
}

// Housekeep deletes reports that were cut before an instant and have no entry in the log any
// more; and events from before it that are in no report that is kept. Of each stream it keeps a
// report whose file the next kept file names as the previous one, so that the chain has no gap.
// It keeps the events that the oldest kept report begins with. remotes are those in use: what
// they wait for is kept. The error may be cluster.ErrNotLeader.
func (reg *Register) Housekeep(ctx context.Context, before time.Time, remotes []string) (reports, deleted int, err error) {
	first, err := ledger.FirstEntry(ctx, reg.db)
	if err != nil {
		return 0, 0, sqldb.Unavailable(err)
	}
	// All reports from the first that is not old are kept, and the one before it.
	var keep int64
	if err := reg.db.QueryRow(ctx, `SELECT coalesce(max(no), 0) FROM report WHERE no < (SELECT min(no) FROM (
			SELECT max(no) AS no FROM report
			UNION ALL SELECT min(no) FROM report WHERE cut_at >= ?1
			UNION ALL SELECT min(no) FROM report WHERE last_seq >= ?3
			UNION ALL SELECT min(report_no) FROM report_file WHERE sha256 = ''
			UNION ALL SELECT min(report_no) FROM delivery WHERE state <> 'confirmed' AND remote IN (SELECT value->>0 FROM json_each(?2))) AS young)`,
		sqldb.Micros(before), sqldb.Column(remotes), first).Scan(&keep); err != nil {
		return 0, 0, sqldb.Unavailable(err)
	}
	for n := housekeepBatch; n == housekeepBatch; reports += n {
		if n, err = reg.deleteBatch(ctx, keep); err != nil {
			return reports, 0, err
		}
	}
	for n := housekeepBatch; n == housekeepBatch; deleted += n {
		n, err = sqldb.Write(ctx, reg.db, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) (int, error) {
			if err := reg.checkLeader(ctx, tx); err != nil {
				return 0, err
			}
			var below int64 // the last event of the report keep
			if err := tx.QueryRow(ctx, `SELECT coalesce((SELECT last_event FROM report WHERE no = ?), 0)`, keep).Scan(&below); err != nil {
				return 0, err
			}
			return events.Delete(ctx, tx, before, below, housekeepBatch)
		})
		if err != nil {
			return reports, deleted, err
		}
	}
	return reports, deleted, nil
}

// deleteBatch deletes reports with numbers below keep, with their files and deliveries.
func (reg *Register) deleteBatch(ctx context.Context, keep int64) (n int, err error) {
	old, err := sqldb.Numbers(reg.db.Query(ctx, `SELECT no FROM report WHERE no < ?1 AND NOT EXISTS (SELECT 1 FROM report_file f WHERE f.report_no = report.no
		AND NOT EXISTS (SELECT 1 FROM report_file g WHERE g.stream = f.stream AND g.report_no > f.report_no AND g.report_no <= ?1)) ORDER BY no LIMIT ?2`, keep, housekeepBatch))
	if err != nil || len(old) == 0 {
		return 0, sqldb.Unavailable(err)
	}
	err = reg.db.Do(ctx, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) error {
		if err := reg.checkLeader(ctx, tx); err != nil {
			return err
		}
		for _, of := range []string{"delivery WHERE report_no", "report_file WHERE report_no", "report WHERE no"} {
			if err := tx.Later(ctx, `DELETE FROM `+of+` IN (SELECT CAST(value->>0 AS BIGINT) FROM json_each(?))`, sqldb.Column(old)); err != nil {
				return err
			}
		}
		return nil
	})
	return len(old), err
}

// reported returns the last sequence number up to which every entry is in a report that is
// written, and confirmed by each remote of remotes that it was cut for. Deliveries to other
// remotes, which are no longer configured, do not count.
func reported(ctx context.Context, q sqldb.Querier, remotes []string) (int64, error) {
	last, err := lastReport(ctx, q)
	if err != nil {
		return 0, err
	}
	floor := last.LastSeq
	lower := func(query string, args ...any) error {
		var first sql.NullInt64
		err := q.QueryRow(ctx, query, args...).Scan(&first)
		if err == nil && first.Valid {
			floor = min(floor, first.Int64-1)
		}
		return err
	}
	err = lower(`SELECT min(first_seq) FROM report WHERE no IN (SELECT report_no FROM report_file WHERE sha256 = '')`)
	for _, remote := range remotes {
		if err == nil {
			err = lower(`SELECT min(first_seq) FROM report WHERE no IN (SELECT report_no FROM delivery WHERE remote = ? AND state <> 'confirmed')`, remote)
		}
	}
	return floor, err
}
