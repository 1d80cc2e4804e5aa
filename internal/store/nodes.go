package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"quell/internal/outage"
)

const (
	// attendEvery is how often a node tells of itself and looks at the others.
	attendEvery = 2 * time.Second
	// leaseTime is how long the lead stays with a node that is not heard of: a
	// killed one is followed by another within this and attendEvery.
	leaseTime = 6 * time.Second
	// goneAfter is how long a node that is not heard of counts as one.
	goneAfter = 15 * time.Second
)

// ErrNotLeading says that another node leads by now.
var ErrNotLeading = errors.New("another node leads")

// serverTime is the database's clock in microseconds.
const serverTime = `CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)`

// Node is one of the processes on a database.
type Node struct {
	Name     string            `json:"name"`
	Version  string            `json:"version"`
	Seen     time.Time         `json:"seen_at"` // by the database's clock
	Here     bool              `json:"here"`
	Leads    bool              `json:"leads"`
	Settings map[string]string `json:"-"`

	id string
}

// nodes is what a store knows of itself among others.
type nodes struct {
	id       string
	settings atomic.Pointer[map[string]string]
	wants    atomic.Int32 // how many want it to lead
	lead     atomic.Pointer[leadership]
	list     atomic.Pointer[[]Node]
	differ   atomic.Pointer[[]string]
	now      chan struct{} // holds a token when attend is not to wait
}

// leadership is the node's lead, as far as it knows.
type leadership struct {
	term  int64
	until time.Time // by this process's clock, before it is over by the database's
}

func newNodes() nodes { return nodes{id: rand.Text(), now: make(chan struct{}, 1)} }

// Describe says which settings of this node must be equal on all. They are
// compared from now on.
func (s *Store) Describe(settings map[string]string) {
	settings = maps.Clone(settings)
	s.nodes.settings.Store(&settings)
	s.nodes.hurry()
}

func (n *nodes) hurry() {
	select {
	case n.now <- struct{}{}:
	default:
	}
}

// Nodes are the processes on the database that were heard of lately, in order of
// their names; none if it is this process's alone.
func (s *Store) Nodes() []Node {
	if list := s.nodes.list.Load(); list != nil {
		return *list
	}
	return nil
}

// Differences says how the settings of other nodes differ from those here.
func (s *Store) Differences() []string {
	if list := s.nodes.differ.Load(); list != nil {
		return *list
	}
	return nil
}

// Term is the number of this node's lead, 0 if it does not lead or if there are
// no others to lead.
func (s *Store) Term() int64 {
	if l := s.nodes.lead.Load(); l != nil && time.Now().Before(l.until) {
		return l.term
	}
	return 0
}

// Leading reports whether this node is the one that cuts and delivers reports
// and runs housekeeping. It may be wrong for an instant: what must not be done by two
// is refused by ErrNotLeading.
func (s *Store) Leading() bool { return !s.remote || s.Term() != 0 }

// WhileLeading runs f whenever this node leads, until ctx ends. The context of f
// ends when the lead does. When all who called it have returned, the node gives
// the lead up.
func (s *Store) WhileLeading(ctx context.Context, f func(ctx context.Context)) {
	if !s.remote {
		f(ctx)
		return
	}
	s.nodes.wants.Add(1)
	s.nodes.hurry()
	defer func() {
		s.nodes.wants.Add(-1)
		s.nodes.hurry()
	}()
	for ctx.Err() == nil {
		if term := s.Term(); term != 0 {
			s.whileTerm(ctx, term, f)
		}
		select {
		case <-time.After(attendEvery / 4):
		case <-ctx.Done():
		}
	}
}

func (s *Store) whileTerm(ctx context.Context, term int64, f func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		for s.Term() == term && ctx.Err() == nil {
			select {
			case <-time.After(attendEvery / 4):
			case <-ctx.Done():
			}
		}
		cancel()
	}()
	f(ctx)
}

// leadsStill finds out, within a transaction of the committer, whether this node leads.
func (s *Store) leadsStill(ctx context.Context) (bool, error) {
	if !s.remote {
		return true, nil
	}
	var node string
	err := s.conn.QueryRowContext(ctx, `SELECT node FROM lead WHERE what = 'reports'`).Scan(&node)
	return node == s.nodes.id, err
}

// attend tells of this node, takes or keeps the lead, and looks at the others,
// until ctx ends. Then it gives the lead up.
func (s *Store) attend(ctx context.Context) {
	defer s.nodes.lead.Store(nil)
	var before []string // differences that were found
	for {
		if settings := s.nodes.settings.Load(); settings != nil || s.nodes.wants.Load() > 0 || s.nodes.lead.Load() != nil {
			found, err := s.attendOnce(ctx, settings)
			if err == nil {
				s.compare(before, found)
				before = found
			}
		}
		select {
		case <-time.After(attendEvery):
		case <-s.nodes.now:
		case <-ctx.Done():
			return
		}
	}
}

// attendOnce returns the differences that it finds.
func (s *Store) attendOnce(ctx context.Context, settings *map[string]string) ([]string, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	began, turns := time.Now(), s.sw.turned()
	mine := map[string]string{"switch": string(s.Switch())}
	if settings != nil {
		maps.Copy(mine, *settings)
	}
	type seen struct {
		term int64
		list []Node
		sw   outage.Switch
	}
	// Urgent: the lead has a time, and is not to wait behind an import's steps.
	now, err := write(ctx, s, urgent, func(ctx context.Context) (v seen, err error) {
		if settings != nil {
			text, err := json.Marshal(mine)
			if err != nil {
				return v, err
			}
			if err := s.conn.later(ctx, `INSERT INTO node (id, name, version, seen_at, settings) VALUES (?1, ?2, ?3, `+serverTime+`, ?4)
				ON CONFLICT (id) DO UPDATE SET seen_at = `+serverTime+`, settings = ?4`, s.nodes.id, storable(s.opts.Node), s.opts.Version, string(text)); err != nil {
				return v, err
			}
		}
		if err := s.settleLead(ctx); err != nil {
			return v, err
		}
		if v.sw, err = readSwitch(ctx, s.conn); err != nil {
			return v, err
		}
		v.term, v.list, err = s.readNodes(ctx)
		return v, err
	})
	if err != nil {
		return nil, err
	}
	s.followSwitch(now.sw, turns)
	if now.term == 0 {
		s.nodes.lead.Store(nil)
	} else {
		if s.Term() != now.term {
			s.opts.Log.Info("this node is the leader: it cuts and delivers reports, and runs housekeeping", "term", now.term)
		}
		s.nodes.lead.Store(&leadership{now.term, began.Add(leaseTime - attendEvery/2)})
	}
	s.nodes.list.Store(&now.list)
	return differences(now.list, mine), nil
}

// settleLead takes or keeps the lead if it is wanted, or else gives it up.
func (s *Store) settleLead(ctx context.Context) error {
	switch {
	case s.nodes.wants.Load() > 0:
		// A lead that was nobody else's meanwhile goes on as the same term. One
		// that is longer than any was given by a server whose clock was ahead.
		return s.conn.later(ctx, `UPDATE lead SET node = ?1, term = term + CASE WHEN node = ?1 THEN 0 ELSE 1 END, until = `+serverTime+` + ?2
			WHERE what = 'reports' AND (node = ?1 OR until < `+serverTime+` OR until > `+serverTime+` + 2 * ?2)`, s.nodes.id, leaseTime.Microseconds())
	case s.nodes.lead.Load() != nil:
		return s.giveUpLead(ctx)
	}
	return nil
}

func (s *Store) giveUpLead(ctx context.Context) error {
	return s.conn.later(ctx, `UPDATE lead SET until = 0 WHERE what = 'reports' AND node = ?`, s.nodes.id)
}

// readNodes returns the term of this node's lead, 0 if it does not lead, and the
// nodes. It forgets those that are long gone.
func (s *Store) readNodes(ctx context.Context) (term int64, list []Node, err error) {
	if err := s.conn.later(ctx, `DELETE FROM node WHERE seen_at < `+serverTime+` - ?`, goneAfter.Microseconds()); err != nil {
		return 0, nil, err
	}
	var leader string
	if err := s.conn.QueryRowContext(ctx, `SELECT term, CASE WHEN until > `+serverTime+` THEN node ELSE '' END FROM lead WHERE what = 'reports'`).Scan(&term, &leader); err != nil {
		return 0, nil, err
	}
	rows, err := s.conn.QueryContext(ctx, `SELECT id, name, version, seen_at, settings FROM node ORDER BY name, id`)
	list, err = scan(rows, err, func(rows rowSet) (n Node, err error) {
		var seen int64
		var settings string
		if err := rows.Scan(&n.id, &n.Name, &n.Version, &seen, &settings); err != nil {
			return n, err
		}
		n.Seen, n.Here, n.Leads = instant(seen), n.id == s.nodes.id, n.id == leader
		return n, json.Unmarshal([]byte(settings), &n.Settings)
	})
	if leader != s.nodes.id {
		term = 0
	}
	return term, list, err
}

// differences says how other nodes' settings differ from mine. A setting that
// only one version knows is none.
func differences(list []Node, mine map[string]string) (found []string) {
	for _, n := range list {
		for _, key := range slices.Sorted(maps.Keys(mine)) {
			if theirs, ok := n.Settings[key]; !n.Here && ok && theirs != mine[key] {
				found = append(found, fmt.Sprintf("%s is %s here, and %s on %s", key, orEmpty(mine[key]), orEmpty(theirs), n.Name))
			}
		}
	}
	return found
}

func orEmpty(text string) string {
	if text == "" {
		return "empty"
	}
	return text
}

// compare takes over the differences that were found twice in a row: while a
// configuration or the switch is changed, nodes differ for a moment.
func (s *Store) compare(before, found []string) {
	var lasting []string
	for _, d := range found {
		if slices.Contains(before, d) {
			lasting = append(lasting, d)
		}
	}
	was := s.Differences()
	for _, d := range lasting {
		if !slices.Contains(was, d) {
			s.opts.Log.Error("nodes have different settings", "difference", d)
		}
	}
	if len(was) > 0 && len(lasting) == 0 {
		s.opts.Log.Info("all nodes have the same settings again")
	}
	s.nodes.differ.Store(&lasting)
}

// leave gives up the lead and says that this node is gone.
func (s *Store) leave(ctx context.Context) {
	err := s.inTx(ctx, func(ctx context.Context) error {
		if err := s.conn.later(ctx, `DELETE FROM node WHERE id = ?`, s.nodes.id); err != nil {
			return err
		}
		return s.giveUpLead(ctx)
	})
	if err != nil {
		s.opts.Log.Warn("the other nodes find out by themselves that this one is gone", "error", err)
	}
}
