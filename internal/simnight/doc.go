// Package simnight makes of a night of package nation the messages that quell would get: 11.3s,
// AD1s, restoration alerts and others, each with its time. They can be written as a recording,
// with the inventory and the device list that belong to it, or sent to the listeners of a quell. So
// package replay, and with it all that decides and assesses in a running quell, can be held to
// what the simulation knows.
//
// What the simulation calls a postcode is in the inventory's column group: in a simulated world
// the borders of postcodes and of sectors do not fall together, and in an inventory the sector is
// a part of the postcode.
//
// The simulation has nothing but sightings. What they do not say is made up here, always
// in the same way: the ids of messages, the MPANs, and how the meter or the DCC says that an
// activation did not run.
//
// It also writes what a study of many nights measured into docs/outage-safety.md.
package simnight
