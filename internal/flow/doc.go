// Package flow counts the AD1s on their way through quell, and proves that none is lost: each one
// that was received was forwarded, suppressed, or given back to its sender.
//
// # What is counted
//
// An AD1 is counted as received when it has been read. It ends in exactly one way, which is counted
// where it happens:
//
//   - Suppressed: the decision is durable, and the sender is told so.
//   - Forwarded, Shadow: the next hop has answered with success (2xx). A shadow has an entry in the
//     log, which says that it would have been suppressed.
//   - Refused: the next hop has answered with anything else, which the sender gets.
//   - Failed: it is not known to have arrived at the next hop. The sender gets an error, or has hung
//     up.
//
// In the last two the sender sends it again. That is a message of its own, with an end of its own.
// So is the retry of an alert that was suppressed. An AD1 that is longer than what is read of a
// message is not counted, nor is a message that cannot be recognised as one: both go forward.
//
// All is counted by the minute of receipt, the node's process and the distributor. So each minute
// balances by itself, as soon as none of its messages is under way. A message is under way for
// Longest at most. One that has no end by then is lost, whatever the reason, and Audit says so.
//
// # Where it is counted
//
// Counts are atomic numbers in memory, found without a lock. About once a second a lane of the
// database's writer writes those that have changed. Rows hold totals of a process, so it is
// harmless to write one twice. A row has the counts of a minute, packed: see appendCounts.
//
// The entries of the suppression log are counted apart from that, by CountEntries, in the
// transaction that writes them. Audit compares three numbers that come from different places: the
// entries that are in the log; how many were counted when they were written; and how many messages
// were decided with a new entry. So an entry that is removed, added or changed shows, and so does an
// alert that was held back without one.
//
// # After a crash
//
// Each process is a run, with a number of its own. A run says up to when its counts are written,
// and whether it has stopped in order. If it has not, what it counted after that instant is missing:
// the last second, or more if the database did not answer. Audit names this as a gap. Nothing is
// balanced by assumption. Only a process that never reached the database leaves no trace.
package flow
