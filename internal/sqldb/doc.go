// Package sqldb is the database: SQLite in a file, or PostgreSQL that several
// nodes share. It connects, brings the schema up to date, reads, and writes. It
// knows no table: the SQL of a table is in the package that keeps the table.
//
// # One writer
//
// A goroutine, the writer, makes all changes of a node. When it is free, it takes all
// changes that wait, commits them as one transaction, and looks again. So batches form
// from what is waiting (group commit), and no timer delays a single change. Reads use
// connections of their own.
//
// On PostgreSQL the transactions of all nodes run one after the other: each holds
// an advisory lock until its commit. So every rule that holds for one writer holds
// for several nodes, and the numbers that a table gives out rise in the order of commits.
//
// # Lanes
//
// A change comes through Write, or through a Lane, which collects values of one kind and
// writes many of them with one statement. A change that is not urgent (a step of an
// import, of housekeeping) is a background task: it gets a transaction of its own, after
// all that is urgent. While any task waits, one transaction of seven is such a task.
//
// # Failures
//
// If the answer to a transaction is lost (the connection broke, or the commit took too
// long), the transaction counts as failed, though it may have been made. So a change must
// be idempotent, or find out what an earlier try did: see Retry. If the database refuses a
// value, the batch is divided until that value is found, and it fails alone. Any other
// failure is of the database: all changes that wait then get ErrUnavailable at once. To
// find out that a database hangs takes seconds, and much may arrive in that time.
package sqldb
