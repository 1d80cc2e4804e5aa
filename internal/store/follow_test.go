package store

import (
	"fmt"
	"testing"
)

// Where the newest activation is not there any more, a node reads all once more: a
// page at a time, and after what is new.
func TestFollowedInPages(t *testing.T) {
	s := openNodes(t, 1)[0]
	const rows = 3*loadRows + 1
	insert := `INSERT INTO activation (request_id, form, kind, execute_at, mode, esme, chf, received_at, starts_at, ends_at, state, standing)
		SELECT 'r' || n, '', '', 0, '', n, %d + n, 0, 0, 0, '', 0 FROM generate_series(%d, %d) AS n`
	script(t, s, fmt.Sprintf(insert, int64(hub(0)), 1, rows))
	var at followed
	steps := func() (n int) {
		t.Helper()
		for more := true; more; n++ {
			var err error
			if more, err = s.followOnce(t.Context(), &at); err != nil || n > rows {
				t.Fatal(n, err)
			}
		}
		return n
	}
	if n := steps(); n != rows/loadRows+1 || at.last != rows || s.Hubs() != rows {
		t.Errorf("%d steps to the activation %d, %d hubs", n, at.last, s.Hubs())
	}
	script(t, s, fmt.Sprintf("DELETE FROM activation WHERE id = %d", rows))
	s.index.remove(hub(5)) // as another had this number
	if more, err := s.followOnce(t.Context(), &at); err != nil || !more || at.last != rows-1 || !s.MayHold(hub(5)) {
		t.Errorf("the first page again: %v %v %+v", more, err, at)
	}
	script(t, s, fmt.Sprintf(insert, int64(hub(0)), 2*rows, 2*rows))
	if more, err := s.followOnce(t.Context(), &at); err != nil || !more || !s.MayHold(hub(2*rows)) {
		t.Errorf("what is new waits for what is old: %v %v", more, err)
	}
	if n := steps(); n > 3 || at.again != at.until {
		t.Errorf("%d more steps, %+v", n, at)
	}
	if n := steps(); n != 1 {
		t.Errorf("%d steps when there is nothing", n)
	}
}
