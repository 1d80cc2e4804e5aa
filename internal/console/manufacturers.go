package console

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"quell/internal/devices"
	"quell/internal/lines"
)

// OtherManufacturers are those of meters in the device list that are not among
// the manufacturers whose meters are tracked.
type OtherManufacturers struct {
	Meters  int                    `json:"meters"`  // all of them
	Largest []devices.Manufacturer `json:"largest"` // at most maxOthers texts
}

const (
	maxOthers     = 5
	maxOtherText  = 120              // bytes of a text that is shown: 30 characters
	othersTimeout = 5 * time.Minute  // for the whole question: 2,000,000 meters take 4 s on SQLite, 25 s on PostgreSQL
	othersWait    = 30 * time.Second // of an import for the answer
	othersPause   = time.Minute      // after a question that failed
)

// String says it in a sentence; "" if there are none.
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

// others is the last answer to the question for other manufacturers.
type others struct {
	mu     sync.Mutex // guards what follows
	of     basis      // what the answer is about
	answer OtherManufacturers
	err    error     // of the last question
	failed time.Time // when that was
	logged string
	done   chan struct{}      // closed when the question that is under way is answered; nil: there is none
	cancel context.CancelFunc // of that
	ended  bool
}

// basis is what an answer depends on.
type basis struct {
	list, inventory int64
	manufacturers   string
}

func (c *Console) basis(list, inventory devices.Import) basis {
	return basis{list.No, inventory.No, strings.Join(c.Motorway.Rules().Manufacturers, "\x00")}
}

// CheckManufacturers finds out which manufacturers of listed meters are not
// tracked, unless that is known for the imports in force, and logs it if it has
// changed. It waits for the answer until ctx ends, and the question goes on.
func (c *Console) CheckManufacturers(ctx context.Context) (OtherManufacturers, error) {
	o := &c.others
	for mine := false; !mine; { // another's may have begun before the import
		var done chan struct{}
		o.mu.Lock()
		done, mine = c.ask()
		o.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
		}
		if err := ctx.Err(); err != nil { // also where the answer came in the same instant
			return OtherManufacturers{}, err
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.answer, o.err
}

// ask asks the store in the background, unless a question is under way: then begun
// is false. The caller holds the lock of c.others.
func (c *Console) ask() (done chan struct{}, begun bool) {
	o := &c.others
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
		answer, of, err := c.askManufacturers(ctx)
		o.mu.Lock()
		defer o.mu.Unlock()
		o.done = nil
		if o.err = err; err != nil {
			o.failed = time.Now()
			return
		}
		o.of, o.answer = of, answer
		if text := answer.String(); text != o.logged {
			o.logged = text
			if text == "" {
				c.Log.Info("the manufacturers of all listed meters are tracked now")
			} else {
				c.Log.Warn(text)
			}
		}
	}()
	return done, true
}

// askManufacturers asks the store, if what was answered last is about something else.
func (c *Console) askManufacturers(ctx context.Context) (answer OtherManufacturers, of basis, _ error) {
	list, err := c.Devices.LastImport(ctx, "devices")
	if err != nil {
		return answer, of, err
	}
	inventory, err := c.Devices.LastImport(ctx, "inventory")
	if err != nil {
		return answer, of, err
	}
	of = c.basis(list, inventory)
	c.others.mu.Lock()
	same := c.others.of == of
	answer = c.others.answer
	c.others.mu.Unlock()
	if same {
		return answer, of, nil
	}
	all, more, err := c.Devices.ListedManufacturers(ctx)
	answer = OtherManufacturers{Meters: more}
	tracked := c.Motorway.Rules().Manufacturers
	for _, m := range all {
		if tracked.Has(m.Text) {
			continue
		}
		answer.Meters += m.Meters
		if len(answer.Largest) < maxOthers {
			answer.Largest = append(answer.Largest, m)
		}
	}
	return answer, of, err
}

// otherManufacturers says what is known of other manufacturers, "" if there are
// none. If it is about other imports than those in force, the store is asked in
// the background; after a failure not before a pause.
func (c *Console) otherManufacturers(list, inventory devices.Import) string {
	o := &c.others
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.of != c.basis(list, inventory) && (o.err == nil || time.Since(o.failed) > othersPause) && !o.ended {
		c.ask()
	}
	if o.err != nil && o.of != c.basis(list, inventory) {
		return "the manufacturers of the listed meters are not known: " + o.err.Error()
	}
	return o.answer.String()
}

// stop ends the question that is under way.
func (o *others) stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	if o.cancel != nil {
		o.cancel()
	}
}
