package remotetest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Signal sends a signal to the processes of all sessions, and returns how many got it.
// It needs /proc.
func (s *SSHD) Signal(sig syscall.Signal) (n int) {
	s.t.Helper()
	parents := map[int]int{}
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(files) == 0 {
		s.t.Skip("there is no /proc to find the sessions of sshd in")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// The name, in parentheses, may hold anything.
		_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')'):]), " ")
		var state string
		var parent int
		if _, err := fmt.Sscan(rest, &state, &parent); err != nil {
			s.t.Fatal(err)
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		parents[pid] = parent
	}
	for pid := range parents {
		for p := parents[pid]; p != 0; p = parents[p] {
			if p == s.cmd.Process.Pid {
				if syscall.Kill(pid, sig) == nil {
					n++
				}
				break
			}
		}
	}
	return n
}
