// Package assess finds out which suppressed alerts were probably genuine, and keeps what it finds.
//
// # On the leader
//
// About once a second the leader reads what is new in the table sighting and in the suppression
// log, says of each sighting where it was (from the inventory), and gives both to the engine of
// package evidence, in the order in which they were received. What the engine says about entries
// goes into the table evidence: one row for each entry, with the latest assessment. Entries of which
// nothing has spoken for a genuine outage so far share rows, in the table quiet: that quell has
// looked, and what it saw, must be there when somebody asks. Changes of the level go into
// evidence_change, with the assessment that they come from; reports take them from there.
//
// While more than 1,000 entries a second come, the leader leaves that for later, for two minutes at
// most, since alerts need the machine. What an assessment says does not depend on when it is made.
//
// # After a restart, or on another leader
//
// The engine is in memory. A new one gets all sightings and entries of the last 26 hours again.
// What it learned of models is older than that, so it is in the table learned, with the positions
// up to which it was learned, and the time. Run gives that to an engine, which learns nothing again
// from what was received until then. Then it gives it what there was up to these positions, says
// nothing about it, and goes on from there.
//
// # Nothing depends on it
//
// All of this is in the background: transactions are background tasks of the database's writer.
// If it fails, messages pass as before, Conditions says so, and it is tried again.
package assess
