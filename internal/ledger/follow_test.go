package ledger_test

import (
	"fmt"
	"testing"

	"quell/internal/ledger"
	"quell/internal/store/storetest"
)

// If the newest activation is gone, a node reads all activations once more: a page at a time,
// beside what is new.
func TestFollowedInPages(t *testing.T) { storetest.OnlyPostgres(t, testFollowedInPages) }

func testFollowedInPages(t *testing.T) {
	s := storetest.OpenNodes(t, 1)[0]
	const rows = 3*ledger.FillPage + 1
	insert := `INSERT INTO activation (request_id, form, kind, execute_at, mode, esme, chf, received_at, starts_at, ends_at, state, standing)
		SELECT 'r' || n, '', '', 0, '', n, %d + n, 0, 0, 0, '', 0 FROM generate_series(%d, %d) AS n`
	storetest.Script(t, s, fmt.Sprintf(insert, int64(storetest.Hub(0)), 1, rows))
	var at ledger.Followed
	pages := func() (n int) {
		t.Helper()
		for more := true; more; n++ {
			var err error
			if more, err = s.Ledger.FollowFrom(t.Context(), &at); err != nil || n > rows {
				t.Fatal(n, err)
			}
		}
		return n
	}
	if n := pages(); n != rows/ledger.FillPage+1 || last(&at) != rows || s.Ledger.Hubs() != rows {
		t.Errorf("%d pages to the activation %d, %d hubs", n, last(&at), s.Ledger.Hubs())
	}
	storetest.Script(t, s, fmt.Sprintf("DELETE FROM activation WHERE id = %d", rows))
	s.Ledger.RemoveHub(storetest.Hub(5)) // as if another activation had this number
	if more, err := s.Ledger.FollowFrom(t.Context(), &at); err != nil || !more || last(&at) != rows-1 || !s.Ledger.MayHaveWindow(storetest.Hub(5)) {
		t.Errorf("the first page once more: %v %v %+v", more, err, at)
	}
	storetest.Script(t, s, fmt.Sprintf(insert, int64(storetest.Hub(0)), 2*rows, 2*rows))
	if more, err := s.Ledger.FollowFrom(t.Context(), &at); err != nil || !more || !s.Ledger.MayHaveWindow(storetest.Hub(2*rows)) {
		t.Errorf("a new activation waits for the old ones: %v %v", more, err)
	}
	if n := pages(); n > 3 || !done(&at) {
		t.Errorf("%d more pages, %+v", n, at)
	}
	if n := pages(); n != 1 {
		t.Errorf("%d pages when there is nothing new", n)
	}
}

func last(at *ledger.Followed) int64 {
	last, _ := at.At()
	return last
}

func done(at *ledger.Followed) bool {
	_, done := at.At()
	return done
}
