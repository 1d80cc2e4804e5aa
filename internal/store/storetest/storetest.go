// Package storetest opens stores for tests, on SQLite and on PostgreSQL, and starts real PostgreSQL
// servers, each in a folder and on a socket of its own.
package storetest

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Server is a PostgreSQL server.
type Server struct {
	t    testing.TB
	bin  string
	Dir  string // with its socket, its log and its data
	Port string // of the socket
}

// Start starts a server. It skips the test if there is no PostgreSQL.
func Start(t testing.TB) *Server {
	t.Helper()
	s := newServer(t)
	t.Cleanup(func() { os.RemoveAll(s.Dir) })
	s.initdb()
	s.start()
	return s
}

func (s *Server) initdb() {
	s.run("initdb", "-D", s.data(), "-A", "trust", "-U", "quell", "-E", "UTF8", "--locale=C", "--no-sync")
}

// Standby starts a server that follows s by streaming replication.
func (s *Server) Standby() *Server {
	s.t.Helper()
	b := newServer(s.t)
	s.t.Cleanup(func() { os.RemoveAll(b.Dir) })
	b.run("pg_basebackup", "-D", b.data(), "-h", s.Dir, "-p", s.Port, "-U", "quell", "-R", "-X", "stream", "--checkpoint=fast", "--no-sync")
	b.start()
	return b
}

// URL returns the address of a database.
func (s *Server) URL(database string) string { return URL(database, s) }

// URL returns the address of a database on the one of the servers that is the primary.
func URL(database string, servers ...*Server) string {
	var hosts, ports []string
	for _, s := range servers {
		hosts, ports = append(hosts, s.Dir), append(ports, s.Port)
	}
	return "postgres:///" + database + "?user=quell&host=" + strings.Join(hosts, ",") + "&port=" + strings.Join(ports, ",")
}

// Socket is the path of the socket that the server listens on.
func (s *Server) Socket() string { return filepath.Join(s.Dir, ".s.PGSQL."+s.Port) }

// Restart starts a server that was stopped or killed.
func (s *Server) Restart() { s.t.Helper(); s.ctl("start") }

// Kill stops the server at once, as a crash would.
func (s *Server) Kill() { s.t.Helper(); s.ctl("stop", "-m", "immediate") }

// Freeze stops all processes of the server, until Thaw is called: it takes connections and says
// nothing.
func (s *Server) Freeze() { signal(s.Dir, syscall.SIGSTOP) }

// Thaw ends Freeze.
func (s *Server) Thaw() { signal(s.Dir, syscall.SIGCONT) }

// Promote makes a standby the primary.
func (s *Server) Promote() { s.t.Helper(); s.ctl("promote") }

func (s *Server) data() string { return filepath.Join(s.Dir, "data") }

func (s *Server) start() {
	s.t.Helper()
	s.ctl("start")
	s.t.Cleanup(func() {
		if _, err := os.Stat(filepath.Join(s.data(), "postmaster.pid")); err == nil {
			s.Kill()
		}
	})
}

func (s *Server) ctl(args ...string) {
	s.t.Helper()
	s.run("pg_ctl", append([]string{"-D", s.data(), "-w", "-t", "60", "-l", filepath.Join(s.Dir, "server.log"),
		"-o", "-c listen_addresses='' -c max_connections=200 -k " + s.Dir + " -p " + s.Port}, args...)...)
}

// run runs one of the server's programs as the server's user.
func (s *Server) run(name string, args ...string) {
	s.t.Helper()
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.SysProcAttr, cmd.Dir = As(s.t), s.Dir
	log, err := os.Create(filepath.Join(s.Dir, name+".log")) // not a pipe, which the server would keep open
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(log.Name())
		s.t.Fatalf("%s: %v\n%s", name, err, text)
	}
}

// newServer makes the folder of a server. It does not start the server.
func newServer(t testing.TB) *Server {
	t.Helper()
	bin := Bin()
	if bin == "" {
		t.Skip("there is no PostgreSQL; on Debian it is in postgresql")
	}
	dir, err := os.MkdirTemp("", "quell-pg-") // short: the path of a socket has a limit
	if err != nil {
		t.Fatal(err)
	}
	if as := As(t); as != nil {
		if err := os.Chown(dir, int(as.Credential.Uid), int(as.Credential.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	return &Server{t: t, bin: bin, Dir: dir, Port: "5432"}
}

// As returns the user for the server's programs, if the test runs as root, which PostgreSQL
// refuses: the user postgres of Debian's package, or nobody.
func As(t testing.TB) *syscall.SysProcAttr {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

// Bin returns the folder of the server's programs, which is not in PATH on Debian; the newest if
// there are several, "" if there is none.
func Bin() string {
	if path, err := exec.LookPath("pg_ctl"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil { // the other programs may not be beside a link
			return filepath.Dir(path)
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pg_ctl")
	best, newest := "", -1
	for _, path := range found {
		bin := filepath.Dir(path)
		if v, err := strconv.Atoi(strings.Split(bin, "/")[4]); err == nil && v > newest {
			best, newest = bin, v
		}
	}
	return best
}
