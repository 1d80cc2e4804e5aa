package store

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"time"

	"quell/internal/outage"
)

const reportColumns = `no, system_id, cause, period_start, period_end, cut_at, first_seq, last_seq, last_event, last_correction, switch, device_list, window_us`

func scanReports(rows rowSet, err error) ([]Report, error) {
	return scan(rows, err, func(rows rowSet) (r Report, err error) {
		var start, end, at, window int64
		err = rows.Scan(&r.No, &r.SystemID, &r.Cause, &start, &end, &at, &r.FirstSeq, &r.LastSeq, &r.lastEvent, &r.lastCorrection, &r.Switch, &r.DeviceList, &window)
		r.Start, r.End, r.CutAt, r.Window = instant(start), instant(end), instant(at), time.Duration(window)*time.Microsecond
		return r, err
	})
}

// lastReport returns the report before the one that is cut next, without its
// files; its number is 0 if there is none.
func lastReport(ctx context.Context, q querier) (Report, error) {
	list, err := scanReports(q.QueryContext(ctx, `SELECT `+reportColumns+` FROM report ORDER BY no DESC LIMIT 1`))
	if err != nil || len(list) == 0 {
		return Report{}, err
	}
	return list[0], nil
}

// LastReport returns the last report that was cut, without its files; its
// number is 0 if there is none.
func (s *Store) LastReport(ctx context.Context) (Report, error) {
	r, err := lastReport(ctx, s.reader)
	return r, wrapRead(err)
}

// Reports returns up to limit reports with numbers below before, the latest
// first, each with its files and what became of them.
func (s *Store) Reports(ctx context.Context, before int64, limit int) ([]Report, error) {
	return s.withFiles(ctx, `WHERE no < ? ORDER BY no DESC LIMIT ?`, before, limit)
}

// Report returns one report with its files; the error may be ErrNoReport.
func (s *Store) Report(ctx context.Context, no int64) (Report, error) {
	list, err := s.Reports(ctx, no+1, 1)
	if err != nil {
		return Report{}, err
	}
	if len(list) == 0 || list[0].No != no {
		return Report{}, fmt.Errorf("%w: %d", ErrNoReport, no)
	}
	return list[0], nil
}

// Unwritten returns the reports whose files are not all written, the oldest
// first.
func (s *Store) Unwritten(ctx context.Context) ([]Report, error) {
	return s.withFiles(ctx, `WHERE no IN (SELECT report_no FROM report_file WHERE sha256 = '') ORDER BY no LIMIT 100`)
}

// withFiles returns the reports of a query, each with its files.
func (s *Store) withFiles(ctx context.Context, query string, args ...any) ([]Report, error) {
	list, err := scanReports(s.reader.QueryContext(ctx, `SELECT `+reportColumns+` FROM report `+query, args...))
	for i := range list {
		if err == nil {
			list[i].Files, err = s.reportFiles(ctx, list[i].No)
		}
	}
	return list, wrapRead(err)
}

func (s *Store) reportFiles(ctx context.Context, no int64) ([]ReportFile, error) {
	files, err := scanFiles(s.reader.QueryContext(ctx, `SELECT `+fileColumns+` FROM report_file
		WHERE report_no = ? ORDER BY stream <> '`+Consolidated+`', stream`, no))
	if err != nil {
		return nil, err
	}
	deliveries, err := scanDeliveries(s.reader.QueryContext(ctx, `SELECT `+deliveryColumns+` FROM delivery WHERE report_no = ? ORDER BY remote`, no))
	for i := range files {
		files[i].Deliveries = []Delivery{}
		for _, d := range deliveries {
			if d.Stream == files[i].Stream {
				files[i].Deliveries = append(files[i].Deliveries, d)
			}
		}
	}
	return files, err
}

const fileColumns = `stream, report_no, name, period_start, previous, records, size, sha256`

func scanFiles(rows rowSet, err error) ([]ReportFile, error) {
	return scan(rows, err, func(rows rowSet) (f ReportFile, err error) {
		var start int64
		err = rows.Scan(&f.Stream, &f.Report, &f.Name, &start, &f.Previous, &f.Records, &f.Size, &f.SHA256)
		f.Start = instant(start)
		return f, err
	})
}

// ReportFile returns the file of a stream in a report, without its deliveries.
// The error may be ErrNoReport.
func (s *Store) ReportFile(ctx context.Context, no int64, stream string) (ReportFile, error) {
	list, err := scanFiles(s.reader.QueryContext(ctx, `SELECT `+fileColumns+` FROM report_file WHERE report_no = ? AND stream = ?`, no, stream))
	if err != nil {
		return ReportFile{}, wrapRead(err)
	}
	if len(list) == 0 {
		return ReportFile{}, fmt.Errorf("%w: %d has no file of stream %s", ErrNoReport, no, stream)
	}
	return list[0], nil
}

const deliveryColumns = `remote, report_no, stream, state, at, tries, error`

func scanDeliveries(rows rowSet, err error) ([]Delivery, error) {
	return scan(rows, err, func(rows rowSet) (d Delivery, err error) {
		var at int64
		err = rows.Scan(&d.Remote, &d.Report, &d.Stream, &d.State, &at, &d.Tries, &d.Error)
		d.At = instant(at)
		return d, err
	})
}

// Undelivered returns up to limit deliveries to a remote that are not confirmed, of
// files of a stream that are written, of reports with numbers above after, the
// oldest first.
func (s *Store) Undelivered(ctx context.Context, remote, stream string, after int64, limit int) ([]Delivery, error) {
	list, err := scanDeliveries(s.reader.QueryContext(ctx, `SELECT `+deliveryColumns+` FROM delivery
		WHERE remote = ? AND state <> 'confirmed' AND state <> 'cut' AND stream = ? AND report_no > ? ORDER BY report_no LIMIT ?`, remote, stream, after, limit))
	return list, wrapRead(err)
}

// Disposable returns those of some files' names whose period ended before an
// instant and which no remote in use waits for.
func (s *Store) Disposable(ctx context.Context, names []string, before time.Time, remotes []string) ([]string, error) {
	list, err := texts(s.reader.QueryContext(ctx, `SELECT f.name FROM report_file f JOIN report r ON r.no = f.report_no
		WHERE r.period_end < ?1 AND f.sha256 <> '' AND f.name IN (SELECT value->>0 FROM json_each(?2)) AND NOT EXISTS (SELECT 1 FROM delivery d
			WHERE d.report_no = f.report_no AND d.stream = f.stream AND d.state <> 'confirmed' AND d.remote IN (SELECT value->>0 FROM json_each(?3)))`,
		micros(before), column(names), column(remotes)))
	return list, wrapRead(err)
}

// Waiting says how many files wait for a remote, and since when.
type Waiting struct {
	Remote string
	Files  int
	Oldest time.Time // when the oldest was cut
	Report int64     // the oldest
}

// Waiting returns what waits for each remote that anything waits for.
func (s *Store) Waiting(ctx context.Context) ([]Waiting, error) {
	rows, err := s.reader.QueryContext(ctx, `SELECT d.remote, count(*), min(r.cut_at), min(r.no) FROM delivery d JOIN report r ON r.no = d.report_no
		WHERE d.state <> 'confirmed' GROUP BY d.remote ORDER BY d.remote`)
	list, err := scan(rows, err, func(rows rowSet) (w Waiting, err error) {
		var oldest int64
		err = rows.Scan(&w.Remote, &w.Files, &oldest, &w.Report)
		w.Oldest = instant(oldest)
		return w, err
	})
	return list, wrapRead(err)
}

// LogBegan is when the first thing happened that a first report can speak of;
// the zero time if nothing has.
func (s *Store) LogBegan(ctx context.Context) (time.Time, error) {
	var us sql.NullInt64
	err := s.reader.QueryRowContext(ctx, `SELECT min(at) FROM (SELECT received_at AS at FROM suppression WHERE seq = (SELECT min(seq) FROM suppression)
		UNION ALL SELECT at FROM event WHERE id = (SELECT min(id) FROM event)) AS began`).Scan(&us)
	return instant(us.Int64), wrapRead(err)
}

// ReportEvents returns what a report says of the switch and the device list:
// for each, the event that had put it in force when the report begins, if there
// is one, and what has changed from then on, in order; which windows were closed
// by hand; and where the numbers of reports went on after a store was put back.
func (s *Store) ReportEvents(ctx context.Context, r Report) (state, changes []Event, err error) {
	before, err := s.before(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	state, err = scanEvents(s.reader.QueryContext(ctx, `SELECT `+eventColumns+` FROM event WHERE id IN
		(SELECT max(id) FROM event WHERE id <= ? AND what IN ('switch', 'devices') GROUP BY what) ORDER BY id`, before.lastEvent))
	if err != nil {
		return nil, nil, wrapRead(err)
	}
	changes, err = scanEvents(s.reader.QueryContext(ctx, `SELECT `+eventColumns+` FROM event WHERE id > ? AND id <= ? AND what IN (`+toldEvents+`) ORDER BY id`,
		before.lastEvent, r.lastEvent))
	return state, changes, wrapRead(err)
}

// toldEvents are the events that reports tell of.
const toldEvents = `'switch', 'devices', 'windows', 'reports'`

// EventsAfter returns up to limit events that reports tell of, with numbers above one,
// in order.
func (s *Store) EventsAfter(ctx context.Context, id int64, limit int) ([]Event, error) {
	list, err := scanEvents(s.reader.QueryContext(ctx, `SELECT `+eventColumns+` FROM event WHERE id > ? AND what IN (`+toldEvents+`) ORDER BY id LIMIT ?`, id, limit))
	return list, wrapRead(err)
}

// before returns the report before r.
func (s *Store) before(ctx context.Context, r Report) (Report, error) {
	if r.No <= 1 {
		return Report{}, nil
	}
	list, err := scanReports(s.reader.QueryContext(ctx, `SELECT `+reportColumns+` FROM report WHERE no < ? ORDER BY no DESC LIMIT 1`, r.No))
	if err != nil {
		return Report{}, wrapRead(err)
	}
	if len(list) == 0 || list[0].LastSeq != r.FirstSeq-1 {
		return Report{}, fmt.Errorf("%w: that before %d", ErrNoReport, r.No)
	}
	return list[0], nil
}

// Corrections returns the entries of earlier reports that were corrected since
// the report before r was cut, as they are now.
func (s *Store) Corrections(ctx context.Context, r Report) ([]outage.Entry, error) {
	before, err := s.before(ctx, r)
	if err != nil {
		return nil, err
	}
	list, err := corrections(ctx, s.reader, before, r)
	return list, wrapRead(err)
}

// CorrectionsAfter returns up to limit corrections with numbers above one, in order,
// and the entries with sequence numbers up to last that they are of, as they are now.
func (s *Store) CorrectionsAfter(ctx context.Context, no, last int64, limit int) (numbers []int64, of map[int64]outage.Entry, err error) {
	type key struct{ no, seq int64 }
	rows, err := s.reader.QueryContext(ctx, `SELECT id, seq FROM correction WHERE id > ? ORDER BY id LIMIT ?`, no, limit)
	keys, err := scan(rows, err, func(rows rowSet) (k key, err error) { return k, rows.Scan(&k.no, &k.seq) })
	if err != nil {
		return nil, nil, wrapRead(err)
	}
	var seqs []int64
	for _, k := range keys {
		numbers, seqs = append(numbers, k.no), append(seqs, k.seq)
	}
	list, err := scanEntries(s.reader.QueryContext(ctx, `SELECT `+entryColumns+` FROM suppression
		WHERE seq <= ? AND seq IN (SELECT CAST(value->>0 AS BIGINT) FROM json_each(?))`, last, column(seqs)))
	if err != nil {
		return nil, nil, wrapRead(err)
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

func corrections(ctx context.Context, q querier, before, r Report) ([]outage.Entry, error) {
	return scanEntries(q.QueryContext(ctx, `SELECT `+entryColumns+` FROM suppression WHERE seq IN
		(SELECT seq FROM correction WHERE id > ? AND id <= ? AND seq < ?) ORDER BY seq`, before.lastCorrection, r.lastCorrection, r.FirstSeq))
}

// entrySpan is how many sequence numbers are read at once, and entryReads how
// many such reads are under way.
const (
	entrySpan  = 5000
	entryReads = 2
)

// asCut is entryColumns with the outcome that an entry had before corrections with
// ids above one.
var asCut = strings.Replace(entryColumns, ` outcome,`, fmt.Sprintf(` CASE WHEN outcome = '%s' AND EXISTS (SELECT 1 FROM correction c
	WHERE c.seq = suppression.seq AND c.id > ?) THEN '%s' ELSE outcome END,`, outage.Forwarded, outage.Suppressed), 1)

// ReportEntries reads the entries of a report in order, each with the outcome
// that it had when the report was cut. If some are not there any more, it says
// so by an error.
func (s *Store) ReportEntries(ctx context.Context, r Report) iter.Seq2[outage.Entry, error] {
	return func(yield func(outage.Entry, error) bool) {
		next := r.FirstSeq
		for e, err := range s.entries(ctx, asCut, []any{r.lastCorrection}, r.FirstSeq, r.LastSeq, "") {
			if err == nil && e.Seq != next {
				err = fmt.Errorf("entry %d is not there any more", next)
			}
			next++
			if !yield(e, err) || err != nil {
				return
			}
		}
		if next <= r.LastSeq {
			yield(outage.Entry{}, fmt.Errorf("entry %d is not there any more", next))
		}
	}
}

// EntriesBetween reads the entries with sequence numbers from first to last, in
// order. While the caller uses some, the next are read.
func (s *Store) EntriesBetween(ctx context.Context, first, last int64) iter.Seq2[outage.Entry, error] {
	return s.entries(ctx, entryColumns, nil, first, last, "")
}

// EntriesReceived reads the entries received in [from, to), in the order of
// their sequence numbers; a zero time is no bound. It looks through the whole log.
func (s *Store) EntriesReceived(ctx context.Context, from, to time.Time) iter.Seq2[outage.Entry, error] {
	first, end := int64(math.MinInt64), int64(math.MaxInt64)
	if !from.IsZero() {
		first = micros(from)
	}
	if !to.IsZero() {
		end = micros(to)
	}
	return s.entries(ctx, entryColumns, nil, 1, math.MaxInt64, " AND received_at >= ? AND received_at < ?", first, end)
}

// entries reads columns, which may have parameters, of a stretch of the log, under
// a further condition.
func (s *Store) entries(ctx context.Context, columns string, values []any, first, last int64, cond string, args ...any) iter.Seq2[outage.Entry, error] {
	type result struct {
		list []outage.Entry
		err  error
	}
	return func(yield func(outage.Entry, error) bool) {
		var least, most int64
		if err := s.reader.QueryRowContext(ctx, `SELECT coalesce(min(seq), 1), coalesce(max(seq), 0) FROM suppression`).Scan(&least, &most); err != nil {
			yield(outage.Entry{}, wrapRead(err))
			return
		}
		next, last := max(first, least), min(last, most)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // ends the reads that nobody waits for any more
		var reads []chan result
		for next <= last || len(reads) > 0 {
			for ; next <= last && len(reads) < entryReads; next += entrySpan {
				all := slices.Concat(values, []any{next, min(next+entrySpan-1, last)}, args)
				read := make(chan result, 1)
				reads = append(reads, read)
				go func() {
					list, err := scanEntries(s.reader.QueryContext(ctx, `SELECT `+columns+` FROM suppression
						WHERE seq BETWEEN ? AND ?`+cond+` ORDER BY seq`, all...))
					read <- result{list, wrapRead(err)}
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

// reported is the last sequence number up to which every entry is in a report
// that is written, and confirmed by each of the remotes that it was cut for.
// Deliveries to other remotes, which are configured no more, do not count.
func reported(ctx context.Context, q querier, remotes []string) (int64, error) {
	last, err := lastReport(ctx, q)
	if err != nil {
		return 0, err
	}
	floor := last.LastSeq
	lower := func(query string, args ...any) error {
		var first sql.NullInt64
		err := q.QueryRowContext(ctx, query, args...).Scan(&first)
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
