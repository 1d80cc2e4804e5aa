package devices

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"quell/internal/duis"
	"quell/internal/outage"
)

// Columns are the columns of an inventory in CSV. It may also have those of OptionalColumns.
var Columns = []string{"device_id", "device_type", "smets_version", "manufacturer", "model", "chf_id", "mpxn"}

// OptionalColumns are the columns that an inventory in CSV may have too: one of
// outage.DeviceStatuses; the EUI-64 of the import supplier, under which it sends its requests;
// the full postcode; and the network operator's group, such as a transformer or a feeder.
var OptionalColumns = []string{"device_status", "import_supplier", "postcode", "group"}

// Types are the device types of DUIS (DeviceType).
var Types = []string{"ESME", "GSME", "GPF", "CHF", "HCALCS", "PPMID", "IHD", "CAD"}

// ReadInventory reads an inventory, and calls yield for each device in the order of the
// file. A file that begins with "<" is a DUIS DSPInventory; any other is CSV: a header with
// all of Columns, and perhaps some of OptionalColumns, in any order; then one line for each
// device. chf_id may be empty if the hub is not known, and so may all texts except the type. Ids may
// be in any form that outage.ParseAnyDeviceID reads. Blanks around a value, a byte order
// mark and CRLF are ignored.
//
// Devices whose status says that they are gone (decommissioned or withdrawn) are not
// yielded; skipped counts them.
//
// The error is a *LineErrors for faults of single lines; or the error of r or yield, which
// ends the reading.
//
// XML is one document, of one home. If duis.ReadInventory cannot read it, its error ends the
// reading.
func ReadInventory(r io.Reader, yield func(outage.Device) error) (skipped int, err error) {
	br := bufio.NewReaderSize(r, maxLine)
	if err := skipBOM(br); err != nil {
		return 0, err
	}
	head, err := br.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	if bytes.HasPrefix(bytes.TrimLeft(head, " \t\r\n"), []byte("<")) {
		return readXML(br, yield)
	}
	return readCSV(br, yield)
}

func readXML(r io.Reader, yield func(outage.Device) error) (skipped int, err error) {
	var faults LineErrors
	var stop error
	skipped, err = duis.ReadInventory(r, func(d outage.Device, line int) error {
		if err := checkDevice(&d); err != nil {
			faults.add(line, err)
			return nil
		}
		stop = yield(d)
		return stop
	})
	switch {
	case stop != nil:
		return skipped, stop
	case err != nil:
		return skipped, errors.Join(faults.err(), err)
	}
	return skipped, faults.err()
}

// spreadsheetNumber matches a number as a spreadsheet writes it, not digit by digit. An MPxN
// in that form has lost digits, and belongs to no supply point.
var spreadsheetNumber = regexp.MustCompile(`^[0-9]+([.,][0-9]*)?([eE][+-]?[0-9]+)?$`)

// checkDevice returns the first fault that it finds in a device, by the rules of DUIS.
func checkDevice(d *outage.Device) error {
	switch {
	case d.ID == 0:
		return errors.New("device_id is zero")
	case strings.ContainsAny(d.MPxN, ".,eE") && spreadsheetNumber.MatchString(d.MPxN):
		return fmt.Errorf("mpxn %q was written by a spreadsheet as a number, and has lost digits: make the column text there", d.MPxN)
	case !slices.Contains(Types, d.Type):
		return fmt.Errorf("device_type %q is not one of %s", d.Type, strings.Join(Types, ", "))
	}
	// The lengths of SMETSCHTSVersion, DeviceManufacturer, DeviceModel and MPxN in DUIS.
	return cmp.Or(
		checkText("smets_version", d.SMETSVersion, 20),
		checkText("manufacturer", d.Manufacturer, 30),
		checkText("model", d.Model, 30),
		checkText("mpxn", d.MPxN, 13),
	)
}

// checkText checks one value of a device. The limit is in characters.
func checkText(column, s string, limit int) error {
	switch {
	case !utf8.ValidString(s):
		return fmt.Errorf("%s is not UTF-8", column)
	case strings.IndexByte(s, 0) >= 0: // PostgreSQL cannot store it
		return fmt.Errorf("%s has a NUL", column)
	case len(s) > limit && utf8.RuneCountInString(s) > limit:
		return fmt.Errorf("%s has more than %d characters", column, limit)
	}
	return nil
}
