package access

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// peerPrefix begins the RemoteAddr of requests that come over the socket. The user's number
// follows. No address of TCP begins so.
const peerPrefix = "socket, uid "

// peerAddr is the address of the other side of a connection to the socket.
type peerAddr struct{ uid uint32 }

func (peerAddr) Network() string  { return "unix" }
func (p peerAddr) String() string { return peerPrefix + strconv.FormatUint(uint64(p.uid), 10) }

// peer returns the user who sends a request over the socket.
func peer(r *http.Request) (uid int, ok bool) {
	text, ok := strings.CutPrefix(r.RemoteAddr, peerPrefix)
	if !ok {
		return 0, false
	}
	uid, err := strconv.Atoi(text)
	return uid, err == nil
}

// socket is a Unix socket whose connections know their users.
type socket struct {
	*net.UnixListener
	dir  *os.File
	name string
	made os.FileInfo // the socket file
}

// peerConn is a connection to a socket.
type peerConn struct {
	*net.UnixConn
	addr peerAddr
}

func (c peerConn) RemoteAddr() net.Addr { return c.addr }

// ErrSocketUsed says that another process listens at a socket.
var ErrSocketUsed = errors.New("another process listens there")

// Listen opens the Unix socket at a path, for its owner and its group (0660). The kernel names
// the user of each connection (SO_PEERCRED). A socket that a killed process left is replaced.
// The path may be longer than the 107 bytes that the kernel takes. The folder must exist, and
// others must not be able to write in it, or they could put a socket of their own there.
func Listen(path string) (_ net.Listener, err error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			dir.Close()
		}
	}()
	info, err := dir.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o002 != 0 {
		return nil, fmt.Errorf("%s: everyone can write in the folder of the socket", path)
	}
	short := within(dir, filepath.Base(path))
	if err := removeStale(path, short); err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o660) }), err) // at once, not after others could connect
	}}
	l, err := config.Listen(context.Background(), "unix", short)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, errors.Unwrap(err))
	}
	s := &socket{UnixListener: l.(*net.UnixListener), dir: dir, name: short}
	s.SetUnlinkOnClose(false)
	if err = os.Chmod(short, 0o660); err == nil {
		s.made, err = os.Lstat(short)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return s, nil
}

// within returns a short path to a file in an open folder.
func within(dir *os.File, name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name)
}

// removeStale removes a socket at which nobody listens.
func removeStale(path, short string) error {
	info, err := os.Lstat(short)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is no socket, and is not replaced", path)
	}
	c, err := net.DialTimeout("unix", short, time.Second)
	if err == nil {
		c.Close()
		return fmt.Errorf("%s: %w", path, ErrSocketUsed)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.Remove(short)
}

// Accept waits for the next connection.
func (s *socket) Accept() (net.Conn, error) {
	for {
		c, err := s.AcceptUnix()
		if err != nil {
			return nil, err
		}
		raw, err := c.SyscallConn()
		var cred *syscall.Ucred
		var credErr error
		if err == nil {
			err = raw.Control(func(fd uintptr) {
				cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
			})
		}
		if err = errors.Join(err, credErr); err == nil {
			return peerConn{c, peerAddr{cred.Uid}}, nil
		}
		c.Close() // its other side has gone already
	}
}

// Close closes the socket and removes its file, unless another has taken its place.
func (s *socket) Close() error {
	if now, err := os.Lstat(s.name); err == nil && os.SameFile(now, s.made) {
		os.Remove(s.name)
	}
	err := s.UnixListener.Close()
	s.dir.Close()
	return err
}

// Dial connects to the socket at a path, which may be longer than the kernel takes.
func Dial(ctx context.Context, path string) (net.Conn, error) {
	dir, err := os.OpenFile(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY, 0) // the user need not be able to list it
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	var d net.Dialer
	return d.DialContext(ctx, "unix", within(dir, filepath.Base(path)))
}
