package outage

import "strconv"

// Distributor is the Electricity Distributor of an MPAN's area.
type Distributor struct {
	ID       string // the MPAN's first two digits; "" if the MPAN is not valid
	Area     string
	Operator string // short name of the network operator; "IDNO" for independents, "unknown" if not known
}

// DistributorOf reads the distributor from an import MPAN: 13 digits, the
// first two the distributor's id, the last a check digit. valid is false, and
// the distributor unknown, for anything else, such as a gas MPRN.
func DistributorOf(mpan string) (d Distributor, valid bool) {
	if !validMPAN(mpan) {
		return Distributor{Operator: "unknown"}, false
	}
	id := mpan[:2]
	if d, ok := distributors[id]; ok {
		d.ID = id
		return d, true
	}
	if id >= "24" {
		return Distributor{ID: id, Area: "independent", Operator: "IDNO"}, true
	}
	return Distributor{ID: id, Operator: "unknown"}, true
}

// UnknownDistributor stands for the distributor of entries whose MPxN names none
// that is known.
const UnknownDistributor = "unknown"

// Stream is the distributor that the entry is reported to: its id, or
// UnknownDistributor.
func (e *Entry) Stream() string {
	if !IsDistributor(e.Distributor) {
		return UnknownDistributor
	}
	return e.Distributor
}

// IsDistributor reports whether id is that of a distributor: a licensed one, or
// of the range of the independent ones.
func IsDistributor(id string) bool {
	if _, licensed := distributors[id]; licensed {
		return true
	}
	n, err := strconv.ParseUint(id, 10, 8)
	return err == nil && len(id) == 2 && n >= 24
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
}
