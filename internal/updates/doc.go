// Package updates notes which meters have new firmware on its way, so that the forecast of false
// alerts can say what is coming before an 11.3 is sent.
//
// # What is known, and from what
//
// A supplier first sends the image: a Service Request 11.1 (Update Firmware), whose DeviceIDList
// names the meters. An alert N60 goes north when the image has arrived at the hub of a device, or has
// not. Later the supplier activates it with an 11.3 for each meter. So until then it is known which
// meters will be activated, and by whom, but not when: neither an 11.1 nor an N60 says it. The
// forecast estimates it from how long the same supplier has waited before (see Waits).
//
// # What is not known
//
//   - An 11.1 is longer than what quell reads of a message, and its signature is not verified.
//     Anybody who may send messages south can make up an update. Nothing but the forecast uses it.
//   - Updates of meters that the inventory does not have at that time. They are not noted.
//   - If an answer refuses the whole 11.1, it is forgotten. The lists of single meters in
//     warnings are not read: those meters have no N60, and are counted as ordered until they are forgotten.
//   - Whether a supplier changes its mind. An update without an 11.3 is forgotten after Keep.
//   - N60 is about the hub's image store. Where an image comes to a meter without an N60, it stays
//     counted as ordered.
//
// # What it costs
//
// Begin, Write and Arrived wait for nothing but a lock that is held for less than a microsecond, and
// for copies. Other messages than 11.1 and N60 are looked at once: a comparison. The list of an
// 11.1 is copied as it passes, in the pieces in which it passes, and is read afterwards. It is never
// held back.
//
// About once a second each node writes what came meanwhile into the table firmware, a few hundred rows
// at a time, since decisions wait for each transaction. While the database does not answer, the
// first 400,000 notes wait; what comes after that is dropped and counted. If the process is killed,
// what waits is lost.
package updates
