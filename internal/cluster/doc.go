// Package cluster is the nodes that share a database: which nodes there are, which one is
// the leader, whose clock counts, and when to read what others have written. It does not
// know what they write. A node with a SQLite database is alone, and is always the leader.
//
// # Heartbeat
//
// Each node writes a row every two seconds, with its settings, and reads the rows of the
// others. A node that has sent no heartbeat for 15 seconds counts as gone. Some settings
// must be equal on all nodes. A difference is reported if it is found twice in a row: while
// an operator changes settings, nodes differ for a moment.
//
// # The leader
//
// The leader cuts and delivers reports, and runs housekeeping. A row holds its lease: which
// node, and until when, by the database's clock. The leader renews the lease with each
// heartbeat. When the lease is over, another node may take it, with a new term. All this is
// in transactions of the writer, of which one runs at a time over all nodes. By the clock of
// its own process, a node's lease ends a second earlier than in the database.
//
// An advisory lock of a session would not work: a process that is stopped keeps it, and
// behind a pooler there is no session.
//
// Failure modes:
//   - The leader is killed: another node takes over within a lease and a heartbeat, 8
//     seconds.
//   - The leader is stopped, or disconnected, and comes back: for an instant two nodes may
//     think that they are the leader. What only one may do is in a transaction that calls
//     CheckLeader, which fails with ErrNotLeader. What two may do (cutting a report, noting
//     its sums) is idempotent.
//   - The database server's clock was ahead, and is set back: a lease that is longer than
//     any that a node takes counts as over.
//   - The leader stops in order: it releases the lease at once.
//
// # The clock
//
// If a node's clock differs from the database's by more than a tolerance, the database's
// counts. A node compares the two each time that it follows the others. In between, a clock
// that nobody can set (the time since the machine was started) tells it whether its own was
// set. If so, the time is the earlier of the two, which opens no window too late.
//
// # Following
//
// The database notifies the nodes of changes. They also read every 250 ms without that: a
// notification is lost if its connection breaks, and none comes through a pooler.
package cluster
