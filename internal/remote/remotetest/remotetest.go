// Package remotetest starts real servers for tests of deliveries: an OpenSSH sshd, a
// WebDAV server, and a proxy that breaks connections.
package remotetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/webdav"
)

// SSHD is an OpenSSH server that serves files by SFTP.
type SSHD struct {
	Addr string
	Dir  string // a folder that it serves

	t       testing.TB
	keys    string // the folder with keys and configuration
	user    string
	cmd     *exec.Cmd
	stopped chan struct{}
}

// NewSSHD starts a server as the user of the test. With shell it also runs commands,
// which rclone uses to get hashes. Without shell it refuses the named SFTP requests,
// such as "setstat". The test is skipped if this machine has no sshd.
func NewSSHD(t testing.TB, shell bool, refused ...string) *SSHD {
	t.Helper()
	if _, err := lookSSHD(); err != nil {
		t.Skip("there is no sshd; on Debian it is in openssh-server")
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if me.Uid == "0" {
		// It exists only where sshd runs as a service.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := &SSHD{Addr: FreeAddr(t), Dir: t.TempDir(), t: t, keys: t.TempDir(), user: me.Username}
	for _, name := range []string{"host", "other", "client", "stranger"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", s.key(name)).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %v: %s", err, out)
		}
	}
	for file, key := range map[string]string{"known_hosts": "host", "wrong_hosts": "other"} {
		host, port, _ := net.SplitHostPort(s.Addr)
		s.write(file, fmt.Sprintf("[%s]:%s %s", host, port, s.read(key+".pub")))
	}
	s.write("authorized_keys", s.read("client.pub"))
	config := fmt.Sprintf("HostKey %s\nAuthorizedKeysFile %s\nListenAddress %s\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"+
		"KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\nSubsystem sftp internal-sftp\n", s.key("host"), s.key("authorized_keys"), s.Addr)
	if !shell {
		config += "ForceCommand internal-sftp"
		if len(refused) > 0 {
			config += " -P " + strings.Join(refused, ",")
		}
		config += "\n"
	}
	s.write("sshd_config", config)
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// lookSSHD finds the program, which may not be in PATH. sshd must be called by its
// absolute path.
func lookSSHD() (string, error) {
	if path, err := exec.LookPath("sshd"); err == nil {
		return filepath.Abs(path)
	}
	return exec.LookPath("/usr/sbin/sshd")
}

func (s *SSHD) key(name string) string { return filepath.Join(s.keys, name) }

func (s *SSHD) read(name string) string {
	text, err := os.ReadFile(s.key(name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

func (s *SSHD) write(name, text string) {
	if err := os.WriteFile(s.key(name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// Start starts the server. It listens when Start returns.
func (s *SSHD) Start() {
	s.t.Helper()
	path, err := lookSSHD()
	if err != nil {
		s.t.Fatal(err)
	}
	s.cmd = exec.Command(path, "-D", "-e", "-f", s.key("sshd_config"))
	// A file, not a pipe: sessions that outlive the server would keep a pipe open.
	log, err := os.Create(s.key("log"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.cmd.Stderr = log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.stopped = make(chan struct{})
	go func() {
		defer close(s.stopped)
		s.cmd.Wait()
	}()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", s.Addr)
		if err == nil {
			c.Close()
			return
		}
		select {
		case <-s.stopped:
			s.t.Fatalf("sshd does not start: %s", s.read("log"))
		default:
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("sshd does not listen: %v", err)
		}
	}
}

// Stop kills the server. Its connections stay.
func (s *SSHD) Stop() {
	s.cmd.Process.Kill()
	<-s.stopped
	// A session that has just started still listens for a moment.
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", s.Addr)
		if err != nil {
			return
		}
		c.Close()
	}
}

// Target returns a folder at the server as an rclone target, with the client's key and
// the server's host key. addr is Addr, or a proxy in front of it.
func (s *SSHD) Target(addr, dir string) string { return s.target(addr, dir, "client", "known_hosts") }

// TargetWrongHost is Target for a client that knows the host by another key.
func (s *SSHD) TargetWrongHost(dir string) string {
	return s.target(s.Addr, dir, "client", "wrong_hosts")
}

// TargetStranger is Target for a client whose key the server does not know.
func (s *SSHD) TargetStranger(dir string) string {
	return s.target(s.Addr, dir, "stranger", "known_hosts")
}

func (s *SSHD) target(addr, dir, key, hosts string) string {
	host, port, _ := net.SplitHostPort(addr)
	if addr != s.Addr { // a host key belongs to the address that the client connects to
		s.write(hosts+port, fmt.Sprintf("[%s]:%s %s", host, port, s.read("host.pub")))
		hosts += port
	}
	return fmt.Sprintf(":sftp,host=%s,port=%s,user=%s,key_file=%q,known_hosts_file=%q:%s", host, port, s.user, s.key(key), s.key(hosts), dir)
}

// givenOut has the addresses that FreeAddr has returned in this process.
var givenOut sync.Map

// FreeAddr returns an address of this machine that nobody listens on, another one each time. It is
// outside the range from which the system picks ports, so that nobody else gets it first.
func FreeAddr(t testing.TB) string {
	t.Helper()
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		if _, given := givenOut.LoadOrStore(addr, true); given {
			continue
		}
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}

// WebDAV serves a folder by WebDAV, and returns its URL. If wrap is not nil, requests
// go through it.
func WebDAV(t testing.TB, dir string, wrap func(http.Handler) http.Handler) string {
	var h http.Handler = &webdav.Handler{FileSystem: webdav.Dir(dir), LockSystem: webdav.NewMemLS()}
	if wrap != nil {
		h = wrap(h)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

// WebDAVTarget returns a folder of a WebDAV server as an rclone target.
func WebDAVTarget(url, dir string) string {
	return fmt.Sprintf(":webdav,vendor=other,url=%q:%s", url, strings.TrimPrefix(dir, "/"))
}

// Proxy forwards TCP connections until it is told to break them.
type Proxy struct {
	Addr string

	to     string
	mu     sync.Mutex // guards the fields below
	conns  []net.Conn
	after  int64         // bytes to the server before it breaks; negative: never
	stall  bool          // stall the connection instead of closing it
	lose   []byte        // text of the answer to lose
	skip   int           // how many answers with that text still pass
	repair chan struct{} // closed when stalled connections may continue
	over   chan struct{} // closed at the end of the test
}

// NewProxy starts a proxy in front of an address, or of a socket's path.
func NewProxy(t testing.TB, to string) *Proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String(), to: to, after: -1, repair: make(chan struct{}), over: make(chan struct{})}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.pass(c)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		close(p.over)
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range p.conns {
			c.Close()
		}
	})
	return p
}

// BreakAfter makes the proxy close the connection, or stall it, after n more bytes to
// the server.
func (p *Proxy) BreakAfter(n int64, stall bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.after, p.stall = n, stall
}

// LoseAnswer makes the proxy close the connection instead of passing on an answer that
// contains text, after skip such answers. The server has done its work, but the client
// does not learn of it.
func (p *Proxy) LoseAnswer(text string, skip int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose, p.skip = []byte(text), skip
}

// LostAnswer reports whether the answer was lost.
func (p *Proxy) LostAnswer() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lose == nil
}

// loses reports whether to lose an answer.
func (p *Proxy) loses(answer []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lose == nil || !bytes.Contains(answer, p.lose) {
		return false
	}
	if p.skip--; p.skip >= 0 {
		return false
	}
	p.lose = nil
	return true
}

// back forwards answers.
func (p *Proxy) back(in, out net.Conn) {
	defer in.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := out.Read(buf)
		if err != nil || p.loses(buf[:n]) {
			return
		}
		if _, err := in.Write(buf[:n]); err != nil {
			return
		}
	}
}

// Repair lets everything pass again, including stalled connections.
func (p *Proxy) Repair() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.after = -1
	close(p.repair)
	p.repair = make(chan struct{})
}

func (p *Proxy) pass(in net.Conn) {
	network := "tcp"
	if strings.HasPrefix(p.to, "/") {
		network = "unix"
	}
	out, err := net.Dial(network, p.to)
	if err != nil {
		in.Close()
		return
	}
	p.mu.Lock()
	p.conns = append(p.conns, in, out)
	p.mu.Unlock()
	go p.back(in, out)
	defer in.Close()
	defer out.Close()
	buf := make([]byte, 4096)
	for {
		n, err := in.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		breaks := p.after >= 0 && int64(n) > p.after
		if p.after >= 0 {
			p.after = max(0, p.after-int64(n))
		}
		stall, repair := p.stall, p.repair
		p.mu.Unlock()
		if breaks && !stall {
			return
		}
		if breaks {
			select {
			case <-repair:
			case <-p.over:
				return
			}
		}
		if _, err := out.Write(buf[:n]); err != nil {
			return
		}
	}
}
