// Package journal is a node's file of what must not be forgotten while the database
// does not answer. It does not know what a record means: a record is any value that
// has a form in JSON.
//
// # The file
//
// One record is one line: the CRC-32 (IEEE) of the JSON text in eight hexadecimal
// digits, a space, the JSON. Append returns when the line is on the disk; records that
// arrive together are written with one sync. When all records have been played into the
// database, the file is emptied.
//
// # Playing
//
// Records are played in the order in which they were appended. Next gives the oldest,
// and Done says that they were played. A crash in between plays them again at the next
// start, so playing must be idempotent.
//
// # Failures
//
//   - The end of the file is torn, by a crash within a write: nobody was told that the
//     record is durable. It is cut off at the start.
//   - A line is damaged: it is set aside in a file beside the journal, for a person to
//     read, and all other lines are played. If the damage joined two lines, those parts
//     of it that are whole are played.
//   - A part of the file cannot be read: after five tries it is passed over.
//   - The file cannot be written (the disk is full, or fails): records stay in memory, in
//     line, and are written as soon as that works again. Failing says so. Beyond a limit
//     they are lost, and counted.
//   - The disk hangs: Append returns when its context ends. The record is in line.
//   - The database refuses a record because of its content: SetAside puts it into another
//     file, so that it is not in the way of all that follow.
package journal
