package devices

import (
	"cmp"
	"context"
	"slices"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

// Manufacturer is a manufacturer as the inventory writes it.
type Manufacturer struct {
	Text   string `json:"manufacturer"`
	Meters int    `json:"meters"`
}

// manufacturerStep is how many listed devices one query covers: few, so that no query takes
// long, but enough for lists of millions.
const manufacturerStep = 10_000

// maxManufacturers is how many different texts are counted.
const maxManufacturers = 1000

// ListedManufacturers returns the manufacturers of the meters (ESME) in the device list, as
// the inventory writes them, the most frequent first: at most maxManufacturers texts. more
// counts the meters of all further texts. It reads the whole list in steps, so an import at
// the same time may show in a part of the answer. The error is sqldb.ErrUnavailable, or the
// context's.
func (ds *Devices) ListedManufacturers(ctx context.Context) (list []Manufacturer, more int, err error) {
	meters := map[string]int{}
	for after := (*outage.DeviceID)(nil); ; {
		ids, err := ds.List(ctx, after, manufacturerStep)
		if err != nil {
			return nil, 0, err
		}
		if len(ids) == 0 {
			break
		}
		after = &ids[len(ids)-1]
		// CROSS JOIN makes SQLite read the list's few rows first.
		step, err := scanManufacturers(ds.db.Query(ctx, `SELECT d.manufacturer, count(*) FROM device_list l CROSS JOIN inventory d
			WHERE l.import_no = `+listInForce+` AND l.device_id BETWEEN ? AND ? AND d.device_id = l.device_id AND `+newest+`
			AND upper(trim(d.device_type)) = 'ESME' GROUP BY d.manufacturer`, int64(ids[0]), int64(*after)))
		if err != nil {
			return nil, 0, sqldb.Unavailable(err)
		}
		for _, m := range step {
			if _, known := meters[m.Text]; known || len(meters) < maxManufacturers {
				meters[m.Text] += m.Meters
			} else {
				more += m.Meters
			}
		}
	}
	for text, n := range meters {
		list = append(list, Manufacturer{text, n})
	}
	slices.SortFunc(list, func(a, b Manufacturer) int { return cmp.Or(b.Meters-a.Meters, cmp.Compare(a.Text, b.Text)) })
	return list, more, nil
}

func scanManufacturers(rows sqldb.Rows, err error) ([]Manufacturer, error) {
	return sqldb.Scan(rows, err, func(rows sqldb.Rows, m *Manufacturer) error { return rows.Scan(&m.Text, &m.Meters) })
}
