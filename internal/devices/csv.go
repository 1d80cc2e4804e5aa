package devices

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"quell/internal/outage"
)

// columns are the positions of the columns in a record: of each of Columns, then of each of
// OptionalColumns, which is -1 if the column is not there.
type columns [11]int

func (c *columns) count() (n int) {
	for _, at := range c {
		if at >= 0 {
			n++
		}
	}
	return n
}

func readCSV(r *bufio.Reader, yield func(outage.Device) error) (skipped int, err error) {
	var faults LineErrors
	var column columns // set by the header
	header := false
	texts := intern{}
	lines := lineReader{r: r}
	records := newRecords()
	for {
		line, err := lines.next()
		switch {
		case errors.Is(err, io.EOF):
			if !header {
				faults.add(lines.number+1, fmt.Errorf("no header; want the columns %s", strings.Join(Columns, ",")))
			}
			return skipped, faults.err()
		case errors.Is(err, errLongLine):
		case err != nil:
			return skipped, err
		case len(bytes.TrimSpace(line)) == 0:
			continue
		}
		var record []string
		if err == nil {
			record, err = records.parse(line)
		}
		if !header {
			errs := []error{err}
			if err == nil {
				errs = readHeader(record, &column)
			}
			for _, err := range errs {
				faults.add(lines.number, err)
			}
			if len(errs) > 0 { // without a header no line can be read
				return skipped, faults.err()
			}
			header = true
			continue
		}
		var d outage.Device
		var gone bool
		if err == nil {
			d, gone, err = deviceOf(record, &column, texts)
		}
		switch {
		case err != nil:
			faults.add(lines.number, err)
		case gone:
			skipped++
		default:
			if err := yield(d); err != nil {
				return skipped, err
			}
		}
	}
}

// readHeader finds the place of each column in the header.
func readHeader(record []string, column *columns) (errs []error) {
	names := slices.Concat(Columns, OptionalColumns)
	for i := range column {
		column[i] = -1
	}
	for at, name := range record {
		switch i := slices.Index(names, strings.TrimSpace(name)); {
		case i < 0:
			errs = append(errs, fmt.Errorf("unknown column %q", name))
		case column[i] >= 0:
			errs = append(errs, fmt.Errorf("column %s is there twice", names[i]))
		default:
			column[i] = at
		}
	}
	for i, at := range column[:len(Columns)] {
		if at < 0 {
			errs = append(errs, fmt.Errorf("column %s is missing", names[i]))
		}
	}
	return errs
}

// deviceOf reads a record, and says whether the device is gone.
func deviceOf(record []string, column *columns, texts intern) (d outage.Device, gone bool, err error) {
	if n := column.count(); len(record) != n {
		return d, false, fmt.Errorf("%d fields; want %d", len(record), n)
	}
	field := func(i int) string {
		if column[i] < 0 {
			return ""
		}
		return strings.TrimSpace(record[column[i]])
	}
	if d.ID, err = outage.ParseAnyDeviceID(field(0)); err != nil {
		return d, false, fmt.Errorf("device_id %q: %w", field(0), err)
	}
	if hub := field(5); hub != "" {
		if d.CHF, err = outage.ParseAnyDeviceID(hub); err != nil {
			return d, false, fmt.Errorf("chf_id %q: %w", hub, err)
		}
	}
	d.Type, d.SMETSVersion, d.Manufacturer, d.Model = field(1), field(2), field(3), field(4)
	d.MPxN = field(6)
	if err = checkDevice(&d); err != nil {
		return d, false, err
	}
	status, supplier := field(len(Columns)), field(len(Columns)+1)
	if status != "" && !slices.ContainsFunc(outage.DeviceStatuses, func(s string) bool { return strings.EqualFold(s, status) }) {
		return d, false, fmt.Errorf("device_status %q is not one of %s", status, strings.Join(outage.DeviceStatuses, ", "))
	}
	if supplier != "" {
		if d.Supplier, err = outage.ParseAnyDeviceID(supplier); err != nil {
			return d, false, fmt.Errorf("import_supplier %q: %w", supplier, err)
		}
	}
	d.Postcode, d.Group = field(len(Columns)+2), field(len(Columns)+3)
	if err = cmp.Or(checkText("postcode", d.Postcode, 30), checkText("group", d.Group, 64)); err != nil {
		return d, false, err
	}
	gone = outage.DeviceRemoved(status)
	d.Type, d.SMETSVersion = texts.of(d.Type), texts.of(d.SMETSVersion)
	d.Manufacturer, d.Model = texts.of(d.Manufacturer), texts.of(d.Model)
	return d, gone, nil
}

// intern keeps one copy of each text that is repeated.
type intern map[string]string

// maxInterned bounds intern, for a file whose texts are not repeated.
const maxInterned = 4096

func (t intern) of(s string) string {
	if have, ok := t[s]; ok {
		return have
	}
	s = strings.Clone(s)
	if len(t) < maxInterned {
		t[s] = s
	}
	return s
}

// records parses single lines as CSV. After a quote that is never closed, a csv.Reader on
// the whole file would read the rest of the file into memory. This one reads one line at a
// time.
type records struct {
	line bytes.Reader
	csv  *csv.Reader
}

func newRecords() *records {
	p := &records{}
	p.csv = csv.NewReader(&p.line)
	p.csv.FieldsPerRecord = -1
	p.csv.ReuseRecord = true
	return p
}

// parse returns the fields of a line that is not blank, valid until the next call.
func (p *records) parse(line []byte) ([]string, error) {
	p.line.Reset(line)
	record, err := p.csv.Read()
	if err != nil {
		var e *csv.ParseError // without its own line number, which is always 1
		if errors.As(err, &e) {
			err = e.Err
		}
		return nil, err
	}
	return record, nil
}
