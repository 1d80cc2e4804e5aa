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
)

// campaign is row 7: half a million meters are activated at once, and each hub's false
// AD1 comes among as many genuine ones, within a minute. It is run on SQLite, and with
// three nodes on PostgreSQL.
func (h *harness) campaign() error {
	if err := h.campaignOn("SQLite, one node", "7, SQLite", nil); err != nil {
		return err
	}
	p, err := h.startPostgres()
	if err != nil {
		return err
	}
	defer p.stop(p.end)
	return h.campaignOn("PostgreSQL, three nodes", "7, PostgreSQL", p)
}

const campaignSeconds = 60

func (h *harness) campaignOn(name, key string, p *postgres) error {
	windows := int(500_000 * h.scale)
	s := setup{name: "quell-campaign", devices: windows, nextHop: h.up.logged}
	count := 1
	var store *process
	if p != nil {
		s.store, count, store = p.url, 3, p.process
	}
	var nodes []*node
	var addrs []string
	for range count {
		n, err := h.startNode(s)
		if err != nil {
			return err
		}
		defer n.stop(n.end)
		nodes, addrs = append(nodes, n), append(addrs, n.addr)
	}
	began := time.Now()
	if err := h.openWindows(nodes[0], 0, windows); err != nil {
		return err
	}
	for _, n := range nodes {
		if err := n.knows(h.ctx, windows); err != nil {
			return err
		}
	}
	fmt.Printf("%s: %s windows were opened in %v\n", name, thousands(int64(windows)), time.Since(began).Round(time.Second))

	// Even numbers are false alerts, odd ones genuine. Each has its number as its path.
	kinds := []*message{powerOutage(0, uint32(windows)), powerOutage(elsewhere, 1_000_000)}
	first := h.next + h.next%2
	h.next = first
	var all []*loop
	build := func(total int, rate float64) *loop {
		total += total % 2
		l := &loop{addrs: addrs, senders: 4 * connections, messages: kinds, pick: func(i int64) int { return int(i % 2) },
			from: h.numbers(int64(total)), total: total, rate: rate, paths: true}
		all = append(all, l)
		return l
	}
	aimed := float64(2*windows) / campaignSeconds
	skip, err := h.logged()
	if err != nil {
		return err
	}
	rate, err := h.highest(aimed, 10, nodes, store, build, func(o load) bool { return o.late < time.Second })
	if err != nil {
		return err
	}
	main := build(int(rate*campaignSeconds), rate)
	o, err := h.under(main, nodes, store)
	if err != nil {
		return err
	}
	if err := sleep(h.ctx, 2*time.Second); err != nil { // the next hop writes its log each second
		return err
	}
	for _, n := range nodes {
		n.stop(syscall.SIGTERM)
	}
	logged, err := suppressionLog(nodes[0], p)
	if err != nil {
		return err
	}
	lost, err := h.account(all, skip, logged)
	if err != nil {
		return err
	}
	stopped := 0 // of the false ones
	for i, suppressed := range main.suppressed {
		if suppressed {
			if (main.from+int64(i))%2 != 0 {
				return fmt.Errorf("genuine alert %d was suppressed", number9(main.from+int64(i)))
			}
			stopped++
		}
	}
	doubtful := main.total/2 - stopped
	half, whole := slices.Max(o.memory[:len(o.memory)/2+1]), slices.Max(o.memory)
	share := ""
	if rate < aimed {
		share = fmt.Sprintf(" (%.0f %% of the aim: the machine carries no more beside generator and next hop)", 100*rate/aimed)
	}
	lines := [][]string{
		{name + ": " + thousands(int64(main.total)) + " AD1, half of them false, in " + thousands(campaignSeconds) + " s", ""},
		{"messages a second", thousands(int64(rate)) + share},
		{"p50, p99, the latest", fmt.Sprintf("%v, %v, %v", o.p50.Round(10*time.Microsecond), o.p99.Round(10*time.Microsecond), o.late.Round(10*time.Microsecond))},
		{"neither forwarded nor logged, or both, or twice", thousands(int64(lost))},
		{"false ones that were forwarded in doubt, since the store took longer than store_timeout", thousands(int64(doubtful))},
		{"memory in the first half, and at most, MiB", fmt.Sprintf("%d, %d", half>>20, whole>>20)},
		{"µs of processor time of quell for each", number(o.micros)},
		{"cores of the next hop, and of the generator", number(o.upstream) + ", " + number(o.generator)},
	}
	if p != nil {
		h.postgresAD1 = sample{o.store * main.took.Seconds() * 1e6 / float64(stopped)}
		h.clusterAD1 = sample{o.micros}
		lines = append(lines, []string{"µs of processor time of PostgreSQL for each false one", h.postgresAD1.String()})
	}
	text := table(lines...)
	fmt.Print(text)
	h.doc.set(map[bool]string{true: "campaign", false: "campaign-nodes"}[p == nil], text)
	flat := float64(whole) < 1.1*float64(half)
	h.doc.aim(aim{key, fmt.Sprintf("campaign: %s AD1 in %d s, half false, %s", thousands(int64(2*windows)), campaignSeconds, name), "–", "none late by more than 1 s, none lost, memory flat",
		fmt.Sprintf("at %s/s%s: latest %v, lost %d, forwarded in doubt %d, memory grew by %.0f %% in the second half", thousands(int64(rate)), share, o.late.Round(time.Millisecond), lost, doubtful, 100*(float64(whole)/float64(half)-1)),
		o.late <= time.Second && lost == 0 && doubtful <= main.total/200 && flat && rate == aimed})
	return nil
}

// logged returns how long the next hop's log is.
func (h *harness) logged() (int64, error) {
	info, err := os.Stat(h.up.log)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// account compares what was sent with what reached the next hop and with the log. It
// returns how many messages are not in exactly one of the two, once, or are where the
// answer to their sender does not say.
func (h *harness) account(sent []*loop, skip int64, logged []byte) (wrong int, err error) {
	forwarded, suppressed := map[int64]int{}, map[int64]int{}
	f, err := os.Open(h.up.log)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if _, err := f.Seek(skip, io.SeekStart); err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		n, err := strconv.ParseInt(strings.TrimPrefix(lines.Text(), "/"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("the next hop's log: %w", err)
		}
		forwarded[n]++
	}
	for id := range bytes.Lines(logged) {
		n, err := strconv.ParseInt(string(bytes.TrimSpace(id[bytes.LastIndexByte(id, ':')+1:])), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("the suppression log: %w", err)
		}
		suppressed[n]++
	}
	var passed, stopped int
	for _, l := range sent {
		for i := range l.total {
			n := number9(l.from + int64(i))
			want := [2]int{1, 0}
			if l.suppressed[i] {
				want = [2]int{0, 1}
			}
			if got := [2]int{forwarded[n], suppressed[n]}; got != want {
				if wrong++; wrong <= 3 {
					fmt.Printf("alert %d was forwarded %d times and logged %d times; quell said suppressed: %v\n", n, got[0], got[1], l.suppressed[i])
				}
			}
			passed, stopped = passed+forwarded[n], stopped+suppressed[n]
		}
	}
	fmt.Printf("of all that were sent, %s reached the next hop, and %s are in the log\n", thousands(int64(passed)), thousands(int64(stopped)))
	return wrong, nil
}

// suppressionLog returns the ids of the alerts in the log, one in each line.
func suppressionLog(n *node, p *postgres) ([]byte, error) {
	const query = "SELECT alert_id FROM suppression WHERE outcome = 'suppressed'"
	cmd := exec.Command("sqlite3", filepath.Join(n.data(), "quell.db"), query+";")
	if p != nil {
		cmd = exec.Command(filepath.Join(p.bin, "psql"), "-h", p.dir, "-U", "quell", "-At", "-c", query, "quell")
	}
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("the suppression log: %w", err)
	}
	return out, nil
}
