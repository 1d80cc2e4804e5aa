package report

import "time"

// Linked is a report, and whether its consolidated file follows that of the report before it. Its JSON
// is part of the API.
type Linked struct {
	Report
	Link LinkState `json:"link"`
	Why  string    `json:"why,omitempty"` // it does not hold, or was not checked
}

// LinkState says whether a report follows the one before it.
type LinkState string

const (
	LinkFirst     LinkState = "first" // there is none before it
	LinkHolds     LinkState = "holds"
	LinkBroken    LinkState = "broken"
	LinkUnchecked LinkState = "not checked"
)

// Entries returns how many entries the report has.
func (r Report) Entries() int64 { return r.LastSeq - r.FirstSeq + 1 }

// SHA256 returns the sum of its consolidated file; "" if that is not written yet.
func (r Report) SHA256() string {
	if len(r.Files) == 0 {
		return ""
	}
	return r.Files[0].SHA256
}

// Deliveries returns to how many remotes the report goes, and how many of these wait for a file.
func (r Report) Deliveries() (d struct{ Remotes, Waiting int }) {
	waits := map[string]bool{}
	for _, f := range r.Files {
		for _, to := range f.Deliveries {
			waits[to.Remote] = waits[to.Remote] || to.State != StateConfirmed
		}
	}
	for _, waiting := range waits {
		if d.Remotes++; waiting {
			d.Waiting++
		}
	}
	return d
}

// Status is what a node knows of the delivery of reports. Its JSON is part of the API.
type Status struct {
	Remotes []RemoteStatus `json:"remotes"` // those in use by name, then others that files wait for
	// Unknown is the highest number of a report that the store does not know; 0 if there is none.
	// Then none is cut or delivered until somebody resumes. File names a file of it, and Place
	// where that is.
	Unknown int64  `json:"unknown_report,omitempty"`
	File    string `json:"unknown_file,omitempty"`
	Place   string `json:"unknown_at,omitempty"`
}

// RemoteStatus is how a remote is.
type RemoteStatus struct {
	Waiting
	Stream  string    `json:"stream"`            // that it takes; "" if it is not in use any more
	NextTry time.Time `json:"next_try,omitzero"` // after a failure; zero if none is due, or another node delivers
	Tries   int       `json:"tries,omitempty"`   // of the oldest file that waits
	Error   string    `json:"error,omitempty"`   // of its last try
}
