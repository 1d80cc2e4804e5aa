package reporter

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// conditions are what is wrong with reports on the node that cuts and delivers
// them, by what it concerns.
type conditions struct {
	mu   sync.Mutex // guards what follows
	list map[string]string
}

// say notes what is wrong with something, "" if nothing is any more, and reports
// whether that is news.
func (c *conditions) say(what, text string) (news bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.list[what]
	if text == "" {
		delete(c.list, what)
	} else {
		if c.list == nil {
			c.list = map[string]string{}
		}
		c.list[what] = text
	}
	return (was == "") != (text == "")
}

func (c *conditions) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.list)
}

// Conditions says what is wrong while alerts still pass: reports that cannot be cut
// or written, that are late at a remote, or whose period ends beyond now. They are
// empty on a node that does not lead.
func (r *Reporter) Conditions() (list []string) {
	c := &r.conditions
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, what := range slices.Sorted(maps.Keys(c.list)) {
		list = append(list, c.list[what])
	}
	return list
}

// maxAhead is how far beyond now a report's period may end, or an entry's receipt
// be, where nodes' clocks differ. What is beyond is of a time when the clock was
// wrong, and is not waited for.
const maxAhead = 5 * time.Minute
