package inventory

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"quell/internal/outage"
)

func readCSV(r *bufio.Reader, yield func(outage.Device) error) error {
	var faults LineErrors
	var column [7]int // index into Columns → index into a record; set by the header
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
			return faults.err()
		case errors.Is(err, errLongLine):
		case err != nil:
			return err
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
			if len(errs) > 0 { // no line can be read without it
				return faults.err()
			}
			header = true
			continue
		}
		var d outage.Device
		if err == nil {
			d, err = device(record, &column, texts)
		}
		if err != nil {
			faults.add(lines.number, err)
			continue
		}
		if err := yield(d); err != nil {
			return err
		}
	}
}

// readHeader finds the place of each of Columns in the header.
func readHeader(record []string, column *[7]int) (errs []error) {
	for i := range column {
		column[i] = -1
	}
	for at, name := range record {
		switch i := slices.Index(Columns, strings.TrimSpace(name)); {
		case i < 0:
			errs = append(errs, fmt.Errorf("unknown column %q", name))
		case column[i] >= 0:
			errs = append(errs, fmt.Errorf("column %s stands twice", Columns[i]))
		default:
			column[i] = at
		}
	}
	for i, at := range column {
		if at < 0 {
			errs = append(errs, fmt.Errorf("column %s is missing", Columns[i]))
		}
	}
	return errs
}

// device reads a record.
func device(record []string, column *[7]int, texts intern) (d outage.Device, err error) {
	if len(record) != len(column) {
		return d, fmt.Errorf("%d fields; want %d", len(record), len(column))
	}
	field := func(i int) string { return strings.TrimSpace(record[column[i]]) }
	if d.ID, err = outage.ParseDeviceID(field(0)); err != nil {
		return d, fmt.Errorf("device_id %q: %w", field(0), err)
	}
	if hub := field(5); hub != "" {
		if d.CHF, err = outage.ParseDeviceID(hub); err != nil {
			return d, fmt.Errorf("chf_id %q: %w", hub, err)
		}
	}
	d.Type, d.SMETSVersion, d.Manufacturer, d.Model = field(1), field(2), field(3), field(4)
	d.MPxN = field(6)
	if err = check(&d); err != nil {
		return d, err
	}
	d.Type, d.SMETSVersion = texts.of(d.Type), texts.of(d.SMETSVersion)
	d.Manufacturer, d.Model = texts.of(d.Manufacturer), texts.of(d.Model)
	return d, nil
}

// intern keeps one copy of texts that come again and again.
type intern map[string]string

// maxInterned bounds it, for a file in which they do not.
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

// records parses single lines as CSV. A csv.Reader on the file itself would
// read on after a quote that is never closed, to the end of the file and into
// memory; this one is at its end after each line.
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
		var e *csv.ParseError // its Err lacks the line, which would be 1
		if errors.As(err, &e) {
			err = e.Err
		}
		return nil, err
	}
	return record, nil
}
