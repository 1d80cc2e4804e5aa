// Package journal is a file of a node. It holds what must not be forgotten while the
// database does not answer. It does not know what a record means: a record is any value
// that can be written as JSON.
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
// Records are played in the order in which they were appended. Next returns the oldest,
// and Done says that they were played. After a crash in between they are played again at
// the next start, so playing must be idempotent.
//
// # Failures
//
//   - The last line is incomplete, after a crash during a write: Append has not returned
//     for that record. The start removes the line.
//   - A line is damaged: it is set aside in a file beside the journal, for a person to
//     read, and all other lines are played. If the damage joined two lines, the records
//     in it that are whole are played.
//   - A part of the file cannot be read: after five tries it is skipped.
//   - The file cannot be written (the disk is full, or fails): records stay in a queue in
//     memory, and are written as soon as that works again. Failing says so. Records
//     beyond a limit are lost, and counted.
//   - The disk hangs: Append returns when its context ends. The record stays in the queue.
//   - The database refuses a record because of its content: SetAside puts it into another
//     file, so that the records after it can be played.
package journal
