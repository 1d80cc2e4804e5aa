package gateway

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/devices"
	"quell/internal/motorway"
	"quell/internal/outage"
	"quell/internal/recording"
	"quell/internal/smki"
	"quell/internal/store"

	"github.com/prometheus/client_golang/prometheus"
)

// How long messages wait for the store: long enough for a busy machine, and short if the
// store stalls.
const (
	patient   = 20 * time.Second
	impatient = 50 * time.Millisecond
)

// world is one whole gateway: store, motorway, listeners and next hops.
type world struct {
	*testing.T
	dir   string
	clock atomic.Pointer[time.Time]
	rules motorway.Rules
	first outage.Switch // position at the first start
	logs  logs

	certificates *smki.Certificates // of those who sign messages

	limits   Limits
	registry *prometheus.Registry // of the metrics since the last start

	store *store.Store
	m     *motorway.Motorway
	gw    *Gateway
	front map[outage.Direction]*Listener
	slow  bool // all messages go through net/http, none through the fast path
	hops  map[outage.Direction]*hop

	before, after atomic.Pointer[chan struct{}] // a batch of decisions waits here, before and after its commit
	unlock        func()                        // releases the lock on the database; nil if there is none
	trailRead     int
	crashed       bool // a process was killed, as far as the folder knows
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, dir: t.TempDir(), first: outage.SwitchOn, hops: map[outage.Direction]*hop{}}
	w.rules = motorway.Rules{Window: 30 * time.Minute, Manufacturers: outage.Manufacturers{"Landis+Gyr"}, ClockTolerance: time.Minute,
		Track: []outage.Form{outage.ServiceRequest, outage.SignedPreCommand}, StoreTimeout: patient}
	w.hops[outage.South] = newHop(t, answer{status: 200, code: "I99"})
	w.hops[outage.North] = newHop(t, answer{status: 200})
	return w
}

func (w *world) started() bool { return w.store != nil }

func (w *world) now() time.Time { return *w.clock.Load() }

func (w *world) setRules() {
	if w.m != nil {
		w.m.SetRules(w.rules)
		w.m.SetCertificates(w.certificates)
	}
}

// start opens the world for the first time.
func (w *world) start(inventory, list string) error {
	if w.clock.Load() == nil {
		w.clock.Store(new(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)))
	}
	if err := w.open(); err != nil {
		return err
	}
	w.Cleanup(w.close)
	if err := w.importDevices(inventory, list); err != nil {
		return err
	}
	_, err := w.store.Ledger.SetSwitch(w.Context(), w.first, "setup", "first value", w.now())
	return err
}

// importDevices imports an inventory and a device list.
func (w *world) importDevices(inventory, list string) error {
	files := []devices.File{{Name: "inventory.csv", Reader: strings.NewReader(inventory)}}
	_, err := w.store.Devices.ImportInventory(w.Context(), "setup", w.now(), func() (f devices.File, err error) {
		if len(files) == 0 {
			return f, io.EOF
		}
		f, files = files[0], nil
		return f, nil
	})
	if err != nil {
		return err
	}
	_, err = w.store.Devices.ImportList(w.Context(), "setup", w.now(), devices.File{Name: "devices.txt", Reader: strings.NewReader(list)})
	return err
}

// open opens everything in the data folder.
func (w *world) open() (err error) {
	gate := func(g *atomic.Pointer[chan struct{}]) {
		if c := g.Load(); c != nil {
			<-*c
		}
	}
	w.store, err = store.Open(context.Background(), store.Options{Dir: w.dir, Now: w.now,
		BeforeCommit: func() { gate(&w.before) },
		OnDecided: func(_ int, err error) {
			if err == nil {
				gate(&w.after)
			}
		}})
	if err != nil {
		return err
	}
	w.registry = prometheus.NewRegistry()
	w.m = &motorway.Motorway{Ledger: w.store.Ledger, Windows: w.store.Windows, Devices: w.store.Devices, Cluster: w.store.Cluster, Flow: w.store.Flow, Now: w.now, Log: slog.New(&w.logs), Metrics: motorway.NewMetrics(w.registry),
		Trail: motorway.OpenTrail(w.dir, slog.New(slog.DiscardHandler)), Sightings: w.store.Sightings, Updates: w.store.Updates, Recording: recording.Open(w.dir, slog.New(slog.DiscardHandler))}
	w.m.Trail.Enable(true)
	// What looks on must change nothing: it is on in every test.
	w.store.Sightings.Enable(true)
	w.m.Recording.Configure(recording.Limits{Enabled: true, MaxBytes: 1 << 30, Keep: time.Hour})
	w.setRules()
	w.gw = New(w.m, slog.New(slog.DiscardHandler), w.limits)
	w.direct()
	w.front = map[outage.Direction]*Listener{}
	for d, h := range map[outage.Direction]http.Handler{outage.South: w.gw.Southbound(), outage.North: w.gw.Northbound()} {
		if w.slow {
			h = http.HandlerFunc(h.ServeHTTP)
		}
		if w.front[d], err = w.gw.Listen(string(d), "127.0.0.1:0", h); err != nil {
			return err
		}
		go w.front[d].Serve()
	}
	return nil
}

// bothWays runs a test with the fast path, and without it.
func bothWays(t *testing.T, f func(t *testing.T, slow bool)) {
	t.Run("fast", func(t *testing.T) { t.Parallel(); f(t, false) })
	t.Run("slow", func(t *testing.T) { t.Parallel(); f(t, true) })
}

// direct tells the gateway where its next hops are.
func (w *world) direct() {
	w.gw.SetNextHops(w.hops[outage.South].where(), w.hops[outage.North].where())
}

func (w *world) closeFront() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, s := range w.front {
		if err := s.Shutdown(ctx); err != nil {
			w.Errorf("a listener does not stop: %v", err)
			s.Close()
		}
	}
	w.closeNextHops()
}

// closeNextHops closes the connections to next hops that have no message.
func (w *world) closeNextHops() {
	for _, n := range []*nextHop{&w.gw.south, &w.gw.north} {
		n.carrier.Load().kept.CloseIdleConnections()
		w.gw.renewHops(n)
	}
}

func (w *world) close() {
	w.openGates()
	for _, h := range w.hops {
		h.releaseAll()
	}
	w.closeFront()
	w.release()
	w.checkFlow()
	w.store.Close()
	w.m.Trail.Close()
	w.m.Recording.Close()
}

func (w *world) openGates() {
	for _, g := range []*atomic.Pointer[chan struct{}]{&w.before, &w.after} {
		if c := g.Swap(nil); c != nil {
			close(*c)
		}
	}
}

// lock takes the database's write lock from outside, as a backup may.
func (w *world) lock() {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(w.dir, "quell.db")+"?_txlock=immediate&_pragma=busy_timeout(20000)")
	if err != nil {
		w.Fatal(err)
	}
	tx, err := db.Begin()
	if err != nil {
		w.Fatal(err)
	}
	w.unlock = func() {
		w.unlock = nil
		tx.Rollback()
		db.Close()
	}
}

func (w *world) release() {
	if w.unlock != nil {
		w.unlock()
	}
}

// settled waits until the store has taken everything that waits, including the journal.
func (w *world) settled() {
	w.Helper()
	w.eventually("the store answers, and nothing is pending", func() bool {
		return w.store.DB.Ping(w.Context()) == nil && w.store.Ledger.Pending() == 0 && w.store.DB.Available()
	})
}

func (w *world) eventually(what string, cond func() bool) {
	w.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("never: %s", what)
		}
	}
}

// restart closes everything and opens it again in the same folder. A crash leaves the
// folder as it is at that moment.
func (w *world) restart(crash bool) error {
	if crash {
		w.crashed = true
		dir := w.TempDir()
		if err := copyFolder(dir, w.dir); err != nil {
			return err
		}
		w.close()
		w.dir = dir
	} else {
		w.closeFront()
		w.store.Close() // under the lock, if there is one
		w.m.Trail.Close()
		w.m.Recording.Close()
		w.release()
	}
	w.rules.StoreTimeout = patient
	if err := w.open(); err != nil {
		return err
	}
	w.settled()
	return nil
}

func copyFolder(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(from, path)
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		case strings.HasSuffix(name, "-shm"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), text, 0o600)
	})
}

// trail returns the lines of the audit trail that were not read yet, or all lines.
func (w *world) trail(all bool) (list []motorway.TrailLine) {
	w.Helper()
	if err := w.m.Trail.Flush(w.Context()); err != nil {
		w.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(w.dir, "audit", "trail.jsonl"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.Fatal(err)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	lines = lines[:len(lines)-1]
	from := w.trailRead
	if w.trailRead = len(lines); all {
		from = 0
	}
	for _, line := range lines[from:] {
		var l motorway.TrailLine
		if err := json.Unmarshal(line, &l); err != nil {
			w.Fatalf("audit trail: %v: %s", err, line)
		}
		list = append(list, l)
	}
	return list
}

// logs collects the motorway's log: its warnings, and all its text.
type logs struct {
	mu       sync.Mutex
	warnings []string
	text     strings.Builder
}

func (l *logs) Enabled(context.Context, slog.Level) bool { return true }
func (l *logs) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logs) WithGroup(string) slog.Handler            { return l }

func (l *logs) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Level >= slog.LevelWarn {
		l.warnings = append(l.warnings, r.Message)
	}
	fmt.Fprint(&l.text, r.Message)
	r.Attrs(func(a slog.Attr) bool { fmt.Fprintf(&l.text, " %s=%v", a.Key, a.Value); return true })
	l.text.WriteByte('\n')
	return nil
}

func (l *logs) takeWarnings() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.warnings
	l.warnings = nil
	return list
}
