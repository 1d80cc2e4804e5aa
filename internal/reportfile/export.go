package reportfile

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"quell/internal/outage"

	"github.com/parquet-go/parquet-go"
)

// Format is a format of Export.
type Format string

const (
	CSV     Format = "csv"     // the columns of report files, with their names in the first line
	JSONL   Format = "jsonl"   // a line for each entry, as in the API
	Parquet Format = "parquet" // typed columns of the same names; instants in microseconds, UTC
)

// ErrFormat says that a text is not the name of a format.
var ErrFormat = errors.New("not csv, jsonl or parquet")

// ParseFormat reads a format; the error is ErrFormat.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case CSV, JSONL, Parquet:
		return f, nil
	}
	return "", fmt.Errorf("%q: %w", s, ErrFormat)
}

// ContentType returns the format's media type.
func (f Format) ContentType() string {
	return map[Format]string{CSV: "text/csv; charset=utf-8; header=present", JSONL: "application/jsonl", Parquet: "application/vnd.apache.parquet"}[f]
}

// Export writes entries. It streams: its memory does not grow with their number.
func Export(w io.Writer, f Format, entries iter.Seq2[outage.Entry, error]) error {
	switch f {
	case CSV:
		return exportCSV(w, entries)
	case JSONL:
		return exportJSONL(w, entries)
	case Parquet:
		return exportParquet(w, entries)
	}
	return ErrFormat
}

func exportCSV(out io.Writer, entries iter.Seq2[outage.Entry, error]) error {
	w := csv.NewWriter(out)
	w.UseCRLF = true
	if err := w.Write(columns[1:]); err != nil {
		return err
	}
	var fields []string
	for e, err := range entries {
		if err != nil {
			return err
		}
		fields = appendEntry(fields[:0], &e)
		if err := w.Write(fields); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}

func exportJSONL(out io.Writer, entries iter.Seq2[outage.Entry, error]) error {
	w := json.NewEncoder(out)
	for e, err := range entries {
		if err != nil {
			return err
		}
		if err := w.Encode(&e); err != nil {
			return err
		}
	}
	return nil
}

// row is an entry in Parquet.
type row struct {
	Sequence    int64     `parquet:"sequence,delta"`
	AlertID     string    `parquet:"alert_id"`
	AlertCode   string    `parquet:"alert_code,dict"`
	CHF         string    `parquet:"chf_id"`
	ESME        string    `parquet:"esme_id"`
	MPxN        string    `parquet:"mpxn"`
	MPxNValid   bool      `parquet:"mpxn_valid"`
	Distributor string    `parquet:"distributor,dict"`
	OutageStart time.Time `parquet:"outage_start,timestamp(microsecond)"`
	Received    time.Time `parquet:"received_at,timestamp(microsecond)"`
	RequestID   string    `parquet:"request_id"`
	Mode        string    `parquet:"mode,dict"`
	WindowStart time.Time `parquet:"window_start,timestamp(microsecond)"`
	WindowEnd   time.Time `parquet:"window_end,timestamp(microsecond)"`
	Sequenced   *uint32   `parquet:"throttled_sequence_id,optional"`
	Throttled   *uint32   `parquet:"throttled_count,optional"`
	Outcome     string    `parquet:"outcome,dict"`
	Before      bool      `parquet:"started_before_activation"`
	Repeated    bool      `parquet:"repeated_in_window"`
}

// rowGroup is how many entries are held in memory before they are written.
const rowGroup = 50_000

func exportParquet(out io.Writer, entries iter.Seq2[outage.Entry, error]) error {
	w := parquet.NewGenericWriter[row](out, parquet.Compression(&parquet.Zstd), parquet.MaxRowsPerRowGroup(rowGroup))
	rows := make([]row, 0, 1000)
	flush := func() error {
		_, err := w.Write(rows)
		rows = rows[:0]
		return err
	}
	for e, err := range entries {
		if err != nil {
			return err
		}
		rows = append(rows, row{e.Seq, e.AlertID, e.AlertCode, e.CHF.String(), e.ESME.String(), e.MPxN, e.MPxNValid, e.Distributor,
			e.OutageStart, e.Received, e.RequestID, string(e.Mode), e.WindowStart, e.WindowEnd,
			e.Throttled.SequenceID, e.Throttled.Count, string(e.Outcome), e.StartedBefore, e.Repeated})
		if len(rows) == cap(rows) {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	return w.Close()
}
