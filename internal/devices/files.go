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

// Columns are those of an inventory in CSV. StatusColumn may be there as well.
var Columns = []string{"device_id", "device_type", "smets_version", "manufacturer", "model", "chf_id", "mpxn"}

// StatusColumn is the column of outage.DeviceStatuses.
const StatusColumn = "device_status"

// Types are the device types of DUIS (DeviceType).
var Types = []string{"ESME", "GSME", "GPF", "CHF", "HCALCS", "PPMID", "IHD", "CAD"}

// ReadInventory reads an inventory, and calls yield for each device in the order
// of the file. What begins with "<" is a DUIS DSPInventory, anything else CSV:
// a header with all of Columns in any order and StatusColumn or not, then a line
// for each device. chf_id may be empty where the hub is not known, and so may all
// texts but the type. Ids may be in any form of outage.ParseAnyDeviceID. Blanks
// around a value, a byte order mark and CRLF do not count.
//
// Devices that are gone by their status, decommissioned or withdrawn, are not
// yielded but counted: skipped.
//
// The error is a *LineErrors for faults of single lines, or what r or yield
// returned, which ends the reading.
//
// XML is one document, of one home; where duis.ReadInventory cannot read it, its
// error ends the reading.
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

// spreadsheetNumber is a number that is not written as its digits. A spreadsheet
// writes an MPxN so, which then is that of no supply point.
var spreadsheetNumber = regexp.MustCompile(`^[0-9]+([.,][0-9]*)?([eE][+-]?[0-9]+)?$`)

// checkDevice says what of a device DUIS does not allow: the first that it finds.
func checkDevice(d *outage.Device) error {
	switch {
	case d.ID == 0:
		return errors.New("device_id is zero")
	case strings.ContainsAny(d.MPxN, ".,eE") && spreadsheetNumber.MatchString(d.MPxN):
		return fmt.Errorf("mpxn %q is as a spreadsheet writes a number, and has lost digits: make the column text there", d.MPxN)
	case !slices.Contains(Types, d.Type):
		return fmt.Errorf("device_type %q is not one of %s", d.Type, strings.Join(Types, ", "))
	}
	// The lengths are those of SMETSCHTSVersion, DeviceManufacturer, DeviceModel and MPxN.
	return cmp.Or(
		checkText("smets_version", d.SMETSVersion, 20),
		checkText("manufacturer", d.Manufacturer, 30),
		checkText("model", d.Model, 30),
		checkText("mpxn", d.MPxN, 13),
	)
}

// checkText checks one value of a device; most is in characters.
func checkText(column, s string, most int) error {
	switch {
	case !utf8.ValidString(s):
		return fmt.Errorf("%s is not UTF-8", column)
	case strings.IndexByte(s, 0) >= 0: // PostgreSQL has no such texts
		return fmt.Errorf("%s has a NUL", column)
	case len(s) > most && utf8.RuneCountInString(s) > most:
		return fmt.Errorf("%s has more than %d characters", column, most)
	}
	return nil
}
