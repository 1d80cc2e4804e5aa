package report

import (
	"context"
	"fmt"
	"math"
	"time"

	"quell/internal/assess"
	"quell/internal/cluster"
	"quell/internal/events"
	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/sqldb"
)

// Register is the register of reports. Its methods may be called from any goroutine.
type Register struct {
	db     *sqldb.DB
	ledger *ledger.Ledger
	// checkLeader is cluster.Cluster.CheckLeader.
	checkLeader func(ctx context.Context, tx sqldb.Tx) error
}

// NewRegister returns the register of a database.
func NewRegister(db *sqldb.DB, l *ledger.Ledger, c *cluster.Cluster) *Register {
	return &Register{db: db, ledger: l, checkLeader: c.CheckLeader}
}

const reportColumns = `no, system_id, cause, period_start, period_end, cut_at, first_seq, last_seq, last_event, last_correction, switch, device_list, window_us, audit_no, audit_hash, last_evidence`

func scanReports(rows sqldb.Rows, err error) ([]Report, error) {
	return sqldb.Scan(rows, err, func(rows sqldb.Rows, r *Report) error {
		var start, end, at, window int64
		err := rows.Scan(&r.No, &r.SystemID, &r.Cause, &start, &end, &at, &r.FirstSeq, &r.LastSeq, &r.lastEvent, &r.lastCorrection, &r.Switch, &r.DeviceList, &window, &r.Audit.No, &r.Audit.Hash, &r.lastEvidence)
		r.Start, r.End, r.CutAt, r.Window = sqldb.Instant(start), sqldb.Instant(end), sqldb.Instant(at), time.Duration(window)*time.Microsecond
		return err
	})
}

// lastReport returns the last report that was cut, without its files; its number is 0 if there
// is none.
func lastReport(ctx context.Context, q sqldb.Querier) (Report, error) {
	list, err := scanReports(q.Query(ctx, `SELECT `+reportColumns+` FROM report ORDER BY no DESC LIMIT 1`))
	if err != nil || len(list) == 0 {
		return Report{}, err
	}
	return list[0], nil
}

// Last is lastReport in the store. The error is sqldb.ErrUnavailable.
func (reg *Register) Last(ctx context.Context) (Report, error) {
	r, err := lastReport(ctx, reg.db)
	return r, sqldb.Unavailable(err)
}

// List returns up to limit reports with numbers below before, the latest first, each with its
// files and their deliveries.
func (reg *Register) List(ctx context.Context, before int64, limit int) ([]Report, error) {
	return reg.withFiles(ctx, `WHERE no < ? ORDER BY no DESC LIMIT ?`, before, limit)
}

// Report returns one report with its files; the error may be ErrNoReport.
func (reg *Register) Report(ctx context.Context, no int64) (Report, error) {
	list, err := reg.List(ctx, no+1, 1)
	if err != nil {
		return Report{}, err
	}
	if len(list) == 0 || list[0].No != no {
		return Report{}, fmt.Errorf("%w: %d", ErrNoReport, no)
	}
	return list[0], nil
}

// Unwritten returns up to 100 reports whose files are not all written, the oldest first.
func (reg *Register) Unwritten(ctx context.Context) ([]Report, error) {
	return reg.withFiles(ctx, `WHERE no IN (SELECT report_no FROM report_file WHERE sha256 = '') ORDER BY no LIMIT 100`)
}

// withFiles returns the reports of a query, each with its files.
func (reg *Register) withFiles(ctx context.Context, query string, args ...any) ([]Report, error) {
	list, err := scanReports(reg.db.Query(ctx, `SELECT `+reportColumns+` FROM report `+query, args...))
	for i := range list {
		if err == nil {
			list[i].Files, err = reg.reportFiles(ctx, list[i].No)
		}
	}
	return list, sqldb.Unavailable(err)
}

func (reg *Register) reportFiles(ctx context.Context, no int64) ([]File, error) {
	files, err := scanFiles(reg.db.Query(ctx, `SELECT `+fileColumns+` FROM report_file
		WHERE report_no = ? ORDER BY stream <> '`+Consolidated+`', stream`, no))
	if err != nil {
		return nil, err
	}
	deliveries, err := scanDeliveries(reg.db.Query(ctx, `SELECT `+deliveryColumns+` FROM delivery WHERE report_no = ? ORDER BY remote`, no))
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

func scanFiles(rows sqldb.Rows, err error) ([]File, error) {
	return sqldb.Scan(rows, err, func(rows sqldb.Rows, f *File) error {
		var start int64
		err := rows.Scan(&f.Stream, &f.Report, &f.Name, &start, &f.Previous, &f.Records, &f.Size, &f.SHA256)
		f.Start = sqldb.Instant(start)
		return err
	})
}

// File returns the file of a stream in a report, without its deliveries. The error may be
// ErrNoReport.
func (reg *Register) File(ctx context.Context, no int64, stream string) (File, error) {
	list, err := scanFiles(reg.db.Query(ctx, `SELECT `+fileColumns+` FROM report_file WHERE report_no = ? AND stream = ?`, no, stream))
	if err != nil {
		return File{}, sqldb.Unavailable(err)
	}
	if len(list) == 0 {
		return File{}, fmt.Errorf("%w: %d has no file of stream %s", ErrNoReport, no, stream)
	}
	return list[0], nil
}

const deliveryColumns = `remote, report_no, stream, state, at, tries, error`

func scanDeliveries(rows sqldb.Rows, err error) ([]Delivery, error) {
	return sqldb.Scan(rows, err, func(rows sqldb.Rows, d *Delivery) error {
		var at int64
		err := rows.Scan(&d.Remote, &d.Report, &d.Stream, &d.State, &at, &d.Tries, &d.Error)
		d.At = sqldb.Instant(at)
		return err
	})
}

// Undelivered returns up to limit deliveries to a remote that are not confirmed, the oldest
// first: of written files of a stream, in reports with numbers above after.
func (reg *Register) Undelivered(ctx context.Context, remote, stream string, after int64, limit int) ([]Delivery, error) {
	list, err := scanDeliveries(reg.db.Query(ctx, `SELECT `+deliveryColumns+` FROM delivery
		WHERE remote = ? AND state <> 'confirmed' AND state <> 'cut' AND stream = ? AND report_no > ? ORDER BY report_no LIMIT ?`, remote, stream, after, limit))
	return list, sqldb.Unavailable(err)
}

// Disposable returns those of some file names whose period ended before an instant, and which
// no remote in use waits for.
func (reg *Register) Disposable(ctx context.Context, names []string, before time.Time, remotes []string) ([]string, error) {
	list, err := sqldb.Texts(reg.db.Query(ctx, `SELECT f.name FROM report_file f JOIN report r ON r.no = f.report_no
		WHERE r.period_end < ?1 AND f.sha256 <> '' AND f.name IN (SELECT value->>0 FROM json_each(?2)) AND NOT EXISTS (SELECT 1 FROM delivery d
			WHERE d.report_no = f.report_no AND d.stream = f.stream AND d.state <> 'confirmed' AND d.remote IN (SELECT value->>0 FROM json_each(?3)))`,
		sqldb.Micros(before), sqldb.Column(names), sqldb.Column(remotes)))
	return list, sqldb.Unavailable(err)
}

// Waiting says how many files wait for a remote, and since when.
type Waiting struct {
	Remote string    `json:"remote"`
	Files  int       `json:"files_waiting"`
	Oldest time.Time `json:"oldest_cut_at,omitzero"`  // when the oldest of their reports was cut
	Report int64     `json:"oldest_report,omitempty"` // the number of the oldest report
}

// Waiting says how many files wait for each remote that has any waiting.
func (reg *Register) Waiting(ctx context.Context) ([]Waiting, error) {
	rows, err := reg.db.Query(ctx, `SELECT d.remote, count(*), min(r.cut_at), min(r.no) FROM delivery d JOIN report r ON r.no = d.report_no
		WHERE d.state <> 'confirmed' GROUP BY d.remote ORDER BY d.remote`)
	list, err := sqldb.Scan(rows, err, func(rows sqldb.Rows, w *Waiting) error {
		var oldest int64
		err := rows.Scan(&w.Remote, &w.Files, &oldest, &w.Report)
		w.Oldest = sqldb.Instant(oldest)
		return err
	})
	return list, sqldb.Unavailable(err)
}

// LogStart returns the time of the first entry or event that the first report can have; the
// zero time if there is none.
func (reg *Register) LogStart(ctx context.Context) (time.Time, error) {
	first, err := ledger.FirstReceived(ctx, reg.db)
	if err != nil {
		return time.Time{}, sqldb.Unavailable(err)
	}
	event, err := events.FirstAt(ctx, reg.db)
	if first.IsZero() || !event.IsZero() && event.Before(first) {
		first = event
	}
	return first, sqldb.Unavailable(err)
}

// The kinds of events that reports have, and those of them that say what is in force. Reports
// that are older than the audit log have no events of the inventory.
var (
	inReports = []string{"switch", "devices", "windows", "reports", "inventory", "release"}
	inForce   = []string{"switch", "devices", "inventory"}
)

// Events returns the events of a report. state has, for the switch, for the device list and for
// the inventory, the event that put it into force before the report begins, if there is one.
// changes has the events in the report, in order: changes of the switch and of the lists, windows
// closed by hand, and a next report number that an operator gave after a restore.
func (reg *Register) Events(ctx context.Context, r Report) (state, changes []events.Event, err error) {
	before, err := reg.before(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	standing, kinds := inForce, inReports
	if r.Audit.No == 0 {
		standing, kinds = standing[:2], kinds[:4]
	}
	if state, err = events.LastOfEach(ctx, reg.db, standing, before.lastEvent); err != nil {
		return nil, nil, sqldb.Unavailable(err)
	}
	changes, err = events.Between(ctx, reg.db, kinds, before.lastEvent, r.lastEvent, math.MaxInt32)
	return state, changes, sqldb.Unavailable(err)
}

// EventsAfter returns up to limit events that reports have, with numbers above id, in order.
func (reg *Register) EventsAfter(ctx context.Context, id int64, limit int) ([]events.Event, error) {
	list, err := events.Between(ctx, reg.db, inReports, id, math.MaxInt64, limit)
	return list, sqldb.Unavailable(err)
}

// before returns the report before r; its number is 0 if there was none. The error is ErrNoReport if
// it was deleted.
func (reg *Register) before(ctx context.Context, r Report) (Report, error) {
	if r.No <= 1 {
		return Report{}, nil
	}
	list, err := scanReports(reg.db.Query(ctx, `SELECT `+reportColumns+` FROM report WHERE no < ? ORDER BY no DESC LIMIT 1`, r.No))
	if err != nil {
		return Report{}, sqldb.Unavailable(err)
	}
	if len(list) == 0 && len(r.Files) > 0 && r.Files[0].Previous == 0 {
		return Report{}, nil // an operator has said with which number a new store begins
	}
	if len(list) == 0 || list[0].LastSeq != r.FirstSeq-1 {
		return Report{}, fmt.Errorf("%w: the one before %d", ErrNoReport, r.No)
	}
	return list[0], nil
}

// Corrections returns the entries of earlier reports whose corrections are in report r, as they
// are now.
func (reg *Register) Corrections(ctx context.Context, r Report) ([]outage.Entry, error) {
	before, err := reg.before(ctx, r)
	if err != nil {
		return nil, err
	}
	list, err := ledger.Corrections(ctx, reg.db, before.lastCorrection, r.lastCorrection, r.FirstSeq)
	return list, sqldb.Unavailable(err)
}

// Evidence returns the changes of the evidence on entries that are in report r, in order.
func (reg *Register) Evidence(ctx context.Context, r Report) ([]assess.Recorded, error) {
	if r.lastEvidence == 0 {
		return nil, nil
	}
	before, err := reg.before(ctx, r)
	if err != nil {
		return nil, err
	}
	list, err := assess.Changes(ctx, reg.db, before.lastEvidence, r.lastEvidence, math.MaxInt32)
	return list, sqldb.Unavailable(err)
}

// EvidenceAfter returns up to limit changes of the evidence with numbers above id, in order.
func (reg *Register) EvidenceAfter(ctx context.Context, id int64, limit int) ([]assess.Recorded, error) {
	list, err := assess.Changes(ctx, reg.db, id, math.MaxInt64, limit)
	return list, sqldb.Unavailable(err)
}
