// Package audit is the audit log: what was changed, which numbers of supply points were looked
// up, and what was refused; by whom, from where and when.
//
// # The chain
//
// Records are numbered from 1 without gaps, and never change. Each has a hash over its fields
// and the hash of the record before it. So a record that was changed, moved, taken out or put in
// between no longer fits. Who owns the database can compute the whole chain anew. That shows
// only to those who noted a head (the number and hash of a last record) elsewhere: reports and
// syslog messages have heads, and operators can note one.
//
// The hash is the SHA-256, in lower-case hexadecimal, of twelve texts in UTF-8. Each is written
// as its length in bytes in decimal, a colon, the text, and a comma. So no two records have the
// same bytes. The texts are, in this order:
//
//	 1  the hash of the record before; empty for the first record of all
//	 2  number   in decimal
//	 3  at       in UTC, as 2026-03-01T10:05:00.25Z: with as many decimals of a second as
//	             are needed, at most six; none and no point for a whole second
//	 4  who
//	 5  role
//	 6  from
//	 7  what
//	 8  object
//	 9  outcome
//	10  why
//	11  detail
//	12  count    in decimal
//
// The JSON of a record has exactly these texts.
//
// # The head and the anchor
//
// The table audit_chain has the head: the number and hash of the last record. Append takes the
// next number from it, in the transaction of the change that it records. So what is rolled back
// leaves no gap, and of several nodes one waits for the other. Housekeeping deletes records from
// the front only. It first moves the anchor, which is the number and hash of the last deleted
// record: from there the chain is verified. The record of each deletion has the anchor too, and
// Verify misses it if somebody else has deleted records.
//
// # Refused attempts
//
// Anyone who reaches a port can be refused as often as they like. So refused attempts of one
// origin are counted, and written as fewer records the longer they go on: see Log.Refused.
package audit
