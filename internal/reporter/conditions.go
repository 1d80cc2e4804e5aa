package reporter

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// conditions say what is wrong with reports on the leader, by subject.
type conditions struct {
	mu   sync.Mutex // guards list
	list map[string]string
}

// set sets what is wrong with a subject; "" if nothing is. It returns whether that starts or ends
// a condition.
func (c *conditions) set(what, text string) (changed bool) {
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

func (c *conditions) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.list)
}

// Conditions says what is wrong with reports: that they cannot be cut or written, are late at a
// remote, or have a period that ends in the future. It returns none on a node that is not the
// leader.
func (r *Reporter) Conditions() (list []string) {
	c := &r.conditions
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, what := range slices.Sorted(maps.Keys(c.list)) {
		list = append(list, c.list[what])
	}
	return list
}

// maxAhead is how far in the future a report's period may end, or an entry be received, since
// nodes' clocks differ. What is further ahead comes from a wrong clock, and nothing waits for
// that time.
const maxAhead = 5 * time.Minute
