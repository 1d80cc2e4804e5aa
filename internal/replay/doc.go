// Package replay sends recordings (package recording) through the code that decides, on a virtual
// clock, as fast as the machine can.
//
// The code is that of package motorway. Only what is below it is another one: a ledger in memory,
// since a database would take several times as long; and an inventory that says what the
// recording says, or a file. So a replay with the settings of the recording makes the decisions
// that were made then. Those of a replay with other settings are what would have been decided.
//
// The result depends on the recordings and the options alone. Lines of one run of quell are
// replayed in the order in which it wrote them, which is that of its decisions, as far as it
// knows: it writes a line when its decision is made. Lines of several runs are put in order of
// receipt. If two messages about one hub are decided within the same millisecond, they may
// be replayed the other way round.
//
// With Options.Evidence the entries are assessed too. If nothing but the inventory of then is given, each entry
// ends with the level, the odds and the facts that it had in the quell that recorded:
// TestLiveEvidence holds that. A running quell knows the home of an AD1 by its MPxN. A recording
// mostly has another MPxN in its place, so there it is the home of a meter on the same hub.
//
// A replay does not know
//
//   - windows from before the recording: alerts in them are forwarded,
//   - windows that operators closed by hand, and homes whose hub was replaced while a window was
//     open,
//   - times in which the store did not answer or a clock was wrong: the alerts of then are decided.
package replay
