package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"quell/bench/load"
	"quell/bench/page"
	"quell/bench/rig"
)

// campaign is row 7: half a million meters are activated at once, and each hub's false
// AD1 comes among as many genuine ones, within a minute. It is run on SQLite, and with
// three nodes on PostgreSQL.
func (h *harness) campaign() error {
	if err := h.campaignOn("SQLite, one node", "7, SQLite", nil); err != nil {
		return err
	}
	p, err := h.StartPostgres()
	if err != nil {
		return err
	}
	defer p.Stop(p.End)
	return h.campaignOn("PostgreSQL, three nodes", "7, PostgreSQL", p)
}

const campaignSeconds = 60

func (h *harness) campaignOn(name, key string, p *rig.Postgres) error {
	windows := int(500_000 * h.scale)
	s := rig.Setup{Name: "quell-campaign", Devices: windows, NextHop: h.Up.Logged}
	count := 1
	var store *rig.Process
	if p != nil {
		s.Store, count, store = p.URL, 3, p.Process
	}
	var nodes []*rig.Node
	var addrs []string
	for range count {
		n, err := h.StartNode(s)
		if err != nil {
			return err
		}
		defer n.Stop(n.End)
		nodes, addrs = append(nodes, n), append(addrs, n.Addr)
	}
	if err := h.openEverywhere(nodes, windows); err != nil {
		return err
	}

	// Even numbers are false alerts, odd ones genuine. Each has its number as its path. With
	// an odd number of hubs, the even numbers reach all of them.
	kinds := []*load.Message{load.PowerOutage(0, uint32((windows-1)|1)), load.PowerOutage(load.Elsewhere, 1_000_000)}
	first := h.Next + h.Next%2
	h.Next = first
	var all []*load.Loop
	build := func(total int, rate float64) *load.Loop {
		total += total % 2
		l := &load.Loop{Addrs: addrs, Senders: 4 * load.Connections, Messages: kinds, Pick: func(i int64) int { return int(i % 2) },
			From: h.Numbers(int64(total)), Total: total, Rate: rate, Paths: true}
		all = append(all, l)
		return l
	}
	aimed := float64(2*windows) / campaignSeconds
	skip, err := h.logged()
	if err != nil {
		return err
	}
	rate, err := h.highest(aimed, 10, nodes, store, build, func(o seen) bool { return o.late < time.Second })
	if err != nil {
		return err
	}
	main := build(int(rate*campaignSeconds), rate)
	o, err := h.under(main, nodes, store)
	if err != nil {
		return err
	}
	evidence, err := h.assessed(nodes, store)
	if err != nil {
		return err
	}
	if err := rig.Sleep(h.Ctx, 2*time.Second); err != nil { // the next hop writes its log each second
		return err
	}
	for _, n := range nodes {
		n.Stop(syscall.SIGTERM)
	}
	lost, err := h.lost(all, skip, nodes[0], p)
	if err != nil {
		return err
	}
	stopped, err := falseStopped(main)
	if err != nil {
		return err
	}
	doubtful := main.Total/2 - stopped
	half, whole := slices.Max(o.memory[:len(o.memory)/2+1]), slices.Max(o.memory)
	share := ""
	if rate < aimed {
		share = fmt.Sprintf(" (%.0f %% of the aim: the machine carries no more beside generator and next hop)", 100*rate/aimed)
	}
	lines := [][]string{
		{name + ": " + page.Thousands(int64(main.Total)) + " AD1, half of them false, in " + page.Thousands(campaignSeconds) + " s", ""},
		{"messages a second", page.Thousands(int64(rate)) + share},
		{"p50, p99, the latest", fmt.Sprintf("%v, %v, %v", o.p50.Round(10*time.Microsecond), o.p99.Round(10*time.Microsecond), o.late.Round(10*time.Microsecond))},
		{"neither forwarded nor logged, or both, or twice", page.Thousands(int64(lost))},
		{"false ones that were forwarded in doubt, since the store took longer than store_timeout", page.Thousands(int64(doubtful))},
		{"memory in the first half, and at most, MiB", fmt.Sprintf("%d, %d", half>>20, whole>>20)},
		{"µs of processor time of quell for each", page.Number(o.micros)},
		{"cores of the next hop, and of the generator", page.Number(o.upstream) + ", " + page.Number(o.generator)},
	}
	if p != nil {
		h.postgresAD1 = page.Sample{o.store * main.Took.Seconds() * 1e6 / float64(stopped)}
		h.clusterAD1 = page.Sample{o.micros}
		lines = append(lines, []string{"µs of processor time of PostgreSQL for each false one", h.postgresAD1.String()})
	}
	each := func(d time.Duration) string { return page.Number(float64(d.Microseconds()) / float64(stopped)) }
	after := each(evidence.quell)
	if p != nil {
		after += ", " + each(evidence.store)
	}
	lines = append(lines,
		[]string{"evidence afterwards: s until it has caught up", page.Number(evidence.took.Seconds())},
		[]string{"evidence afterwards: µs of processor time for each false one, of quell" + map[bool]string{true: "", false: ", of PostgreSQL"}[p == nil], after},
		[]string{"evidence afterwards: memory at most, MiB", fmt.Sprint(evidence.memory >> 20)})
	text := page.Table(lines...)
	fmt.Print(text)
	h.set(map[bool]string{true: "campaign", false: "campaign-nodes"}[p == nil], text)
	flat := float64(whole) < 1.1*float64(half)
	h.doc.Aim(key, fmt.Sprintf("campaign: %s AD1 in %d s, half false, %s", page.Thousands(int64(2*windows)), campaignSeconds, name), "–", "none late by more than 1 s, none lost, memory flat",
		fmt.Sprintf("at %s/s%s: latest %v, lost %d, forwarded in doubt %d, memory grew by %.0f %% in the second half", page.Thousands(int64(rate)), share, o.late.Round(time.Millisecond), lost, doubtful, 100*(float64(whole)/float64(half)-1)),
		o.late <= time.Second && lost == 0 && doubtful <= main.Total/200 && flat && rate == aimed)
	return nil
}

// settled is what nodes did after a campaign, until its evidence was assessed as far as it can be.
type settled struct {
	took         time.Duration
	quell, store time.Duration // of processor time
	memory       int64         // of all nodes, at most
}

// spent returns the processor time of nodes, and of their store, which may be nil.
func spent(nodes []*rig.Node, store *rig.Process) (quell, ofStore time.Duration, err error) {
	for _, n := range nodes {
		d, err := n.CPU()
		if err != nil {
			return 0, 0, err
		}
		quell += d
	}
	if store != nil {
		ofStore, err = store.CPU()
	}
	return quell, ofStore, err
}

// assessed waits until the leader has assessed what was suppressed, which it does not do while
// alerts come in a rush. Without that it would do it while something else is measured.
func (h *harness) assessed(nodes []*rig.Node, store *rig.Process) (s settled, err error) {
	began := time.Now()
	quell, ofStore, err := spent(nodes, store)
	if err != nil {
		return s, err
	}
	if err := rig.Sleep(h.Ctx, 3*time.Second); err != nil { // it notices that the rush is over, and begins
		return s, err
	}
	for until := began.Add(10 * time.Minute); ; {
		if err := rig.Sleep(h.Ctx, time.Second); err != nil {
			return s, err
		}
		var lag float64
		var memory int64
		for _, n := range nodes {
			m, err := n.Metrics()
			if err != nil {
				return s, err
			}
			lag = max(lag, m["quell_evidence_lag_seconds"])
			memory += n.RSS()
		}
		s.memory = max(s.memory, memory)
		if lag < 2.5 { // it looks each second
			break
		}
		if time.Now().After(until) {
			return s, fmt.Errorf("the evidence is %.0f s late ten minutes after the campaign", lag)
		}
	}
	s.took = time.Since(began)
	afterwards, ofStoreThen, err := spent(nodes, store)
	s.quell, s.store = afterwards-quell, ofStoreThen-ofStore
	return s, err
}

// openEverywhere opens windows at the first of some nodes, and waits until all know them.
func (h *harness) openEverywhere(nodes []*rig.Node, windows int) error {
	began := time.Now()
	if err := h.OpenWindows(nodes[0], 0, windows); err != nil {
		return err
	}
	for _, n := range nodes {
		if err := n.Knows(h.Ctx, windows); err != nil {
			return err
		}
	}
	fmt.Printf("%s windows were opened in %v\n", page.Thousands(int64(windows)), time.Since(began).Round(time.Second))
	return nil
}

// falseStopped returns how many false alerts of a campaign were suppressed. It fails if a
// genuine one was.
func falseStopped(l *load.Loop) (stopped int, err error) {
	for i, suppressed := range l.Suppressed {
		if suppressed {
			if n := l.From + int64(i); n%2 != 0 {
				return 0, fmt.Errorf("genuine alert %d was suppressed", load.Number(n))
			}
			stopped++
		}
	}
	return stopped, nil
}

// lost returns how many messages are not where they should be: see account. The next hop's
// log is read from skip on.
func (h *harness) lost(sent []*load.Loop, skip int64, n *rig.Node, p *rig.Postgres) (int, error) {
	suppressed, err := suppressionLog(n, p)
	if err != nil {
		return 0, err
	}
	next, err := os.Open(h.Up.Log)
	if err != nil {
		return 0, err
	}
	defer next.Close()
	if _, err := next.Seek(skip, io.SeekStart); err != nil {
		return 0, err
	}
	return account(sent, next, bytes.NewReader(suppressed))
}

// logged returns how long the next hop's log is.
func (h *harness) logged() (int64, error) {
	info, err := os.Stat(h.Up.Log)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// account compares what was sent with the next hop's log, a path a line, and with the
// suppression log, an id a line. It returns how many messages are not in exactly one of
// the two, once, or are where the answer to their sender does not say.
func account(sent []*load.Loop, forwardedLog, suppressionLog io.Reader) (wrong int, err error) {
	read := func(r io.Reader, after byte) (map[int64]int, error) {
		times := map[int64]int{}
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			line := lines.Text()
			n, err := strconv.ParseInt(line[strings.LastIndexByte(line, after)+1:], 10, 64)
			if err != nil {
				return nil, err
			}
			times[n]++
		}
		return times, lines.Err()
	}
	forwarded, err := read(forwardedLog, '/')
	if err != nil {
		return 0, fmt.Errorf("the next hop's log: %w", err)
	}
	suppressed, err := read(suppressionLog, ':')
	if err != nil {
		return 0, fmt.Errorf("the suppression log: %w", err)
	}
	for _, l := range sent {
		for i := range l.Total {
			n := load.Number(l.From + int64(i))
			want := [2]int{1, 0}
			if l.Suppressed[i] {
				want = [2]int{0, 1}
			}
			if got := [2]int{forwarded[n], suppressed[n]}; got != want {
				if wrong++; wrong <= 3 {
					fmt.Printf("alert %d was forwarded %d times and logged %d times; its sender was told suppressed: %v\n", n, got[0], got[1], l.Suppressed[i])
				}
			}
		}
	}
	return wrong, nil
}

// suppressionLog returns the ids of the alerts in the log, one in each line.
func suppressionLog(n *rig.Node, p *rig.Postgres) ([]byte, error) {
	const query = "SELECT alert_id FROM suppression WHERE outcome = 'suppressed'"
	cmd := exec.Command("sqlite3", filepath.Join(n.Data(), "quell.db"), query+";")
	if p != nil {
		cmd = exec.Command(filepath.Join(p.Bin, "psql"), "-h", p.Dir, "-U", "quell", "-At", "-c", query, "quell")
	}
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("the suppression log: %w", err)
	}
	return out, nil
}
