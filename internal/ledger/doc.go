// Package ledger decides on alerts, and logs each one that is suppressed. It records requests
// (package windows has their rules), keeps the switch, and knows which hubs may have a window.
//
// # Deciding and logging are one statement
//
// decideSQL inserts a log entry for each alert of a batch whose hub has an open window, and
// returns what it inserted. So nothing is suppressed without its entry, and no sender is told
// before the commit. Sequence numbers come from a counter row that moves in the same
// transaction: no gaps, in the order of commits. An alert that was decided before gets the same
// decision: its entry, or the note that it went forward, says so. The rules are in package
// outage; the one predicate that decideSQL repeats, whether a window is open, is held to them
// by a test.
//
// # The set of hubs
//
// Nearly every alert is of a hub without a window. A set in memory, behind a Bloom filter,
// answers that without the database. It only filters. A hub that is in it by mistake (a false
// positive) costs a question. A hub that is missing (a false negative) has its alerts forwarded:
// of a node's own requests that cannot happen, since a hub is added before its request is
// forwarded; of other nodes' requests it may, until Follow has seen them.
//
// # The journal
//
// Callers wait for the database for a limited time. What must not be forgotten then goes into
// the node's journal: a window, an answer, an alert that went forward, a failure, a switch that
// was turned off. It counts on this node at once, and is played into the database before
// anything newer (PlayJournal). Playing is idempotent.
//
// The worst moment is a time-out between the commit of an entry and its answer: the alert goes
// forward, and the log says suppressed. The journal has that fact before the alert goes out, and
// playing it corrects the entry.
//
// # Failures
//
//   - The database does not answer: alerts go forward, and each is in the journal.
//   - The journal's file cannot be written, since the disk is full: its records stay in memory,
//     Conditions says so, and alerts go forward as before.
//   - The process is killed: what the journal holds is played at the next start.
//   - The database refuses one record because of its content: it is set aside in a file.
//   - The store and the rules disagree: the alert is forwarded, and an error is logged.
package ledger
