package motorway

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"quell/internal/lines"
	"quell/internal/outage"
	"quell/internal/rotated"
)

// Trail is the Service Audit Trail: one JSON line for each message that passed, and none
// for a suppressed alert. It has no MPxN. Lines wait in a bounded queue, so a disk that is
// full or hangs delays no message.
type Trail struct {
	log     *slog.Logger
	file    *rotated.File
	lines   *lines.Queue
	enabled atomic.Bool
}

const (
	trailSize  = 100 << 20             // bytes, after which a new file is started
	trailLimit = 16 << 20              // bytes that may wait for the disk
	trailWait  = 5 * time.Second       // for the disk, when the trail is closed
	trailRest  = 20 * time.Millisecond // after each write
	trailField = 128                   // bytes of a field, after which it is cut; ids have at most 71
)

// OpenTrail opens the trail in the folder "audit" of dir.
func OpenTrail(dir string, log *slog.Logger) *Trail { return openTrail(dir, log, trailLimit) }

func openTrail(dir string, log *slog.Logger, limit int) *Trail {
	t := &Trail{log: log, file: &rotated.File{Path: filepath.Join(dir, "audit", "trail.jsonl"), What: "the service audit trail", Max: trailSize, Log: log}}
	t.lines = lines.New(t.file, limit, trailRest, t.changed)
	return t
}

// changed logs that lines cannot be written, or that they can again.
func (t *Trail) changed(err error, lost uint64) {
	switch {
	case err != nil:
		t.log.Error("the service audit trail cannot be written", "error", err)
	case lost > 0:
		t.log.Error("the service audit trail is written again, lines are missing", "lines", lost)
	default:
		t.log.Info("the service audit trail is written again")
	}
}

// Enable sets whether lines are written.
func (t *Trail) Enable(on bool) { t.enabled.Store(on) }

// Reopen closes the file and opens it again by its name, since another program may have
// moved it. It does not wait until that is done.
func (t *Trail) Reopen() {
	t.file.Reopen()
	t.lines.Write(nil)
}

// Flush waits until the lines of all messages that passed before are in the file. The
// error is that of ctx.
func (t *Trail) Flush(ctx context.Context) error { return t.lines.Flush(ctx) }

// Dropped returns how many lines were dropped since the start.
func (t *Trail) Dropped() uint64 { return t.lines.Dropped() }

// Trouble says what is wrong with the trail now, "" if nothing is.
func (t *Trail) Trouble() string { return t.lines.Trouble() }

// Close writes the lines that wait, for trailWait at most, and closes the file. The error
// says what was not written.
func (t *Trail) Close() error {
	err := t.lines.Close(trailWait)
	if t.lines.Closed() {
		t.file.Close()
	}
	if err != nil {
		return fmt.Errorf("the service audit trail: %w", err)
	}
	return nil
}

// TrailLine is one line of the trail. appendTrailLine writes it.
type TrailLine struct {
	Time       time.Time        `json:"time"`
	Direction  outage.Direction `json:"direction"`
	RequestID  string           `json:"request_id,omitempty"`
	ResponseID string           `json:"response_id,omitempty"`
	SRV        string           `json:"srv,omitempty"`
	AlertCode  string           `json:"alert_code,omitempty"`
	Reason     outage.Reason    `json:"reason"`
	Status     int              `json:"status"` // of the next hop's answer; 0: it could not be reached
}

// write queues the line of a message. It is in the file about 20 ms later: see
// lines.Queue.Write.
func (t *Trail) write(now time.Time, p *Passage, status int) {
	if !t.enabled.Load() {
		return
	}
	var space [400]byte // on the stack: longer than the line of any valid message
	line, err := appendTrailLine(space[:0], now, p, status)
	if err != nil {
		t.log.Error("a line of the service audit trail cannot be made", "error", err)
		return
	}
	t.lines.Write(line) // the queue counts what it drops
}

// PassedLate is Passed for an alert that was suppressed before, and is delivered since it was
// released.
func (m *Motorway) PassedLate(document []byte, status int) {
	p := Passage{Direction: outage.North, Decision: outage.Decision{Outcome: outage.Released, Reason: outage.ReasonReleased}}
	p.read(Body{XML: true, Head: document})
	m.Passed(&p, status)
}

// appendTrailLine appends what encoding/json makes of the TrailLine of a message, with a
// newline. The error says that JSON has no form for the time.
func appendTrailLine(b []byte, now time.Time, p *Passage, status int) ([]byte, error) {
	b = append(b, `{"time":"`...)
	b, err := now.UTC().AppendText(b)
	if err != nil {
		return nil, err
	}
	b = append(b, `","direction":`...)
	b = appendText(b, string(p.Direction))
	b = appendID(b, `,"request_id":"`, p.Message.RequestID)
	b = appendID(b, `,"response_id":"`, p.Message.ResponseID)
	if srv := p.Message.ServiceReferenceVariant; srv != "" {
		b = appendText(append(b, `,"srv":`...), srv)
	}
	if code := p.Message.AlertCode; code != "" {
		b = appendText(append(b, `,"alert_code":`...), code)
	}
	b = appendText(append(b, `,"reason":`...), string(p.Decision.Reason))
	b = strconv.AppendInt(append(b, `,"status":`...), int64(status), 10)
	return append(b, "}\n"...), nil
}

// appendID appends a field with an id; nothing if the id is zero.
func appendID(b []byte, before string, id outage.RequestID) []byte {
	if id == (outage.RequestID{}) {
		return b
	}
	b, _ = id.AppendText(append(b, before...))
	return append(b, '"')
}

// appendText appends a text, which it cuts, as a JSON string.
func appendText(b []byte, text string) []byte {
	text = lines.Truncate(text, trailField)
	for _, c := range []byte(text) {
		if c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			// encoding/json knows how to write it. No valid message has such a text.
			quoted, _ := json.Marshal(text) // never fails for a string
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), text...), '"')
}
