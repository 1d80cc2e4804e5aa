package search

import (
	"context"
	"encoding/json"

	"quell/internal/cluster"
	"quell/internal/devices"
	"quell/internal/events"
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

// Imports are imports of a kind, the latest first. Their JSON is part of the API.
type Imports struct {
	Imports []ImportOf `json:"imports"`
	Next    int64      `json:"next,omitempty"` // before of the next page; 0 if there is none
}

// History returns a page of the imports of a kind, as Imports does.
func (s *Search) History(ctx context.Context, kind string, before int64, limit int) (out Imports, err error) {
	list, err := s.Imports(ctx, kind, before, limit)
	out.Imports = append([]ImportOf{}, list...)
	if len(list) == limit {
		out.Next = list[limit-1].No
	}
	return out, err
}

// SwitchHistory has changes of the switch, the latest first. Its JSON is part of the API.
type SwitchHistory struct {
	Switch  outage.Switch  `json:"switch"` // as it is now
	Changes []events.Event `json:"changes"`
	Next    int64          `json:"next,omitempty"` // before of the next page; 0 if there is none
}

// SwitchHistory returns the last changes of the switch with numbers below before (0: all).
func (s *Search) SwitchHistory(ctx context.Context, before int64, limit int) (out SwitchHistory, err error) {
	list, err := events.LatestOf(ctx, s.DB, "switch", before, limit)
	out.Switch, out.Changes = s.InForce().Switch, append([]events.Event{}, list...)
	if len(list) == limit {
		out.Next = list[limit-1].ID
	}
	return out, err
}

// ModelWindow is the window of a model that has its own, from the activation on.
type ModelWindow struct {
	Model string `json:"model"` // as outage.ModelKey has it
	From  int    `json:"from_seconds"`
	To    int    `json:"to_seconds"`
}

// Settings are what decides which alerts are suppressed, and how that came about. The JSON is part of
// the API.
type Settings struct {
	Switch        outage.Switch `json:"switch"`
	Window        int           `json:"window_seconds"`
	WindowByModel []ModelWindow `json:"window_by_model"`
	Manufacturers []string      `json:"manufacturers"` // that are tracked
	// OtherManufacturers says which listed meters are not tracked for their manufacturer; "" if none
	// is, or that is not known yet.
	OtherManufacturers string         `json:"other_manufacturers"`
	Track              []outage.Form  `json:"track"`
	Nodes              []cluster.Node `json:"nodes"`
	Differences        []string       `json:"differences"` // of the nodes' settings

	SwitchHistory []events.Event `json:"switch_history"` // the latest change first
	DeviceLists   []ImportOf     `json:"device_lists"`   // the one in force first
	Inventories   []ImportOf     `json:"inventories"`
}

// settingsHistory is how many changes and imports Settings has of each kind.
const settingsHistory = 20

// Settings returns what decides which alerts are suppressed, and how that came about.
func (s *Search) Settings(ctx context.Context) (*Settings, error) {
	out := s.InForce()
	changes, err := s.SwitchHistory(ctx, 0, settingsHistory)
	if err != nil {
		return nil, err
	}
	lists, err := s.History(ctx, "devices", 0, settingsHistory)
	if err != nil {
		return nil, err
	}
	inventories, err := s.History(ctx, "inventory", 0, settingsHistory)
	if err != nil {
		return nil, err
	}
	out.SwitchHistory, out.DeviceLists, out.Inventories = changes.Changes, lists.Imports, inventories.Imports
	out.OtherManufacturers = s.Others(latest(lists), latest(inventories))
	return &out, nil
}

func latest(list Imports) (im devices.Import) {
	if len(list.Imports) > 0 {
		im = list.Imports[0].Import
	}
	return im
}
