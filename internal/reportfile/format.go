// Package reportfile writes, reads and verifies report files, which take the suppression log to
// others. It also exports the log for analysts.
//
// docs/report-format.md describes the files.
package reportfile

import (
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"
	"time"

	"quell/internal/assess"
	"quell/internal/audit"
	"quell/internal/events"
	"quell/internal/outage"
	"quell/internal/report"
)

// The name and version of the format are in every file. The version changes if a reader of the
// files would have to change. A file without E records is of the first version, so that its
// readers need not change for it.
const (
	formatName      = "POAS"
	formatVersion   = "1"
	evidenceVersion = "2" // with E records, which the trailer counts
)

// columns are the names of the fields of D and C records. Every other record gets empty fields
// to have as many: all records of a CSV file must have the same number (RFC 4180, section 2).
var columns = []string{
	"record", "sequence", "alert_id", "alert_code", "chf_id", "esme_id", "mpxn", "mpxn_valid", "distributor", "outage_start", "received_at",
	"request_id", "mode", "window_start", "window_end", "throttled_sequence_id", "throttled_count", "outcome",
	"started_before_activation", "repeated_in_window",
}

// The kinds of records, which their first field names.
const (
	recordHeader     = "H"
	recordNames      = "record" // the names of the columns
	recordSwitch     = "S"      // an event: of the switch, the device list, the inventory, windows or reports
	recordCorrection = "C"      // an entry of an earlier report, as it is now
	recordEntry      = "D"
	recordEvidence   = "E" // a change of the evidence that an entry's alert was genuine
	recordTrailer    = "T"
)

// An S record has a value that is in force when the report begins, or a change.
const (
	standing = "standing"
	changed  = "change"
)

// Header is the first record of a file.
type Header struct {
	System            string
	Report            int64
	Stream            string // report.Consolidated, a distributor's id, or outage.UnknownDistributor
	Start, End, CutAt time.Time
	FirstSeq, LastSeq int64  // of the whole report; LastSeq is FirstSeq-1 if it has no entries
	PreviousName      string // the name of the previous file of this stream; "" if there is none
	PreviousSHA256    string
	DeviceList        string // SHA-256
	Window            time.Duration
	Switch            outage.Switch
	Cause             report.Cause
	Evidence          bool       // the file has E records
	Audit             audit.Head // the head of the audit log; its number is 0 if there was none
}

// timeLayout is the format of instants: UTC, with milliseconds.
const timeLayout = "2006-01-02T15:04:05.000Z"

// FormatTime returns an instant in timeLayout; "" for the zero time. Package time takes three
// times as long, and some records have five instants. It is only used for years that do not
// have four digits.
func FormatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	t = t.UTC()
	year, month, day := t.Date()
	if year < 1000 || year > 9999 {
		return t.Format(timeLayout)
	}
	hour, minute, second := t.Clock()
	var b [len(timeLayout)]byte
	digits := func(end, v int) {
		for ; v > 0; end-- {
			b[end-1] = '0' + byte(v%10)
			v /= 10
		}
	}
	copy(b[:], "0000-00-00T00:00:00.000Z")
	digits(4, year)
	digits(7, int(month))
	digits(10, day)
	digits(13, hour)
	digits(16, minute)
	digits(19, second)
	digits(23, t.Nanosecond()/1e6)
	return string(b[:])
}

// NameOf returns the name of a file. That of the consolidated file is
// POAS_<system id>_<period start>_<period end>_<report number>.csv; that of a distributor's
// file has the distributor's id after the number.
func NameOf(system string, start, end time.Time, no int64, stream string) string {
	const layout = "20060102T150405.000Z"
	stamp := func(t time.Time) string { return strings.Replace(t.UTC().Format(layout), ".", "", 1) }
	n := fmt.Sprintf("%s_%s_%s_%s_%08d", formatName, system, stamp(start), stamp(end), no)
	if stream != report.Consolidated {
		n += "_" + stream
	}
	return n + ".csv"
}

// Name is the name of a report file, and its parts.
type Name struct {
	Text, System, Stream string
	Report               int64
}

// ParseName reads the name of a file; ok is false if it is not one of a report file, with the
// number as NameOf writes it.
func ParseName(name string) (f Name, ok bool) {
	parts := strings.Split(strings.TrimSuffix(name, ".csv"), "_")
	if !strings.HasSuffix(name, ".csv") || len(parts) < 5 || len(parts) > 6 || parts[0] != formatName {
		return f, false
	}
	no, err := strconv.ParseInt(parts[4], 10, 64)
	f = Name{name, parts[1], report.Consolidated, no}
	if len(parts) == 6 {
		f.Stream = parts[5]
	}
	return f, err == nil && no > 0 && parts[4] == fmt.Sprintf("%08d", no)
}

// Writer writes one file: call Header, then Event, Correction, Entry and Evidence for all events,
// corrections, entries and changes of evidence, in this order, then Close.
type Writer struct {
	out    io.Writer
	csv    *csv.Writer
	sum    hash.Hash
	size   int64
	fields []string

	entries, corrections, events int64
	evidence                     int64 // and whether the file is of the version that has it:
	hasEvidence                  bool
}

// NewWriter returns a Writer that writes a file to out.
func NewWriter(out io.Writer) *Writer {
	w := &Writer{out: out, sum: sha256.New(), fields: make([]string, 0, len(columns))}
	w.csv = csv.NewWriter(counting{w})
	w.csv.UseCRLF = true
	return w
}

// counting counts the bytes that are written, and adds them to the SHA-256.
type counting struct{ *Writer }

func (c counting) Write(p []byte) (int, error) {
	c.sum.Write(p)
	c.size += int64(len(p))
	return c.out.Write(p)
}

// record writes the fields, and empty ones up to the number of columns.
func (w *Writer) record(fields ...string) error {
	w.fields = append(w.fields[:0], fields...)
	for len(w.fields) < len(columns) {
		w.fields = append(w.fields, "")
	}
	return w.csv.Write(w.fields)
}

// Header writes the header and the names of the columns.
func (w *Writer) Header(h *Header) error {
	version := formatVersion
	if w.hasEvidence = h.Evidence; h.Evidence {
		version = evidenceVersion
	}
	err := w.record(recordHeader, formatName, version, h.System, number(h.Report), h.Stream, FormatTime(h.Start), FormatTime(h.End), FormatTime(h.CutAt),
		number(h.FirstSeq), number(h.LastSeq), h.PreviousName, h.PreviousSHA256, h.DeviceList,
		strconv.FormatFloat(h.Window.Seconds(), 'f', -1, 64), string(h.Switch), string(h.Cause), auditHead(h.Audit))
	if err != nil {
		return err
	}
	return w.record(columns...)
}

// auditHead returns a head of the audit log as text; "" if there was none.
func auditHead(h audit.Head) string {
	if h.No == 0 {
		return ""
	}
	return h.String()
}

// Event writes an S record. before says that the event came before the report, and is in force
// when it begins.
func (w *Writer) Event(e events.Event, before bool) error {
	kind := changed
	if before {
		kind = standing
	}
	w.events++
	return w.record(recordSwitch, kind, e.What, FormatTime(e.At), escapeText(e.New), escapeText(e.Old), escapeText(e.Who), escapeText(e.Why))
}

// Correction writes a C record.
func (w *Writer) Correction(e *outage.Entry) error {
	w.corrections++
	return w.entryRecord(recordCorrection, e)
}

// Entry writes a D record.
func (w *Writer) Entry(e *outage.Entry) error {
	w.entries++
	return w.entryRecord(recordEntry, e)
}

// Evidence writes an E record.
func (w *Writer) Evidence(c *assess.Recorded) error {
	w.evidence++
	return w.record(recordEvidence, number(c.Entry), string(c.Level), string(c.Was), strconv.FormatFloat(c.Odds, 'g', 4, 64), c.StageName(), FormatTime(c.At), escapeText(c.Text), c.Distributor)
}

func (w *Writer) entryRecord(kind string, e *outage.Entry) error {
	w.fields = appendEntry(append(w.fields[:0], kind), e)
	return w.csv.Write(w.fields)
}

// appendEntry appends an entry's fields, from the second column on.
func appendEntry(fields []string, e *outage.Entry) []string {
	return append(fields, number(e.Seq), escapeText(e.AlertID), escapeText(e.AlertCode), e.CHF.String(), e.ESME.String(), escapeText(e.MPxN), strconv.FormatBool(e.MPxNValid), e.Distributor,
		FormatTime(e.OutageStart), FormatTime(e.Received), e.RequestID, string(e.Mode), FormatTime(e.WindowStart), FormatTime(e.WindowEnd),
		count(e.Throttled.SequenceID), count(e.Throttled.Count), string(e.Outcome), strconv.FormatBool(e.StartedBefore), strconv.FormatBool(e.Repeated))
}

// Close writes the trailer, and returns the SHA-256 of the whole file.
func (w *Writer) Close() (sum string, err error) {
	w.csv.Flush()
	if err := w.csv.Error(); err != nil {
		return "", err
	}
	if err := w.trailer(hex.EncodeToString(w.sum.Sum(nil))); err != nil {
		return "", err
	}
	return hex.EncodeToString(w.sum.Sum(nil)), nil
}

// Entries returns how many D records were written.
func (w *Writer) Entries() int64 { return w.entries }

// Size returns how many bytes were written.
func (w *Writer) Size() int64 {
	w.csv.Flush()
	return w.size
}

// trailer writes the trailer. sum is the SHA-256 of all bytes before it.
func (w *Writer) trailer(sum string) error {
	fields := []string{recordTrailer, number(w.entries), number(w.corrections), number(w.events), sum}
	if w.hasEvidence {
		fields = append(fields, number(w.evidence))
	}
	if err := w.record(fields...); err != nil {
		return err
	}
	w.csv.Flush()
	return w.csv.Error()
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

func count(n *uint32) string {
	if n == nil {
		return ""
	}
	return strconv.FormatUint(uint64(*n), 10)
}
