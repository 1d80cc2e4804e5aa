package rig

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

	"quell/bench/load"
	"quell/internal/outage"
)

// Node is a quell that runs.
type Node struct {
	Candidate
	Dir            string // with its configuration, its lists and its data
	south, console string
}

// Setup says how a quell is set up.
type Setup struct {
	Name    string
	Devices int    // meters that are listed, each with its hub
	TLS     bool   // on both sides of northbound, and signatures are verified
	NextHop string // northbound; the upstream, if empty
	Store   string // the address of a PostgreSQL database, or empty
}

// Data is the node's data folder.
func (n *Node) Data() string { return filepath.Join(n.Dir, "data") }

// newNode makes the folder of a quell, with its lists and its configuration.
func (r *Rig) newNode(s Setup) (*Node, error) {
	dir, err := r.folder(s.Name)
	if err != nil {
		return nil, err
	}
	n := &Node{Dir: dir, Candidate: Candidate{Name: "quell", tls: s.TLS}}
	for _, addr := range []*string{&n.Addr, &n.south, &n.console} {
		if *addr, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	if err := writeLists(dir, s.Devices); err != nil {
		return nil, err
	}
	next := s.NextHop
	if next == "" {
		next = r.Up.north
	}
	north := fmt.Sprintf("northbound:\n  listen: %s\n  next_hop: http://%s\n", n.Addr, next)
	if s.TLS {
		certificates := filepath.Join(r.Dir, "certificates")
		north = fmt.Sprintf("northbound:\n  listen: %s\n  tls: {cert: %[2]s/server.crt, key: %[2]s/server.key}\n  next_hop: https://%[3]s\n  next_hop_tls: {ca: %[2]s/ca.crt}\n"+
			"  signatures: verify\ncertificates: %[4]s\n", n.Addr, r.Dir, r.Up.northTLS, certificates)
	}
	config := fmt.Sprintf("data_dir: data\ndrain: 0s\nwindow: 6h\ndevice_list: devices.txt\ninventory: [inventory.csv]\nsuppliers: [%s]\nmax_activations_per_hour: 1000000000\n"+
		"southbound:\n  listen: %s\n  next_hop: http://%s\n%sconsole:\n  listen: %s\n", load.Supplier, n.south, r.Up.south, north, n.console)
	if s.Store != "" {
		config += "store: " + s.Store + "\n"
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
		fmt.Fprintln(l, load.Meters|d)
		fmt.Fprintf(i, "%s,ESME,SMETS2 v4.2,Landis+Gyr,E470,%s,%s,%s\n", load.Meters|d, load.Hubs|d, load.MPxN, load.Supplier)
		fmt.Fprintf(i, "%s,CHF,CHTS v1.4,Example Hubs,H1,,,\n", load.Hubs|d)
	}
	if err := l.Flush(); err != nil {
		return err
	}
	return i.Flush()
}

// Run starts a node, and waits until it takes messages. It may still be reading its store.
func (r *Rig) Run(n *Node) (err error) {
	n.Process, err = r.Start(n.Dir, "quell", syscall.SIGKILL, nil, r.Quell, "serve", "--config", "quell.yaml")
	if err != nil {
		return err
	}
	return n.await(r.Ctx, n.Addr)
}

// Ready waits until a node has read its store and its lists.
func (n *Node) Ready(ctx context.Context) error {
	for {
		if m, err := n.Metrics(); err == nil && m["quell_starting"] == 0 {
			return nil
		}
		select {
		case <-n.done:
			return fmt.Errorf("quell ended: %s", n.Tail())
		default:
		}
		if err := Sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// Knows waits until a node knows so many hubs that have a window.
func (n *Node) Knows(ctx context.Context, hubs int) error {
	for until := time.Now().Add(time.Minute); ; {
		m, err := n.Metrics()
		if err == nil && m["quell_hubs"] >= float64(hubs) {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("a node knows %.0f hubs, want %d: %v: %s", m["quell_hubs"], hubs, err, n.Tail())
		}
		if err := Sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// StartNode makes a node, starts it, and waits until it is ready.
func (r *Rig) StartNode(s Setup) (*Node, error) {
	n, err := r.newNode(s)
	if err != nil {
		return nil, err
	}
	if err := r.Run(n); err != nil {
		return nil, err
	}
	return n, n.Ready(r.Ctx)
}

// Metrics returns what the node says of itself, without labels.
func (n *Node) Metrics() (map[string]float64, error) {
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

// OpenWindows opens a window for each of the meters, by sending an 11.3
// for each.
func (r *Rig) OpenWindows(n *Node, from, count int) error {
	m := load.Activation(uint32(from), uint32(count))
	l := &load.Loop{Addrs: []string{n.south}, Senders: 256, Messages: []*load.Message{m}, From: 0, Total: count}
	if err := l.Run(r.Ctx); err != nil {
		return err
	}
	s, err := n.Metrics()
	if err == nil && s["quell_hubs"] < float64(from+count) {
		err = fmt.Errorf("%.0f hubs have a window, want %d: %s", s["quell_hubs"], from+count, n.Tail())
	}
	return err
}

// Verdict sends one message, and returns what quell says that it did with it, and why;
// nothing if another proxy answers. An answer without success is an error.
func Verdict(c *Candidate, message []byte, client *http.Client) (decision, reason string, err error) {
	resp, err := client.Post(c.URL()+"/", "application/xml", strings.NewReader(string(message)))
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusOK {
		return "", "", fmt.Errorf("%s answers %s: %s", c.Name, resp.Status, c.Tail())
	}
	return resp.Header.Get("Quell-Decision"), resp.Header.Get("Quell-Reason"), nil
}
