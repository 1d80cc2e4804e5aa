package devices

import (
	"context"
	"math"

	"quell/internal/sqldb"
)

// Newest is the condition for rows d of the inventory that are in force, for other packages.
const Newest = newest

// countPage is how many rows of the inventory one query reads, so that none takes long.
const countPage = 20_000

// Homes returns how many meters (ESME) the inventory has on hubs: about as many as there are
// hubs. It reads the whole inventory, in steps.
func (ds *Devices) Homes(ctx context.Context) (homes int, err error) {
	for from := int64(math.MinInt64); ; {
		var rows, n int
		var last int64
		err := ds.db.QueryRow(ctx, `SELECT count(*), coalesce(max(device_id), 0) FROM (SELECT device_id FROM inventory WHERE device_id >= ? ORDER BY device_id LIMIT ?) AS page`,
			from, countPage).Scan(&rows, &last)
		if err == nil && rows > 0 {
			err = ds.db.QueryRow(ctx, `SELECT count(*) FROM inventory d WHERE d.device_id BETWEEN ? AND ? AND d.chf <> 0 AND upper(trim(d.device_type)) = 'ESME' AND `+newest,
				from, last).Scan(&n)
		}
		if err != nil {
			return 0, sqldb.Unavailable(err)
		}
		homes += n
		if rows < countPage || last == math.MaxInt64 {
			return homes, nil
		}
		from = last + 1
	}
}
