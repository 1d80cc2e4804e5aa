package storetest

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/devices"
	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/remote/remotetest"
	"quell/internal/report"
	"quell/internal/sqldb"
	"quell/internal/store"
)

// T0 is an instant for tests.
var T0 = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

// Supplier is the sender of the requests of OnDemand and FutureDated.
const Supplier = outage.DeviceID(0x90B3D51F30010000)

// Hub and Meter return the n-th hub and meter.
func Hub(n int) outage.DeviceID   { return outage.DeviceID(0x8873845700000000 + uint64(n)) }
func Meter(n int) outage.DeviceID { return outage.DeviceID(0x00DB123400000000 + uint64(n)) }

// OnDemand returns an on-demand activation of meter n on hub n, as a Signed Pre-Command, with a
// window of 30 minutes.
func OnDemand(n int, counter uint64, received time.Time) outage.Activation {
	return activation(n, counter, outage.Order{Kind: outage.OnDemand}, received)
}

// FutureDated is OnDemand with an execution time.
func FutureDated(n int, counter uint64, received, at time.Time) outage.Activation {
	return activation(n, counter, outage.Order{Kind: outage.FutureDated, At: at}, received)
}

func activation(n int, counter uint64, order outage.Order, received time.Time) outage.Activation {
	id := outage.RequestID{Originator: Supplier, Target: Meter(n), Counter: counter}
	return outage.Request{ID: id, Form: outage.SignedPreCommand, Order: order, Received: received}.Activation(Hub(n), 30*time.Minute)
}

// AD1 is an alert of hub n, always of the same outage for the same id.
func AD1(n int, id string, received time.Time) outage.Alert {
	return outage.Alert{ID: id, Code: "AD1", CHF: Hub(n), OutageStart: OutageOf(id), MPxN: "1200023305967", Received: received}
}

// Noted returns the note that AD1 went forward.
func Noted(n int, id string, received time.Time, r outage.Reason) ledger.ForwardedNote {
	return ledger.ForwardedNote{AlertID: id, CHF: Hub(n), OutageStart: OutageOf(id), Received: received, Reason: r}
}

// OutageOf returns when the outage of an alert began, which depends on the id.
func OutageOf(id string) time.Time {
	return T0.Add(2*time.Minute + time.Duration(crc32.ChecksumIEEE([]byte(id))%1e6)*time.Microsecond)
}

// Open opens a store in a folder, on the engine of the test.
func Open(t testing.TB, dir string, change ...func(*store.Options)) *store.Store {
	t.Helper()
	opts := store.Options{Dir: dir, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Database: Database(t, dir), Node: "test"}
	for _, c := range change {
		c(&opts)
	}
	s, err := store.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// Decide decides on an alert with the outcome Suppressed.
func Decide(t testing.TB, s *store.Store, a outage.Alert) ledger.Decision {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // a test that waits in vain fails, and does not hang
	defer cancel()
	d, err := s.Ledger.Decide(ctx, a, outage.Suppressed, time.Minute)
	if err != nil {
		t.Fatalf("Decide(%s): %v", a.ID, err)
	}
	return d
}

// Entries returns the whole suppression log.
func Entries(t testing.TB, s *store.Store) []outage.Entry {
	t.Helper()
	list, err := s.Ledger.EntriesAfter(t.Context(), 0, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Eventually waits until a condition holds that another goroutine changes.
func Eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for pause := time.Millisecond; !cond(); pause = min(2*pause, 64*time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(pause)
	}
}

// MakeLeader makes a node the leader, and waits until it is.
func MakeLeader(t testing.TB, s *store.Store) *store.Store {
	t.Helper()
	if !s.DB.Remote() {
		return s // a single node always is
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go s.Cluster.WhileLeader(ctx, func(ctx context.Context) { <-ctx.Done() })
	Eventually(t, "the node is the leader", s.Cluster.IsLeader)
	return s
}

// Prune makes a node of several forget what housekeeping has deleted.
func Prune(t testing.TB, s *store.Store) {
	t.Helper()
	if !s.DB.Remote() {
		return
	}
	if done, err := s.Ledger.Prune(t.Context()); err != nil || !done {
		t.Fatal(done, err)
	}
}

// Script changes the database with SQL, without the methods of the packages.
func Script(t testing.TB, s *store.Store, text string) {
	t.Helper()
	if err := s.DB.Do(t.Context(), sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) error { return tx.Script(ctx, text) }); err != nil {
		t.Fatal(err)
	}
}

// Outside opens the database of a folder as another program would.
func Outside(t testing.TB, dir string) *sql.DB {
	t.Helper()
	driver, name := "sqlite", "file:"+filepath.Join(dir, "quell.db")+"?_txlock=immediate&_pragma=busy_timeout(10000)"
	if url := Database(t, dir); url != "" {
		driver, name = "pgx", url
	}
	db, err := sql.Open(driver, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// WriterLock is the key of the advisory lock that a writer holds on PostgreSQL.
const WriterLock = 0x7175656c6c

// HoldWriteLock takes the database's write lock from outside, as a backup or a shell may,
// until the returned function is called.
func HoldWriteLock(t testing.TB, dir string) (release func()) {
	t.Helper()
	db, lock := Outside(t, dir), "SELECT 1" // _txlock=immediate
	if OnPostgres(t) {
		lock = fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", WriterLock)
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err == nil {
		_, err = tx.ExecContext(t.Context(), lock)
	}
	if err != nil {
		t.Fatal(err)
	}
	var done atomic.Bool
	release = func() {
		if !done.Swap(true) {
			tx.Rollback()
		}
	}
	t.Cleanup(release)
	return release
}

// HoldWriter keeps the writer of a store busy, until free is called.
func HoldWriter(t testing.TB, s *store.Store) (free func()) {
	t.Helper()
	held, release := make(chan struct{}), make(chan struct{})
	go s.DB.Do(context.Background(), sqldb.Urgent, func(context.Context, sqldb.Tx) error {
		close(held)
		<-release
		return nil
	})
	<-held
	var done atomic.Bool
	free = func() {
		if !done.Swap(true) {
			close(release)
		}
	}
	t.Cleanup(free)
	return free
}

// Short returns a context that ends after 30 ms.
func Short(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// OpenNodes opens several stores on one database, for a test on PostgreSQL.
func OpenNodes(t testing.TB, n int) (list []*store.Store) {
	t.Helper()
	database := Database(t, t.TempDir())
	for range n {
		list = append(list, Open(t, t.TempDir(), func(o *store.Options) { o.Database = database }))
	}
	return list
}

// LogN logs n alerts of one hub. The numbers in their ids continue after the last.
func LogN(t testing.TB, s *store.Store, n int) {
	t.Helper()
	s.Ledger.Record(t.Context(), OnDemand(1, 1, T0))
	have := len(Entries(t, s))
	for i := range n {
		Decide(t, s, AD1(1, fmt.Sprint("alert", have+i), T0.Add(time.Duration(have+i)*time.Millisecond)))
	}
}

// CutUpTo cuts a report with the entries up to a sequence number.
func CutUpTo(t testing.TB, s *store.Store, last int64, change ...func(*report.CutOptions)) report.Report {
	t.Helper()
	before, err := s.Reports.Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := report.CutOptions{After: before.No, SystemID: "test", Cause: report.CauseAsked, Start: T0, End: T0.Add(time.Duration(before.No+1) * time.Hour), At: T0, LastSeq: last,
		Window: 30 * time.Minute, Name: func(r report.Report, f report.File) string { return fmt.Sprint(f.Stream, "-", r.No) }}
	for _, f := range change {
		f(&c)
	}
	r, err := s.Reports.Cut(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// WriteReport cuts a report, and records that its files are written.
func WriteReport(t testing.TB, s *store.Store, last int64, change ...func(*report.CutOptions)) report.Report {
	t.Helper()
	r := CutUpTo(t, s, last, change...)
	for i := range r.Files {
		r.Files[i].SHA256 = "00"
	}
	if err := s.Reports.Written(t.Context(), r.No, r.Files, T0); err != nil {
		t.Fatal(err)
	}
	return r
}

// EntriesIn returns the entries of a report, as they were when it was cut.
func EntriesIn(t testing.TB, s *store.Store, r report.Report) (list []outage.Entry) {
	t.Helper()
	for e, err := range s.Ledger.EntriesAsOf(t.Context(), r.FirstSeq, r.LastSeq, r.LastCorrection()) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

// PlanOf returns the database's plan for a query, without plans that read whole tables if there
// are others.
func PlanOf(t testing.TB, s *store.Store, query string, args ...any) string {
	t.Helper()
	explain := "EXPLAIN QUERY PLAN "
	one := func(rows sqldb.Rows, text *string) error {
		var a, b, c int
		return rows.Scan(&a, &b, &c, text)
	}
	if s.DB.Remote() {
		explain = "EXPLAIN "
		one = func(rows sqldb.Rows, text *string) error { return rows.Scan(text) }
	}
	var lines []string
	err := s.DB.Do(t.Context(), sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) error { // sqldb sets the planner so in a transaction
		rows, err := tx.Query(ctx, explain+query, args...)
		lines, err = sqldb.Scan(rows, err, one)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// WholeTable matches a plan that reads all rows of a table.
var WholeTable = regexp.MustCompile(`Seq Scan|SCAN (TABLE )?(activation|suppression|correction|forwarded|inventory|supply_point|device_list|untracked)\b`)

// JournalLine returns the line of a journal for a record, which is given as a value with the
// record's JSON.
func JournalLine(t testing.TB, record any) []byte {
	t.Helper()
	text, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Appendf(nil, "%08x %s\n", crc32.ChecksumIEEE(text), text)
}

// CommitAnswer is in the answer of a PostgreSQL server that has committed.
const CommitAnswer = "COMMIT\x00"

// OpenLosing opens a store on a database of its own, through a proxy that can lose the answer to
// a commit.
func OpenLosing(t testing.TB) (*store.Store, *remotetest.Proxy) {
	t.Helper()
	proxy := remotetest.NewProxy(t, Start(t).Socket())
	return Open(t, t.TempDir(), func(o *store.Options) {
		o.Database = Through(proxy)
	}), proxy
}

// Through returns the address of a server's database behind a proxy.
func Through(proxy *remotetest.Proxy) string {
	return "postgres://quell@" + proxy.Addr + "/postgres?sslmode=disable"
}

// BreakConnections ends all connections to a database of PostgreSQL.
func BreakConnections(t testing.TB, database string) {
	t.Helper()
	db, err := sql.Open("pgx", database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`); err != nil {
		t.Fatal(err)
	}
}

// ImportRows imports an inventory of rows that DeviceRow made.
func ImportRows(ctx context.Context, s *store.Store, rows ...string) error {
	return ImportInventory(ctx, s, "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n"+strings.Join(rows, ""))
}

// ImportInventory imports an inventory of one file with a text.
func ImportInventory(ctx context.Context, s *store.Store, text string) error {
	files := []devices.File{{Name: "inventory", Reader: strings.NewReader(text)}}
	_, err := s.Devices.ImportInventory(ctx, "a test", T0, func() (f devices.File, err error) {
		if len(files) == 0 {
			return f, io.EOF
		}
		f, files = files[0], nil
		return f, nil
	})
	return err
}

// DeviceRow returns a row of an inventory with meter m on a hub.
func DeviceRow(m, hub int) string {
	return fmt.Sprintf("%s,ESME,SMETS2,Landis+Gyr,E470,%s,1200023305967\n", Meter(m), Hub(hub))
}

// Outcomes returns the outcomes in the log, by the alert's id.
func Outcomes(t testing.TB, s *store.Store) map[string]outage.Outcome {
	t.Helper()
	got := map[string]outage.Outcome{}
	for _, e := range Entries(t, s) {
		got[e.AlertID] = e.Outcome
	}
	return got
}

// Buffer is a buffer for several writers.
type Buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
