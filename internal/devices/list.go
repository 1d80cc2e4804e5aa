package devices

import (
	"bufio"
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"strings"

	"quell/internal/outage"
)

// ReadList reads a device list: one EUI-64 a line, in any form that outage.ParseAnyDeviceID
// reads. It calls yield for each in the order of the file, also if an EUI-64 is repeated.
// Blank lines, text after "#", blanks around a value, a byte order mark and CRLF are
// ignored. The first line may be a header, such as "device_id" or "GUID": only letters,
// blanks, "_", commas and quotes. Errors are as those of ReadInventory.
func ReadList(r io.Reader, yield func(outage.DeviceID) error) error {
	br := bufio.NewReaderSize(r, maxLine)
	if err := skipBOM(br); err != nil {
		return err
	}
	var faults LineErrors
	lines := lineReader{r: br}
	first := true
	for {
		line, err := lines.next()
		switch {
		case errors.Is(err, io.EOF):
			return faults.err()
		case errors.Is(err, errLongLine):
			faults.add(lines.number, err)
			continue
		case err != nil:
			return err
		}
		line, _, _ = bytes.Cut(line, []byte("#"))
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		id, err := outage.ParseAnyDeviceID(string(line))
		switch {
		case err != nil && first && isHeader(line):
		case err != nil:
			faults.add(lines.number, fmt.Errorf("%q: %w", clip(line), err))
		case id == 0:
			faults.add(lines.number, errors.New("the device id is zero"))
		default:
			if err := yield(id); err != nil {
				return err
			}
		}
		first = false
	}
}

func isHeader(line []byte) bool {
	return len(bytes.Trim(line, `abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ _,"'`)) == 0
}

// clip shortens a line for a message.
func clip(line []byte) []byte {
	const limit = 60
	if len(line) > limit {
		return append(line[:limit:limit], "…"...)
	}
	return line
}

//go:embed builtin.txt
var builtin string

// Builtin returns the device list that is built into the program, for ReadList, and its size
// in bytes. An ordinary build has none: the list is empty, and its size 0. "make build
// DEVICE_LIST=FILE" replaces builtin.txt with FILE.
func Builtin() (list io.Reader, size int64) {
	if builtin == noList {
		return strings.NewReader(""), 0
	}
	return strings.NewReader(builtin), int64(len(builtin))
}

// noList is the builtin.txt of an ordinary build.
const noList = "# No device list is built in. See \"make build\".\n"
