package rig

import (
	"maps"
	"strings"
	"testing"
)

// A sample counts for what it was done for: a write of the kernel for the socket or for
// the store.
func TestDivide(t *testing.T) {
	const script = `quell
	     46 finish_task_switch ([kernel.kallsyms])
	     46 internal/runtime/syscall/linux.Syscall6 (/quell)
	     46 internal/poll.(*FD).Write (/quell)
	     46 net/http.(*conn).serve (/quell)

quell
	     46 vfs_write ([kernel.kallsyms])
	     46 modernc.org/sqlite/lib._sqlite3VdbeExec (/quell)

quell
	     46 runtime.memmove (/quell)
	     46 runtime.mallocgc (/quell)
	     46 quell/internal/duis.Read (/quell)
	     46 net/http.(*conn).serve (/quell)

quell
	     46 quell/internal/duis.Read (/quell)
	     46 net/http.(*conn).serve (/quell)

quell
	     46 net/http.(*conn).serve (/quell)
`
	counts, all := divide(strings.NewReader(script))
	want := map[string]int{parts[0].name: 1, parts[2].name: 1, parts[6].name: 1, parts[7].name: 1, parts[11].name: 1}
	if all != 5 || !maps.Equal(counts, want) {
		t.Errorf("%d samples: %v, want %v", all, counts, want)
	}
}
