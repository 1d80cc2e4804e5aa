package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"quell/internal/outage"
)

// node is a quell that runs.
type node struct {
	candidate
	dir            string // with its configuration, its lists and its data
	south, console string
}

// setup says how a quell is set up.
type setup struct {
	name    string
	devices int    // meters that are listed, each with its hub
	tls     bool   // on both sides of northbound, and signatures are verified
	nextHop string // northbound; the upstream, if empty
	store   string // the address of a PostgreSQL database, or empty
	more    string // more lines of configuration
}

// data is the node's data folder.
func (n *node) data() string { return filepath.Join(n.dir, "data") }

// newNode makes the folder of a quell, with its lists and its configuration.
func (r *rig) newNode(s setup) (*node, error) {
	dir, err := r.folder(s.name)
	if err != nil {
		return nil, err
	}
	n := &node{dir: dir, candidate: candidate{name: "quell", tls: s.tls}}
	for _, addr := range []*string{&n.addr, &n.south, &n.console} {
		if *addr, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	if err := writeLists(dir, s.devices); err != nil {
		return nil, err
	}
	next := s.nextHop
	if next == "" {
		next = r.up.north
	}
	north := fmt.Sprintf("northbound:\n  listen: %s\n  next_hop: http://%s\n", n.addr, next)
	if s.tls {
		certificates := filepath.Join(r.dir, "certificates")
		north = fmt.Sprintf("northbound:\n  listen: %s\n  tls: {cert: %[2]s/server.crt, key: %[2]s/server.key}\n  next_hop: https://%[3]s\n  next_hop_tls: {ca: %[2]s/ca.crt}\n"+
			"  signatures: verify\ncertificates: %[4]s\n", n.addr, r.dir, r.up.northTLS, certificates)
	}
	config := fmt.Sprintf("data_dir: data\ndrain: 0s\ndevice_list: devices.txt\ninventory: [inventory.csv]\nsuppliers: [%s]\nmax_activations_per_hour: 1000000000\n"+
		"southbound:\n  listen: %s\n  next_hop: http://%s\n%sconsole:\n  listen: %s\n%s", supplier, n.south, r.up.south, north, n.console, s.more)
	if s.store != "" {
		config += "store: " + s.store + "\n"
	}
	return n, os.WriteFile(filepath.Join(dir, "quell.yaml"), []byte(config), 0o644)
}

// writeLists writes a device list and an inventory with meters, each on its own hub.
func writeLists(dir string, devices int) error {
	list, err := os.Create(filepath.Join(dir, "devices.txt"))
	if err != nil {
		return err
	}
	defer list.Close()
	inventory, err := os.Create(filepath.Join(dir, "inventory.csv"))
	if err != nil {
		return err
	}
	defer inventory.Close()
	l, i := bufio.NewWriter(list), bufio.NewWriter(inventory)
	fmt.Fprintln(l, "device_id")
	fmt.Fprintln(i, "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn,import_supplier")
	for d := range outage.DeviceID(max(1, devices)) {
		fmt.Fprintln(l, meters|d)
		fmt.Fprintf(i, "%s,ESME,SMETS2 v4.2,Landis+Gyr,E470,%s,%s,%s\n", meters|d, hubs|d, mpxn, supplier)
		fmt.Fprintf(i, "%s,CHF,CHTS v1.4,Example Hubs,H1,,,\n", hubs|d)
	}
	if err := l.Flush(); err != nil {
		return err
	}
	return i.Flush()
}

// run starts a node, and waits until it takes messages. It may still be reading its store.
func (r *rig) run(n *node) (err error) {
	n.process, err = r.start(n.dir, "quell", syscall.SIGKILL, nil, r.quell, "serve", "--config", "quell.yaml")
	if err != nil {
		return err
	}
	return n.await(r.ctx, n.addr)
}

// ready waits until a node has read its store and its lists.
func (n *node) ready(ctx context.Context) error {
	for {
		if m, err := n.metrics(); err == nil && m["quell_starting"] == 0 {
			return nil
		}
		select {
		case <-n.done:
			return fmt.Errorf("quell ended: %s", n.tail())
		default:
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// knows waits until a node knows so many hubs that have a window.
func (n *node) knows(ctx context.Context, hubs int) error {
	for until := time.Now().Add(time.Minute); ; {
		m, err := n.metrics()
		if err == nil && m["quell_hubs"] >= float64(hubs) {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("a node knows %.0f hubs, want %d: %w: %s", m["quell_hubs"], hubs, err, n.tail())
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// startNode makes a node, starts it, and waits until it is ready.
func (r *rig) startNode(s setup) (*node, error) {
	n, err := r.newNode(s)
	if err != nil {
		return nil, err
	}
	if err := r.run(n); err != nil {
		return nil, err
	}
	return n, n.ready(r.ctx)
}

// metrics returns what the node says of itself, without labels.
func (n *node) metrics() (map[string]float64, error) {
	resp, err := http.Get("http://" + n.console + "/metrics")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the console answers %s", resp.Status)
	}
	m := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil {
			m[name] = v
		}
	}
	return m, lines.Err()
}

// openWindows opens a window of 30 minutes for each of the meters, by sending an 11.3
// for each.
func (r *rig) openWindows(n *node, from, count int) error {
	m := activation(uint32(from), uint32(count))
	l := &loop{addrs: []string{n.south}, senders: 256, messages: []*message{m}, from: 0, total: count}
	if err := l.run(r.ctx); err != nil {
		return err
	}
	s, err := n.metrics()
	if err == nil && s["quell_hubs"] < float64(from+count) {
		err = fmt.Errorf("%.0f hubs have a window, want %d: %s", s["quell_hubs"], from+count, n.tail())
	}
	return err
}

// verdict sends one message, and returns what quell says that it did with it.
func verdict(c *candidate, message []byte, client *http.Client) (status int, decision string, err error) {
	resp, err := client.Post(c.url()+"/", "application/xml", strings.NewReader(string(message)))
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header.Get("Quell-Decision"), nil
}
