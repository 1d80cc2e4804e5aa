package ledger_test

import (
	"fmt"
	"strings"
	"testing"

	"quell/internal/ledger"
	"quell/internal/sqldb"
	"quell/internal/store/storetest"
)

// The start reads all hubs and the last activation: page by page from PostgreSQL.
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

// With SQLite the start reads indexes alone: the tables are twenty times as large.
func TestFillReadsIndexes(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	for _, table := range []string{"activation", "suppression"} {
		rows, err := s.DB.Query(t.Context(), "EXPLAIN QUERY PLAN "+ledger.HubsSQL+table)
		plan, err := sqldb.Scan(rows, err, func(rows sqldb.Rows, step *string) error {
			var id, parent, unused int
			return rows.Scan(&id, &parent, &unused, step)
		})
		if err != nil || len(plan) != 1 || !strings.Contains(plan[0], "USING COVERING INDEX") {
			t.Errorf("%s: %q %v", table, plan, err)
		}
	}
}
