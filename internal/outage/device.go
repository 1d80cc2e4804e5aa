// Package outage is the domain of quell: device ids, MPANs, firmware
// activations, the windows that they open, and the decision whether to suppress a
// Power Outage Alert.
//
// The package does no I/O, reads no clock and writes no log. Every instant is an
// argument, and every decision is a value with its reason. All times are in UTC. All
// windows are half-open: [start, end).
package outage

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// ErrDeviceID says that a text is not an EUI-64.
var ErrDeviceID = errors.New("not an EUI-64 such as 00-DB-12-34-56-78-90-A0")

// DeviceID is the EUI-64 that names a device on the smart metering network
// ("GUID" in the impact assessment). The zero value names no device.
type DeviceID uint64

// ParseDeviceID reads an EUI-64 in the form of the DUIS schema's type EUI: eight
// pairs of hexadecimal digits joined by hyphens, in upper or lower case. The error
// is ErrDeviceID.
func ParseDeviceID(s string) (DeviceID, error) { return parseDeviceID(s) }

// ParseDeviceIDBytes is ParseDeviceID for bytes of a message. It allocates nothing.
func ParseDeviceIDBytes(b []byte) (DeviceID, error) { return parseDeviceID(b) }

func parseDeviceID[T string | []byte](s T) (DeviceID, error) {
	if len(s) != 23 {
		return 0, ErrDeviceID
	}
	var v DeviceID
	for i := 0; i < 23; i += 3 {
		hi, lo := hexDigit[s[i]], hexDigit[s[i+1]]
		if hi > 15 || lo > 15 || i < 21 && s[i+2] != '-' {
			return 0, ErrDeviceID
		}
		v = v<<8 | DeviceID(hi)<<4 | DeviceID(lo)
	}
	return v, nil
}

// ParseAnyDeviceID reads an EUI-64 as people and spreadsheets write it: eight
// pairs of hexadecimal digits, in upper or lower case, joined by hyphens, by colons
// or by nothing. Use it for lists, CSV and what an operator types, never for a
// message. The error is ErrDeviceID.
func ParseAnyDeviceID(s string) (DeviceID, error) {
	switch {
	case len(s) == 16:
		var b [23]byte
		for i := range 8 {
			copy(b[3*i:], s[2*i:2*i+2])
			if i < 7 {
				b[3*i+2] = '-'
			}
		}
		return parseDeviceID(b[:])
	case len(s) == 23 && s[2] == ':':
		if strings.Contains(s, "-") {
			return 0, ErrDeviceID
		}
		return parseDeviceID(strings.ReplaceAll(s, ":", "-"))
	}
	return parseDeviceID(s)
}

// hexDigit has the value of each hexadecimal digit, and 255 for any other byte.
var hexDigit = func() (t [256]byte) {
	for i := range t {
		t[i] = 255
	}
	for i := byte(0); i < 10; i++ {
		t['0'+i] = i
	}
	for i := byte(0); i < 6; i++ {
		t['a'+i], t['A'+i] = 10+i, 10+i
	}
	return t
}()

// AppendText appends the id in the form of the DUIS schema, in upper case.
func (id DeviceID) AppendText(b []byte) ([]byte, error) {
	const digits = "0123456789ABCDEF"
	text := [23]byte{2: '-', 5: '-', 8: '-', 11: '-', 14: '-', 17: '-', 20: '-'}
	for i := 0; i < len(text); i += 3 {
		text[i], text[i+1] = digits[id>>60], digits[id>>56&15]
		id <<= 8
	}
	return append(b, text[:]...), nil
}

// String returns the id in the form of the DUIS schema, in upper case.
func (id DeviceID) String() string {
	b, _ := id.AppendText(make([]byte, 0, 23))
	return string(b)
}

// MarshalText is String for JSON. The zero id is the empty text.
func (id DeviceID) MarshalText() ([]byte, error) {
	if id == 0 {
		return nil, nil
	}
	return id.AppendText(nil)
}

// UnmarshalText reads what MarshalText writes.
func (id *DeviceID) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*id = 0
		return nil
	}
	*id, err = ParseDeviceIDBytes(b)
	return err
}

// Device is what the Smart Metering Inventory knows of one device.
type Device struct {
	ID           DeviceID `json:"device_id"`
	Type         string   `json:"device_type"`   // as in the DUIS schema's DeviceType: ESME, GSME, CHF, …
	SMETSVersion string   `json:"smets_version"` // as in SMETSCHTSVersion: "SMETS2 v4.2", "2.0", …; "SMETS1" if another field says so
	Manufacturer string   `json:"manufacturer"`
	Model        string   `json:"model"`
	CHF          DeviceID `json:"chf_id"` // 0 if unknown
	MPxN         string   `json:"mpxn"`   // personal data
	// The import supplier of the supply point, as the originator of its requests; 0 if unknown.
	Supplier DeviceID `json:"import_supplier,omitzero"`

	// Where it is: hashes of its full postcode, or of its group in place of that, and of its
	// postcode sector; 0 if that is not known. The texts are personal data, and only there if
	// the inventory keeps them. Neither is part of the API.
	Area     int64  `json:"-"`
	Sector   int64  `json:"-"`
	Postcode string `json:"-"`
	Group    string `json:"-"` // of the network operator: a transformer, a feeder
}

// IsMeter reports whether d is an electricity meter.
func (d *Device) IsMeter() bool { return strings.EqualFold(strings.TrimSpace(d.Type), "ESME") }

// SuppliedBy reports whether the originator of a request may order an activation on d, as
// far as the inventory says. It may if the inventory does not know the device, or not who
// supplies it.
func (d *Device) SuppliedBy(originator DeviceID) bool {
	return d == nil || d.Supplier == 0 || d.Supplier == originator
}

// DeviceStatuses are the values of the DUIS schema's DeviceStatus.
var DeviceStatuses = []string{"Pending", "Whitelisted", "InstalledNotCommissioned", "Commissioned", "Decommissioned", "Withdrawn", "Suspended", "Recovery", "Recovered"}

// DeviceRemoved reports whether a device with that status, in upper or lower case, is
// no longer in a home.
func DeviceRemoved(status string) bool {
	return strings.EqualFold(status, "Decommissioned") || strings.EqualFold(status, "Withdrawn")
}

// SMETSGeneration reads the generation from a SMETS version as inventories write
// it: 1, 2, or 0 if the text gives neither. "SMETS2", "SMETS-2" and "SMETS2 v4.2"
// name the generation. "SMETS V1.58", "SMETS Version 2.0", "v5.1" and "4.2" name
// only a version: 1.58 was the first of SMETS2, and 1.0 to 1.2 are SMETS1. There
// are no versions between them.
func SMETSGeneration(version string) int {
	m := smetsVersion.FindStringSubmatch(strings.Join(strings.Fields(version), " "))
	if m == nil {
		return 0
	}
	major, _ := strconv.Atoi(m[3]) // at most four digits
	minor, _ := strconv.Atoi(m[4])
	switch named := m[1] != "" && m[2] == "" && m[4] == ""; {
	case named && major <= 2:
		return major
	case named:
		return 0
	case major >= 2, major == 1 && minor >= 58:
		return 2
	case major == 1 && minor <= 2:
		return 1
	}
	return 0
}

// smetsVersion matches the word SMETS, the word version, and the numbers before and
// after the first point. Whatever follows must be separated from these.
var smetsVersion = regexp.MustCompile(`(?i)^(?:(SMETS)[ _-]*)?(?:(v|ver\.?|version)[ ._-]*)?([0-9]{1,4})(?:\.([0-9]{1,4})(?:\.[0-9]+)*)?(?:[ _(,-].*|v.*)?$`)

// Manufacturers is the configured list of manufacturers whose meters are tracked:
// their names or ZigBee manufacturer codes, as inventories write them. Upper or
// lower case and blanks do not matter.
type Manufacturers []string

// Has reports whether name is in the list.
func (m Manufacturers) Has(name string) bool {
	name = withoutSpace(name)
	for _, have := range m {
		if strings.EqualFold(withoutSpace(have), name) {
			return true
		}
	}
	return false
}

func withoutSpace(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, s)
}

// Eligible reports whether an activation on a device is tracked. The inventory must
// know the device (d is not nil) as an ESME of SMETS2, of a configured manufacturer,
// in the device list, on a known CHF. If not, the reason names the first condition
// that fails, in that order. (Impact assessment, 4.1.)
func Eligible(d *Device, listed bool, m Manufacturers) (bool, Reason) {
	switch {
	case d == nil:
		return false, ReasonUnknownDevice
	case !d.IsMeter():
		return false, ReasonNotESME
	case SMETSGeneration(d.SMETSVersion) != 2:
		return false, ReasonNotSMETS2
	case !m.Has(d.Manufacturer):
		return false, ReasonOtherManufacturer
	case !listed:
		return false, ReasonNotListed
	case d.CHF == 0:
		return false, ReasonNoHub
	}
	return true, ReasonTracked
}

// RequestID is the id of a DUIS message: originator, target, counter. For a
// response, Target is the recipient. (DUIS RequestIDType, ResponseIDType.)
type RequestID struct {
	Originator, Target DeviceID
	Counter            uint64
}

// String returns the id in its canonical form: EUIs in upper case, the counter in
// decimal without leading zeros. The zero id is the empty text.
func (r RequestID) String() string {
	b, _ := r.AppendText(make([]byte, 0, maxRequestID))
	return string(b)
}

// maxRequestID is the length of the longest RequestID: two EUIs and twenty digits.
const maxRequestID = 68

// AppendText appends the id as String returns it.
func (r RequestID) AppendText(b []byte) ([]byte, error) {
	if r == (RequestID{}) {
		return b, nil
	}
	b, _ = r.Originator.AppendText(b)
	b = append(b, ':')
	b, _ = r.Target.AppendText(b)
	b = append(b, ':')
	return strconv.AppendUint(b, r.Counter, 10), nil
}

// ErrRequestID says that a text is not a RequestID or ResponseID.
var ErrRequestID = errors.New("not an id of the form EUI:EUI:counter")

// ParseRequestID reads a RequestID or ResponseID. The error is ErrRequestID.
func ParseRequestID(s string) (RequestID, error) { return parseRequestID(s) }

// ParseRequestIDBytes is ParseRequestID for bytes of a message. It allocates nothing.
func ParseRequestIDBytes(b []byte) (RequestID, error) { return parseRequestID(b) }

func parseRequestID[T string | []byte](s T) (r RequestID, err error) {
	// 23 + ":" + 23 + ":" + one to twenty digits
	if len(s) < 49 || len(s) > maxRequestID || s[23] != ':' || s[47] != ':' || len(s) > 49 && s[48] == '0' {
		return r, ErrRequestID
	}
	if r.Originator, err = parseDeviceID(s[:23]); err != nil {
		return RequestID{}, ErrRequestID
	}
	if r.Target, err = parseDeviceID(s[24:47]); err != nil {
		return RequestID{}, ErrRequestID
	}
	for i := 48; i < len(s); i++ {
		d := uint64(s[i] - '0')
		if d > 9 || r.Counter > (1<<64-1-d)/10 {
			return RequestID{}, ErrRequestID
		}
		r.Counter = r.Counter*10 + d
	}
	return r, nil
}
