package replay

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/duis"
	"quell/internal/evidence"
	"quell/internal/nation"
	"quell/internal/outage"
	"quell/internal/recording"
	"quell/internal/simnight"
	"quell/internal/store"
)

// sent is a message of a night.
type sent struct {
	at        time.Time
	direction outage.Direction
	document  []byte
}

// oddities makes a simulated night, and the inventory that belongs to it, less tidy than a simulation
// is. It returns both anew.
//
//   - Each home has a display (PPMID) of the same MPxN. In every third home it is what is heard.
//   - The inventory has no MPxN of some homes, and a second meter on the hub of others, in another
//     place or the same. If twins is set, some AD1s have its MPxN.
//   - Some AD1s have an MPxN that is none, or one that the inventory does not know.
//   - Ten seconds after some AD1s the DSP answers a request to the meter. That is not heard from the
//     home. After others it says that the activation did not run.
//   - Some of the activations that are future dated are cancelled a minute later.
func oddities(t *testing.T, w *nation.World, n *nation.Night, s nation.Scenario, twins bool) (night []sent, inventory string) {
	var file bytes.Buffer
	if err := simnight.WriteInventory(&file, w, s); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&file).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	twin := func(i int) string { return mpan(50_000_000 + 10*i) } // of the same distributor as all
	display := func(hub outage.DeviceID) outage.DeviceID { return hub + 0x3000_0000_0000 }
	mpxns := map[outage.DeviceID]string{}
	number := map[outage.DeviceID]int{}
	for i, row := range rows {
		if i == 0 {
			inventory = strings.Join(row, ",") + "\n"
			continue
		}
		h := &w.Homes[i-1]
		number[h.Hub] = i
		mpxns[h.Hub] = row[6]
		shown := fmt.Sprintf("%s,PPMID,SMETS2,Simulated,D,%s,%s,,\n", display(h.Hub), h.Hub, row[6])
		if i%11 == 3 {
			row[6] = ""
		}
		inventory += strings.Join(row, ",") + "\n" + shown
		if (i%13 == 5 || i%13 == 6) && row[6] != "" {
			at := "ZE1 0AA,"
			if i%13 == 6 {
				at = row[7] + "," + row[8]
			}
			inventory += fmt.Sprintf("%s,ESME,SMETS2,Simulated,Twin,%s,%s,%s\n", h.Meter+0x4000_0000_0000, h.Hub, twin(i), at)
		}
	}
	ordered := map[outage.DeviceID]outage.RequestID{} // the last 11.3 of each hub
	for m := range simnight.Messages(w, n) {
		x := sent{m.At, m.Direction, bytes.Clone(m.Document)}
		msg, err := duis.Read(x.document)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case m.Direction == outage.South:
			h := w.Homes[msg.RequestID.Target-w.Homes[0].Meter]
			ordered[h.Hub] = msg.RequestID
			if number[h.Hub]%9 == 4 && msg.Order().Kind == outage.FutureDated && msg.CommandVariant == 5 {
				id := msg.RequestID
				id.Counter += 1_000_000
				night = append(night, sent{m.At.Add(time.Minute), outage.South, message(id, outage.SignedPreCommand, outage.Order{Kind: outage.Cancellation})})
			}
		case msg.Body == duis.BodyPowerOutage:
			hub := msg.Outage.CHF
			switch i := number[hub]; {
			case i%13 == 5 && i%11 != 3 && twins:
				x.document = bytes.Replace(x.document, []byte(">"+mpxns[hub]+"<"), []byte(">"+twin(i)+"<"), 1)
			case i%17 == 2:
				x.document = bytes.Replace(x.document, []byte(">"+mpxns[hub]+"<"), []byte(">"+mpxns[hub][1:]+"<"), 1)
			case i%17 == 3:
				x.document = bytes.Replace(x.document, []byte(">"+mpxns[hub]+"<"), []byte(">"+mpan(60_000_001)+"<"), 1)
			case i%5 == 0:
				meter := w.Homes[i-1].Meter
				answer := bytes.ReplaceAll(duis.AppendAnswer(nil, outage.RequestID{Originator: supplier, Target: meter, Counter: 1}, m.At, "I99"), []byte("11.3"), []byte("4.8.1"))
				night = append(night, sent{m.At.Add(10 * time.Second), outage.North, answer})
			case i%7 == 1 && ordered[hub].Counter != 0:
				night = append(night, sent{m.At.Add(10 * time.Second), outage.North, duis.AppendAnswer(nil, ordered[hub], m.At, "E20")})
			}
		case msg.AlertCode == "81A0" && number[msg.ResponseID.Originator]%3 == 1:
			id := msg.ResponseID
			id.Originator = display(id.Originator)
			x.document = duis.AppendDeviceAlert(nil, id, m.At, "81A0", []byte("from the display"))
		}
		night = append(night, x)
	}
	slices.SortStableFunc(night, func(a, b sent) int { return a.at.Compare(b.at) })
	return night, inventory
}

// TestLiveEvidenceOfFew is TestLiveEvidence with a few homes.
func TestLiveEvidenceOfFew(t *testing.T) { testLiveEvidence(t, true, 40, 37, 400, 0) }

// testLiveEvidence: a simulated night, with its neighbours, restorations, hubs that are heard again and ends of
// windows, passes the listeners of a quell with a store, which records it and assesses it. The replay of the
// recording decides the same and, with the same inventory, says the same of each entry in the end:
// its level, its odds and its facts. That says little if fewer entries are strong than it is told.
func testLiveEvidence(t *testing.T, plain bool, world, seed uint64, homes, strong int) {
	s := nation.Scenarios[1]
	w := nation.NewWorld(world, homes)
	n := w.Night(s, seed, time.Date(2026, 11, 1, 22, 0, 0, 0, time.UTC))
	night, inventory := oddities(t, w, n, s, plain)
	var clock atomic.Int64
	clock.Store(night[0].at.Add(-time.Hour).UnixMicro())
	now := func() time.Time { return time.UnixMicro(clock.Load()).UTC() }

	l := newLiveWith(t, store.Options{Now: now})
	l.Now, l.now = now, now()
	l.Sightings = l.st.Sightings
	l.Sightings.Enable(true)
	l.Recording.Configure(recording.Limits{Enabled: true, Plain: plain, MaxBytes: 1 << 30, Keep: time.Hour})
	patient := simnight.Rules
	patient.StoreTimeout = time.Minute
	l.SetRules(patient)
	l.setSwitch(t, outage.SwitchOn)
	var list strings.Builder
	if err := simnight.WriteList(&list, w); err != nil {
		t.Fatal(err)
	}
	l.importDevices(t, inventory, list.String())
	urls := l.listen(t)
	assess := func() {
		l.Sightings.Flush()
		if err := l.st.DB.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := l.st.Evidence.Assess(t.Context(), now()); err != nil {
			t.Fatal(err)
		}
	}
	// until goes on to an instant; every 40 minutes what there is by then is assessed.
	assessed := now()
	until := func(at time.Time) {
		for next := assessed.Add(40 * time.Minute); next.Before(at); next = next.Add(40 * time.Minute) {
			clock.Store(next.UnixMicro())
			assess()
			assessed = next
		}
		clock.Store(at.UnixMicro())
	}
	send := func(m sent) {
		until(m.at)
		resp, err := http.Post(urls[m.direction], "application/xml", bytes.NewReader(m.document))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		io.Copy(io.Discard, resp.Body)
		if err := l.st.DB.Ping(t.Context()); err != nil { // nobody waits for a failure
			t.Fatal(err)
		}
		if strings.HasPrefix(resp.Header.Get("Quell-Decision"), string(outage.Suppressed)) {
			if err := l.st.Evidence.FollowOnce(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	end := n.End.Add(26 * time.Hour)
	for _, m := range night {
		if m.at.Before(end) {
			send(m)
		}
	}
	// The last message is of no home. It says until when the recording goes.
	last := outage.RequestID{Originator: 1, Target: 2, Counter: 1}
	send(sent{end, outage.North, duis.AppendPowerOutage(nil, last, end, duis.PowerOutage{CHF: 3, Start: end.Add(-time.Minute), MPxN: mpan(1)})})
	assess()
	l.end(t)

	found, err := l.st.Evidence.Assessed(t.Context(), 1, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := l.st.Ledger.EntriesAfter(t.Context(), 0, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	suppressed := len(entries)
	live := map[int64]evidence.Assessment{}
	levels := map[evidence.Level]int{}
	restored, notRun := 0, 0
	for _, a := range found {
		live[a.Entry] = a
		if a.Facts.Restored {
			restored++
		}
		if a.Facts.NotRun != "" {
			notRun++
		}
		levels[a.Level]++
	}
	path := filepath.Join(t.TempDir(), "inventory.csv")
	if err := os.WriteFile(path, []byte(inventory), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{Evidence: true}
	if o.Inventory, err = ReadInventory(path); err != nil {
		t.Fatal(err)
	}
	var differ []string
	o.Alert = func(a *Alert) error {
		switch was := live[a.Entry]; {
		case a.Now != a.Then:
			differ = append(differ, fmt.Sprintf("%s: %v, was %v", a.ID, a.Now, a.Then))
		case a.Entry == 0:
		case a.Evidence == nil:
			differ = append(differ, fmt.Sprintf("%s: there is no evidence", a.ID))
		case a.Evidence.Level != was.Level || a.Evidence.Odds != was.Odds || a.Evidence.Facts != was.Facts || a.Evidence.Stage != was.Stage:
			differ = append(differ, fmt.Sprintf("%s of %s: %+v,\nwas %+v", a.ID, a.Hub, *a.Evidence, was))
		}
		return nil
	}
	r, err := Run(t.Context(), files(t, l.dir), o)
	if err != nil || r.RequestChanges > 0 || len(live) != suppressed || r.Levels[evidence.Strong] != levels[evidence.Strong] || r.Levels[evidence.Weak] != levels[evidence.Weak] {
		t.Errorf("%v, %d requests differ; of %d suppressed %v, then %v", err, r.RequestChanges, suppressed, r.Levels, levels)
	}
	if len(differ) > 0 {
		t.Errorf("%d of %d differ:\n%s", len(differ), len(live), strings.Join(differ[:min(len(differ), 5)], "\n"))
	}
	if suppressed < homes/16 || levels[evidence.Strong] < strong || restored < strong/2 || notRun == 0 {
		t.Errorf("the night says little: %v, %d restored, %d did not run", levels, restored, notRun)
	}
	t.Logf("%v, %d restored, %d did not run", levels, restored, notRun)
}
