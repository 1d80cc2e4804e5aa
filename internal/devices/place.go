package devices

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

// A place is where devices are: a full postcode, or a group in its place; or a postcode sector. The
// store has keyed hashes of places, 64 bits each. The key is made at random by the first import
// that needs it. It is in the table setting, so that all nodes of a database use the same one, and
// the same place has the same hash after any import. Who has the whole database has the key too,
// and can try all postcodes. Who has a part of it, such as an extract of the inventory, cannot.

// placeKey is the name of the setting with the key.
const placeKey = "place_key"

// readPlaceKey returns the key, and makes it if there is none.
func (ds *Devices) readPlaceKey(ctx context.Context) ([]byte, error) {
	text, err := sqldb.Write(ctx, ds.db, sqldb.Background|sqldb.Retry, func(ctx context.Context, tx sqldb.Tx) (text string, err error) {
		if err := tx.Later(ctx, `INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING`, placeKey, rand.Text()+rand.Text()); err != nil {
			return "", err
		}
		err = tx.QueryRow(ctx, `SELECT value FROM setting WHERE name = ?`, placeKey).Scan(&text)
		return text, err
	})
	return []byte(text), err
}

// places makes hashes of places for one import.
type places struct {
	ds    *Devices
	key   []byte // nil until it is needed
	plain bool   // the texts are stored too
	known map[string]int64
	odd   int // postcodes that are none
}

// set sets the places of a device from what its file says.
func (p *places) set(ctx context.Context, d *outage.Device) (err error) {
	if d.Postcode == "" && d.Group == "" {
		return nil
	}
	if p.key == nil {
		if p.key, err = p.ds.readPlaceKey(ctx); err != nil {
			return err
		}
	}
	postcode, sector := ParsePostcode(d.Postcode)
	if postcode == "" && d.Postcode != "" {
		p.odd++
	}
	d.Postcode = postcode
	d.Sector = p.hash("sector", sector)
	if d.Area = p.hash("group", strings.ToUpper(d.Group)); d.Area == 0 {
		d.Area = p.hash("postcode", postcode)
	}
	if !p.plain {
		d.Postcode, d.Group = "", ""
	}
	return nil
}

// IsGroup reports whether an area is a group, and not a postcode: the hashes of groups are odd.
func IsGroup(area int64) bool { return area&1 != 0 }

// hash returns the hash of a place; 0 if it is not known.
func (p *places) hash(kind, text string) int64 {
	if text == "" {
		return 0
	}
	if h, ok := p.known[kind+text]; ok {
		return h
	}
	m := hmac.New(sha256.New, p.key)
	m.Write([]byte(kind + "\x00" + text))
	h := int64(binary.BigEndian.Uint64(m.Sum(nil))) &^ 1
	if h == 0 {
		h = 2
	}
	if kind == "group" {
		h |= 1
	}
	if len(p.known) >= maxInterned {
		clear(p.known)
	}
	p.known[strings.Clone(kind+text)] = h
	return h
}

var postcodeForm = regexp.MustCompile(`^[A-Z]{1,2}[0-9][A-Z0-9]?[0-9][A-Z]{2}$`)

// ParsePostcode reads a British postcode, in upper or lower case, with blanks anywhere or none. It
// returns it in its usual form, and its sector: the outward code and the first digit of the inward
// code ("SW1A 1AA", "SW1A 1"). Both are "" if the text is no postcode.
func ParsePostcode(text string) (postcode, sector string) {
	p := strings.ToUpper(strings.Join(strings.Fields(text), ""))
	if !postcodeForm.MatchString(p) {
		return "", ""
	}
	n := len(p) - 3
	return p[:n] + " " + p[n:], p[:n] + " " + p[n:n+1]
}

// placesOf returns the places under which an inventory is searched for a device: of a meter on a
// hub, its area and its sector.
func placesOf(d *outage.Device) (list []int64) {
	if !d.IsMeter() || d.CHF == 0 {
		return nil
	}
	for _, place := range []int64{d.Area, d.Sector} {
		if place != 0 {
			list = append(list, place)
		}
	}
	return list
}

// maxPlace bounds how many meters of a place are counted: a sector has about 3,000 homes.
const maxPlace = 50_000

// HubsIn returns how many hubs have a meter in an area or a sector.
func (ds *Devices) HubsIn(ctx context.Context, place int64) (n int, err error) {
	err = ds.db.QueryRow(ctx, `SELECT count(DISTINCT d.chf) FROM (SELECT device_id, import_no FROM inventory_place WHERE place = ?1 LIMIT ?2) p
		JOIN inventory d ON d.device_id = p.device_id AND d.import_no = p.import_no WHERE `+newest, place, maxPlace).Scan(&n)
	return n, sqldb.Unavailable(err)
}

// maxDistributor bounds how many supply points of a distributor are counted. The largest has
// fewer.
const maxDistributor = 5_000_000

// SupplyPoints returns how many supply points a distributor has in the inventory, nearly: it goes
// through their MPANs in the index. id is the MPANs' first two digits.
func (ds *Devices) SupplyPoints(ctx context.Context, id string) (n int, err error) {
	no, err := strconv.Atoi(id)
	if err != nil || len(id) != 2 {
		return 0, nil
	}
	err = ds.db.QueryRow(ctx, `SELECT count(*) FROM (SELECT DISTINCT mpxn FROM supply_point WHERE mpxn >= ?1 AND mpxn < ?2 LIMIT ?3) AS points WHERE length(mpxn) = 13`,
		id, nextPrefix(no), maxDistributor).Scan(&n)
	return n, sqldb.Unavailable(err)
}

// nextPrefix returns the text after all that begin with two digits.
func nextPrefix(no int) string {
	if no == 99 {
		return "A" // comes after "9" in any order
	}
	return string([]byte{'0' + byte(no+1)/10, '0' + byte(no+1)%10})
}

// OfIDs returns what the inventory says of some devices.
func (ds *Devices) OfIDs(ctx context.Context, ids []int64) ([]outage.Device, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	list, err := scanDevices(ds.db.Query(ctx, `SELECT `+deviceColumns+` FROM inventory d
		WHERE d.device_id IN (SELECT CAST(value->>0 AS BIGINT) FROM json_each(?)) AND `+newest, sqldb.Column(ids)))
	return list, sqldb.Unavailable(err)
}

// atPoint is how many devices a supply point has at most, with room to spare: a home has up to
// seventeen.
const atPoint = 50

// OfMPxNs returns the devices that the inventory has at some supply points. If it has far more at
// them than homes have, as when a supply point is given to every device, it leaves some out.
func (ds *Devices) OfMPxNs(ctx context.Context, mpxns []string) ([]outage.Device, error) {
	mpxns = slices.Compact(slices.Sorted(slices.Values(mpxns)))
	if len(mpxns) == 0 {
		return nil, nil
	}
	list, err := scanDevices(ds.db.Query(ctx, `SELECT `+deviceColumns+` FROM supply_point p JOIN inventory d ON p.device_id = d.device_id AND p.import_no = d.import_no
		WHERE p.mpxn IN (SELECT value->>0 FROM json_each(?)) AND `+newest+` LIMIT ?`, sqldb.Column(mpxns), atPoint*len(mpxns)))
	return list, sqldb.Unavailable(err)
}
