package server

import (
	"time"

	"quell/internal/config"
	"quell/internal/recording"
)

// recordingLimits are the settings of the recording.
func recordingLimits(cfg *config.Config) recording.Limits {
	return recording.Limits{Enabled: cfg.Record.Enabled, Plain: cfg.Record.MPxN == "plain", MaxBytes: int64(cfg.Record.MaxBytes), Keep: time.Duration(cfg.Record.Keep)}
}
