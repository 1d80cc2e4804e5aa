// Package replay sends recordings (package recording) through the code that decides, on a virtual
// clock, as fast as the machine can.
//
// The code is that of package motorway. Only what is below it is another one: a ledger in memory,
// since a database would take several times as long; and an inventory that says what the
// recording says, or a file. So a replay with the settings of the recording makes the decisions
// that were made then. Those of a replay with other settings are what would have been decided.
//
// The result depends on the recordings and the options alone. Lines are put in order of receipt;
// those of the same microsecond are in the order of the files' names.
//
// A replay does not know
//
//   - windows from before the recording: alerts in them are forwarded,
//   - windows that operators closed by hand, and homes whose hub was replaced while a window was
//     open,
//   - times in which the store did not answer or a clock was wrong: the alerts of then are decided.
package replay
