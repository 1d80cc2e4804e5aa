package store

import (
	"context"
	"database/sql"
	"fmt"
	"hash/crc32"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/outage"
)

var t0 = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

const supplier = outage.DeviceID(0x90B3D51F30010000)

func hub(n int) outage.DeviceID   { return outage.DeviceID(0x8873845700000000 + uint64(n)) }
func meter(n int) outage.DeviceID { return outage.DeviceID(0x00DB123400000000 + uint64(n)) }

// onDemand is an on-demand activation of meter n on hub n, as Signed
// Pre-Command, with a window of 30 minutes.
func onDemand(n int, counter uint64, received time.Time) outage.Activation {
	id := outage.RequestID{Originator: supplier, Target: meter(n), Counter: counter}
	return outage.NewActivation(id, outage.SignedPreCommand, outage.Order{Kind: outage.OnDemand}, hub(n), received, 30*time.Minute)
}

func futureDated(n int, counter uint64, received, at time.Time) outage.Activation {
	id := outage.RequestID{Originator: supplier, Target: meter(n), Counter: counter}
	return outage.NewActivation(id, outage.SignedPreCommand, outage.Order{Kind: outage.FutureDated, At: at}, hub(n), received, 30*time.Minute)
}

// ad1 is an alert of hub n, always of the same outage for the same id.
func ad1(n int, id string, received time.Time) outage.Alert {
	return outage.Alert{ID: id, Code: "AD1", CHF: hub(n), OutageStart: outageOf(id), MPxN: "1200023305967", Received: received}
}

// noted is the note that ad1 went forward.
func noted(n int, id string, received time.Time, r outage.Reason) Forwarded {
	return Forwarded{id, hub(n), outageOf(id), received, r}
}

// outageOf is when the outage of an alert began: another for another id.
func outageOf(id string) time.Time {
	return t0.Add(2*time.Minute + time.Duration(crc32.ChecksumIEEE([]byte(id))%1e6)*time.Microsecond)
}

func openIn(t testing.TB, dir string, change ...func(*Options)) *Store {
	t.Helper()
	opts := Options{Dir: dir, Log: slog.New(slog.NewTextHandler(testLog{t}, nil)), Database: databaseOf(t, dir), Node: "test"}
	for _, c := range change {
		c(&opts)
	}
	s, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

type testLog struct{ testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.Logf("%s", strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

func decide(t testing.TB, s *Store, a outage.Alert) Decision {
	t.Helper()
	d, err := s.Decide(t.Context(), a, outage.Suppressed, time.Minute)
	if err != nil {
		t.Fatalf("Decide(%s): %v", a.ID, err)
	}
	return d
}

func allEntries(t testing.TB, s *Store) []outage.Entry {
	t.Helper()
	list, err := s.EntriesAfter(t.Context(), 0, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// eventually waits for a condition that another goroutine brings about.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// lead has a node lead, and waits until it does.
func lead(t testing.TB, s *Store) *Store {
	t.Helper()
	if !s.remote {
		return s // it always does
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go s.WhileLeading(ctx, func(ctx context.Context) { <-ctx.Done() })
	eventually(t, "the node leads", s.Leading)
	return s
}

// prune has a node among others forget what housekeeping has deleted.
func prune(t testing.TB, s *Store) {
	t.Helper()
	if s.remote {
		if err := s.prune(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// script changes the database past the methods of the store.
func script(t testing.TB, s *Store, text string) {
	t.Helper()
	if err := s.do(t.Context(), urgent, func(ctx context.Context) error { return s.conn.script(ctx, text) }); err != nil {
		t.Fatal(err)
	}
}

// outside is the database of a folder as another program has it.
func outside(t testing.TB, dir string) *sql.DB {
	t.Helper()
	driver, name := "sqlite", dsn(filepath.Join(dir, "quell.db"), "busy_timeout(10000)")
	if url := databaseOf(t, dir); url != "" {
		driver, name = "pgx", url
	}
	db, err := sql.Open(driver, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// holdWriteLock takes the database's write lock from outside, as a backup or
// a shell may, until the returned function is called.
func holdWriteLock(t testing.TB, dir string) (release func()) {
	t.Helper()
	db, lock := outside(t, dir), "SELECT 1" // _txlock=immediate
	if onPostgres() {
		lock = fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", writerLock)
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

func short(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}
