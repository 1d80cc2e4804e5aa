// Package sqldb is the database: SQLite in a file, or PostgreSQL that several
// nodes share. It connects, brings the schema up to date, reads, and writes. It
// knows no table: the SQL is in the packages whose tables it reads.
//
// # One writer
//
// A goroutine, the writer, makes all changes of a node. It takes all that waits
// when it becomes free, commits that as one transaction, and looks again. So
// batches form from whatever is waiting (group commit), and no timer delays a
// change that is alone. Reads use connections of their own.
//
// On PostgreSQL the transactions of all nodes run one after the other: each holds
// an advisory lock until its commit. So every rule that holds for one writer holds
// for several nodes, and numbers that a table gives out rise in the order of commits.
//
// # Lanes
//
// A change comes by Write, or in a Lane, which collects values of one kind and
// writes many of them with one statement. A change that is not urgent (a step of an
// import, of housekeeping) is a transaction of its own behind all that is urgent; of
// seven transactions one is such a step, as long as any waits.
//
// # Failures
//
// A transaction whose answer is lost (the commit was cut off, or took too long)
// counts as failed, though it may have been made. So a change must be idempotent, or
// find out what an earlier try did; ask for that with Surely. What the database refuses
// because of its content is found by dividing the batch, and fails alone. Any other
// failure is of the database: all that waits then gets ErrUnavailable at once, since
// to find out that a database hangs takes seconds, in which much may come.
package sqldb
