package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quell/internal/assess"
	"quell/internal/config"
	"quell/internal/duis"
	"quell/internal/evidence"
	"quell/internal/outage"
	"quell/internal/store/storetest"
)

// A running quell assesses what it suppresses, within seconds, and says so in metrics and at the
// API. If that is turned off, it stops. If it fails, alerts are suppressed as before, and
// "degraded" says that it fails.
func TestEvidenceRuns(t *testing.T) { storetest.EachEngine(t, testEvidenceRuns) }

func testEvidenceRuns(t *testing.T) {
	const homes = 20
	dir := t.TempDir()
	list, inventory := "", "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn,postcode\n"
	for n := 1; n <= homes; n++ {
		list += storetest.Meter(n).String() + "\n"
		inventory += fmt.Sprintf("%s,ESME,SMETS2,Landis+Gyr,E470,%s,,SW1A 1AA\n", storetest.Meter(n), storetest.Hub(n))
	}
	for name, text := range map[string]string{"list.txt": list, "inventory.csv": inventory} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, cfg := running(t, nil, func(c *config.Config) {
		c.DeviceList, c.Inventory = filepath.Join(dir, "list.txt"), []string{filepath.Join(dir, "inventory.csv")}
		if address := storetest.Database(t, dir); address != "" {
			c.Store = address
		}
	})
	supplier := outage.DeviceID(0x90B3D51F30010000)
	counter := uint64(0)
	lose := func(home int) (decision string) {
		t.Helper()
		counter++
		id := outage.RequestID{Originator: storetest.Hub(home), Target: supplier, Counter: counter}
		res, err := http.Post(s.Northbound(), "application/xml", bytes.NewReader(duis.AppendPowerOutage(nil, id, time.Now(),
			duis.PowerOutage{CHF: storetest.Hub(home), Start: time.Now(), MPxN: "1"})))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.Header.Get("Quell-Decision")
	}
	activate := outage.RequestID{Originator: supplier, Target: storetest.Meter(1), Counter: 1}
	res, err := http.Post(s.Southbound(), "application/xml", bytes.NewReader(duis.AppendActivateFirmware(nil, activate, outage.Order{Kind: outage.OnDemand}, [32]byte{1})))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if d := lose(1); d != "suppressed" {
		t.Fatal(d)
	}
	wait(t, "the entry is assessed", func() bool {
		found, err := s.store.Evidence.Of(t.Context(), []int64{1})
		return err == nil && found[1] != nil && found[1].Stage == "at-once"
	})
	wait(t, "this node waits for the home", func() bool { return s.store.Sightings.Watched() == 2 })
	page := func(path string) string {
		t.Helper()
		res, err := http.Get(s.Console() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, was := range []evidence.Level{evidence.None, evidence.Strong} {
		s.store.Evidence.Changed(assess.Change{Assessment: evidence.Assessment{Level: evidence.Strong}, Was: was})
	}
	if text := page("/metrics"); !strings.Contains(text, "\nquell_evidence_strong_total 1\n") {
		t.Errorf("one entry has become strong, and the metrics say otherwise:\n%s", text)
	}
	for path, want := range map[string]string{"/metrics": "\nquell_evidence_entries{level=\"none\"} 1\n", "/api/v1/suppressions": `"stage": "at-once"`,
		"/api/v1/explain?id=" + storetest.Hub(1).String(): "Entry 1: there is no evidence that the alert was genuine"} {
		if text := page(path); !strings.Contains(text, want) {
			t.Errorf("%s does not say %s:\n%s", path, want, text)
		}
	}

	storetest.Script(t, s.store, `ALTER TABLE evidence RENAME TO gone`)
	if d := lose(1); d != "suppressed" {
		t.Error(d)
	}
	degraded := func() bool {
		return strings.Contains(page("/readyz"), "the evidence on suppressed alerts is not assessed")
	}
	wait(t, "degraded says so", degraded)
	if d := lose(1); d != "suppressed" {
		t.Error(d)
	}
	storetest.Script(t, s.store, `ALTER TABLE gone RENAME TO evidence`)
	wait(t, "all entries are assessed", func() bool {
		return s.store.Evidence.Levels()[evidence.None] == 3 && !degraded()
	})

	cfg.Evidence.Enabled = false
	s.Reload(cfg)
	wait(t, "it is off", func() bool { return len(s.store.Evidence.Levels()) == 0 })
	if d := lose(1); d != "suppressed" {
		t.Error(d)
	}
}

// What evidence.release cannot release, since its message is not there, is said. Nobody else asks for it. What was
// released before is asked for again after a restart, and no line says so.
func TestReleaseStrong(t *testing.T) {
	now := time.Now()
	st := storetest.MakeLeader(t, storetest.Open(t, t.TempDir()))
	st.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, now.Add(-time.Minute)))
	for _, message := range [][]byte{[]byte("POST / HTTP/1.1\r\nHost: h\r\n\r\n"), nil} {
		a := storetest.AD1(1, fmt.Sprint(len(message)), now)
		a.Message = message
		if d := storetest.Decide(t, st, a); d.Outcome != outage.Suppressed {
			t.Fatalf("%+v", d)
		}
	}
	for seq := 1; seq <= 2; seq++ {
		storetest.Script(t, st, fmt.Sprintf(`INSERT INTO evidence (seq, at, level, restored, facts) VALUES (%d, %d, 'strong', 0, '{}');
			INSERT INTO evidence_change (seq, at, was, level, distributor, facts, text) VALUES (%[1]d, %[2]d, 'none', 'strong', '', '{}', 'It is dark.')`, seq, now.UnixMicro()))
	}
	for range 2 {
		var log storetest.Buffer
		s := &Server{store: st, log: slog.New(slog.NewTextHandler(&log, nil))}
		cfg := config.Default()
		cfg.Evidence.Release = "strong"
		s.cfg.Store(&cfg)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { s.releaseStrong(ctx); close(ended) }()
		wait(t, "the log says that entry 2 cannot be released", func() bool { return strings.Contains(log.String(), "sequence=2") })
		cancel()
		<-ended
		if text := log.String(); strings.Contains(text, "sequence=1") {
			t.Errorf("entry 1 is released, and the log has:\n%s", text)
		}
	}
	if list, err := st.Releases.Of(t.Context(), []int64{1, 2}); err != nil || len(list) != 1 || list[0].Entry != 1 {
		t.Errorf("%+v %v", list, err)
	}
}
