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

// Change counts what an import would change. For an inventory, Before and Removed are 0.
type Change struct {
	Before  int `json:"before"`  // devices in force
	After   int `json:"after"`   // devices in the import
	Added   int `json:"added"`   // devices in the import that are not in force
	Removed int `json:"removed"` // devices in force that are not in the import
	Changed int `json:"changed"` // for an inventory: devices in force that differ
	// Of a device list: the first maxExamples of the devices that were added, and of those removed.
	Additions []outage.DeviceID `json:"additions,omitempty"`
	Removals  []outage.DeviceID `json:"removals,omitempty"`
}

const maxExamples = 200

// addExample adds a device to one of these lists.
func addExample(list *[]outage.DeviceID, id outage.DeviceID) {
	if len(*list) < maxExamples {
		*list = append(*list, id)
	}
}

// ErrShrinks says that an import would remove so many devices that it needs --force.
var ErrShrinks = errors.New("refused without --force")

// RefuseShrinking is a Check. Its error is ErrShrinks if the import has no devices, or
// removes more than a fifth of those in force. Without it a file that was cut short, or is
// empty since its share was full, would end all tracking without notice.
func RefuseShrinking(_ Import, c Change) error {
	switch {
	case c.After == 0:
		return fmt.Errorf("%w: it has 0 devices, and %d are in force", ErrShrinks, c.Before)
	case c.Removed*5 > c.Before:
		return fmt.Errorf("%w: it has %d devices, %d are in force, and %d of these would be removed", ErrShrinks, c.After, c.Before, c.Removed)
	}
	return nil
}

// A Check decides whether an import may be made, before anything is changed. Its error ends
// the import.
type Check func(Import, Change) error

// runChecks runs the checks on a staged import. It returns what the import changes; nil of an inventory
// without checks, which is not compared.
func (ds *Devices) runChecks(ctx context.Context, kind string, s *Staged, im Import, checks []Check) (*Change, error) {
	if len(checks) == 0 && kind == "inventory" {
		return nil, nil
	}
	compare := ds.changeOfInventory
	if kind == "devices" {
		compare = ds.changeOfList
	}
	c, err := compare(ctx, s)
	im.Rows = c.After
	for i := 0; i < len(checks) && err == nil; i++ {
		err = checks[i](im, c)
	}
	return &c, err
}

// changePage is how many devices in force are read at once.
const changePage = 10_000

// changeOfList compares the list in force with the staged one, both in order of the device.
func (ds *Devices) changeOfList(ctx context.Context, s *Staged) (c Change, err error) {
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
	eachErr := s.each(ctx, `SELECT id, '' FROM staged ORDER BY id`, func(staged int64, _ string) error {
		if staged == last && !first {
			return nil
		}
		first, last = false, staged
		c.After++
		for more && err == nil && int64(id) < staged {
			c.Removed++
			addExample(&c.Removals, id)
			next()
		}
		if more && err == nil && int64(id) == staged {
			next()
			return nil
		}
		c.Added++
		addExample(&c.Additions, outage.DeviceID(staged))
		return err
	})
	for more && err == nil && eachErr == nil {
		c.Removed++
		addExample(&c.Removals, id)
		next()
	}
	return c, cmp.Or(eachErr, err)
}

// changeOfInventory compares the staged devices with those in force, importBatch at a time.
func (ds *Devices) changeOfInventory(ctx context.Context, s *Staged) (c Change, err error) {
	var ids []int64
	rows := map[int64]string{}
	compare := func() error {
		found, err := ds.db.Query(ctx, `SELECT `+deviceColumns+`, d.postcode, d.feeder FROM inventory d
			WHERE d.device_id IN (SELECT CAST(value->>0 AS BIGINT) FROM json_each(?)) AND `+newest, sqldb.Column(ids))
		list, err := sqldb.Scan(found, err, func(rows sqldb.Rows, d *outage.Device) error { return scanDevice(rows, d, &d.Postcode, &d.Group) })
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
	err = s.each(ctx, `SELECT id, row FROM staged ORDER BY id`, func(id int64, row string) error {
		if id == last {
			return fmt.Errorf("%w: %s", ErrTwice, outage.DeviceID(id))
		}
		last = id
		c.After++
		ids, rows[id] = append(ids, id), row
		if len(ids) < importBatch {
			return nil
		}
		return compare()
	})
	if err == nil && len(ids) > 0 {
		err = compare()
	}
	return c, err
}
