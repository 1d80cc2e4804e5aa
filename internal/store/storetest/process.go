package storetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// start starts a program in a folder of the cluster. The folder is how kill finds the program, and
// all processes that it starts.
func (c *Cluster) start(dir, program string, args ...string) {
	c.t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.SysProcAttr = dir, As(c.t)
	// All these programs also take settings from environment variables.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C"}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Setpgid = true // so that Ctrl-C at a terminal stops only the test
	log, err := os.OpenFile(filepath.Join(dir, filepath.Base(program)+".log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	go func() {
		if cmd.Wait(); cmd.ProcessState.ExitCode() >= 0 { // not killed
			c.ended.Store(cmd.String())
		}
	}()
}

// kill kills all processes that work in a folder or below it, again until none is found: some may
// have been started meanwhile.
func (c *Cluster) kill(dir string) {
	c.t.Helper()
	for signal(dir, syscall.SIGKILL) > 0 {
		time.Sleep(time.Millisecond)
	}
}

// signal sends a signal to all processes that work in a folder or below it, and returns how many
// these were.
func signal(dir string, sig syscall.Signal) (n int) {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range links {
		cwd, err := os.Readlink(link) // an error if the process has ended, or is another user's
		if err != nil || !strings.HasPrefix(cwd+"/", dir+"/") {
			continue
		}
		pid, _ := strconv.Atoi(strings.Split(link, "/")[2])
		if syscall.Kill(pid, sig) == nil {
			n++
		}
	}
	return n
}

// endWithTest makes all processes end when the test ends in any way: also by a panic or a signal,
// when no cleanup runs. PostgreSQL's processes have no parent here whose end would end them. A
// shell ends them when its standard input ends.
func (c *Cluster) endWithTest() {
	cmd := exec.Command("/bin/sh", "-c", `cat >/dev/null
		while :; do
			found=
			for p in /proc/[0-9]*; do
				case $(readlink "$p/cwd")/ in "$1"/*) kill -9 "${p#/proc/}" && found=1 ;; esac
			done
			[ -n "$found" ] || break
			sleep 0.1
		done 2>/dev/null
		rm -rf "$1"`, "sh", c.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	alive, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		if c.t.Failed() {
			c.t.Log(c.logs())
		}
		alive.Close()
		cmd.Wait()
	})
}

// logs returns the end of each log.
func (c *Cluster) logs() string {
	var b strings.Builder
	for _, pattern := range []string{"*.log", "*/*.log"} {
		files, _ := filepath.Glob(filepath.Join(c.dir, pattern))
		for _, file := range files {
			text, _ := os.ReadFile(file)
			fmt.Fprintf(&b, "== %s\n%s\n", file, text[max(0, len(text)-8000):])
		}
	}
	return b.String()
}

// program returns the path of a program, also from a folder that is only in root's PATH. It skips
// the test if there is none.
func program(t testing.TB, name, packages string) string {
	t.Helper()
	for _, try := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(try); err == nil {
			return path
		}
	}
	t.Skipf("there is no %s; on Debian it is in %s", name, packages)
	return ""
}
