package store

import (
	"context"
	"strconv"
	"strings"
	"time"

	"quell/internal/outage"
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

// maxUntracked bounds those that wait to be kept; about 4 MB.
const maxUntracked = 20_000

// NoteUntracked has it kept that an 11.3 was not tracked, for those who ask later.
// The hub is found in the inventory. It does not wait, and what the store does not
// take is lost: the audit trail has it.
func (s *Store) NoteUntracked(u Untracked) {
	s.queue.push(func() bool {
		if len(s.queue.untracked) < maxUntracked {
			s.queue.untracked = append(s.queue.untracked, u)
		} else {
			s.lostUntracked.Add(1)
		}
		return true
	})
}

// insertUntracked inserts them within the committer's transaction.
func (s *Store) insertUntracked(ctx context.Context, list []Untracked) error {
	if len(list) == 0 {
		return nil
	}
	rows := make([]byte, 0, 200*len(list))
	for i, u := range list {
		rows = append(rows, "[,"[min(i, 1)], '[')
		rows = append(strconv.AppendInt(rows, int64(u.ESME), 10), ',')
		rows = append(strconv.AppendInt(rows, micros(u.Received), 10), ',')
		rows = append(appendJSON(rows, u.RequestID), ',')
		rows = append(appendJSON(rows, string(u.Form)), ',')
		rows = append(appendJSON(rows, string(u.Reason)), ']')
	}
	return s.conn.later(ctx, `INSERT INTO untracked (esme, received_at, request_id, form, chf, reason)
		SELECT u.esme, u.received_at, u.request_id, u.form, coalesce((SELECT d.chf FROM inventory d WHERE d.device_id = u.esme AND `+newest+`), 0), u.reason
		FROM (SELECT CAST(value->>0 AS BIGINT) AS esme, CAST(value->>1 AS BIGINT) AS received_at, value->>2 AS request_id, value->>3 AS form, value->>4 AS reason
			FROM json_each(?)) AS u WHERE TRUE ON CONFLICT DO NOTHING`, string(append(rows, ']')))
}

// Untracked returns up to limit requests that were not tracked, of a hub, a meter or by
// their id, the latest first.
func (s *Store) Untracked(ctx context.Context, f Find, limit int) ([]Untracked, error) {
	query, args := untrackedQuery(f, limit)
	rows, err := s.reader.QueryContext(ctx, query, args...)
	list, err := scan(rows, err, func(rows rowSet) (u Untracked, err error) {
		var esme, chf, received int64
		err = rows.Scan(&u.RequestID, &u.Form, &esme, &chf, &received, &u.Reason)
		u.ESME, u.CHF, u.Received = outage.DeviceID(esme), outage.DeviceID(chf), instant(received)
		return u, err
	})
	return list, wrapRead(err)
}

// untrackedQuery finds them by an index each, those of a request by its meter's. It keeps
// the database from going through all in their order.
func untrackedQuery(f Find, limit int) (query string, args []any) {
	const columns = `SELECT request_id, form, esme, chf, received_at, reason FROM untracked WHERE `
	var parts []string
	one := func(set bool, cond string, values ...any) {
		if set {
			parts, args = append(parts, columns+cond), append(args, values...)
		}
	}
	one(f.CHF != 0, "chf = ?", int64(f.CHF))
	one(f.ESME != 0, "esme = ?", int64(f.ESME))
	one(f.RequestID != (outage.RequestID{}), "esme = ? AND request_id = ?", int64(f.RequestID.Target), f.RequestID.String())
	one(len(parts) == 0, "FALSE")
	return `SELECT * FROM (` + strings.Join(parts, " UNION ") + `) AS found ORDER BY received_at DESC, request_id LIMIT ?`, append(args, limit)
}
