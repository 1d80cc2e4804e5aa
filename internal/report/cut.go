// Package report keeps the register of reports: which part of the suppression log is in each
// report, its files, and how far each file is on its way to the remotes.
//
// A report is fixed by one row: the first and last entry, event and correction in it. What is
// written and delivered later is a function of that row. So every step may be repeated after a
// crash: see package reporter. If an entry is corrected after its report was cut, the next
// report has the correction.
package report

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"quell/internal/assess"
	"quell/internal/audit"
	"quell/internal/devices"
	"quell/internal/events"
	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/sqldb"
)

// ErrStale says that another report was cut since the caller read the last one.
var ErrStale = errors.New("another report was cut in between")

// ErrNoReport says that there is no report with a number, or no such file in it.
var ErrNoReport = errors.New("no such report")

// Consolidated is the stream of files with the entries of all distributors. Any other stream
// is of one distributor.
const Consolidated = "consolidated"

// Report says what is in one report. Cut fixes all of it, except for the state of its files.
type Report struct {
	No       int64     `json:"number"` // from 1; no gaps, unless an operator gave a higher next number
	SystemID string    `json:"system_id"`
	Cause    Cause     `json:"cause"`
	Start    time.Time `json:"period_start"` // the end of the previous period
	End      time.Time `json:"period_end"`
	CutAt    time.Time `json:"cut_at"`
	FirstSeq int64     `json:"first_sequence"` // one more than the last of the previous report
	LastSeq  int64     `json:"last_sequence"`  // FirstSeq - 1 if it has no entries

	Switch     outage.Switch `json:"switch"`             // when it was cut
	DeviceList string        `json:"device_list_sha256"` // when it was cut
	Window     time.Duration `json:"-"`                  // when it was cut
	Audit      audit.Head    `json:"audit_head"`         // when it was cut; its number is 0 if the report is older than the audit log

	Files []File `json:"files"` // the consolidated one first

	lastEvent, lastCorrection, lastEvidence int64
}

// LastCorrection returns the number of the last correction in the report, or before it.
func (r Report) LastCorrection() int64 { return r.lastCorrection }

// LastEvent returns the number of the last event in the report, or before it.
func (r Report) LastEvent() int64 { return r.lastEvent }

// LastEvidence returns the number of the last change of an entry's evidence in the report, or before
// it.
func (r Report) LastEvidence() int64 { return r.lastEvidence }

// Cause is why a report was cut.
type Cause string

const (
	CauseTime  Cause = "time"  // report.every had passed
	CauseSize  Cause = "size"  // the file would otherwise become larger than report.max_bytes
	CauseAsked Cause = "asked" // by command
)

// File is one file of a report. Size and SHA256 are zero until it is written.
type File struct {
	Report     int64      `json:"-"`
	Stream     string     `json:"stream"`
	Name       string     `json:"name"`
	Start      time.Time  `json:"period_start"` // the end of the period of the stream's previous file
	Previous   int64      `json:"previous"`     // the number of the stream's previous report; 0 if there is none
	Records    int64      `json:"records"`
	Size       int64      `json:"size"`
	SHA256     string     `json:"sha256"`
	Deliveries []Delivery `json:"deliveries"`
}

// State says how far a file is on its way to a remote.
type State string

const (
	StateCut       State = "cut"       // fixed, not written
	StateWritten   State = "written"   // durable in the data folder
	StateSent      State = "sent"      // the whole file is at the remote, under a temporary name
	StateConfirmed State = "confirmed" // the file is at the remote under its own name, and checked
)

// Delivery says how far one file is on its way to one remote.
type Delivery struct {
	Report int64     `json:"-"`
	Stream string    `json:"-"`
	Remote string    `json:"remote"`
	State  State     `json:"state"`
	At     time.Time `json:"at"` // of the state, or of the last try if that failed
	Tries  int       `json:"tries"`
	Error  string    `json:"error,omitempty"` // of the last try
}

// CutOptions say what Cut fixes.
type CutOptions struct {
	After    int64 // the number of the previous report; 0 if there is none
	SystemID string
	Cause    Cause
	Start    time.Time // of the period, if there is no previous report
	End      time.Time // of the period; not before its start
	At       time.Time
	LastSeq  int64
	// LastCorrection is the last correction in the report; the next report has the later
	// ones. 0: all that there are; negative: none after those of the previous report.
	LastCorrection int64
	// LastEvent is the same for events.
	LastEvent int64
	// LastEvidence is the same for changes of the evidence on entries.
	LastEvidence int64
	Window       time.Duration
	// SkipEmpty leaves out what would have no records: files of distributors; and the whole
	// report, unless its cause is CauseAsked.
	SkipEmpty bool
	// Streams are the other streams with entries in this report, beside the consolidated one;
	// nil if the report has only the consolidated file.
	Streams []string
	// Remotes says which remote takes which stream.
	Remotes map[string]string
	// Name returns the name of a file.
	Name func(r Report, f File) string
}

// Cut fixes what is in the next report, in one transaction. The number of the returned report
// is 0 if the report would be empty and was left out. The error is ErrStale if c.After is not
// the last report; otherwise sqldb.ErrUnavailable.
func (reg *Register) Cut(ctx context.Context, c CutOptions) (Report, error) {
	return sqldb.Write(ctx, reg.db, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) (Report, error) {
		last, err := lastReport(ctx, tx)
		if err != nil {
			return Report{}, err
		}
		if last.No != c.After {
			return Report{}, sqldb.Unchanged(ErrStale)
		}
		return reg.cut(ctx, tx, c, last)
	})
}

func (reg *Register) cut(ctx context.Context, tx sqldb.Tx, c CutOptions, last Report) (Report, error) {
	sw, err := ledger.ReadSwitch(ctx, tx)
	if err != nil {
		return Report{}, err
	}
	next, err := readNextReport(ctx, tx)
	if err != nil {
		return Report{}, err
	}
	r := Report{No: max(last.No+1, next), SystemID: c.SystemID, Cause: c.Cause, Start: last.End, End: c.End, CutAt: c.At, FirstSeq: last.LastSeq + 1,
		LastSeq: max(c.LastSeq, last.LastSeq), Switch: sw, Window: c.Window}
	if last.No == 0 {
		r.Start = c.Start
	}
	if r.End.Before(r.Start) {
		r.End = r.Start // the clock was set back
	}
	// Housekeeping may have deleted the start of the log before the first report.
	if last.No == 0 {
		if r.FirstSeq, err = ledger.FirstEntry(ctx, tx); err != nil {
			return r, err
		}
		r.LastSeq = max(r.LastSeq, r.FirstSeq-1)
	}
	if r.lastEvent, err = events.LastID(ctx, tx); err != nil {
		return r, err
	}
	if r.lastCorrection, err = ledger.LastCorrection(ctx, tx); err != nil {
		return r, err
	}
	list, err := devices.LastImport(ctx, tx, "devices")
	if err != nil {
		return r, err
	}
	r.DeviceList = list.SHA256
	if r.Audit, err = audit.ReadHead(ctx, tx); err != nil {
		return r, err
	}
	if c.LastCorrection != 0 {
		r.lastCorrection = max(last.lastCorrection, min(r.lastCorrection, c.LastCorrection))
	}
	if c.LastEvent != 0 {
		r.lastEvent = max(last.lastEvent, min(r.lastEvent, c.LastEvent))
	}
	if r.lastEvidence, err = assess.LastChange(ctx, tx, r.LastSeq); err != nil {
		return r, err
	}
	if c.LastEvidence != 0 {
		r.lastEvidence = min(r.lastEvidence, c.LastEvidence)
	}
	r.lastEvidence = max(r.lastEvidence, last.lastEvidence)
	if c.SkipEmpty && c.Cause != CauseAsked && r.LastSeq < r.FirstSeq && r.lastEvent == last.lastEvent && r.lastCorrection == last.lastCorrection &&
		r.lastEvidence == last.lastEvidence {
		return Report{}, nil
	}
	if err := reg.insertReport(ctx, tx, r); err != nil {
		return r, err
	}
	streams, err := reg.streams(ctx, tx, c, last, r)
	if err != nil {
		return r, err
	}
	for _, stream := range streams {
		f, err := reg.cutFile(ctx, tx, c, r, stream)
		if err != nil {
			return r, err
		}
		r.Files = append(r.Files, f)
	}
	return r, nil
}

func (reg *Register) insertReport(ctx context.Context, tx sqldb.Tx, r Report) error {
	_, err := tx.Exec(ctx, `INSERT INTO report (no, system_id, cause, period_start, period_end, cut_at, first_seq, last_seq,
		last_event, last_correction, switch, device_list, window_us, audit_no, audit_hash, last_evidence) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		r.No, r.SystemID, string(r.Cause), sqldb.Micros(r.Start), sqldb.Micros(r.End), sqldb.Micros(r.CutAt), r.FirstSeq, r.LastSeq,
		r.lastEvent, r.lastCorrection, string(r.Switch), r.DeviceList, r.Window.Microseconds(), r.Audit.No, r.Audit.Hash, r.lastEvidence)
	return err
}

// streams returns the streams that have files in a report, the consolidated one first.
func (reg *Register) streams(ctx context.Context, tx sqldb.Tx, c CutOptions, last, r Report) ([]string, error) {
	if c.Streams == nil {
		return []string{Consolidated}, nil
	}
	streams := slices.Clone(c.Streams)
	corrected, err := ledger.Corrections(ctx, tx, last.lastCorrection, r.lastCorrection, r.FirstSeq)
	if err != nil {
		return nil, err
	}
	for _, e := range corrected {
		streams = append(streams, e.Stream())
	}
	changed, err := assess.Streams(ctx, tx, last.lastEvidence, r.lastEvidence)
	if err != nil {
		return nil, err
	}
	streams = append(streams, changed...)
	// A stream that had files before has one in each report; a stream that a remote takes has
	// one from the first report on. So a missing file always means that something is wrong.
	if !c.SkipEmpty || r.lastEvent > last.lastEvent {
		for _, stream := range c.Remotes {
			streams = append(streams, stream)
		}
		// Goes from one stream to the next in the index: there are few, in many rows.
		had, err := sqldb.Texts(tx.Query(ctx, `WITH RECURSIVE had (stream) AS (SELECT min(stream) FROM report_file
			UNION ALL SELECT (SELECT min(f.stream) FROM report_file f WHERE f.stream > had.stream) FROM had WHERE had.stream IS NOT NULL)
			SELECT stream FROM had WHERE stream IS NOT NULL`))
		if err != nil {
			return nil, err
		}
		streams = append(streams, had...)
	}
	slices.Sort(streams)
	streams = slices.DeleteFunc(slices.Compact(streams), func(stream string) bool { return stream == Consolidated })
	return append([]string{Consolidated}, streams...), nil
}

func (reg *Register) cutFile(ctx context.Context, tx sqldb.Tx, c CutOptions, r Report, stream string) (File, error) {
	f := File{Report: r.No, Stream: stream, Start: r.Start}
	var start int64
	err := tx.QueryRow(ctx, `SELECT f.report_no, r.period_end FROM report_file f JOIN report r ON r.no = f.report_no
		WHERE f.stream = ? ORDER BY f.report_no DESC LIMIT 1`, stream).Scan(&f.Previous, &start)
	switch {
	case err == nil:
		f.Start = sqldb.Instant(start)
	case !errors.Is(err, sql.ErrNoRows):
		return f, err
	}
	if f.Previous > 0 {
		gap, err := reg.withoutStreams(ctx, tx, f.Previous, r)
		if err != nil {
			return f, err
		}
		if gap.After(f.Start) && stream != Consolidated {
			f.Start = gap // the file must not cover a time whose entries are in no file of its stream
		}
	}
	f.Name = c.Name(r, f)
	if _, err := tx.Exec(ctx, `INSERT INTO report_file (stream, report_no, name, period_start, previous) VALUES (?, ?, ?, ?, ?)`,
		stream, r.No, f.Name, sqldb.Micros(f.Start), f.Previous); err != nil {
		return f, err
	}
	for remote, takes := range c.Remotes {
		if takes != stream {
			continue
		}
		d := Delivery{Report: r.No, Stream: stream, Remote: remote, State: StateCut, At: r.CutAt}
		if err := reg.insertDelivery(ctx, tx, d); err != nil {
			return f, err
		}
		f.Deliveries = append(f.Deliveries, d)
	}
	return f, nil
}

// withoutStreams returns the end of the last report between previous and r that has entries and
// only the consolidated file, since per_distributor was off; the zero time if there is none.
func (reg *Register) withoutStreams(ctx context.Context, tx sqldb.Tx, previous int64, r Report) (time.Time, error) {
	if previous+1 >= r.No {
		return time.Time{}, nil
	}
	var end sql.NullInt64
	err := tx.QueryRow(ctx, `SELECT max(period_end) FROM report WHERE no > ? AND no < ? AND last_seq >= first_seq
		AND NOT EXISTS (SELECT 1 FROM report_file f WHERE f.report_no = report.no AND f.stream <> '`+Consolidated+`')`, previous, r.No).Scan(&end)
	if err != nil || !end.Valid {
		return time.Time{}, err
	}
	return sqldb.Instant(end.Int64), nil
}

func (reg *Register) insertDelivery(ctx context.Context, tx sqldb.Tx, d Delivery) error {
	_, err := tx.Exec(ctx, `INSERT INTO delivery (remote, report_no, stream, state, at) VALUES (?1, ?2, ?3, ?4, ?5)
		ON CONFLICT (remote, report_no, stream) DO UPDATE SET state = ?4, at = ?5, error = ''`, d.Remote, d.Report, d.Stream, string(d.State), sqldb.Micros(d.At))
	return err
}

// Written records that files of a report are durable in this node's data folder. It does not
// change the record of a file that was written before: a file written again is the same.
func (reg *Register) Written(ctx context.Context, no int64, files []File, at time.Time) error {
	return reg.db.Do(ctx, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) error {
		for _, f := range files {
			if err := tx.Later(ctx, `UPDATE report_file SET records = ?, size = ?, sha256 = ? WHERE stream = ? AND report_no = ? AND sha256 = ''`,
				f.Records, f.Size, f.SHA256, f.Stream, no); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `UPDATE delivery SET state = ?, at = ? WHERE report_no = ? AND state = ?`,
			string(StateWritten), sqldb.Micros(at), no, string(StateCut))
		return err
	})
}

// SetDelivery records the state, tries and error of a delivery. The error may be
// cluster.ErrNotLeader.
func (reg *Register) SetDelivery(ctx context.Context, d Delivery) error {
	return reg.db.Do(ctx, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) error {
		if err := reg.checkLeader(ctx, tx); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE delivery SET state = ?, at = ?, tries = ?, error = ? WHERE remote = ? AND report_no = ? AND stream = ?`,
			string(d.State), sqldb.Micros(d.At), d.Tries, sqldb.Text(d.Error), d.Remote, d.Report, d.Stream)
		return err
	})
}

// DropDeliveries forgets deliveries to a remote that are not confirmed and not of the stream
// that the remote takes: it took another stream when they were cut. It returns how many. The
// error may be cluster.ErrNotLeader.
func (reg *Register) DropDeliveries(ctx context.Context, remote, stream string) (int64, error) {
	return sqldb.Write(ctx, reg.db, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) (int64, error) {
		if err := reg.checkLeader(ctx, tx); err != nil {
			return 0, err
		}
		return tx.Exec(ctx, `DELETE FROM delivery WHERE remote = ? AND state <> 'confirmed' AND stream <> ?`, remote, stream)
	})
}

// Redeliver makes the file of a stream in a report be delivered to a remote, again or for the
// first time. The error is ErrNoReport if the report has no such file.
func (reg *Register) Redeliver(ctx context.Context, no int64, stream, remote string, at time.Time) error {
	return reg.db.Do(ctx, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) error {
		var sum string
		err := tx.QueryRow(ctx, `SELECT sha256 FROM report_file WHERE stream = ? AND report_no = ?`, stream, no).Scan(&sum)
		if errors.Is(err, sqldb.ErrNoRows) {
			return sqldb.Unchanged(fmt.Errorf("%w: %d has no file of stream %s", ErrNoReport, no, stream))
		}
		if err != nil {
			return err
		}
		d := Delivery{Report: no, Stream: stream, Remote: remote, State: StateWritten, At: at}
		if sum == "" {
			d.State = StateCut
		}
		return reg.insertDelivery(ctx, tx, d)
	})
}
