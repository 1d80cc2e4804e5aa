// Package remotetest starts real servers for tests of what is delivered: an
// OpenSSH sshd, a WebDAV server, and a proxy that breaks connections.
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
	// Dir is a folder that it serves.
	Dir string

	t       testing.TB
	keys    string // the folder of keys and configuration
	user    string
	cmd     *exec.Cmd
	stopped chan struct{}
}

// NewSSHD starts a server as the user of the test. With shell it also runs
// commands, by which rclone has it compute hashes. The test is skipped if there
// is no sshd on this machine. The server refuses the named requests of SFTP, such as
// "setstat", if it has no shell.
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
		// Where sshd would be started as a service, this exists.
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

// lookSSHD finds the program, which is not in everybody's PATH; sshd wants to
// be called by its absolute name.
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

// Start starts the server, which listens when Start returns.
func (s *SSHD) Start() {
	s.t.Helper()
	path, err := lookSSHD()
	if err != nil {
		s.t.Fatal(err)
	}
	s.cmd = exec.Command(path, "-D", "-e", "-f", s.key("sshd_config"))
	// A file, since sessions that outlive the server hold its other end open.
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

// Stop kills the server; connections that it has go on.
func (s *SSHD) Stop() {
	s.cmd.Process.Kill()
	<-s.stopped
	// A session that has just begun still listens for a moment.
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", s.Addr)
		if err != nil {
			return
		}
		c.Close()
	}
}

// Target is a folder at the server in rclone's writing, reached by way of an
// address, with the client's key and the server's host key.
func (s *SSHD) Target(addr, dir string) string { return s.target(addr, dir, "client", "known_hosts") }

// TargetWrongHost is Target for one who knows the host by another key.
func (s *SSHD) TargetWrongHost(dir string) string {
	return s.target(s.Addr, dir, "client", "wrong_hosts")
}

// TargetStranger is Target for one whose key the server does not know.
func (s *SSHD) TargetStranger(dir string) string {
	return s.target(s.Addr, dir, "stranger", "known_hosts")
}

func (s *SSHD) target(addr, dir, key, hosts string) string {
	host, port, _ := net.SplitHostPort(addr)
	if addr != s.Addr { // the host is known by the address that it is reached at
		s.write(hosts+port, fmt.Sprintf("[%s]:%s %s", host, port, s.read("host.pub")))
		hosts += port
	}
	return fmt.Sprintf(":sftp,host=%s,port=%s,user=%s,key_file=%q,known_hosts_file=%q:%s", host, port, s.user, s.key(key), s.key(hosts), dir)
}

// FreeAddr is an address of this machine that nobody listens on. It is out of
// the range that the system takes ports from by itself, so that nobody else gets
// it before it is used.
func FreeAddr(t testing.TB) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}

// WebDAV serves a folder by WebDAV, through wrap if that is not nil, and
// returns its URL.
func WebDAV(t testing.TB, dir string, wrap func(http.Handler) http.Handler) string {
	var h http.Handler = &webdav.Handler{FileSystem: webdav.Dir(dir), LockSystem: webdav.NewMemLS()}
	if wrap != nil {
		h = wrap(h)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

// WebDAVTarget is a folder of a WebDAV server in rclone's writing.
func WebDAVTarget(url, dir string) string {
	return fmt.Sprintf(":webdav,vendor=other,url=%q:%s", url, strings.TrimPrefix(dir, "/"))
}

// Proxy passes TCP connections on until it is told to break them.
type Proxy struct {
	Addr string

	to    string
	mu    sync.Mutex // guards what follows
	conns []net.Conn
	after int64         // bytes to the server until it breaks; negative: never
	stall bool          // rather than cut
	lose  []byte        // text of an answer that does not arrive
	skip  int           // answers with the text that arrive before
	mend  chan struct{} // closed when what is stalled may go on
	over  chan struct{} // closed at the end of the test
}

// NewProxy starts a proxy before an address, or the path of a socket.
func NewProxy(t testing.TB, to string) *Proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String(), to: to, after: -1, mend: make(chan struct{}), over: make(chan struct{})}
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

// BreakAfter has the proxy cut the connection, or stall it, after some more
// bytes on their way to the server.
func (p *Proxy) BreakAfter(n int64, stall bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.after, p.stall = n, stall
}

// LoseAnswer has the proxy cut the connection in place of the next answer that
// has a text, after some that arrive: the server has done what it says, and
// nobody hears of it.
func (p *Proxy) LoseAnswer(text string, after int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose, p.skip = []byte(text), after
}

// LostAnswer reports whether that has come about.
func (p *Proxy) LostAnswer() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lose == nil
}

// loses reports whether an answer is to be lost.
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

// back passes answers on.
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

// Mend has all go on, what was stalled too.
func (p *Proxy) Mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.after = -1
	close(p.mend)
	p.mend = make(chan struct{})
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
		stall, mend := p.stall, p.mend
		p.mu.Unlock()
		if breaks && !stall {
			return
		}
		if breaks {
			select {
			case <-mend:
			case <-p.over:
				return
			}
		}
		if _, err := out.Write(buf[:n]); err != nil {
			return
		}
	}
}
