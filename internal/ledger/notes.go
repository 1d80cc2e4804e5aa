package ledger

import (
	"time"

	"quell/internal/outage"
	"quell/internal/passed"
)

// ForwardedNote is the note that an alert was forwarded, and why.
type ForwardedNote = passed.Note

// NotePassed notes that an alert of a hub without a window (MayHaveWindow) was forwarded, so that
// its retry is forwarded too. It does not wait: later calls of Decide find the note. It keeps no
// more than a hash of the alert, and id remains the caller's.
func (l *Ledger) NotePassed(id []byte, chf outage.DeviceID, start, received time.Time, reason outage.Reason) {
	l.Passed.Add(id, chf, start, received, reason)
	if l.MayHaveWindow(chf) {
		// It has one since. Decide may not have found the note, and logged a retry as suppressed.
		l.NoteForwarded(ForwardedNote{AlertID: string(id), CHF: chf, OutageStart: start, Received: received, Reason: reason})
	}
}

// maxNotes limits the notes that wait while the database is busy; about 20 MB.
const maxNotes = 100_000

// NoteForwarded notes that an alert was forwarded without a call of Decide, so that its retry is
// forwarded too. If the alert has an entry, the entry is corrected. It does not wait: later calls
// of Decide find the note.
func (l *Ledger) NoteForwarded(f ForwardedNote) {
	l.Passed.Hold(&f)
	if !l.notes.Add(f) {
		l.lostNotes.Add(1)
	}
}

// notesDone puts notes into the journal if the database failed.
func (l *Ledger) notesDone(list []ForwardedNote, err error) {
	if n := l.lostNotes.Swap(0); n > 0 {
		l.log.Error("forwarded alerts were not noted, their retries may be decided again", "alerts", n)
	}
	if err != nil && !l.db.Refuses(err) {
		l.journal.Keep(forwardedRecords(list)...)
	}
}

func forwardedRecords(list []ForwardedNote) []record {
	records := make([]record, len(list))
	for i := range list {
		records[i].Forwarded = &list[i]
	}
	return records
}

// keepNotes puts notes of passed alerts into the journal, unless its file cannot be written.
func (l *Ledger) keepNotes(list []passed.Note, rows [][]byte) bool {
	if _, _, err := l.journal.Failing(); err != nil {
		return false
	}
	records := forwardedRecords(list)
	for _, notes := range rows {
		records = append(records, record{Passed: notes})
	}
	l.journal.Keep(records...)
	return true
}

// noteLeft notes passed alerts whose hubs have windows or entries at other nodes.
func (l *Ledger) noteLeft(list []passed.Note) {
	for _, f := range list {
		if !l.notes.Add(f) { // the database is being closed
			l.journal.Keep(record{Forwarded: &f})
		}
	}
}
