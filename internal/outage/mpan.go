package outage

import "strconv"

// Distributor is the Electricity Distributor that an MPAN names: a distribution
// network operator (DNO), which has an area, or an independent one (IDNO), whose
// networks are inside the areas of DNOs. Both are licensed.
type Distributor struct {
	ID       string // the MPAN's first two digits; "" if the MPAN is not valid
	Kind     string // "DNO" or "IDNO"; "" if unknown
	Area     string // of a DNO
	Operator string // short name of a DNO, name of an IDNO; UnknownDistributor if unknown
}

// DistributorOf reads the distributor from an import MPAN: 13 digits, of which the
// first two are the distributor's id and the last is a check digit. For anything
// else, such as a gas MPRN, valid is false and the distributor is unknown. Ids from
// 24 up belong to IDNOs, even if no name is known here.
func DistributorOf(mpan string) (d Distributor, valid bool) {
	if !validMPAN(mpan) {
		return Distributor{Operator: UnknownDistributor}, false
	}
	id := mpan[:2]
	d, known := distributors[id]
	if !known {
		d.Operator = UnknownDistributor
	}
	d.ID = id
	if id >= firstIDNO {
		d.Kind = "IDNO"
	} else if known {
		d.Kind = "DNO"
	}
	return d, true
}

// DistributorID returns the ID of DistributorOf, without looking up the rest.
func DistributorID(mpan string) string {
	if !validMPAN(mpan) {
		return ""
	}
	return mpan[:2]
}

const firstIDNO = "24"

// UnknownDistributor is the distributor of entries whose MPxN names no known one.
const UnknownDistributor = "unknown"

// Stream is the distributor that the entry is reported to: its id, or
// UnknownDistributor.
func (e *Entry) Stream() string {
	if !IsDistributor(e.Distributor) {
		return UnknownDistributor
	}
	return e.Distributor
}

// IsDistributor reports whether id is the id of a DNO, or is in the range of IDNOs.
func IsDistributor(id string) bool {
	if _, known := distributors[id]; known {
		return true
	}
	_, err := strconv.ParseUint(id, 10, 8)
	return err == nil && len(id) == 2 && id >= firstIDNO
}

func validMPAN(s string) bool {
	weights := [12]int{3, 5, 7, 13, 17, 19, 23, 29, 31, 37, 41, 43}
	if len(s) != 13 {
		return false
	}
	sum := 0
	for i := range 13 {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		if i < 12 {
			sum += weights[i] * int(s[i]-'0')
		}
	}
	return sum%11%10 == int(s[12]-'0')
}

// distributors are the DNOs, and the IDNOs named in public copies of the industry's
// market domain data.
var distributors = map[string]Distributor{
	"10": {Area: "Eastern", Operator: "UKPN"},
	"11": {Area: "East Midlands", Operator: "NGED"},
	"12": {Area: "London", Operator: "UKPN"},
	"13": {Area: "Merseyside and North Wales", Operator: "SPEN"},
	"14": {Area: "West Midlands", Operator: "NGED"},
	"15": {Area: "North East", Operator: "NPg"},
	"16": {Area: "North West", Operator: "ENWL"},
	"17": {Area: "North Scotland", Operator: "SSEN"},
	"18": {Area: "South Scotland", Operator: "SPEN"},
	"19": {Area: "South Eastern", Operator: "UKPN"},
	"20": {Area: "Southern", Operator: "SSEN"},
	"21": {Area: "South Wales", Operator: "NGED"},
	"22": {Area: "South West", Operator: "NGED"},
	"23": {Area: "Yorkshire", Operator: "NPg"},
	"24": {Operator: "Independent Power Networks"},
	"25": {Operator: "ESP Electricity"},
	"26": {Operator: "Last Mile Electricity"},
	"27": {Operator: "The Electricity Network Company"},
	"28": {Operator: "UK Power Networks (IDNO)"},
	"29": {Operator: "Harlaxton Energy Networks"},
	"30": {Operator: "Leep Electricity Networks"},
	"31": {Operator: "UK Power Distribution"},
	"32": {Operator: "Energy Assets Networks"},
	"33": {Operator: "Eclipse Power Networks"},
	"34": {Operator: "Murphy Power"},
	"35": {Operator: "Fulcrum Electricity Assets"},
	"36": {Operator: "Vattenfall Networks"},
	"37": {Operator: "Optimal Power Networks"},
	"38": {Operator: "Indigo Power"},
}
