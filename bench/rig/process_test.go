package rig

import (
	"errors"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The processor time of a program is that of all its threads, also of those that have
// ended, and of the programs below it.
func TestCPU(t *testing.T) {
	p := &Process{name: "test", cmd: &exec.Cmd{Process: &os.Process{Pid: os.Getpid()}}}
	own := func() time.Duration {
		var u, ended syscall.Rusage
		if err := errors.Join(syscall.Getrusage(syscall.RUSAGE_SELF, &u), syscall.Getrusage(syscall.RUSAGE_CHILDREN, &ended)); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano() + ended.Utime.Nano() + ended.Stime.Nano())
	}
	var busy sync.WaitGroup
	for range 4 {
		busy.Go(func() {
			for began := time.Now(); time.Since(began) < 200*time.Millisecond; {
			}
		})
	}
	busy.Wait()
	before := own()
	got, err := p.CPU()
	after := own()
	// The kernel counts what getrusage says in another place, which may be a tick behind.
	const tick = 10 * time.Millisecond
	if err != nil || got < before-tick || got > after+tick {
		t.Errorf("the processor time is %v, want between %v and %v: %v", got, before, after, err)
	}

	child := exec.Command("sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo done; sleep 60")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Process.Kill()
	if _, err := out.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	with, err := p.CPU()
	if own := own(); err != nil || with < own+20*time.Millisecond {
		t.Errorf("with a program below it the processor time is %v, without %v: %v", with, own, err)
	}
	child.Process.Kill()
	child.Wait()
	if after, err := p.CPU(); err != nil || after < with-2*tick {
		t.Errorf("the processor time was %v, and is %v when the program below has ended: %v", with, after, err)
	}
}
