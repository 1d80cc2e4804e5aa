// Package recording keeps the traffic that quell decides on, so that it can be replayed: see
// package replay.
//
// # What is kept
//
// A recording is JSON lines. Each has a kind (see Kind) and the time at which quell received the
// message or the answer, in microseconds since 1970. Kept whole are 11.3s, AD1s, restoration
// alerts, and messages that say that an activation did not run. Of an 11.3's answer only the
// outcome is kept, and of other messages only whose they are, and only if the device's hub has
// had a suppressed alert lately. With an 11.3 there is what the inventory said of its meter, and
// what was found out about its signature. So a replay needs neither inventory nor certificates.
//
// The first line of each file has the settings in force, and so has a line after each change.
//
// # Personal data
//
// Of the messages that are kept, only AD1s have an MPxN. It is replaced by another of the same form,
// which depends on it and on a secret key (see pseudonym): the distributor stays, the supply
// point does not. The key is in the data folder, and not in the folder with the recordings.
//
// # Files
//
// A file is a sequence of zstd frames, each with whole lines. A frame is written at once or not at
// all. So a process that is killed, or a disk that is full, leaves files that can be read.
//
// # Delay
//
// Add copies a line into a queue (package lines), and never waits. One goroutine does the rest. If
// the disk is full, slow or hangs, lines are dropped and counted.
package recording
