// Package search reads what the console shows: the suppression log by filters, suppressed alerts that
// were probably genuine, a calendar of windows, the windows of a hub or a supplier, the history of
// lists, and previews of changes. It changes nothing.
//
// A page must not take long, whatever is in the store and whatever is asked. So each query uses an
// index, and looks at a limited number of rows. If that is not enough to fill a page, the answer says
// how far the search went, and how to go on. What has to read all windows, or all entries of a month,
// is not computed for a page: it is counted in the background, some rows at a time, when somebody asks
// and the last count is old enough. The answer has the last count, and says when that was made.
package search

import (
	"context"
	"sync"
	"time"

	"quell/internal/adviser"
	"quell/internal/assess"
	"quell/internal/devices"
	"quell/internal/evidence"
	"quell/internal/sqldb"
)

// Search reads a store for the console. Its fields are set before its methods are called, which any
// goroutine may do. Errors of its methods are sqldb.ErrUnavailable, unless they say otherwise.
type Search struct {
	DB       *sqldb.DB
	Devices  *devices.Devices
	Evidence *assess.Assessor // nil if entries are not assessed
	Now      func() time.Time
	// Learned returns what was learned of models until now; nil if that is nothing. It may be nil.
	Learned func(context.Context) (*evidence.Learning, error)
	// Advice returns what is known of windows of other lengths.
	Advice func(context.Context) (adviser.Windows, error)
	// InForce returns what decides now; Settings adds how that came about.
	InForce func() Settings
	// Others says which meters of a list are not tracked for their manufacturer; "" if none is.
	Others func(list, inventory devices.Import) string
	// FirstWait is how long the first to ask waits for the first count, so that a small store has it
	// at once.
	FirstWait time.Duration

	scan       int64 // see most
	calendar   cached[*count]
	month      cached[*month]
	advised    cached[adviser.Windows]
	previewing sync.Mutex // held while a list is previewed
}
