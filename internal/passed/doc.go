// Package passed keeps the notes of alerts that went forward, so that their retries do too.
//
// # Alerts that passed
//
// Nearly every alert is of a hub without a window, and passes. Its note is 12 bytes: a 64-bit hash
// of the alert's id, hub and start of the outage; when it was received, to the minute; and why it
// passed. If two alerts have the same hash, the second one goes forward as if it were a retry of
// the first, which is always safe.
//
// The notes are in memory, in a hash table of 4,096 shards that grow one by one. Of answers from
// it. What Add notes waits for a tenth of a second, and is then written together with all that
// came meanwhile, as one row of the table passed, or a few. So a note needs no statement of its
// own, at any rate. If the process is killed, what was not committed by then is lost.
//
// The leader's housekeeping merges small rows, and deletes those whose alerts were all received
// before a limit (the setting keep_notes). Each node removes such notes from its memory.
//
// # After a start
//
// Load reads all rows, in the background. Until it has, nobody knows whether an alert passed
// before: so nothing is suppressed. 10,000,000 notes take about 1.2 seconds of processor time
// (BenchmarkLoadNotes in package ledger).
//
// # Several nodes
//
// Nodes follow each other's rows by id, as they follow requests. That alone would leave a gap of
// an instant, so each transaction that decides reads the rows that are newer than those followed,
// in the same packet (ReadLater, Before).
//
// A node that passes an alert may not know yet that another node has a window of its hub, and has
// logged the alert as suppressed. So notes keep the alerts' ids until they are written. The
// transaction that writes them finds out which hubs have requests or entries. The notes of these
// also go to Options.Left, which corrects the entries.
//
// # The table forwarded
//
// It has the notes of alerts whose hubs have windows, with their ids, for operators who ask why an
// alert was forwarded. Earlier versions wrote all notes there.
//
// # Limits
//
//   - In memory there are MaxNotes at most. Then the oldest quarter of a shard goes.
//   - While the database does not answer, notes go to Options.Keep, which puts them into the node's
//     journal. While that cannot be written either, up to a million notes wait in memory; 100,000
//     if several nodes share the database, since those have ids.
//   - What is lost is counted and logged. A note that is lost changes something only if its hub's
//     meter is activated before the same alert is sent again.
package passed
