// Package held keeps suppressed alerts as they came, so that they can be delivered after all (see
// package release): for two days, then housekeeping deletes them.
//
// The transaction that logs a batch of alerts as suppressed also writes their messages, as one row
// of the table held: less than a statement for each. A row is one block of S2, a format that
// compresses little and fast: alerts are much alike, and what is written costs more.
//
// In the block are the messages one after the other. Each begins with the key of its alert
// (passed.Key) and its length, as 8 and 4 bytes, little-endian. A message is an HTTP request as it
// came, with its first line, all header lines, and the body. If net/http has read the head, the
// lines are written as net/http has them: names in canonical form, in alphabetical order.
//
// The id of a row is when the last of its alerts was received, in microseconds since 1970, or one
// more than the id before, unless that is over a day ahead, as after the clock was. So the rows are in
// the order of time, without an index, and a message is in the row with the time of its receipt or in
// one soon after.
//
// Nothing depends on these rows but a release. If the database refuses one, the ledger decides
// without them for a minute.
package held
