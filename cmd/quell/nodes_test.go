package main

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"quell/internal/console"
	"quell/internal/operator"
	"quell/internal/remote/remotetest"
	"quell/internal/store/storetest"

	_ "github.com/jackc/pgx/v5/stdlib"
)

// status returns the status of a node; nil if it does not answer.
func (p *process) status(t testing.TB) *console.Status {
	t.Helper()
	res, err := (&http.Client{Timeout: 5 * time.Second}).Get(p.admin + "/readyz")
	if err != nil {
		return nil
	}
	defer res.Body.Close()
	var s console.Status
	if err := json.NewDecoder(res.Body).Decode(&s); err != nil {
		return nil
	}
	return &s
}

// leader returns the number of the node that says it is the leader; -1 if there is none, or
// more than one.
func leader(t testing.TB, nodes []*process) int {
	leads := -1
	for i, p := range nodes {
		if s := p.status(t); s != nil && s.Leads {
			if leads >= 0 {
				return -1
			}
			leads = i
		}
	}
	return leads
}

// Three nodes share one database, and there is traffic. Nodes are killed and paused. The
// database is restarted, frozen, disconnected and filled up, and fails over. A new version
// is rolled out. No alert is lost, or delivered and logged as suppressed. No window whose
// 11.3 was answered is lost. The reports have every entry once.
func TestThreeNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
	t.Parallel() // it waits more than it computes
	primary := storetest.Start(t)
	admin, err := sql.Open("pgx", primary.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	run := func(query string) {
		t.Helper()
		if _, err := admin.Exec(query); err != nil {
			t.Fatal(err)
		}
	}
	run("CREATE DATABASE quell")
	standby := primary.Standby()
	run("ALTER SYSTEM SET synchronous_standby_names = '*'") // what is answered is on both
	run("SELECT pg_reload_conf()")

	north := &recorder{seen: map[string]int{}}
	hop := httptest.NewServer(north)
	t.Cleanup(hop.Close)
	esi := t.TempDir()
	// The third node can be disconnected from the database.
	proxies := []*remotetest.Proxy{remotetest.NewProxy(t, primary.Socket()), remotetest.NewProxy(t, standby.Socket())}
	var nodes []*installation
	for n := range 3 {
		address := storetest.URL("quell", primary, standby)
		if n == 2 {
			address = fmt.Sprintf("postgres://quell@%s,%s/quell?sslmode=disable", proxies[0].Addr, proxies[1].Addr)
		}
		nodes = append(nodes, install(t, accept(t), hop.URL, fmt.Sprintf("store: %q\nstore_timeout: 1s\nreport:\n  every: 1s\n  empty: false\n  remotes:\n  - {name: esi, target: %q}\n",
			address, esi)))
	}
	nodes[0].track(firstHubs + laterHubs)
	processes := []*process{nodes[0].serve(), nodes[1].serve(), nodes[2].serve()}
	t.Cleanup(func() {
		if t.Failed() {
			for i, p := range processes {
				t.Logf("node %d:\n%.20000s", i, p.log)
			}
		}
	})
	storetest.Eventually(t, "one node is the leader, and all nodes know all others", func() bool {
		return leader(t, processes) >= 0 && !slices.ContainsFunc(processes, func(p *process) bool { s := p.status(t); return s == nil || len(s.Nodes) != 3 })
	})
	const seed = 4
	t.Logf("seed %d", seed)
	c := newCampaign(t, seed, nodes, north)
	c.settled = 2 * time.Second // by then every node has heard of a window

	under := func(what string, trouble func()) {
		t.Helper()
		began := time.Now()
		stop := c.run()
		c.goesOn()
		trouble()
		c.suppresses()
		stop()
		c.sendAgain()
		t.Logf("%s: %.1f s", what, time.Since(began).Seconds())
	}
	under("a node is killed, the one that leads", func() {
		n := leader(t, processes)
		processes[n].stop(syscall.SIGKILL)
		began := time.Now()
		storetest.Eventually(t, "another is the leader", func() bool { l := leader(t, processes); return l >= 0 && l != n })
		t.Logf("another leads after %.1f s", time.Since(began).Seconds())
		processes[n] = nodes[n].serve()
	})
	under("a node sleeps, the one that leads", func() {
		n := leader(t, processes)
		processes[n].Process.Signal(syscall.SIGSTOP)
		storetest.Eventually(t, "another is the leader", func() bool { l := leader(t, slices.Concat(processes[:n], processes[n+1:])); return l >= 0 })
		time.Sleep(3 * time.Second) // past every time-out of the node
		processes[n].Process.Signal(syscall.SIGCONT)
		storetest.Eventually(t, "one is the leader", func() bool { return leader(t, processes) >= 0 })
	})
	under("the database is restarted", func() {
		primary.Kill()
		c.goesOn()
		primary.Restart()
	})
	under("the database is frozen", func() {
		primary.Freeze()
		c.goesOn()
		for i, p := range processes {
			storetest.Eventually(t, "the node says that it is degraded", func() bool { s := p.status(t); return s != nil && s.Ready && len(s.Degraded) > 0 })
			if p.status(t) == nil {
				t.Errorf("node %d does not answer", i)
			}
		}
		time.Sleep(6 * time.Second) // past the time of a transaction
		primary.Thaw()
	})
	for _, stall := range []bool{false, true} {
		under(fmt.Sprintf("a node is cut off from the database (stalled: %v)", stall), func() {
			for _, p := range proxies {
				p.BreakAfter(0, stall)
			}
			storetest.Eventually(t, "the node says so", func() bool { s := processes[2].status(t); return s != nil && len(s.Degraded) > 0 })
			c.goesOn()
			if l := leader(t, processes[:2]); l < 0 {
				storetest.Eventually(t, "another is the leader", func() bool { return leader(t, processes[:2]) >= 0 })
			}
			for _, p := range proxies {
				p.Repair()
			}
		})
	}
	under("the database takes no more connections", func() {
		var full []*sql.DB
		fill := func() {
			for {
				db, err := sql.Open("pgx", primary.URL("postgres"))
				if err != nil {
					t.Fatal(err)
				}
				full = append(full, db)
				if db.Ping() != nil {
					return
				}
			}
		}
		run("SELECT 1") // has its connection
		fill()
		run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'quell'")
		fill()
		c.goesOn()
		for _, db := range full {
			db.Close()
		}
	})
	under("the database fails over", func() {
		primary.Kill()
		c.goesOn()
		standby.Promote()
	})
	under("a new version is rolled out", func() {
		after, err := sql.Open("pgx", standby.URL("quell"))
		if err != nil {
			t.Fatal(err)
		}
		defer after.Close()
		// Do what a migration does, under the writer's lock: add, and remove nothing.
		if _, err := after.Exec("SELECT pg_advisory_xact_lock(x'7175656c6c'::BIGINT); ALTER TABLE activation ADD COLUMN next BIGINT NOT NULL DEFAULT 0; ALTER TABLE suppression ADD COLUMN next TEXT"); err != nil {
			t.Fatal(err)
		}
		for n := range processes {
			if err := processes[n].stop(syscall.SIGTERM); err != nil {
				t.Errorf("%v\n%s", err, processes[n].log)
			}
			processes[n] = nodes[n].serve(releaseOf + "=next")
			c.goesOn()
		}
	})
	for _, p := range processes {
		storetest.Eventually(t, "the journal is played", func() bool {
			s := p.status(t)
			return s != nil && s.Pending == 0 && len(s.Degraded) == 0 && s.Version == "next"
		})
	}
	c.account(processes[1].admin)
	if status, out, errs := nodes[0].quell("report", "cut"); status != 0 {
		t.Errorf("%s%s", out, errs)
	}
	client := &operator.Client{Base: processes[0].admin}
	storetest.Eventually(t, "all reports are delivered", func() bool {
		list, err := client.Reports(t.Context(), 1<<62, 1000)
		return err == nil && len(list.Reports) > 0 && confirmed(client, len(list.Reports))
	})
	status, out, errs := quell(nil, "report", "verify", esi)
	if status != 0 {
		t.Errorf("verify: %s%s", out, errs)
	}
	t.Log(strings.TrimSpace(out))
	left, err := filepath.Glob(filepath.Join(esi, "*.part"))
	if err != nil || len(left) > 0 {
		t.Errorf("left at the remote: %q %v", left, err)
	}
	if files, err := os.ReadDir(esi); err != nil || len(files) < 5 {
		t.Errorf("%d files delivered, %v", len(files), err)
	}
	for _, p := range processes {
		p.stop(syscall.SIGTERM)
	}
	t.Logf("%+v", checkFlow(t, nodes[0]))
}

// A configuration is read again while the database is away. What does not need the database
// comes into force at once, the device list when the database is back.
func TestReloadWithoutStore(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
	t.Parallel() // it waits more than it computes
	server := storetest.Start(t)
	var nodes []*installation
	var processes []*process
	for n := range 2 {
		nodes = append(nodes, install(t, accept(t), accept(t), fmt.Sprintf("store: %q\n", server.URL("postgres"))))
		processes = append(processes, nodes[n].serve())
	}
	list := nodes[0].file("list", meterID(1).String())
	text, err := os.ReadFile(nodes[0].config)
	if err != nil {
		t.Fatal(err)
	}
	server.Kill()
	nodes[0].write(fmt.Sprintf("%swindow: 15m\ndevice_list: %q\n", text, list))
	processes[0].Process.Signal(syscall.SIGHUP)
	storetest.Eventually(t, "it has read it", func() bool { return strings.Contains(processes[0].log.String(), "the configuration was read again") })
	time.Sleep(2 * time.Second) // for it to try
	server.Restart()
	storetest.Eventually(t, "the list is in force", func() bool { s := processes[0].status(t); return s != nil && s.DeviceList.Rows == 1 })
	storetest.Eventually(t, "the other node knows of the window", func() bool {
		s := processes[1].status(t)
		return s != nil && slices.ContainsFunc(s.Degraded, func(text string) bool { return strings.Contains(text, "window is 30m here, and 15m on") })
	})
}
