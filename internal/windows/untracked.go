package windows

import (
	"context"
	"strconv"
	"strings"
	"time"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

// Untracked is an 11.3 that opened no window, and why. Its JSON is part of the API.
type Untracked struct {
	RequestID string          `json:"request_id"`
	Form      outage.Form     `json:"form"`
	ESME      outage.DeviceID `json:"esme_id"` // the target, whatever it is
	CHF       outage.DeviceID `json:"chf_id"`  // as the inventory said then
	Received  time.Time       `json:"received_at"`
	Reason    outage.Reason   `json:"reason"`
}

// NoteUntracked records that 11.3s were not tracked, for explanations later. The hub comes
// from the inventory.
func (w *Windows) NoteUntracked(ctx context.Context, tx sqldb.Tx, list []Untracked) error {
	rows := make([]byte, 0, 200*len(list))
	for i, u := range list {
		rows = append(rows, "[,"[min(i, 1)], '[')
		rows = append(strconv.AppendInt(rows, int64(u.ESME), 10), ',')
		rows = append(strconv.AppendInt(rows, sqldb.Micros(u.Received), 10), ',')
		rows = append(sqldb.AppendText(rows, u.RequestID), ',')
		rows = append(sqldb.AppendText(rows, string(u.Form)), ',')
		rows = append(sqldb.AppendText(rows, string(u.Reason)), ']')
	}
	return tx.Later(ctx, `INSERT INTO untracked (esme, received_at, request_id, form, chf, reason)
		SELECT u.esme, u.received_at, u.request_id, u.form, coalesce(`+w.hubOf("u.esme")+`, 0), u.reason
		FROM (SELECT CAST(value->>0 AS BIGINT) AS esme, CAST(value->>1 AS BIGINT) AS received_at, value->>2 AS request_id, value->>3 AS form, value->>4 AS reason
			FROM json_each(?)) AS u WHERE TRUE ON CONFLICT DO NOTHING`, string(append(rows, ']')))
}

// Untracked returns up to limit requests that were not tracked, of a hub, a meter or an id,
// the latest first.
func (w *Windows) Untracked(ctx context.Context, f Filter, limit int) ([]Untracked, error) {
	query, args := untrackedQuery(f, limit)
	rows, err := w.db.Query(ctx, query, args...)
	list, err := sqldb.Scan(rows, err, func(rows sqldb.Rows, u *Untracked) error {
		var esme, chf, received int64
		err := rows.Scan(&u.RequestID, &u.Form, &esme, &chf, &received, &u.Reason)
		u.ESME, u.CHF, u.Received = outage.DeviceID(esme), outage.DeviceID(chf), sqldb.Instant(received)
		return err
	})
	return list, sqldb.Unavailable(err)
}

// untrackedQuery has one part for each field of the filter, so that each part uses an index; a
// request is found by that of its meter. Otherwise the database would read all rows in order.
func untrackedQuery(f Filter, limit int) (query string, args []any) {
	const columns = `SELECT request_id, form, esme, chf, received_at, reason FROM untracked WHERE `
	var parts []string
	add := func(set bool, cond string, values ...any) {
		if set {
			parts, args = append(parts, columns+cond), append(args, values...)
		}
	}
	add(f.CHF != 0, "chf = ?", int64(f.CHF))
	add(f.ESME != 0, "esme = ?", int64(f.ESME))
	add(f.RequestID != (outage.RequestID{}), "esme = ? AND request_id = ?", int64(f.RequestID.Target), f.RequestID.String())
	add(len(parts) == 0, "FALSE")
	return `SELECT * FROM (` + strings.Join(parts, " UNION ") + `) AS found ORDER BY received_at DESC, request_id LIMIT ?`, append(args, limit)
}

// DeleteUntracked deletes up to limit requests received before an instant, and returns how
// many.
func DeleteUntracked(ctx context.Context, tx sqldb.Tx, before time.Time, limit int) (int, error) {
	n, err := tx.Exec(ctx, `DELETE FROM untracked WHERE (esme, received_at, request_id, form) IN (SELECT esme, received_at, request_id, form FROM untracked
		WHERE received_at < ?1 ORDER BY received_at LIMIT ?2)`, sqldb.Micros(before), limit)
	return int(n), err
}
