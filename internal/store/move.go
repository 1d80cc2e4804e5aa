package store

import (
	"context"

	"quell/internal/outage"
)

// A window is on the hub of its meter, which alerts name. When an import of the
// inventory says that a meter is on another hub, its windows that are not over move
// there with it, in the transaction that puts the import into force: the old hub may
// be in another home by then. A hub that is not known is nobody's.

// onOther finds the windows of an import, ?1, that are not over at the instant ?2
// and are on another hub than it says.
const onOther = ` FROM activation a JOIN inventory d ON d.device_id = a.esme AND d.import_no = ?1 WHERE a.ends_at > ?2 AND a.chf <> d.chf`

// smallMove finds them from the devices in ?3.
const smallMove = `SELECT a.id FROM (SELECT CAST(value->>0 AS BIGINT) AS id FROM json_each(?3)) AS h
	CROSS JOIN activation a JOIN inventory d ON d.device_id = a.esme AND d.import_no = ?1 WHERE a.esme = h.id AND a.ends_at > ?2 AND a.chf <> d.chf`

// movable says which windows an import moves, before it is in force: so many are
// looked at that nothing should wait for it.
type movable struct {
	upTo int64 // the last activation that was looked at
	ids  []int64
}

func (s *Store) movable(ctx context.Context, im *Import, g *stage) (m movable, err error) {
	if err := s.reader.QueryRowContext(ctx, `SELECT coalesce(max(id), 0) FROM activation`).Scan(&m.upTo); err != nil {
		return m, err
	}
	if im.Rows > stretch {
		m.ids, err = numbers(s.reader.QueryContext(ctx, `SELECT a.id`+onOther, im.No, micros(im.At)))
		return m, err
	}
	// A small import asks for the windows of its own meters, not for all there are.
	err = g.ids(ctx, stretch, func(ids []int64) (err error) {
		m.ids, err = numbers(s.reader.QueryContext(ctx, smallMove, im.No, micros(im.At), column(ids)))
		return err
	})
	return m, err
}

// moved says between which hubs windows moved.
type moved struct {
	to, gone []outage.DeviceID // gone: nothing is left to ask for
}

// moveWindows moves the windows that were found to move, and those recorded since,
// within the committer's transaction.
func (s *Store) moveWindows(ctx context.Context, im *Import, may *movable) (m moved, err error) {
	rows, err := s.conn.QueryContext(ctx, `SELECT a.id, a.chf, d.chf FROM inventory d JOIN (
			SELECT id, esme, chf, ends_at FROM activation WHERE id > ?3
			UNION ALL SELECT id, esme, chf, ends_at FROM activation WHERE id IN (SELECT CAST(value->>0 AS BIGINT) FROM json_each(?4)) AND id <= ?3
		) AS a ON d.device_id = a.esme AND d.import_no = ?1 WHERE a.ends_at > ?2 AND a.chf <> d.chf`, im.No, micros(im.At), may.upTo, column(may.ids))
	moves, err := scan(rows, err, func(rows rowSet) (v [3]int64, err error) { return v, rows.Scan(&v[0], &v[1], &v[2]) })
	if err != nil {
		return m, err
	}
	var from []int64
	for _, v := range moves {
		if err := s.conn.later(ctx, `UPDATE activation SET chf = ?, moved = ? WHERE id = ?`, v[2], im.No, v[0]); err != nil {
			return m, err
		}
		from, m.to = append(from, v[1]), append(m.to, outage.DeviceID(v[2]))
	}
	if !s.remote { // else see prune
		m.gone, err = s.nothingLeft(ctx, from)
	}
	return m, err
}
