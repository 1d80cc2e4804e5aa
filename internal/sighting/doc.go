// Package sighting keeps what was seen pass, for the evidence on suppressed alerts: activations
// that were ordered, and those that did not run; alerts AD1 that went forward; restoration
// alerts; and devices that were heard again. Package evidence says what each means.
//
// # What it costs
//
// Add copies a sighting into a buffer, and Heard looks a device up in a small set. Neither waits
// for anything but a lock that is held for less than a microsecond. Nothing here delays a message,
// or changes what becomes of it.
//
// # In the database
//
// About once a second each node writes what came meanwhile, as a few rows of the table sighting.
// A row has many sightings in a compact form (see encode.go). The leader reads the rows of all
// nodes in the order of their numbers. Housekeeping deletes those that are older than Keep; but not
// before Keep has passed since their activations began, which may have been ordered weeks ahead.
//
// While the database does not answer, sightings wait: 8 MB of them, about 400,000. What comes
// after that is dropped and counted. If the process is killed, those of the last second are lost.
// Then an assessment may lack a neighbour. No decision depends on it.
package sighting
