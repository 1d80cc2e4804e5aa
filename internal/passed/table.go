package passed

import (
	"context"
	"slices"

	"quell/internal/sqldb"
)

// RowSize is how many bytes of notes a row has at most.
const RowSize = rowNotes * noteSize

const (
	// rowNotes is how many notes a row has at most, so that a page of rows is not large.
	rowNotes = 1024
	// page is how many rows one query reads.
	page = 500
)

// Insert writes notes, as rows of rowNotes at most. They are as Options.Keep gets them.
func Insert(ctx context.Context, tx sqldb.Tx, notes []byte) error {
	for row := range slices.Chunk(notes[:len(notes)/noteSize*noteSize], RowSize) {
		if err := tx.Later(ctx, `INSERT INTO passed (minute, notes) VALUES (?, ?)`, latest(row), row); err != nil {
			return err
		}
	}
	return nil
}

// latest returns the minute in which the latest alert of a row was received.
func latest(row []byte) int64 {
	var last fact
	for i := range len(row) / noteSize {
		_, f := noteAt(row, i)
		last = max(last, f.minute())
	}
	return int64(last)
}

// smallRow is how many notes a row must have to be left alone: with so many, what a row takes
// besides its notes does not matter.
const smallRow = 32

// stored is a row, without its notes.
type stored struct{ id, minute, size int64 }

// merge makes one row of several small ones that follow each other and are of one hour, so that a
// note takes as little room as it can, whatever the rate. It looks at a page of rows after a row,
// 0 at first, and returns where to go on and how many rows are gone. done says that there are no
// more.
//
// What is merged becomes the last row of those, under that row's id. A node that follows by id
// and is behind finds all of it there.
func merge(ctx context.Context, tx sqldb.Tx, after int64) (next int64, gone int, done bool, err error) {
	rows, err := tx.Query(ctx, `SELECT id, minute, length(notes) FROM passed WHERE id > ? ORDER BY id LIMIT ?`, after, page)
	list, err := sqldb.Scan(rows, err, func(rows sqldb.Rows, r *stored) error { return rows.Scan(&r.id, &r.minute, &r.size) })
	if err != nil {
		return after, 0, false, err
	}
	done = len(list) < page
	for len(list) > 0 {
		n, size := 1, list[0].size
		for n < len(list) && list[n].minute/60 == list[0].minute/60 && size+list[n].size <= RowSize {
			size += list[n].size
			n++
		}
		if n > 1 && size/int64(n) < smallRow*noteSize {
			if err := mergeRows(ctx, tx, list[:n]); err != nil {
				return after, gone, false, err
			}
			gone += n - 1
		}
		if n == len(list) && !done {
			break // the next page begins with them: more may belong to them
		}
		after, list = list[n-1].id, list[n:]
	}
	return after, gone, done, nil
}

func mergeRows(ctx context.Context, tx sqldb.Tx, list []stored) error {
	first, last := list[0].id, list[len(list)-1].id
	rows, err := tx.Query(ctx, `SELECT notes FROM passed WHERE id >= ? AND id <= ? ORDER BY id`, first, last)
	parts, err := sqldb.Scan(rows, err, func(rows sqldb.Rows, b *[]byte) error { return rows.Scan(b) })
	if err != nil {
		return err
	}
	notes := slices.Concat(parts...)
	if err := tx.Later(ctx, `DELETE FROM passed WHERE id >= ? AND id < ?`, first, last); err != nil {
		return err
	}
	return tx.Later(ctx, `UPDATE passed SET minute = ?, notes = ? WHERE id = ?`, latest(notes), notes, last)
}
