package devices

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"quell/internal/lines"
	"quell/internal/outage"
)

// OtherManufacturers says which meters in the device list are not tracked because their
// manufacturer is not in the setting "manufacturers".
type OtherManufacturers struct {
	Meters  int            `json:"meters"`  // their number
	Largest []Manufacturer `json:"largest"` // the manufacturers with most of them, at most maxOthers
}

const (
	maxOthers     = 5
	maxOtherText  = 120             // bytes of a text that are shown: 30 characters or more
	othersTimeout = 5 * time.Minute // of a check: 2,000,000 meters take 4 s on SQLite, 25 s on PostgreSQL
	othersPause   = time.Minute     // after a check that failed
)

// String returns a sentence; "" if there are no such meters.
func (o OtherManufacturers) String() string {
	if o.Meters == 0 {
		return ""
	}
	rest := o.Meters
	var b strings.Builder
	what := "meters in the device list are not tracked, since their manufacturers are"
	if o.Meters == 1 {
		what = "meter in the device list is not tracked, since its manufacturer is"
	}
	fmt.Fprintf(&b, `%d %s not in "manufacturers": `, o.Meters, what)
	for i, m := range o.Largest {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s (%d)", strconv.Quote(lines.Truncate(m.Text, maxOtherText)), m.Meters)
		rest -= m.Meters
	}
	if rest > 0 {
		fmt.Fprintf(&b, ", others (%d)", rest)
	}
	return b.String()
}

// ManufacturerCheck finds out which manufacturers of listed meters are not tracked, and has the
// result of the last check. Its exported fields are set before its first use.
type ManufacturerCheck struct {
	Devices *Devices
	Tracked func() outage.Manufacturers // the setting "manufacturers"
	Log     *slog.Logger

	mu     sync.Mutex  // guards the fields below
	inputs checkInputs // of result
	result OtherManufacturers
	err    error     // of the last check
	failed time.Time // when it failed
	logged string
	done   chan struct{}      // closed when the check that is under way ends; nil if there is none
	cancel context.CancelFunc // of the check that is under way
	ended  bool
}

// checkInputs are what the result of a check depends on.
type checkInputs struct {
	list, inventory int64
	manufacturers   string
}

func (o *ManufacturerCheck) checkInputs(list, inventory Import) checkInputs {
	return checkInputs{list.No, inventory.No, strings.Join(o.Tracked(), "\x00")}
}

// Run finds out which manufacturers of listed meters are not tracked, unless
// that is known for the imports in force. It logs the result if it has changed. It waits
// until ctx ends at most; the check itself goes on.
func (o *ManufacturerCheck) Run(ctx context.Context) (OtherManufacturers, error) {
	for own := false; !own; { // a check that is under way may have started before the import
		var done chan struct{}
		o.mu.Lock()
		done, own = o.startCheck()
		o.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
		}
		if err := ctx.Err(); err != nil { // even if the check ended at the same moment
			return OtherManufacturers{}, err
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.result, o.err
}

// startCheck starts a check in the background, unless one is under way: then started is
// false. The caller holds o.mu.
func (o *ManufacturerCheck) startCheck() (done chan struct{}, started bool) {
	if o.done != nil {
		return o.done, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), othersTimeout)
	if o.ended {
		cancel()
	}
	done = make(chan struct{})
	o.done, o.cancel = done, cancel
	go func() {
		defer close(done)
		defer cancel()
		result, inputs, err := o.findOthers(ctx)
		o.mu.Lock()
		defer o.mu.Unlock()
		o.done = nil
		if o.err = err; err != nil {
			o.failed = time.Now()
			return
		}
		o.inputs, o.result = inputs, result
		if text := result.String(); text != o.logged {
			o.logged = text
			if text == "" {
				o.Log.Info("the manufacturers of all listed meters are tracked now")
			} else {
				o.Log.Warn(text)
			}
		}
	}()
	return done, true
}

// findOthers asks the store, unless the inputs are those of the last result.
func (o *ManufacturerCheck) findOthers(ctx context.Context) (result OtherManufacturers, inputs checkInputs, _ error) {
	list, err := o.Devices.LastImport(ctx, "devices")
	if err != nil {
		return result, inputs, err
	}
	inventory, err := o.Devices.LastImport(ctx, "inventory")
	if err != nil {
		return result, inputs, err
	}
	inputs = o.checkInputs(list, inventory)
	o.mu.Lock()
	same := o.inputs == inputs
	result = o.result
	o.mu.Unlock()
	if same {
		return result, inputs, nil
	}
	all, more, err := o.Devices.ListedManufacturers(ctx)
	result = OtherManufacturers{Meters: more}
	tracked := o.Tracked()
	for _, m := range all {
		if tracked.Has(m.Text) {
			continue
		}
		result.Meters += m.Meters
		if len(result.Largest) < maxOthers {
			result.Largest = append(result.Largest, m)
		}
	}
	return result, inputs, err
}

// Sentence returns the sentence about other manufacturers, "" if there are none.
// If it is about other imports than those in force, a check starts in the background; after
// a check that failed, only when othersPause is over.
func (o *ManufacturerCheck) Sentence(list, inventory Import) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	inputs := o.checkInputs(list, inventory)
	if o.inputs != inputs && (o.err == nil || time.Since(o.failed) > othersPause) && !o.ended {
		o.startCheck()
	}
	if o.err != nil && o.inputs != inputs {
		return "the manufacturers of the listed meters are not known: " + o.err.Error()
	}
	return o.result.String()
}

// Stop ends the check that is under way, and all later ones.
func (o *ManufacturerCheck) Stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	if o.cancel != nil {
		o.cancel()
	}
}
