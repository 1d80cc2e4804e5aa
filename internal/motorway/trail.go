package motorway

import (
	"encoding/json"
	"io"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"quell/internal/outage"

	"gopkg.in/natefinch/lumberjack.v2"
)

// Trail is the Service Audit Trail: one JSON line for each message that
// passed, never one for a suppressed alert. It holds no MPxN.
type Trail struct {
	log     *slog.Logger
	out     io.WriteCloser
	enabled atomic.Bool
	failing atomic.Bool
}

// The trail's files: rotated at trailSize, trailKeep old ones kept.
const (
	trailSize = 100 // MiB
	trailKeep = 20
)

// OpenTrail opens the trail in the folder "audit" of dir.
func OpenTrail(dir string, log *slog.Logger) *Trail {
	return &Trail{log: log, out: &lumberjack.Logger{Filename: filepath.Join(dir, "audit", "trail.jsonl"), MaxSize: trailSize, MaxBackups: trailKeep}}
}

// Enable switches the writing of lines.
func (t *Trail) Enable(on bool) { t.enabled.Store(on) }

// Close closes the file.
func (t *Trail) Close() error { return t.out.Close() }

// TrailLine is one line of the trail.
type TrailLine struct {
	Time       time.Time        `json:"time"`
	Direction  outage.Direction `json:"direction"`
	RequestID  string           `json:"request_id,omitempty"`
	ResponseID string           `json:"response_id,omitempty"`
	SRV        string           `json:"srv,omitempty"`
	AlertCode  string           `json:"alert_code,omitempty"`
	Reason     outage.Reason    `json:"reason"`
	Status     int              `json:"status"` // the next hop's; 0: it could not be reached
}

func (t *Trail) write(now time.Time, p *Passage, status int) {
	if !t.enabled.Load() {
		return
	}
	line, err := json.Marshal(TrailLine{Time: now.UTC(), Direction: p.Direction, RequestID: p.Message.RequestID.String(), ResponseID: p.Message.ResponseID.String(),
		SRV: p.Message.ServiceReferenceVariant, AlertCode: p.Message.AlertCode, Reason: p.Decision.Reason, Status: status})
	if err == nil {
		_, err = t.out.Write(append(line, '\n'))
	}
	// A full disk must not fill the log as well.
	if failed := err != nil; t.failing.Swap(failed) != failed {
		if failed {
			t.log.Error("the service audit trail cannot be written", "error", err)
		} else {
			t.log.Info("the service audit trail is written again")
		}
	}
}
