package console

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"quell/internal/lines"
	"quell/internal/store"
)

// OtherManufacturers are those of meters in the device list that are not among
// the manufacturers whose meters are tracked.
type OtherManufacturers struct {
	Meters  int                  `json:"meters"`  // all of them
	Largest []store.Manufacturer `json:"largest"` // at most maxOthers texts
}

const (
	maxOthers     = 5
	maxOtherText  = 120         // bytes of a text that is shown: 30 characters
	othersTimeout = time.Minute // for the whole question
)

// String says it in a sentence; "" if there are none.
func (o OtherManufacturers) String() string {
	if o.Meters == 0 {
		return ""
	}
	rest := o.Meters
	var b strings.Builder
	fmt.Fprintf(&b, `%d meters in the device list are not tracked, since their manufacturers are not in "manufacturers": `, o.Meters)
	for i, m := range o.Largest {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s (%d)", strconv.Quote(lines.Cut(m.Text, maxOtherText)), m.Meters)
		rest -= m.Meters
	}
	if rest > 0 {
		fmt.Fprintf(&b, ", others (%d)", rest)
	}
	return b.String()
}

// others is the last answer to the question for other manufacturers.
type others struct {
	asking sync.Mutex // held by the one who asks the store

	mu     sync.Mutex // guards what follows
	of     basis      // what the answer is about
	answer OtherManufacturers
	err    error
	logged string
	begun  bool               // one asks in the background
	cancel context.CancelFunc // ends that; nil before the first
	ended  bool
}

// basis is what an answer depends on.
type basis struct {
	list, inventory int64
	manufacturers   string
}

func (c *Console) basis(list, inventory store.Import) basis {
	return basis{list.No, inventory.No, strings.Join(c.Motorway.Rules().Manufacturers, "\x00")}
}

// CheckManufacturers finds out which manufacturers of listed meters are not
// tracked, unless that is known for the imports in force, and logs it if it has
// changed. It reads the whole device list, for a minute at most.
func (c *Console) CheckManufacturers(ctx context.Context) (OtherManufacturers, error) {
	o := &c.others
	o.asking.Lock()
	defer o.asking.Unlock()
	ctx, cancel := context.WithTimeout(ctx, othersTimeout)
	defer cancel()
	answer, of, err := c.askManufacturers(ctx)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err = err; err != nil {
		return answer, err
	}
	o.of, o.answer = of, answer
	switch text := answer.String(); {
	case text == o.logged:
	case text == "":
		c.Log.Info("the manufacturers of all listed meters are tracked now")
		o.logged = text
	default:
		c.Log.Warn(text)
		o.logged = text
	}
	return answer, nil
}

// askManufacturers asks the store, if what was answered last is about something else.
func (c *Console) askManufacturers(ctx context.Context) (answer OtherManufacturers, of basis, _ error) {
	st := c.Motorway.Store
	list, err := st.LastImport(ctx, "devices")
	if err != nil {
		return answer, of, err
	}
	inventory, err := st.LastImport(ctx, "inventory")
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
	all, more, err := st.ListedManufacturers(ctx)
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
// the background.
func (c *Console) otherManufacturers(list, inventory store.Import) string {
	o := &c.others
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.begun && !o.ended && (o.err != nil || o.of != c.basis(list, inventory)) {
		var ctx context.Context
		ctx, o.cancel = context.WithTimeout(context.Background(), othersTimeout)
		o.begun = true
		go func() {
			c.CheckManufacturers(ctx) // its error is kept
			o.mu.Lock()
			defer o.mu.Unlock()
			o.cancel()
			o.begun = false
		}()
	}
	if o.err != nil && !errors.Is(o.err, context.Canceled) {
		return "the manufacturers of the listed meters are not known: " + o.err.Error()
	}
	return o.answer.String()
}

// stop ends what is asked in the background.
func (o *others) stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	if o.cancel != nil {
		o.cancel()
	}
}
