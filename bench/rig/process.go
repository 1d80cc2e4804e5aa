package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a program that the harness started. Its output is in a file.
type Process struct {
	name string
	cmd  *exec.Cmd
	log  string
	End  syscall.Signal // ends it
	done chan struct{}  // closed when it has ended
}

// start starts a program in a folder. If the harness ends in any way, the program
// gets the signal end.
func start(dir, name string, end syscall.Signal, as *syscall.Credential, program string, args ...string) (*Process, error) {
	p := &Process{name: name, log: filepath.Join(dir, name+".log"), End: end, done: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.Command(program, args...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, log, log
	// In a group of its own, Ctrl-C at the terminal does not reach it: the harness stops it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: end, Credential: as}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() {
		p.cmd.Wait() // how it ended is in its log
		close(p.done)
	}()
	return p, nil
}

// Stop sends a signal and waits until the program has ended, by force if that takes
// longer than a minute.
func (p *Process) Stop(sig syscall.Signal) {
	p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		for _, pid := range p.family() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		<-p.done
	}
}

// await waits until something answers at addr.
func (p *Process) await(ctx context.Context, addr string) error {
	for until := time.Now().Add(30 * time.Second); ; {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			return c.Close()
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended: %s", p.name, p.Tail())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(until) {
			return fmt.Errorf("%s does not answer: %w: %s", p.name, err, p.Tail())
		}
	}
}

// Tail returns the end of what the program printed.
func (p *Process) Tail() string {
	text, _ := os.ReadFile(p.log)
	return string(text[max(0, len(text)-2000):])
}

// family returns the ids of the program's process and of all below it.
func (p *Process) family() []int {
	all, _ := p.familyAndEnded()
	return all
}

// clockTick is the unit of the times in /proc/PID/stat, on each architecture that Go has.
const clockTick = 10 * time.Millisecond

// familyAndEnded also returns the processor time of those below them that have ended.
func (p *Process) familyAndEnded() (all []int, ended time.Duration) {
	children, gone := map[int][]int{}, map[int]time.Duration{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended
		}
		pid, _ := strconv.Atoi(strings.Split(stat, "/")[2])
		fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		parent, _ := strconv.Atoi(string(fields[1]))
		children[parent] = append(children[parent], pid)
		user, _ := strconv.Atoi(string(fields[13]))
		system, _ := strconv.Atoi(string(fields[14]))
		gone[pid] = time.Duration(user+system) * clockTick
	}
	all = []int{p.cmd.Process.Pid}
	for i := 0; i < len(all); i++ {
		ended += gone[all[i]]
		all = append(all, children[all[i]]...)
	}
	return all, ended
}

// CPU returns the processor time, user and system, of a program's processes with all
// their threads since they began. The kernel counts it in nanoseconds, as what the
// scheduler gave them; of processes that have ended, in hundredths of a second.
func (p *Process) CPU() (time.Duration, error) {
	all, sum := p.familyAndEnded()
	for _, pid := range all {
		// The clock of another process, as clock_getcpuclockid(3) makes its number.
		var t unix.Timespec
		switch err := unix.ClockGettime(int32(^pid<<3|2), &t); {
		case errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL): // it has ended
		case err != nil:
			return 0, fmt.Errorf("the processor time of %s: %w", p.name, err)
		default:
			sum += time.Duration(t.Nano())
		}
	}
	return sum, nil
}

// RSS returns how many bytes of memory the program's processes have.
func (p *Process) RSS() int64 {
	var sum int64
	for _, pid := range p.family() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if fields := strings.Fields(string(text)); err == nil && len(fields) > 1 {
			pages, _ := strconv.ParseInt(fields[1], 10, 64)
			sum += pages * int64(os.Getpagesize())
		}
	}
	return sum
}

// freeAddress returns an address that nothing listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// Sleep waits, unless ctx ends.
func Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
