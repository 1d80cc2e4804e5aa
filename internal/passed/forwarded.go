package passed

import (
	"context"
	"math"
	"strconv"
	"time"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

// NoStart says that the start of an outage is not known. It matches any start.
const (
	NoStart      = math.MinInt64 + 1
	UnknownStart = "-9223372036854775807" // in SQL
)

// Start returns the start of the outage as the table forwarded has it.
func (n *Note) Start() int64 {
	if n.OutageStart.IsZero() {
		return NoStart
	}
	return n.OutageStart.UnixMicro()
}

const columns = `alert_id, chf, outage_start, received_at, reason`

func scan(rows sqldb.Rows, err error) ([]Note, error) {
	return sqldb.Scan(rows, err, func(rows sqldb.Rows, n *Note) error {
		var chf, start, received int64
		err := rows.Scan(&n.AlertID, &chf, &start, &received, &n.Reason)
		n.CHF, n.Received = outage.DeviceID(chf), sqldb.Instant(received)
		if start != NoStart {
			n.OutageStart = time.UnixMicro(start).UTC()
		}
		return err
	})
}

// Forwarded returns the notes in the table forwarded of some alerts: a JSON array of rows with id,
// hub and start.
func Forwarded(ctx context.Context, q sqldb.Querier, alerts string) ([]Note, error) {
	return scan(q.Query(ctx, `SELECT `+columns+` FROM forwarded
		WHERE (alert_id, chf, outage_start) IN (SELECT value->>0, CAST(value->>1 AS BIGINT), CAST(value->>2 AS BIGINT) FROM json_each(?1)
			UNION ALL SELECT value->>0, CAST(value->>1 AS BIGINT), `+UnknownStart+` FROM json_each(?1))`, alerts))
}

// ForwardedAlerts returns up to limit notes in the table forwarded of a hub (unless it is 0) or an
// alert (unless it is ""), the latest first.
func ForwardedAlerts(ctx context.Context, q sqldb.Querier, chf outage.DeviceID, alertID string, limit int) ([]Note, error) {
	return scan(q.Query(ctx, `SELECT `+columns+` FROM forwarded WHERE chf = ?1 AND chf <> 0 OR alert_id = ?2 AND alert_id <> ''
		ORDER BY received_at DESC LIMIT ?3`, int64(chf), alertID, limit))
}

// InsertForwarded inserts the notes of alerts that have none into the table forwarded.
func InsertForwarded(ctx context.Context, tx sqldb.Tx, list []Note) error {
	if len(list) == 0 {
		return nil
	}
	rows := make([]byte, 0, 160*len(list))
	for i, n := range list {
		rows = append(rows, "[,"[min(i, 1)], '[')
		rows = append(sqldb.AppendText(rows, n.AlertID), ',')
		rows = append(strconv.AppendInt(rows, int64(n.CHF), 10), ',')
		rows = append(strconv.AppendInt(rows, n.Start(), 10), ',')
		rows = append(strconv.AppendInt(rows, sqldb.Micros(n.Received), 10), ',')
		rows = append(sqldb.AppendText(rows, string(n.Reason)), ']')
	}
	return tx.Later(ctx, `INSERT INTO forwarded (alert_id, chf, outage_start, received_at, reason)
		SELECT value->>0, CAST(value->>1 AS BIGINT), CAST(value->>2 AS BIGINT), CAST(value->>3 AS BIGINT), value->>4 FROM json_each(?) WHERE TRUE ON CONFLICT DO NOTHING`, string(append(rows, ']')))
}

// DeleteForwarded deletes notes from the table forwarded of alerts that were received before an
// instant, and returns how many.
func DeleteForwarded(ctx context.Context, tx sqldb.Tx, before time.Time, limit int) (int, error) {
	n, err := tx.Exec(ctx, `DELETE FROM forwarded WHERE (alert_id, chf, outage_start) IN (SELECT alert_id, chf, outage_start FROM forwarded
		WHERE received_at < ?1 ORDER BY received_at LIMIT ?2)`, sqldb.Micros(before), limit)
	return int(n), err
}
