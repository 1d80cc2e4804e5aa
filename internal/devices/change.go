package devices

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

// Change is what an import would do to what is in force.
type Change struct {
	Before  int `json:"before"`  // devices in force; not counted of an inventory
	After   int `json:"after"`   // devices in the import
	Added   int `json:"added"`   // that are not in force
	Removed int `json:"removed"` // that are in force, and not in the import; an inventory removes none
	Changed int `json:"changed"` // of an inventory: that are in force, and differ
}

// ErrShrinks says that an import would take away so much that it must be asked for
// by name.
var ErrShrinks = errors.New("refused without --force")

// Careful is a check of an import: the error is ErrShrinks if it has no devices, or
// takes away more than a fifth of those in force. A file that was cut short, or is
// empty since its share was full, would else end all tracking without a word.
func Careful(_ Import, c Change) error {
	switch {
	case c.After == 0:
		return fmt.Errorf("%w: it has 0 devices, and %d are in force", ErrShrinks, c.Before)
	case c.Removed*5 > c.Before:
		return fmt.Errorf("%w: it has %d devices, %d are in force, and %d of these would be removed", ErrShrinks, c.After, c.Before, c.Removed)
	}
	return nil
}

// A Check decides on an import by what it would change, before anything is changed:
// its error becomes the import's.
type Check func(Import, Change) error

// ask tells the checks what is staged.
func (ds *Devices) ask(ctx context.Context, kind string, g *Staged, im Import, checks []Check) error {
	if len(checks) == 0 {
		return nil
	}
	var c Change
	var err error
	if kind == "devices" {
		c, err = ds.changeOfList(ctx, g)
	} else {
		c, err = ds.changeOfInventory(ctx, g)
	}
	if err != nil {
		return err
	}
	im.Rows = c.After
	for _, check := range checks {
		if err := check(im, c); err != nil {
			return err
		}
	}
	return nil
}

// changePage is how many devices in force are read at once.
const changePage = 10_000

// changeOfList goes along the list in force and the staged one, both in order of
// the device.
func (ds *Devices) changeOfList(ctx context.Context, g *Staged) (c Change, err error) {
	have, stop := iter.Pull2(func(yield func(outage.DeviceID, error) bool) {
		var after *outage.DeviceID
		for {
			page, err := ds.List(ctx, after, changePage)
			for _, id := range page {
				if !yield(id, nil) {
					return
				}
			}
			if err != nil {
				yield(0, err)
				return
			}
			if len(page) < changePage {
				return
			}
			after = &page[len(page)-1]
		}
	})
	defer stop()
	id, err, more := have()
	next := func() {
		c.Before++
		id, err, more = have()
	}
	first, last := true, int64(0)
	eachErr := g.each(ctx, `SELECT id, '' FROM staged ORDER BY id`, func(staged int64, _ string) error {
		if staged == last && !first {
			return nil
		}
		first, last = false, staged
		c.After++
		for more && err == nil && int64(id) < staged {
			c.Removed++
			next()
		}
		if more && err == nil && int64(id) == staged {
			next()
			return nil
		}
		c.Added++
		return err
	})
	for more && err == nil && eachErr == nil {
		c.Removed++
		next()
	}
	return c, cmp.Or(eachErr, err)
}

// changeOfInventory looks up what is staged, a stretch at a time.
func (ds *Devices) changeOfInventory(ctx context.Context, g *Staged) (c Change, err error) {
	var ids []int64
	rows := map[int64]string{}
	look := func() error {
		list, err := scanDevices(ds.db.Query(ctx, `SELECT `+deviceColumns+` FROM inventory d
			WHERE d.device_id IN (SELECT CAST(value->>0 AS BIGINT) FROM json_each(?)) AND `+newest, sqldb.Column(ids)))
		if err != nil {
			return sqldb.Unavailable(err)
		}
		c.Added += len(ids) - len(list)
		for _, d := range list {
			if string(deviceRow(d)) != rows[int64(d.ID)] {
				c.Changed++
			}
		}
		ids = ids[:0]
		clear(rows)
		return nil
	}
	last := int64(0) // no device has the id 0
	err = g.each(ctx, `SELECT id, row FROM staged ORDER BY id`, func(id int64, row string) error {
		if id == last {
			return fmt.Errorf("%w: %s", ErrTwice, outage.DeviceID(id))
		}
		last = id
		c.After++
		ids, rows[id] = append(ids, id), row
		if len(ids) < importBatch {
			return nil
		}
		return look()
	})
	if err == nil && len(ids) > 0 {
		err = look()
	}
	return c, err
}
