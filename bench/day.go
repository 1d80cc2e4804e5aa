package main

import (
	"fmt"
	"slices"
	"syscall"
	"time"

	"quell/bench/load"
	"quell/bench/page"
	"quell/bench/rig"
)

// seen is what was seen of an open loop: latencies, and how many cores everyone used.
type seen struct {
	rate                       float64 // a second
	p50, p99, late             time.Duration
	micros                     float64 // of quell for a message
	upstream, generator, store float64 // cores
	memory                     []int64 // of all nodes, each second
}

// under runs an open loop against nodes, and watches. store may be nil.
func (h *harness) under(l *load.Loop, nodes []*rig.Node, store *rig.Process) (o seen, err error) {
	everyone := func() (all [4]time.Duration, err error) {
		if all[0], all[3], err = spent(nodes, store); err != nil {
			return all, err
		}
		if all[1], err = h.Up.CPU(); err != nil {
			return all, err
		}
		var own syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
			return all, err
		}
		all[2] = time.Duration(own.Utime.Nano() + own.Stime.Nano())
		return all, nil
	}
	before, err := everyone()
	if err != nil {
		return o, err
	}
	done, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		for {
			var sum int64
			for _, n := range nodes {
				sum += n.RSS()
			}
			o.memory = append(o.memory, sum)
			select {
			case <-done:
				return
			case <-time.After(time.Second):
			}
		}
	}()
	err = l.Run(h.Ctx)
	close(done)
	<-watched
	if err != nil {
		return o, err
	}
	if err := rig.Sleep(h.Ctx, rig.Settle); err != nil {
		return o, err
	}
	after, err := everyone()
	if err != nil {
		return o, err
	}
	cores := func(i int) float64 { return float64(after[i]-before[i]) / float64(l.Took) }
	o.rate = float64(l.Total) / l.Took.Seconds()
	o.micros = float64((after[0] - before[0]).Microseconds()) / float64(l.Total)
	o.upstream, o.generator, o.store = cores(1), cores(2), cores(3)
	o.p50, o.p99, o.late = load.Percentile(l.Latency, 0.5), load.Percentile(l.Latency, 0.99), slices.Max(l.Latency)
	return o, nil
}

// shares are the parts of the aim's rate that are tried until one is small enough for
// this machine, on which generator and next hop run too.
var shares = []float64{1, 0.8, 0.6, 0.45, 0.35, 0.25, 0.18, 0.12, 0.08}

// highest tries an open loop for some seconds at smaller and smaller rates, until well
// says that one was kept. It returns that rate, or the last if none was kept.
func (h *harness) highest(rate float64, seconds int, nodes []*rig.Node, store *rig.Process, build func(total int, rate float64) *load.Loop, well func(seen) bool) (float64, error) {
	for _, share := range shares {
		l := build(int(rate*share)*seconds, rate*share)
		o, err := h.under(l, nodes, store)
		if err != nil {
			return 0, err
		}
		fmt.Printf("tried %s/s: p99 %v, latest %v; cores: quell %.2f, next hop %.2f, store %.2f, generator %.2f\n", page.Thousands(int64(rate*share)),
			o.p99.Round(10*time.Microsecond), o.late.Round(10*time.Microsecond), o.micros*o.rate/1e6, o.upstream, o.store, o.generator)
		if well(o) {
			return rate * share, nil
		}
		if err := rig.Sleep(h.Ctx, time.Second); err != nil {
			return 0, err
		}
	}
	fmt.Println("none was kept")
	return rate * shares[len(shares)-1], nil
}

// The messages of July 2022 a second, and how many times as many are sent.
const (
	deviceAlerts, responses, dccAlerts = 597, 373, 32
	times                              = 20
	nationalRate                       = times * (deviceAlerts + responses + dccAlerts)
)

// nationalKind says which message number i of a national day is: 0 to 2 a device alert,
// a response, a DCC alert; 3 to 5 a large one of these.
func nationalKind(i int64) int {
	kind := 0
	switch x := i * 7919 % (deviceAlerts + responses + dccAlerts); { // a prime, so all come in turn
	case x < dccAlerts:
		kind = 2
	case x < dccAlerts+responses:
		kind = 1
	}
	if i%100 == 0 {
		kind += 3
	}
	return kind
}

// national is row 8: all messages of a busy day through one node. DCC alerts are AD1s of
// hubs without a window, which cost most. One message in a hundred is a hundred times
// larger.
func (h *harness) national() error {
	t, err := h.theTown()
	if err != nil {
		return err
	}
	const small = 600
	kinds := []*load.Message{load.DeviceAlert(small), load.Response(small), load.PowerOutage(load.Elsewhere, 1_000_000), load.DeviceAlert(100 * small), load.Response(100 * small), load.DCCAlert(100 * small)}
	build := func(total int, rate float64) *load.Loop {
		return &load.Loop{Addrs: []string{t.quell.Addr}, Senders: 4 * load.Connections, Messages: kinds, Pick: nationalKind, From: h.Numbers(int64(total)), Total: total, Rate: rate}
	}
	nodes := []*rig.Node{t.quell}
	const limit = 10 * time.Millisecond
	rate, err := h.highest(nationalRate, 3, nodes, nil, build, func(o seen) bool { return o.p99 < limit })
	if err != nil {
		return err
	}
	var micros, cores, p50, p99, upstream, generator page.Sample
	for range h.rounds {
		o, err := h.under(build(int(rate*h.each.Seconds()), rate), nodes, nil)
		if err != nil {
			return err
		}
		micros, cores = append(micros, o.micros), append(cores, o.micros*nationalRate/1e6)
		p50, p99 = append(p50, float64(o.p50)/1e6), append(p99, float64(o.p99)/1e6)
		upstream, generator = append(upstream, o.upstream), append(generator, o.generator)
	}
	text := page.Table(
		[]string{fmt.Sprintf("%d device alerts : %d responses : %d DCC alerts", deviceAlerts, responses, dccAlerts), "median (spread)"},
		[]string{"messages a second that this machine carries with p99 under 10 ms, with generator and next hop; the aim is " + page.Thousands(nationalRate), page.Thousands(int64(rate))},
		[]string{"µs of processor time of quell for each", micros.String()},
		[]string{"cores of quell at " + page.Thousands(nationalRate) + "/s, from that", cores.String()},
		[]string{"cores of the next hop, and of the generator, at the rate carried", upstream.String() + ", " + generator.String()},
		[]string{"p50 and p99 at the rate carried, ms", p50.String() + ", " + p99.String()})
	fmt.Print(text)
	h.set("national", text)
	h.doc.Aim("8", "national day, "+page.Thousands(nationalRate)+"/s, skewed sizes", "–", "one node, under one core; p99 under 10 ms",
		fmt.Sprintf("%s cores; p99 %s ms at %s/s", cores.String(), p99.String(), page.Thousands(int64(rate))), cores.Median() < 1 && p99.Median() < 10 && rate == nationalRate)
	return nil
}
