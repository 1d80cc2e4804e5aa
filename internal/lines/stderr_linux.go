package lines

import (
	"io"
	"os"
	"syscall"
)

// ownStderr returns a second descriptor for the process's standard error, and a function
// that sets descriptor 2 aside (it becomes /dev/null) or restores it. If w is something
// else, or cannot be duplicated, it returns w and nil.
func ownStderr(w io.Writer) (io.Writer, func(aside bool)) {
	if w != io.Writer(os.Stderr) {
		return w, nil
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return w, nil
	}
	syscall.ForkLock.RLock()
	own, err := syscall.Dup(syscall.Stderr)
	if err == nil {
		syscall.CloseOnExec(own)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		null.Close()
		return w, nil
	}
	return os.NewFile(uintptr(own), "standard error"), func(aside bool) {
		from := own
		if aside {
			from = int(null.Fd())
		}
		syscall.Dup3(from, syscall.Stderr, 0) // does not fail, since both descriptors are open
	}
}
