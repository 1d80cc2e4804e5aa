package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"quell/bench/load"
	"quell/bench/page"
	"quell/bench/rig"
)

// restart is row 6: how soon a quell with many windows and log entries forwards, how
// soon it decides from memory, and how much memory each hub takes.
func (h *harness) restart() error {
	windows, entries := int(2_000_000*h.scale), int(10_000_000*h.scale)
	if h.quick {
		windows, entries = 20_000, 100_000
	}
	n, err := h.StartNode(rig.Setup{Name: "quell-large", Devices: 1})
	if err != nil {
		return err
	}
	if err := h.OpenWindows(n, 0, 1); err != nil {
		return err
	}
	if decision, reason, err := rig.Verdict(&n.Candidate, load.PowerOutage(0, 1).At(h.Numbers(1)), http.DefaultClient); err != nil || decision != "suppressed" {
		return fmt.Errorf("quell says %s (%s): %v", decision, reason, err)
	}
	n.Stop(syscall.SIGTERM)
	var none page.Sample // bytes of a quell with one hub
	for range 3 {
		if _, err := h.startUnderLoad(n, func(rss int64) { none = append(none, float64(rss)) }); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := h.multiply(filepath.Join(n.Data(), "quell.db"), windows, entries); err != nil {
		return err
	}
	store, _, err := size(n.Data())
	if err != nil {
		return err
	}
	fmt.Printf("a store with %s windows and %s entries, %s MB, was made in %v\n", page.Thousands(int64(windows)), page.Thousands(int64(entries)), page.Thousands(store/1e6), time.Since(began).Round(time.Second))

	var forwards, decides, memory page.Sample
	for range max(3, h.rounds) {
		s, err := h.startUnderLoad(n, func(rss int64) {
			memory = append(memory, (float64(rss)-none.Median())/float64(windows+entries))
		})
		if err != nil {
			return err
		}
		if s.hubs != float64(windows+entries) {
			return fmt.Errorf("quell knows %.0f hubs, want %d", s.hubs, windows+entries)
		}
		forwards, decides = append(forwards, s.forwards.Seconds()), append(decides, s.decides.Seconds())
	}
	what := fmt.Sprintf("with %s windows and %s entries, each of another hub", page.Thousands(int64(windows)), page.Thousands(int64(entries)))
	text := page.Table(
		[]string{what, "median (spread)"},
		[]string{"seconds from the start until a message is forwarded", forwards.String()},
		[]string{"seconds from the start until alerts are decided from memory", decides.String()},
		[]string{"bytes of memory for each hub: the process, less one that knows one hub", memory.String()})
	fmt.Print(text)
	h.set("restart", text)
	h.doc.Aim("6, memory", "memory for each window", "–", "at most 60 bytes", memory.String()+" bytes", memory.Median() <= 60)
	h.doc.Aim("6, start", "start "+what, "–", "decided from memory within 3 s, forwarding from the first second",
		forwards.String()+" s, "+decides.String()+" s", decides.Median() < 3 && forwards.Median() < 1)
	return nil
}

// started is what was seen of a start.
type started struct {
	forwards, decides time.Duration
	hubs              float64
}

// startUnderLoad starts a node and stops it again. From the start on, genuine alerts are
// sent, which must all be forwarded as soon as one is. rss is called with the node's
// memory when it is ready.
func (h *harness) startUnderLoad(n *rig.Node, rss func(int64)) (s started, err error) {
	began := time.Now()
	n.Process, err = h.Start(n.Dir, "quell", syscall.SIGKILL, nil, h.Quell, "serve", "--config", "quell.yaml")
	if err != nil {
		return s, err
	}
	defer n.Stop(syscall.SIGTERM)
	ctx, cancel := context.WithCancel(h.Ctx)
	defer cancel()
	alerts := make(chan error, 1)
	m, from := load.PowerOutage(load.Elsewhere, 1_000_000), h.Numbers(100_000)
	go func() {
		client := &http.Client{Timeout: 5 * time.Second}
		for i := int64(0); ; i++ {
			decision, reason, err := rig.Verdict(&n.Candidate, m.At(from+i), client)
			switch {
			case err != nil && s.forwards == 0: // nothing listens yet
			case err != nil || decision != "forwarded":
				alerts <- fmt.Errorf("alert %d of a start: %s (%s): %v", i, decision, reason, err)
				return
			case s.forwards == 0:
				s.forwards = time.Since(began)
			}
			if rig.Sleep(ctx, 5*time.Millisecond) != nil {
				alerts <- nil
				return
			}
		}
	}()
	if err := n.Ready(h.Ctx); err != nil {
		return s, err
	}
	s.decides = time.Since(began)
	cancel()
	if err := <-alerts; err != nil {
		return s, err
	}
	if s.forwards == 0 {
		return s, errors.New("quell was ready before a message was forwarded")
	}
	metrics, err := n.Metrics()
	if err != nil {
		return s, err
	}
	s.hubs = metrics["quell_hubs"]
	// A store that has just been opened may take longer than store_timeout at first.
	for tries := 1; ; tries++ {
		decision, reason, err := rig.Verdict(&n.Candidate, load.PowerOutage(0, 1).At(h.Numbers(1)), http.DefaultClient)
		if err == nil && decision == "suppressed" {
			break
		}
		fmt.Printf("after a start quell says %s (%s) of a hub with a window\n", decision, reason)
		if err != nil || tries == 20 {
			return s, fmt.Errorf("after the start quell says %s (%s): %v", decision, reason, err)
		}
	}
	rss(n.RSS())
	return s, nil
}

// multiply copies the one window and the one log entry of a store until there are so
// many, each of another hub. It writes into the tables what quell would, and is much
// faster than so many messages.
func (h *harness) multiply(path string, windows, entries int) error {
	sqlite := func(script string) (string, error) {
		cmd := exec.CommandContext(h.Ctx, "sqlite3", "-bail", "-batch", path)
		cmd.Stdin = strings.NewReader(script)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("sqlite3: %w: %s", err, out)
		}
		return strings.TrimSpace(string(out)), nil
	}
	// copies adds n rows to a table, with the keys that come next.
	copies := func(table, key string, n int, change map[string]string) (string, error) {
		out, err := sqlite(fmt.Sprintf("SELECT name FROM pragma_table_info('%s') ORDER BY cid;", table))
		if err != nil {
			return "", err
		}
		var values []string
		for _, column := range strings.Fields(out) {
			if v, ok := change[column]; ok {
				values = append(values, v)
			} else {
				values = append(values, "t."+column)
			}
		}
		return fmt.Sprintf("INSERT INTO %[1]s SELECT %[2]s FROM generate_series(1 + (SELECT max(%[3]s) FROM %[1]s), %[4]d + (SELECT max(%[3]s) FROM %[1]s)), (SELECT * FROM %[1]s LIMIT 1) t;\n",
			table, strings.Join(values, ", "), key, n), nil
	}
	activations, err := copies("activation", "id", windows-1, map[string]string{"id": "value", "request_id": "t.request_id || value", "esme": "t.esme + value", "chf": "t.chf + value"})
	if err != nil {
		return err
	}
	suppressions, err := copies("suppression", "seq", entries, map[string]string{"seq": "value", "alert_id": "t.alert_id || value", "esme": "t.esme + 1000000000 + value", "chf": "t.chf + 1000000000 + value"})
	if err != nil {
		return err
	}
	// Indexes are made afterwards, which is faster.
	const theirs = "type = 'index' AND sql IS NOT NULL AND tbl_name IN ('activation', 'suppression')"
	drop, err := sqlite("SELECT 'DROP INDEX ' || name || ';' FROM sqlite_master WHERE " + theirs + ";")
	if err != nil {
		return err
	}
	create, err := sqlite("SELECT sql || ';' FROM sqlite_master WHERE " + theirs + ";")
	if err != nil {
		return err
	}
	_, err = sqlite("PRAGMA synchronous = OFF; PRAGMA cache_size = -500000; PRAGMA temp_store = FILE;\nBEGIN;\n" + drop + "\n" + activations + suppressions +
		"UPDATE counter SET value = (SELECT max(seq) FROM suppression) WHERE name = 'suppression';\n" + create + "\nCOMMIT;\nPRAGMA wal_checkpoint(TRUNCATE);\n")
	return err
}
