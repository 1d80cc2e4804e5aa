package ledger_test

import (
	"fmt"
	"testing"

	"quell/internal/ledger"
	"quell/internal/store/storetest"
)

// The start reads all hubs and the last activation, page by page.
func TestLoadInPages(t *testing.T) { storetest.EachEngine(t, testLoadInPages) }

func testLoadInPages(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	storetest.LogN(t, s, 1) // hub 1
	const rows = ledger.FillPage + 7
	for _, table := range []string{
		"activation (id, request_id, form, kind, execute_at, mode, esme, chf, received_at, starts_at, ends_at, state, standing) SELECT i, CAST(i AS TEXT), '', '', 0, '', 0, -2 * i, 0, 0, 0, '', 0",
		"suppression (seq, alert_id, alert_code, chf, esme, mpxn, mpxn_valid, distributor, outage_start, received_at, activation_id, request_id, mode, window_start, window_end, outcome, started_before, repeated) " +
			"SELECT i, CAST(i AS TEXT), '', -2 * i - 1, 0, '', 0, '', 0, 0, 0, '', '', 0, 0, '', 0, 0",
	} {
		storetest.Script(t, s, fmt.Sprintf(`WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT INTO %s FROM n`, rows, table))
	}
	s.Close()
	s = storetest.Open(t, dir)
	if s.Ledger.Hubs() != 1+2*(rows-1) || s.Ledger.FollowedTo() != rows {
		t.Errorf("%d hubs, the last activation is %d", s.Ledger.Hubs(), s.Ledger.FollowedTo())
	}
}
