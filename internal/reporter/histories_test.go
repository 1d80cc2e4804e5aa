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

// history is a random history of a log and its reports, and the expected result.
type history struct {
	*bench
	rnd    *rand.Rand
	dir    string // of the store
	remote string // where the consolidated files go

	alerts []outage.Alert
	truth  map[string]outage.Outcome // the outcome of each alert in the log, by its id
	backup map[string]outage.Outcome // the same when the backup was made; nil if there is none
	system int
}

// TestHistories runs random histories from seeds: alerts, retries, corrections, changes of the
// switch, cuts by time, size and command, deliveries, changes of the settings, housekeeping,
// restarts, and restored backups. In the end a naive reader, which shares nothing with Read, finds
// each entry once in the delivered files, with the true outcome. Verify finds no fault in
// a selection of the files exactly if nothing is missing in it.
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
				h.setTime(t0)
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
		t.Error("no restored backup ever lacked reports: the test shows nothing")
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

// step makes one random step. It reports whether that was a restored backup that lacked reports.
func (h *history) step() (lacked bool) {
	h.setTime(h.Now().Add(time.Duration(1+h.rnd.IntN(600)) * time.Second))
	set := *h.settings.Load()
	switch n := h.rnd.IntN(100); {
	case n < 40:
		h.alertOf(1 + h.rnd.IntN(3))
	case n < 46:
		h.retry()
	case n < 54:
		h.correct()
	case n < 58:
		h.setSwitch([]outage.Switch{outage.SwitchOn, outage.SwitchShadow, outage.SwitchOff}[h.rnd.IntN(3)], "somebody", "why")
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

// anyAlert returns one of the alerts, and its entry if it is in the log.
func (h *history) anyAlert() (a outage.Alert, entry []outage.Entry) {
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

// retry sends an alert again. It leaves out alerts whose entry was deleted by housekeeping, or
// lost with the store: these would be decided again.
func (h *history) retry() {
	a, list := h.anyAlert()
	if len(list) == 0 {
		return
	}
	a.Received = h.Now()
	d, err := h.store.Ledger.Decide(h.Context(), a, outage.Suppressed, time.Minute)
	if err != nil || d.Entry.Seq != list[0].Seq && d.Outcome != outage.Forwarded {
		h.Errorf("the retry of %s is %+v %v", a.ID, d, err)
	}
}

// correct makes an alert that is in the log go forward after all.
func (h *history) correct() {
	a, list := h.anyAlert()
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

// restore restores the backup, and resumes reports if needed. What was in no file is lost.
func (h *history) restore(set Settings) (lacked bool) {
	h.Helper()
	h.store.Close()
	h.copy("backup", "quell.db")
	h.open(set)
	_, outcomes := naive(h.TB, h.Dir)
	truth := map[string]outage.Outcome{}
	for id, outcome := range h.backup {
		truth[id] = outcome
	}
	for id, outcome := range outcomes {
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
	last, _, _ := h.unknown.last()
	if err := h.Resume(h.Context(), last, "somebody", "why"); !errors.Is(err, ErrResume) {
		h.Errorf("a number that was used is accepted: %v", err)
	}
	if err := h.Resume(h.Context(), last+1, "somebody", "why"); err != nil {
		h.Fatal(err)
	}
	return true
}

// naive reads the consolidated files of a folder in order of their numbers. It returns the alerts
// that each file reports first, and the last outcome of each alert.
func naive(t testing.TB, dir string) (files [][]string, outcomes map[string]outage.Outcome) {
	t.Helper()
	outcomes = map[string]outage.Outcome{}
	names, err := filepath.Glob(filepath.Join(dir, "POAS_*.csv"))
	if err != nil {
		t.Fatal(err)
	}
	number := func(name string) string { return strings.Split(filepath.Base(name), "_")[4] }
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(number(a), number(b)) })
	for _, name := range names {
		if strings.Count(filepath.Base(name), "_") != 4 {
			continue // a file of a distributor
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
				outcomes[row[2]] = outage.Outcome(row[17])
			}
		}
		files = append(files, first)
	}
	return files, outcomes
}

func (h *history) check() {
	h.Helper()
	files, outcomes := naive(h.TB, h.remote)
	seen := map[string]int{}
	for _, f := range files {
		for _, id := range f {
			seen[id]++
		}
	}
	for id, outcome := range h.truth {
		if seen[id] != 1 || outcomes[id] != outcome {
			h.Errorf("%s was reported %d times, last as %q, want once, as %q", id, seen[id], outcomes[id], outcome)
		}
	}
	for id := range seen {
		if _, ok := h.truth[id]; !ok {
			h.Errorf("%s was reported, but is not in the log", id)
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
		whole := true // none is missing between the first and the last that are left
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
		// If the first file of a system's id is missing, nothing connects it with the files
		// before. Then there are two chains, and the second says that it is not complete.
		incomplete := slices.ContainsFunc(chains[min(1, len(chains)):], func(c reportfile.Chain) bool { return !c.Complete })
		if (err == nil) != whole && !incomplete || whole && len(chains) != 1 {
			h.Errorf("of %d files %d are left, without a gap: %v; Verify says %v, in %d chains", len(paths), len(some), whole, err, len(chains))
		}
	}
}
