package reportfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/maphash"
	"io"
	"slices"
	"strconv"
	"time"

	"quell/internal/assess"
	"quell/internal/audit"
	"quell/internal/events"
	"quell/internal/evidence"
	"quell/internal/outage"
	"quell/internal/report"
)

// Fault says what is wrong with a file, and where.
type Fault struct {
	File string
	Line int // 0 if the fault is of the whole file
	Err  error
}

func (f *Fault) Error() string {
	if f.Line == 0 {
		return f.File + ": " + f.Err.Error()
	}
	return fmt.Sprintf("%s:%d: %v", f.File, f.Line, f.Err)
}

func (f *Fault) Unwrap() error { return f.Err }

// Record is one S, C, D or E record of a file; exactly one pointer is set.
type Record struct {
	Event      *events.Event // its ID is not in the file
	Standing   bool          // the event came before the report
	Correction *outage.Entry // valid until the next record, as is Entry
	Entry      *outage.Entry
	Evidence   *assess.Recorded // its facts are only there in words
}

// File is the result of reading a whole file without a fault.
type File struct {
	Header  Header
	Name    string // that its header implies
	Entries int64
	Size    int64
	SHA256  string

	streams map[string]*part // the part of each distributor
	events  uint64           // sum of the S records
}

// part is the part of a file that is of one distributor.
type part struct {
	entries int64
	sum     uint64 // of the C, D and E records, in order
}

// seed is the seed of the sums that compare the files of one report.
var seed = maphash.MakeSeed()

// add adds a record to a sum.
func add(sum uint64, fields []string) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	maphash.WriteComparable(&h, sum)
	for _, f := range fields {
		h.WriteString(f)
		h.WriteByte(0)
	}
	return h.Sum64()
}

// part returns the part of a distributor that was read so far.
func (f *File) part(stream string) *part {
	p, ok := f.streams[stream]
	if !ok {
		p = &part{}
		f.streams[stream] = p
	}
	return p
}

// Read reads a file, and checks it by itself. It calls yield with each S, C, D and E record, if
// yield is not nil. It keeps no more than a record in memory. The error is a *Fault with the given
// name, or one of reading.
func Read(name string, r io.Reader, yield func(Record)) (*File, error) {
	in := &summed{r: r, sum: sha256.New()}
	p := &parser{name: name, in: in, csv: csv.NewReader(in), yield: yield, file: &File{streams: map[string]*part{}}}
	p.csv.FieldsPerRecord = len(columns)
	p.csv.ReuseRecord = true
	if err := p.records(); err != nil {
		return nil, err
	}
	return p.file, p.checkSum()
}

// readHeader reads the header of a file, and nothing else. The error is as that of Read.
func readHeader(name string, r io.Reader) (Header, error) {
	p := &parser{name: name, csv: csv.NewReader(r), file: &File{}}
	p.csv.FieldsPerRecord = len(columns)
	fields, err := p.csv.Read()
	if err != nil {
		return Header{}, &Fault{name, 1, err}
	}
	p.fields = fields
	if err := p.record(); err != nil {
		return Header{}, err
	}
	if p.err != nil {
		return Header{}, p.fault("%w", p.err)
	}
	return p.file.Header, nil
}

// summed reads a file, and sums its bytes up to where a record begins. It keeps those after it.
type summed struct {
	r    io.Reader
	sum  hash.Hash
	upTo int64  // how many bytes are in sum
	rest []byte // that were read since
}

// maxRecord is how long a record may be, which is far more than any has.
const maxRecord = 4 << 20

var errLongRecord = fmt.Errorf("a record longer than %d bytes", maxRecord)

func (s *summed) Read(b []byte) (int, error) {
	if len(s.rest) > maxRecord {
		return 0, errLongRecord
	}
	n, err := s.r.Read(b)
	s.rest = append(s.rest, b[:n]...)
	return n, err
}

// add adds the bytes before an offset to the sum.
func (s *summed) add(offset int64) {
	n := offset - s.upTo
	s.sum.Write(s.rest[:n])
	s.rest, s.upTo = s.rest[n:], offset
}

type parser struct {
	name  string
	in    *summed
	csv   *csv.Reader
	yield func(Record)
	file  *File

	fields []string // of the current record
	stage  int      // of the last record: its index in order
	at     int64    // offset of the current record
	due    int64    // the sequence number that is due, or the least that may come
	entry  outage.Entry

	corrections, events int64
	evidence            int64
	err                 error // the first error of a field of the current record
}

// order is the order of records. S, C, D and E records may repeat.
var order = []string{"", recordHeader, recordNames, recordSwitch, recordCorrection, recordEntry, recordEvidence, recordTrailer}

func (p *parser) fault(format string, args ...any) error {
	line, _ := p.csv.FieldPos(0)
	return &Fault{p.name, line, fmt.Errorf(format, args...)}
}

// records reads all records up to the trailer, which must be the last.
func (p *parser) records() error {
	for {
		if p.at = p.csv.InputOffset(); p.stage < len(order)-1 {
			p.in.add(p.at)
		}
		fields, err := p.csv.Read()
		var syntax *csv.ParseError
		switch {
		case err == io.EOF:
			if p.stage == len(order)-1 {
				return nil
			}
			return &Fault{p.name, 0, errors.New("ends without a trailer: its end is missing")}
		case errors.As(err, &syntax):
			return &Fault{p.name, syntax.Line, syntax.Err}
		case errors.Is(err, errLongRecord):
			return &Fault{p.name, 0, err} // there is no record whose line it could be
		case err != nil:
			return err
		}
		p.fields = fields
		if err := p.record(); err != nil {
			return err
		}
		if p.err != nil {
			return p.fault("%w", p.err)
		}
	}
}

func (p *parser) record() error {
	kind := p.fields[0]
	stage := slices.Index(order, kind)
	repeats := kind == recordSwitch || kind == recordCorrection || kind == recordEntry || kind == recordEvidence
	switch {
	case stage <= 0, kind == recordEvidence && !p.file.Header.Evidence:
		return p.fault("a record of the unknown kind %q", kind)
	case stage < p.stage, stage == p.stage && !repeats:
		return p.fault("a record %s after a record %s", kind, order[p.stage])
	case p.stage < 2 && stage != p.stage+1:
		return p.fault("a record %s where %s is due", kind, order[p.stage+1])
	}
	p.stage = stage
	switch kind {
	case recordHeader:
		return p.header()
	case recordNames:
		if !slices.Equal(p.fields, columns) {
			return p.fault("the names of the columns are not those of version %s", formatVersion)
		}
	case recordSwitch:
		p.file.events = add(p.file.events, p.fields)
		p.event()
	case recordCorrection:
		p.corrections++
		e := p.entryRecord()
		if e.Seq >= p.file.Header.FirstSeq {
			return p.fault("a correction of entry %d, which is not of an earlier report", e.Seq)
		}
		if h := &p.file.Header; p.err == nil && h.Stream != report.Consolidated && h.Stream != e.Stream() {
			return p.fault("a correction of distributor %s in a file of %s", e.Stream(), h.Stream)
		}
		part := p.file.part(e.Stream())
		part.sum = add(part.sum, p.fields)
		p.yieldRecord(Record{Correction: e})
	case recordEntry:
		return p.logEntry()
	case recordEvidence:
		return p.evidenceRecord()
	case recordTrailer:
		return p.trailer()
	}
	return nil
}

func (p *parser) yieldRecord(r Record) {
	if p.yield != nil && p.err == nil {
		p.yield(r)
	}
}

func (p *parser) header() error {
	if p.fields[1] != formatName || p.fields[2] != formatVersion && p.fields[2] != evidenceVersion {
		return p.fault("format %q version %q; this program reads %s version %s and %s", p.fields[1], p.fields[2], formatName, formatVersion, evidenceVersion)
	}
	h := &p.file.Header
	*h = Header{System: p.fields[3], Report: p.number(4), Stream: p.fields[5], Start: p.time(6), End: p.time(7), CutAt: p.time(8),
		FirstSeq: p.number(9), LastSeq: p.number(10), PreviousName: p.fields[11], PreviousSHA256: p.fields[12], DeviceList: p.fields[13],
		Window: p.seconds(14), Switch: outage.Switch(p.fields[15]), Cause: report.Cause(p.fields[16]), Audit: p.auditHead(17), Evidence: p.fields[2] == evidenceVersion}
	if p.err == nil && h.LastSeq < h.FirstSeq-1 {
		return p.fault("the header says entries %d to %d", h.FirstSeq, h.LastSeq)
	}
	p.file.Name = NameOf(h.System, h.Start, h.End, h.Report, h.Stream)
	p.due = h.FirstSeq
	return nil
}

// auditHead reads the head of the audit log, which files of earlier versions do not have.
func (p *parser) auditHead(i int) (h audit.Head) {
	if p.fields[i] == "" {
		return h
	}
	h, err := audit.ParseHead(p.fields[i])
	if err != nil {
		p.fieldError(i, errors.New("not a head of the audit log"))
	}
	return h
}

func (p *parser) event() {
	p.events++
	e := events.Event{What: p.fields[2], At: p.time(3), New: p.text(4), Old: p.text(5), Who: p.text(6), Why: p.text(7)}
	if kind := p.fields[1]; kind != standing && kind != changed {
		p.fieldError(1, fmt.Errorf("neither %s nor %s", standing, changed))
	}
	p.yieldRecord(Record{Event: &e, Standing: p.fields[1] == standing})
}

func (p *parser) logEntry() error {
	h := &p.file.Header
	e := p.entryRecord()
	switch {
	case p.err != nil:
		return nil
	case e.Seq < p.due:
		return p.fault("entry %d where %d is due: it is out of order, or there twice", e.Seq, p.due)
	case h.Stream == report.Consolidated && e.Seq > p.due:
		return p.fault("entry %d where %d is due: entries are missing", e.Seq, p.due)
	case e.Seq > h.LastSeq:
		return p.fault("entry %d, where the header says that %d is the last", e.Seq, h.LastSeq)
	case h.Stream != report.Consolidated && h.Stream != e.Stream():
		return p.fault("an entry of distributor %s in a file of %s", e.Stream(), h.Stream)
	}
	p.due = e.Seq + 1
	p.file.Entries++
	part := p.file.part(e.Stream())
	part.entries++
	part.sum = add(part.sum, p.fields)
	p.yieldRecord(Record{Entry: e})
	return nil
}

// evidenceRecord reads an E record.
func (p *parser) evidenceRecord() error {
	h := &p.file.Header
	p.evidence++
	c := assess.Recorded{Was: evidence.Level(p.fields[3]), Text: p.text(7), Distributor: p.fields[8],
		Assessment: evidence.Assessment{Entry: p.number(1), Level: evidence.Level(p.fields[2]), Odds: p.odds(4), At: p.time(6)}}
	for i, level := range []evidence.Level{c.Level, c.Was} {
		if level != evidence.None && level != evidence.Weak && level != evidence.Strong {
			p.fieldError(i+2, errors.New("not a level"))
		}
	}
	switch {
	case p.err != nil:
		return nil
	case c.Entry < 1 || c.Entry > h.LastSeq:
		return p.fault("evidence on entry %d, where the header says that %d is the last", c.Entry, h.LastSeq)
	case c.Level == c.Was:
		return p.fault("evidence on entry %d that has not changed", c.Entry)
	case h.Stream != report.Consolidated && h.Stream != c.Stream():
		return p.fault("evidence of distributor %s in a file of %s", c.Stream(), h.Stream)
	}
	part := p.file.part(c.Stream())
	part.sum = add(part.sum, p.fields)
	p.yieldRecord(Record{Evidence: &c})
	return nil
}

func (p *parser) odds(i int) float64 {
	v, err := strconv.ParseFloat(p.fields[i], 64)
	if err != nil || v < 0 || strconv.FormatFloat(v, 'g', 4, 64) != p.fields[i] {
		p.fieldError(i, errors.New("not odds"))
	}
	return v
}

func (p *parser) entryRecord() *outage.Entry {
	p.entry = outage.Entry{Seq: p.number(1), AlertID: p.text(2), AlertCode: p.text(3), CHF: p.device(4), ESME: p.device(5), MPxN: p.text(6), MPxNValid: p.bool(7),
		Distributor: p.fields[8], OutageStart: p.time(9), Received: p.time(10), RequestID: p.fields[11], Mode: outage.Kind(p.fields[12]),
		WindowStart: p.time(13), WindowEnd: p.time(14), Outcome: outage.Outcome(p.fields[17]), StartedBefore: p.bool(18), Repeated: p.bool(19)}
	p.entry.Throttled = outage.Throttled{SequenceID: p.count(15), Count: p.count(16)}
	switch p.entry.Outcome {
	case outage.Suppressed, outage.Shadow, outage.Forwarded, outage.Released:
	default:
		p.fieldError(17, errors.New("not an outcome"))
	}
	return &p.entry
}

func (p *parser) trailer() error {
	h := &p.file.Header
	if h.Stream == report.Consolidated && p.due <= h.LastSeq {
		return p.fault("the trailer where entry %d is due: entries are missing", p.due)
	}
	for i, n := range []int64{p.file.Entries, p.corrections, p.events} {
		if says := p.number(i + 1); p.err == nil && says != n {
			return p.fault("the trailer says %d records %s, there are %d", says, []string{recordEntry, recordCorrection, recordSwitch}[i], n)
		}
	}
	if h.Evidence {
		if says := p.number(5); p.err == nil && says != p.evidence {
			return p.fault("the trailer says %d records %s, there are %d", says, recordEvidence, p.evidence)
		}
	}
	p.file.SHA256 = p.fields[4]
	p.file.Size = p.at
	return nil
}

// checkSum checks the sum in the trailer, and computes that of the whole file.
func (p *parser) checkSum() error {
	sum := p.in.sum // of what is before the trailer
	if got := hex.EncodeToString(sum.Sum(nil)); got != p.file.SHA256 {
		return &Fault{p.name, 0, fmt.Errorf("was changed: the SHA-256 of its records is %s, its trailer says %s", got, p.file.SHA256)}
	}
	// The sum is of all bytes except the trailer's own, so each byte of the trailer is compared.
	var want bytes.Buffer
	w := NewWriter(&want)
	w.entries, w.corrections, w.events = p.file.Entries, p.corrections, p.events
	w.hasEvidence, w.evidence = p.file.Header.Evidence, p.evidence
	if err := w.trailer(p.file.SHA256); err != nil {
		return err
	}
	have := p.in.rest
	if !bytes.Equal(have, want.Bytes()) {
		return &Fault{p.name, 0, errors.New("was changed: its trailer is not written as the format says")}
	}
	sum.Write(have)
	p.file.Size += int64(len(have))
	p.file.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return nil
}

// fieldError keeps the first error of a field in the current record.
func (p *parser) fieldError(field int, err error) {
	if p.err == nil {
		p.err = fmt.Errorf("field %d, %q: %w", field+1, p.fields[field], err)
	}
}

func (p *parser) number(i int) int64 {
	n, err := strconv.ParseInt(p.fields[i], 10, 64)
	if err != nil || n < 0 {
		p.fieldError(i, errors.New("not a number"))
	}
	return n
}

func (p *parser) count(i int) *uint32 {
	if p.fields[i] == "" {
		return nil
	}
	n, err := strconv.ParseUint(p.fields[i], 10, 32)
	if err != nil {
		p.fieldError(i, errors.New("not a number"))
	}
	v := uint32(n)
	return &v
}

func (p *parser) seconds(i int) time.Duration {
	v, err := strconv.ParseFloat(p.fields[i], 64)
	if err != nil || v < 0 {
		p.fieldError(i, errors.New("not a number of seconds"))
	}
	return time.Duration(v * float64(time.Second)).Round(time.Microsecond)
}

func (p *parser) time(i int) time.Time {
	if p.fields[i] == "" {
		return time.Time{}
	}
	t, err := time.Parse(timeLayout, p.fields[i])
	if err != nil {
		p.fieldError(i, errors.New("not a time"))
	}
	return t
}

func (p *parser) bool(i int) bool {
	v := p.fields[i]
	if v != "true" && v != "false" {
		p.fieldError(i, errors.New("neither true nor false"))
	}
	return v == "true"
}

func (p *parser) device(i int) outage.DeviceID {
	id, err := outage.ParseDeviceID(p.fields[i])
	if err != nil {
		p.fieldError(i, err)
	}
	return id
}

func (p *parser) text(i int) string {
	s, err := unescapeText(p.fields[i])
	if err != nil {
		p.fieldError(i, err)
	}
	return s
}
