package search

import (
	"context"
	"encoding/csv"
	"io"
	"strconv"

	"quell/internal/evidence"
	"quell/internal/outage"
	"quell/internal/reportfile"
)

// Bounds of an export: how many entries it has, and how many it looks at.
const (
	MaxExport     = 100_000
	exportPage    = 1000
	exportScanned = 2_000_000
)

// exportColumns are the columns of an export. The names are those of report files, as far as they have
// these columns.
var exportColumns = []string{"sequence", "alert_id", "alert_code", "chf_id", "esme_id", "mpxn", "distributor", "outage_start", "received_at",
	"request_id", "mode", "window_start", "window_end", "outcome", "started_before_activation", "repeated_in_window", "evidence"}

// Export writes the entries of a query as CSV, page after page, until it has Limit of them (at most
// MaxExport), or all, or has looked at two million. next is Before (or After) to go on with, 0 if the
// export is complete. Without mpxn the MPxNs are left out. Memory does not grow with the entries.
func (s *Search) Export(ctx context.Context, out io.Writer, q Query, mpxn bool) (next int64, err error) {
	w := csv.NewWriter(out)
	w.UseCRLF = true
	if err := w.Write(exportColumns); err != nil {
		return 0, err
	}
	left := min(q.Limit, MaxExport)
	for looked := 0; left > 0 && looked < exportScanned; {
		q.Limit = min(left, exportPage)
		p, err := s.Log(ctx, q)
		if err != nil {
			return 0, err
		}
		levels := map[int64]evidence.Level{}
		for _, e := range p.Evidence {
			levels[e.Entry] = e.Level
		}
		for i := range p.Entries {
			e := &p.Entries[i]
			if q.After > 0 { // the oldest first, so that the pages are in order
				e = &p.Entries[len(p.Entries)-1-i]
			}
			if !mpxn {
				e.MPxN = ""
			}
			if err := w.Write(exportRow(e, levels[e.Seq])); err != nil {
				return 0, err
			}
		}
		left -= len(p.Entries)
		looked += len(p.Entries)
		if p.Searched != 0 {
			looked += scanned
		}
		if w.Flush(); w.Error() != nil {
			return 0, w.Error()
		}
		if q.After > 0 {
			next, q.After = p.Newer, p.Newer
		} else {
			next, q.Before = p.Older, p.Older
		}
		if next == 0 {
			break
		}
	}
	return next, nil
}

// exportRow returns the fields of an entry.
func exportRow(e *outage.Entry, level evidence.Level) []string {
	return []string{strconv.FormatInt(e.Seq, 10), reportfile.EscapeText(e.AlertID), reportfile.EscapeText(e.AlertCode), e.CHF.String(), e.ESME.String(), reportfile.EscapeText(e.MPxN),
		e.Stream(), reportfile.FormatTime(e.OutageStart), reportfile.FormatTime(e.Received), e.RequestID, string(e.Mode), reportfile.FormatTime(e.WindowStart), reportfile.FormatTime(e.WindowEnd),
		string(e.Outcome), strconv.FormatBool(e.StartedBefore), strconv.FormatBool(e.Repeated), string(level)}
}
