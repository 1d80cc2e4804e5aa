package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/remote/remotetest"
)

// Cluster is PostgreSQL as in production: three servers, each with its own Patroni, which agree
// through etcd on the primary; HAProxy, which connects to the primary; and PgBouncer in front of
// it, in transaction mode. Commits wait for a standby, so that what was acknowledged survives
// the primary.
//
// All of them are processes of this machine, on 127.0.0.1 and in one folder. A machine that is
// killed here refuses connections at once. A machine that lost its power would not.
type Cluster struct {
	t       testing.TB
	dir     string
	members []*member
	haproxy string       // its address
	pooler  string       // PgBouncer's address
	etcd    string       // its address
	patroni string       // the path of the program
	ended   atomic.Value // a command that ended, though nobody killed it
}

// member stands in for one machine. database and rest are addresses.
type member struct{ name, dir, database, rest string }

// data is the working folder of the member's PostgreSQL processes, and of no others.
func (m *member) data() string { return filepath.Join(m.dir, "data") }

// clusterTimeout bounds changes of the cluster, which take seconds on an idle machine.
const clusterTimeout = 90 * time.Second

// StartCluster starts a cluster. It returns when the cluster answers and all members follow the
// primary. It skips the test if a program is missing.
func StartCluster(t testing.TB) *Cluster {
	t.Helper()
	etcd, haproxy, pgbouncer := program(t, "etcd", "etcd-server"), program(t, "haproxy", "haproxy"), program(t, "pgbouncer", "pgbouncer")
	c := &Cluster{t: t, patroni: program(t, "patroni", "patroni and python3-etcd")}
	if _, err := os.Stat("/proc/self/cwd"); err != nil {
		t.Skip("there is no /proc to find processes by")
	}
	server := newServer(t)
	t.Cleanup(func() { os.RemoveAll(server.Dir) })
	dir, err := filepath.EvalSymlinks(server.Dir) // as in /proc
	if err != nil {
		t.Fatal(err)
	}
	c.dir = dir
	c.endWithTest()
	addr := freeAddrs(t)
	c.haproxy, c.pooler, c.etcd = addr(), addr(), addr()
	for _, name := range []string{"one", "two", "three"} {
		m := &member{name, filepath.Join(c.dir, name), addr(), addr()}
		c.members = append(c.members, m)
		c.mkdir(m.dir)
		c.write(filepath.Join(m.dir, "patroni.yml"), fmt.Sprintf(patroniConfig, m.name, m.database, m.rest, c.etcd, server.bin, m.data()))
	}

	peer := "http://" + addr()
	c.start(c.dir, etcd, "--name=etcd", "--data-dir=etcd", "--listen-client-urls=http://"+c.etcd, "--advertise-client-urls=http://"+c.etcd,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=etcd="+peer)
	// HAProxy starts before there are servers: until two checks of a server have failed, it
	// counts as good, so HAProxy might connect to a standby.
	c.start(c.dir, haproxy, "-db", "-f", c.write(filepath.Join(c.dir, "haproxy.cfg"), c.haproxyConfig()))
	c.Await("etcd answers", func() bool { return listens(c.etcd) })
	for _, m := range c.members {
		c.StartMember(m.name)
	}
	c.Await("all members follow a primary", c.Whole)
	c.start(c.dir, pgbouncer, c.write(filepath.Join(c.dir, "pgbouncer.ini"), c.pgbouncerConfig()))
	c.Await("PgBouncer connects to the primary", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, filepath.Join(server.bin, "psql"), "-XAtc", "SHOW transaction_read_only", c.URL("postgres")).Output()
		return err == nil && strings.TrimSpace(string(out)) == "off"
	})
	return c
}

// URL returns the address of a database, through PgBouncer.
func (c *Cluster) URL(database string) string {
	return "postgres://quell@" + c.pooler + "/" + database + "?sslmode=disable"
}

// Leader returns the name of the member that is the primary and answers; "" if there is none.
func (c *Cluster) Leader() string {
	for _, m := range c.members {
		var status struct{ State, Role string }
		// Patroni 4 says "primary" where earlier ones say "master".
		if get(m.rest, "/primary", &status) && status.State == "running" && (status.Role == "master" || status.Role == "primary") {
			return m.name
		}
	}
	return ""
}

// Standby returns the name of the member that commits wait for; "" if there is none.
func (c *Cluster) Standby() string {
	for _, o := range c.list() {
		if o.Role == "sync_standby" {
			return o.Name
		}
	}
	return ""
}

// Whole reports whether all members run and follow the primary, and one of them synchronously,
// so that it may take over.
func (c *Cluster) Whole() bool {
	for _, m := range c.members {
		var status struct{ State string }
		if !get(m.rest, "/health", &status) || status.State != "running" {
			return false
		}
	}
	roles, list := map[string]int{}, c.list()
	for _, o := range list {
		// Patroni 3.1 and later say "streaming" for a standby.
		if (o.State == "running" || o.State == "streaming") && o.Timeline == list[0].Timeline {
			roles[o.Role]++
		}
	}
	return roles["leader"] == 1 && roles["sync_standby"] == 1 && roles["replica"] == len(c.members)-2
}

type listed struct {
	Name, Role, State string
	Timeline          int
}

// list returns the members as etcd knows them. A member that has failed is in the list until its
// lease is over.
func (c *Cluster) list() []listed {
	for _, m := range c.members {
		var answer struct{ Members []listed }
		if get(m.rest, "/cluster", &answer) {
			return answer.Members
		}
	}
	return nil
}

// KillLeader kills all PostgreSQL processes of the primary, as a kernel does that has no memory
// left, and returns the member's name. Its Patroni still runs, and hands over to another member.
func (c *Cluster) KillLeader() string {
	c.t.Helper()
	var name string
	c.Await("there is a primary", func() bool { name = c.Leader(); return name != "" })
	c.kill(c.member(name).data())
	return name
}

// KillMachine kills a member's Patroni and all its PostgreSQL processes. If it was the primary,
// another member takes over when its lease is over.
func (c *Cluster) KillMachine(name string) {
	c.t.Helper()
	c.kill(c.member(name).dir)
}

// StartMember starts a member's Patroni, which starts its PostgreSQL.
func (c *Cluster) StartMember(name string) {
	c.t.Helper()
	m := c.member(name)
	c.start(m.dir, c.patroni, "patroni.yml")
}

func (c *Cluster) member(name string) *member {
	c.t.Helper()
	for _, m := range c.members {
		if m.name == name {
			return m
		}
	}
	c.t.Fatalf("the cluster has no member %q", name)
	return nil
}

// Await waits until the cluster has reached a condition.
func (c *Cluster) Await(what string, cond func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(clusterTimeout); !cond(); time.Sleep(100 * time.Millisecond) {
		if ended := c.ended.Load(); ended != nil {
			c.t.Fatalf("the cluster: a program has ended: %s", ended)
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("the cluster: not within %v: %s", clusterTimeout, what)
		}
	}
}

// mkdir makes a folder that belongs to the user of the programs.
func (c *Cluster) mkdir(dir string) {
	c.t.Helper()
	err := os.Mkdir(dir, 0o700)
	if as := As(c.t); err == nil && as != nil {
		err = os.Chown(dir, int(as.Credential.Uid), int(as.Credential.Gid))
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *Cluster) write(path, text string) string {
	c.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// freeAddrs returns a function that returns free addresses, a different one each time.
func freeAddrs(t testing.TB) func() string {
	given := map[string]bool{}
	return func() string {
		for {
			if addr := remotetest.FreeAddr(t); !given[addr] {
				given[addr] = true
				return addr
			}
		}
	}
}

func listens(addr string) bool {
	conn, err := net.Dial("tcp", addr)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// get sends a request to a Patroni, and reports whether it answers with 200 and JSON.
func get(addr, path string, into any) bool {
	client := http.Client{Timeout: 3 * time.Second}
	resp, err := client.Get("http://" + addr + path)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return err == nil && resp.StatusCode == http.StatusOK && json.Unmarshal(text, into) == nil
}

func port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
