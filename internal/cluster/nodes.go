package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"quell/internal/sqldb"
)

const (
	// heartbeatEvery is how often a node sends its heartbeat, and reads the others'.
	heartbeatEvery = 2 * time.Second
	// leaseTime is how long a node stays the leader after its last heartbeat. When a leader
	// is killed, another takes over within leaseTime + heartbeatEvery.
	leaseTime = 6 * time.Second
	// goneAfter is how long a node may send no heartbeat before it counts as gone.
	goneAfter = 15 * time.Second
)

// ErrNotLeader says that another node is the leader.
var ErrNotLeader = errors.New("another node is the leader")

// Node is one of the processes that share the database. Its JSON is part of the API.
type Node struct {
	Name     string            `json:"name"`
	Version  string            `json:"version"`
	Seen     time.Time         `json:"seen_at"` // by the database's clock
	Here     bool              `json:"here"`
	Leader   bool              `json:"leads"`
	Settings map[string]string `json:"-"`

	id string
}

// lease says that this node is the leader, as far as it knows.
type lease struct {
	term  int64
	until time.Time // by this process's clock; a second earlier than in the database
}

func (c *Cluster) heartbeatSoon() {
	select {
	case c.heartbeatNow <- struct{}{}:
	default:
	}
}

// Nodes returns the nodes that have sent a heartbeat lately, in order of their names; none
// if this one is alone.
func (c *Cluster) Nodes() []Node {
	if list := c.list.Load(); list != nil {
		return *list
	}
	return nil
}

// Differences says how the settings of other nodes differ from those of this node.
func (c *Cluster) Differences() []string {
	if list := c.differ.Load(); list != nil {
		return *list
	}
	return nil
}

// Conditions says what is wrong with the nodes; nil if nothing.
func (c *Cluster) Conditions() (list []string) {
	for _, d := range c.Differences() {
		list = append(list, "nodes have different settings: "+d)
	}
	if ahead, off := c.ClockOffset(); off {
		list = append(list, fmt.Sprintf("this node's clock is %s ahead of the database's, which counts", ahead.Round(time.Millisecond)))
	}
	return list
}

// Term returns the number of this node's term as the leader; 0 if it is not the leader, or
// is alone.
func (c *Cluster) Term() int64 {
	if l := c.lease.Load(); l != nil && time.Now().Before(l.until) {
		return l.term
	}
	return 0
}

// IsLeader reports whether this node is the leader. It may be wrong for an instant: see
// CheckLeader.
func (c *Cluster) IsLeader() bool { return !c.db.Remote() || c.Term() != 0 }

// WhileLeader runs f whenever this node is the leader, until ctx ends. The context of f ends
// with the term. When all calls of WhileLeader have returned, the node releases the lease.
func (c *Cluster) WhileLeader(ctx context.Context, f func(ctx context.Context)) {
	if !c.db.Remote() {
		f(ctx)
		return
	}
	c.wants.Add(1)
	c.heartbeatSoon()
	defer func() {
		c.wants.Add(-1)
		c.heartbeatSoon()
	}()
	for ctx.Err() == nil {
		if term := c.Term(); term != 0 {
			c.whileTerm(ctx, term, f)
		}
		select {
		case <-time.After(heartbeatEvery / 4):
		case <-ctx.Done():
		}
	}
}

func (c *Cluster) whileTerm(ctx context.Context, term int64, f func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		for c.Term() == term && ctx.Err() == nil {
			select {
			case <-time.After(heartbeatEvery / 4):
			case <-ctx.Done():
			}
		}
		cancel()
	}()
	f(ctx)
}

// CheckLeader fails with ErrNotLeader unless this node is the leader. Call it first in each
// transaction that only the leader may run.
func (c *Cluster) CheckLeader(ctx context.Context, tx sqldb.Tx) error {
	if !c.db.Remote() {
		return nil
	}
	var node string
	if err := tx.QueryRow(ctx, `SELECT node FROM lead WHERE what = 'reports'`).Scan(&node); err != nil {
		return err
	}
	if node != c.id {
		return sqldb.Unchanged(ErrNotLeader)
	}
	return nil
}

// sendHeartbeats sends heartbeats until ctx ends.
func (c *Cluster) sendHeartbeats(ctx context.Context) {
	defer c.lease.Store(nil)
	var before []string // the differences that the last heartbeat found
	for {
		if settings := c.settings.Load(); settings != nil || c.wants.Load() > 0 || c.lease.Load() != nil {
			if found, err := c.heartbeat(ctx, settings); err == nil {
				c.compare(before, found)
				before = found
			}
		}
		select {
		case <-time.After(heartbeatEvery):
		case <-c.heartbeatNow:
		case <-ctx.Done():
			return
		}
	}
}

// heartbeat writes the row of this node, renews its lease, and reads the rows of the others.
// It returns the differences that it finds.
func (c *Cluster) heartbeat(ctx context.Context, settings *map[string]string) ([]string, error) {
	ctx, cancel := c.db.Bounded(ctx)
	defer cancel()
	began := time.Now()
	own := c.opts.State()
	if settings != nil {
		maps.Copy(own, *settings)
	}
	type result struct {
		term int64
		list []Node
		then func()
	}
	// Urgent, since a lease ends: it must not wait for the steps of an import.
	now, err := sqldb.Write(ctx, c.db, sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) (v result, err error) {
		if settings != nil {
			text, err := json.Marshal(own)
			if err != nil {
				return v, err
			}
			if err := tx.Later(ctx, `INSERT INTO node (id, name, version, seen_at, settings) VALUES (?1, ?2, ?3, `+sqldb.ServerTime+`, ?4)
				ON CONFLICT (id) DO UPDATE SET seen_at = `+sqldb.ServerTime+`, settings = ?4`, c.id, sqldb.Text(c.opts.Name), c.opts.Version, string(text)); err != nil {
				return v, err
			}
		}
		if err := c.renewLease(ctx, tx); err != nil {
			return v, err
		}
		if v.then, err = c.opts.OnHeartbeat(ctx, tx); err != nil {
			return v, err
		}
		v.term, v.list, err = c.readNodes(ctx, tx)
		return v, err
	}, func(v result) { v.then() })
	if err != nil {
		return nil, err
	}
	if now.term == 0 {
		c.lease.Store(nil)
	} else {
		if c.Term() != now.term {
			c.opts.Log.Info("this node is the leader: it cuts and delivers reports, and runs housekeeping", "term", now.term)
		}
		c.lease.Store(&lease{now.term, began.Add(leaseTime - heartbeatEvery/2)})
	}
	c.list.Store(&now.list)
	return differences(now.list, own), nil
}

// renewLease takes or renews the lease, if this node wants to be the leader. Otherwise it
// releases the lease.
func (c *Cluster) renewLease(ctx context.Context, tx sqldb.Tx) error {
	switch {
	case c.wants.Load() > 0:
		// If no other node had the lease meanwhile, the term stays the same. A lease that is
		// too long was given by a server whose clock was ahead.
		return tx.Later(ctx, `UPDATE lead SET node = ?1, term = term + CASE WHEN node = ?1 THEN 0 ELSE 1 END, until = `+sqldb.ServerTime+` + ?2
			WHERE what = 'reports' AND (node = ?1 OR until < `+sqldb.ServerTime+` OR until > `+sqldb.ServerTime+` + 2 * ?2)`, c.id, leaseTime.Microseconds())
	case c.lease.Load() != nil:
		return c.releaseLease(ctx, tx)
	}
	return nil
}

func (c *Cluster) releaseLease(ctx context.Context, tx sqldb.Tx) error {
	return tx.Later(ctx, `UPDATE lead SET until = 0 WHERE what = 'reports' AND node = ?`, c.id)
}

// readNodes returns the term of this node's lease, 0 if it has none, and the nodes. It
// deletes those that count as gone: also one whose heartbeat is of the future, from a server whose
// clock was ahead. If it is there, it writes its row again with its next heartbeat.
func (c *Cluster) readNodes(ctx context.Context, tx sqldb.Tx) (term int64, list []Node, err error) {
	if err := tx.Later(ctx, `DELETE FROM node WHERE seen_at < `+sqldb.ServerTime+` - ?1 OR seen_at > `+sqldb.ServerTime+` + ?1`, goneAfter.Microseconds()); err != nil {
		return 0, nil, err
	}
	var leader string
	if err := tx.QueryRow(ctx, `SELECT term, CASE WHEN until > `+sqldb.ServerTime+` THEN node ELSE '' END FROM lead WHERE what = 'reports'`).Scan(&term, &leader); err != nil {
		return 0, nil, err
	}
	rows, err := tx.Query(ctx, `SELECT id, name, version, seen_at, settings FROM node ORDER BY name, id`)
	list, err = sqldb.Scan(rows, err, func(rows sqldb.Rows, n *Node) error {
		var seen int64
		var settings string
		if err := rows.Scan(&n.id, &n.Name, &n.Version, &seen, &settings); err != nil {
			return err
		}
		n.Seen, n.Here, n.Leader = sqldb.Instant(seen), n.id == c.id, n.id == leader
		return json.Unmarshal([]byte(settings), &n.Settings)
	})
	if leader != c.id {
		term = 0
	}
	return term, list, err
}

// differences says how other nodes' settings differ from those of this node. A setting that
// only one version of quell knows is no difference.
func differences(list []Node, own map[string]string) (found []string) {
	for _, n := range list {
		for _, key := range slices.Sorted(maps.Keys(own)) {
			if other, ok := n.Settings[key]; !n.Here && ok && other != own[key] {
				found = append(found, fmt.Sprintf("%s is %s here, and %s on %s", key, orEmpty(own[key]), orEmpty(other), n.Name))
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

// compare keeps the differences that were found twice in a row, and logs new ones.
func (c *Cluster) compare(before, found []string) {
	var lasting []string
	for _, d := range found {
		if slices.Contains(before, d) {
			lasting = append(lasting, d)
		}
	}
	was := c.Differences()
	for _, d := range lasting {
		if !slices.Contains(was, d) {
			c.opts.Log.Error("nodes have different settings", "difference", d)
		}
	}
	if len(was) > 0 && len(lasting) == 0 {
		c.opts.Log.Info("all nodes have the same settings again")
	}
	c.differ.Store(&lasting)
}

// Leave releases the lease, and deletes the row of this node. The writer calls it, as
// Prepare.Last.
func (c *Cluster) Leave(ctx context.Context) {
	if !c.db.Remote() {
		return
	}
	err := c.db.InTx(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		if err := tx.Later(ctx, `DELETE FROM node WHERE id = ?`, c.id); err != nil {
			return err
		}
		return c.releaseLease(ctx, tx)
	})
	if err != nil {
		c.opts.Log.Warn("this node could not sign off; the other nodes will notice that it is gone", "error", err)
	}
}
