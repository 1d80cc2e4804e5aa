package reporter

import (
	"encoding/csv"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/report"
	"quell/internal/reportfile"
	"quell/internal/store"

	"github.com/prometheus/client_golang/prometheus"
)

// history is a random history of a log and its reports, and what must come of it.
type history struct {
	*bench
	rnd    *rand.Rand
	dir    string // of the store
	remote string // where the consolidated files go

	alerts []outage.Alert
	truth  map[string]outage.Outcome // of each alert in the log, by its id
	backup map[string]outage.Outcome // the same when the backup was made; nil: there is none
	system int
}

// TestHistories lets seeded histories happen: alerts, retries, corrections, turns of the
// switch, cuts by time, size and command, deliveries, changes of the settings,
// housekeeping, restarts, and backups that are put back. In the end a naive reader, which
// shares nothing with Read, finds each entry once in what was delivered, with the outcome
// that is true; and Verify passes exactly those parts of it that lack nothing.
func TestHistories(t *testing.T) {
	seeds := []uint64{1, 2, 3, 4, 5, 6, 7, 8}
	if text := os.Getenv("QUELL_TEST_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seeds = []uint64{seed}
	}
	var restored atomic.Int32
	t.Run("seeds", func(t *testing.T) {
		for _, seed := range seeds {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				h := &history{rnd: rand.New(rand.NewPCG(seed, 14)), dir: t.TempDir(), remote: t.TempDir(), truth: map[string]outage.Outcome{}}
				h.bench = &bench{TB: t}
				h.at(t0)
				h.open(Settings{SystemID: "quell", Every: time.Hour, MaxBytes: 10 << 20, Empty: true, AlarmAfter: time.Hour, Keep: 90 * 24 * time.Hour, Window: 30 * time.Minute,
					Remotes: []Remote{{"esi", h.remote, report.Consolidated}}})
				for range 150 {
					if h.step() {
						restored.Add(1)
					}
				}
				h.cutNow()
				h.deliver()
				h.check()
			})
		}
	})
	if restored.Load() == 0 && len(seeds) > 1 {
		t.Error("no backup was ever put back while reports were lacking: the test finds out nothing")
	}
}

func (h *history) open(s Settings) {
	h.Helper()
	log := slog.New(slog.NewTextHandler(testLog{h.TB}, nil))
	st, err := store.Open(h.Context(), store.Options{Dir: h.dir, Log: log, Now: func() time.Time { return *h.now.Load() }})
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { st.Close() })
	h.store = st
	h.Reporter = &Reporter{Register: st.Reports, Ledger: st.Ledger, Cluster: st.Cluster, Ready: st.Ready, Dir: filepath.Join(h.dir, "reports"), Now: func() time.Time { return *h.now.Load() }, Log: log, Metrics: NewMetrics(prometheus.NewRegistry())}
	h.Set(s)
}

// step has one thing happen, and reports whether it was a backup put back that lacked
// reports.
func (h *history) step() (lacked bool) {
	h.at(h.Now().Add(time.Duration(1+h.rnd.IntN(600)) * time.Second))
	set := *h.settings.Load()
	switch n := h.rnd.IntN(100); {
	case n < 40:
		h.alertOf(1 + h.rnd.IntN(3))
	case n < 46:
		h.retry()
	case n < 54:
		h.correct()
	case n < 58:
		h.turn([]outage.Switch{outage.SwitchOn, outage.SwitchShadow, outage.SwitchOff}[h.rnd.IntN(3)], "somebody", "why")
	case n < 70:
		h.due()
	case n < 74:
		h.cutNow()
	case n < 84:
		h.deliver()
	case n < 88:
		set.PerDistributor = !set.PerDistributor
		h.Set(set)
	case n < 90:
		set.Empty = !set.Empty
		h.Set(set)
	case n < 92:
		set.MaxBytes = []int64{8 << 10, 10 << 20}[h.rnd.IntN(2)]
		h.Set(set)
	case n < 93:
		h.system++
		set.SystemID = fmt.Sprint("quell", h.system)
		h.Set(set)
	case n < 96:
		l := store.Limits{WindowsBefore: h.Now().Add(-time.Hour), LogBefore: h.Now().Add(-3 * time.Hour), ReportsBefore: h.Now().Add(-6 * time.Hour), Remotes: h.Remotes()}
		if _, err := h.store.Housekeep(h.Context(), l); err != nil {
			h.Error(err)
		}
	case n < 98:
		h.store.Close()
		h.copy("quell.db", "backup")
		h.backup = map[string]outage.Outcome{}
		for id, outcome := range h.truth {
			h.backup[id] = outcome
		}
		h.open(set)
	default:
		return h.backup != nil && h.restore(set)
	}
	return false
}

func (h *history) copy(from, to string) {
	h.Helper()
	text, err := os.ReadFile(filepath.Join(h.dir, from))
	if err == nil {
		err = os.WriteFile(filepath.Join(h.dir, to), text, 0o600)
	}
	if err != nil {
		h.Fatal(err)
	}
}

func (h *history) alertOf(hub int) {
	h.Helper()
	h.activate(hub)
	start := h.Now().Truncate(time.Second)
	h.alert(hub, fmt.Sprint("alert ", len(h.alerts)), []string{"1200023305967", "1400023305965", "not one"}[h.rnd.IntN(3)], func(a *outage.Alert) {
		a.OutageStart = start
		h.alerts = append(h.alerts, *a)
	})
	h.truth[h.alerts[len(h.alerts)-1].ID] = outage.Suppressed
}

// some is one of the alerts, and its entry if it is in the log.
func (h *history) some() (a outage.Alert, entry []outage.Entry) {
	h.Helper()
	if len(h.alerts) == 0 {
		return a, nil
	}
	a = h.alerts[h.rnd.IntN(len(h.alerts))]
	entry, err := h.store.Ledger.Entries(h.Context(), ledger.Filter{AlertID: a.ID}, 1)
	if err != nil {
		h.Fatal(err)
	}
	return a, entry
}

// retry sends an alert again; one whose entry housekeeping has deleted, or that was
// lost with the store, is decided anew and is left out here.
func (h *history) retry() {
	a, list := h.some()
	if len(list) == 0 {
		return
	}
	a.Received = h.Now()
	d, err := h.store.Ledger.Decide(h.Context(), a, outage.Suppressed, time.Minute)
	if err != nil || d.Entry.Seq != list[0].Seq && d.Outcome != outage.Forwarded {
		h.Errorf("the retry of %s is %+v %v", a.ID, d, err)
	}
}

// correct has an alert that is in the log go forward after all.
func (h *history) correct() {
	a, list := h.some()
	if a.ID == "" {
		return
	}
	h.store.Ledger.NoteForwarded(ledger.ForwardedNote{AlertID: a.ID, CHF: a.CHF, OutageStart: a.OutageStart, Received: h.Now(), Reason: outage.ReasonStoreUnavailable})
	if err := h.store.DB.Ping(h.Context()); err != nil {
		h.Fatal(err)
	}
	if len(list) > 0 {
		h.truth[a.ID] = outage.Forwarded
	}
}

func (h *history) deliver() {
	h.Helper()
	for _, to := range h.settings.Load().Remotes {
		if _, err := h.deliverWaiting(h.Context(), to, true); err != nil {
			h.Error(err)
		}
	}
}

// restore puts the backup back, and has reports go on if that is needed. What was in
// no file is lost.
func (h *history) restore(set Settings) (lacked bool) {
	h.Helper()
	h.store.Close()
	h.copy("backup", "quell.db")
	h.open(set)
	_, told := naive(h.TB, h.Dir)
	truth := map[string]outage.Outcome{}
	for id, outcome := range h.backup {
		truth[id] = outcome
	}
	for id, outcome := range told {
		if truth[id] != outage.Forwarded {
			truth[id] = outcome
		}
	}
	h.truth = truth
	_, err := h.Cut(h.Context())
	if err == nil {
		return false
	}
	if !errors.Is(err, ErrRestored) {
		h.Fatal(err)
	}
	for range h.rnd.IntN(4) {
		h.alertOf(1)
	}
	last, _, _ := h.strangers.last()
	if err := h.Resume(h.Context(), last, "somebody", "why"); !errors.Is(err, ErrResume) {
		h.Errorf("a number that was given out is taken: %v", err)
	}
	if err := h.Resume(h.Context(), last+1, "somebody", "why"); err != nil {
		h.Fatal(err)
	}
	return true
}

// naive reads the consolidated files of a folder in order of their numbers: the alerts
// of each that it reports first, and the last outcome of each.
func naive(t testing.TB, dir string) (files [][]string, told map[string]outage.Outcome) {
	t.Helper()
	told = map[string]outage.Outcome{}
	names, err := filepath.Glob(filepath.Join(dir, "POAS_*.csv"))
	if err != nil {
		t.Fatal(err)
	}
	number := func(name string) string { return strings.Split(filepath.Base(name), "_")[4] }
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(number(a), number(b)) })
	for _, name := range names {
		if strings.Count(filepath.Base(name), "_") != 4 {
			continue // a distributor's
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		r := csv.NewReader(f)
		r.FieldsPerRecord = -1
		rows, err := r.ReadAll()
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		var first []string
		for _, row := range rows {
			if row[0] == "D" {
				first = append(first, row[2])
			}
			if row[0] == "D" || row[0] == "C" {
				told[row[2]] = outage.Outcome(row[17])
			}
		}
		files = append(files, first)
	}
	return files, told
}

func (h *history) check() {
	h.Helper()
	files, told := naive(h.TB, h.remote)
	seen := map[string]int{}
	for _, f := range files {
		for _, id := range f {
			seen[id]++
		}
	}
	for id, outcome := range h.truth {
		if seen[id] != 1 || told[id] != outcome {
			h.Errorf("%s was reported %d times, last as %q, and is %q", id, seen[id], told[id], outcome)
		}
	}
	for id := range seen {
		if _, ok := h.truth[id]; !ok {
			h.Errorf("%s was reported and is not known", id)
		}
	}
	paths, _, err := reportfile.List([]string{h.remote})
	if err != nil {
		h.Fatal(err)
	}
	number := func(path string) int64 { f, _ := reportfile.ParseName(filepath.Base(path)); return f.Report }
	slices.SortFunc(paths, func(a, b string) int { return int(number(a) - number(b)) })
	for n := range 20 {
		var some []string
		whole := true // from the first that is left to the last, none is missing
		for _, path := range paths {
			if n > 0 && h.rnd.IntN(2+n) == 0 {
				continue
			}
			whole = whole && (len(some) == 0 || number(path) == number(some[len(some)-1])+1)
			some = append(some, path)
		}
		if len(some) == 0 {
			continue
		}
		chains, err := reportfile.Verify(some, nil)
		// Where the first file of a system's is missing, nothing says that the one before
		// is of the same log: it then says what is missing before the chain.
		told := slices.ContainsFunc(chains[min(1, len(chains)):], func(c reportfile.Chain) bool { return !c.Complete })
		if (err == nil) != whole && !told || whole && len(chains) != 1 {
			h.Errorf("of %d files %d are left, which is whole: %v; verify says %v, in %d chains", len(paths), len(some), whole, err, len(chains))
		}
	}
}
