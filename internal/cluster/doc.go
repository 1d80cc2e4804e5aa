// Package cluster is the nodes that share a database: which there are, which one is the
// leader, whose clock counts, and when to look at what others have written. It does not
// know what they write. A node whose database is a SQLite file is alone, and is the leader.
//
// # Heartbeat
//
// Each node writes a row every two seconds, with its settings, and reads those of the
// others. A node that has not been heard of for 15 seconds counts as gone. Settings that
// must be equal and differ twice in a row are reported: while an operator changes them,
// nodes differ for a moment.
//
// # The leader
//
// The leader cuts and delivers reports, and runs housekeeping. A row has its lease: the node,
// and until when, by the database's clock. With each heartbeat the leader renews the lease;
// when it is over, another node that wants to may take it, with a new term. All of that is
// in transactions of the writer, of which one runs at a time over all nodes. A node trusts
// its lease for a second less than the database does, by the clock of its own process.
//
// An advisory lock of a session would not do: it stays with a process that is stopped, and
// behind a pooler there is no session.
//
// Failure modes:
//   - The leader is killed: another takes over within a lease and a heartbeat, 8 seconds.
//   - The leader is stopped, or cut off, and comes back: for an instant two nodes may think
//     that they are the leader. What must not be done by two is done in a transaction that
//     calls CheckLeader, which fails with ErrNotLeader. What two may do (cutting a report,
//     noting its sums) changes nothing the second time.
//   - The database server's clock was ahead, and is set back: a lease that is longer than
//     any node gives itself counts as over.
//   - The leader stops in order: it gives the lease up at once.
//
// # The clock
//
// The database's clock counts, where a node's differs from it by more than a tolerance.
// Each look compares the two. Between two looks a node knows from a clock that cannot be
// set (the time since the machine was started) whether its own was set; if so, the time is
// the earlier of the two, which opens no window too late.
//
// # Following
//
// The database notifies the nodes of changes, and they look in any case every 250 ms: a
// notification is lost when its connection breaks, and behind a pooler none comes.
package cluster
