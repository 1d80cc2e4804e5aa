// Package ledger decides on alerts, and logs each one that is suppressed. It records requests
// (see package windows), keeps the switch, and knows which hubs may have a window.
//
// # Deciding and logging are one statement
//
// decideSQL inserts a log entry for each alert of a batch whose hub has an open window, and
// returns what it inserted. So nothing is suppressed without its entry, and no sender gets an
// answer before the commit. Sequence numbers come from a counter row that changes in the same
// transaction: they have no gaps, and rise in the order of commits. An alert that was decided
// before gets the same decision, from its entry or from the note (package passed) that it went
// forward. The rules are in package outage. decideSQL repeats two of them, whether a window is
// open and which of several counts; a test checks that they agree.
//
// # The set of hubs
//
// Nearly every alert is of a hub without a window. A set in memory answers for those without
// the database. It only filters. A hub that is in it by mistake (a false positive) costs a
// query. If a hub is missing (a false negative), its alerts go forward. That cannot happen with
// a node's own requests: the hub is added before the request is forwarded. It can with requests
// at other nodes, until Follow has read them.
//
// # The journal
//
// Callers wait for the database for a limited time. After that, what must not be forgotten goes
// into the node's journal: a window, an answer, an alert that went forward, a failure, a switch
// that was turned off. It counts on this node at once, and is played into the database before
// anything newer (PlayJournal). Playing is idempotent.
//
// The worst moment is a time-out between the commit of an entry and its answer: the alert goes
// forward, and the log says suppressed. The journal has that fact before the alert goes out.
// When it is played, the entry is corrected.
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
