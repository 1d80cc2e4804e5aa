// Package evidence says which suppressed alerts were probably genuine, how sure that is,
// and why. It is a fold over sightings: what quell saw pass, each with its time. It does no
// I/O and reads no clock, so live traffic and a replay of it come to the same result.
package evidence

import (
	"time"

	"quell/internal/outage"
)

// Kind says what was seen.
type Kind uint8

const (
	_        Kind = iota
	Ordered       // an 11.3 went south that orders an activation, tracked or not
	NotRun        // an activation did not run: cancelled, refused, not delivered, or its outcome says so
	Lost          // an AD1: a hub lost power
	Restored      // a restoration alert 8F35 to 8F3C of a meter
	Heard         // another message of a device of the home
)

// A Sighting is one thing that quell saw. Which fields are set depends on its kind.
type Sighting struct {
	Kind     Kind
	Received time.Time // by the clock of the motorway
	Home     Home      // as the inventory says when it is added; only Hub is certain

	Meter    outage.DeviceID  // Ordered, Restored; of a Lost with an entry, the meter of its window
	Request  outage.RequestID // Ordered, NotRun; of a Lost with an entry, that of its window
	Form     outage.Form      // Ordered
	Firmware string           // Ordered: the hash of the image, in hexadecimal; "" if it is not known
	Tracked  bool             // Ordered: it opened a window
	Why      string           // NotRun

	// Ordered: when the activation begins. Lost: when the outage began. Restored: the outage
	// that is over, by the meter's clock. End is set for Restored only.
	Start, End time.Time

	// Of a Lost that has an entry in the suppression log: the entry's number, and its window.
	Entry                  int64
	WindowStart, WindowEnd time.Time
}

// Home is where a hub is.
type Home struct {
	Hub   outage.DeviceID
	Model Model // of the meter
	// 0 where it is not known. Group takes the place of the postcode if the inventory has it:
	// the transformer or feeder of the network operator.
	Postcode, Sector, Distributor Area
	Group                         bool // Postcode is such a group
}

// Model names what meters that behave alike have in common: manufacturer and model.
type Model string

// Area names a full postcode or group, a postcode sector, or a distributor: a hash of its text.
type Area uint64

// Level says how probably an alert was genuine.
type Level string

const (
	None   Level = "none"   // odds below 1
	Weak   Level = "weak"   // odds from 1 to below 9
	Strong Level = "strong" // odds of 9 or more
)

// Stage says when an assessment was made.
type Stage uint8

const (
	AtOnce      Stage = iota // when the alert was received
	After5                   // 5 minutes after it was received
	After15                  // 15 minutes after it was received
	AtWindowEnd              // when its window was over
	Later                    // afterwards, until 24 hours after it was received
	Final                    // after 24 hours: nothing more is expected
)

// An Assessment says how probably the alert of an entry was genuine, by the sightings until At.
type Assessment struct {
	Entry int64
	At    time.Time
	Stage Stage `json:",omitzero"`
	Level Level
	Odds  float64 // genuine against false
	Facts Facts
}

// Facts are what an assessment is based on. Fractions of neighbours are counts: K of N hubs
// without a window or a recent 11.3 lost power. Its JSON, which is kept for each entry, leaves out
// what is zero.
type Facts struct {
	Postcode         Count `json:",omitzero"` // within a minute of the outage's start
	Sector           Count `json:",omitzero"`
	Distributor      Count `json:",omitzero"`
	LaterPostcode    Count `json:",omitzero"` // one to ten minutes after it
	LaterSector      Count `json:",omitzero"`
	LaterDistributor Count `json:",omitzero"`
	HasPostcode      bool  `json:",omitzero"` // whether the inventory says where the hub is
	HasSector        bool  `json:",omitzero"`
	Group            bool  `json:",omitzero"` // Postcode is about a group of the network operator

	OutageStart     time.Time     // as the AD1 says, or by its arrival if that does not fit
	ClockWrong      bool          `json:",omitzero"` // it did not fit
	SinceActivation time.Duration // start of the outage minus the activation
	Share           float64       // of the model's activations, how many have an AD1 that starts in these 15 seconds
	TooEarly        bool          `json:",omitzero"` // the AD1 came less than 165 s after the activation
	NotRun          string        `json:",omitzero"` // why the activation is known not to have run; "" if it is not
	OnlyRequested   bool          `json:",omitzero"` // a Service Request, and never a Signed Pre-Command
	Second          bool          `json:",omitzero"` // the window had an earlier outage, more than 90 s apart
	Again           bool          `json:",omitzero"` // the hub had a later AD1, more than 90 s apart

	Heard         time.Duration `json:",omitzero"` // how long after the AD1 the home was heard again; 0: not yet
	Silent        bool          `json:",omitzero"` // it was not heard for 15 minutes
	Restored      bool          `json:",omitzero"` // a restoration alert matches
	RestoredLong  bool          `json:",omitzero"` // and the outage was longer than a reboot, or began before the activation
	RestoredStart time.Time     `json:",omitzero"`
	RestoredEnd   time.Time     `json:",omitzero"`
	RestoredShare float64       // of the model's reboots, how many are followed by such an alert
	Missing       bool          `json:",omitzero"` // no such alert came within 24 hours
}

// Count is K of N.
type Count struct{ K, N int }
