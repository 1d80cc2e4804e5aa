package search

import (
	"context"
	"encoding/json"

	"quell/internal/devices"
	"quell/internal/outage"
	"quell/internal/sqldb"
)

// ImportOf is one import of a device list or of the inventory. Its JSON is part of the API.
type ImportOf struct {
	devices.Import
	InForce bool `json:"in_force"` // the latest; of an inventory, devices of earlier ones may be in force too
	// Change is what the import changed; nil if it was not compared, or an earlier version made it. Of a
	// device list it has some of the devices that were added and removed.
	Change *devices.Change `json:"change"`
}

const importsSQL = `SELECT i.no, i.source, i.sha256, i.rows, i.at, i.who, c.had, c.has, c.added, c.removed, c.changed, c.additions, c.removals
	FROM import i LEFT JOIN import_change c ON c.import_no = i.no WHERE i.kind = ? AND i.state = 'done' AND i.no < ? ORDER BY i.no DESC LIMIT ?`

// Imports returns the last imports of a kind, "devices" or "inventory", with numbers below before (0:
// all), the latest first.
func (s *Search) Imports(ctx context.Context, kind string, before int64, limit int) ([]ImportOf, error) {
	latest := before == 0
	if latest {
		before = 1 << 62
	}
	rows, err := s.DB.Query(ctx, importsSQL, kind, before, limit)
	list, err := sqldb.Scan(rows, err, func(rows sqldb.Rows, i *ImportOf) error {
		var at int64
		var had, has, added, removed, changed *int
		var additions, removals *string
		err := rows.Scan(&i.No, &i.Source, &i.SHA256, &i.Rows, &at, &i.Who, &had, &has, &added, &removed, &changed, &additions, &removals)
		i.At = sqldb.Instant(at)
		if err != nil || had == nil {
			return err
		}
		i.Change = &devices.Change{Before: *had, After: *has, Added: *added, Removed: *removed, Changed: *changed}
		if i.Change.Additions, err = devicesOf(*additions); err == nil {
			i.Change.Removals, err = devicesOf(*removals)
		}
		return err
	})
	if err == nil && latest && len(list) > 0 {
		list[0].InForce = true
	}
	return list, sqldb.Unavailable(err)
}

// devicesOf reads devices from a JSON array of numbers.
func devicesOf(text string) (list []outage.DeviceID, err error) {
	var ids []int64
	err = json.Unmarshal([]byte(text), &ids)
	for _, id := range ids {
		list = append(list, outage.DeviceID(id))
	}
	return list, err
}
