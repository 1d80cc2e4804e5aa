package duis

import (
	"bytes"
	"fmt"
	"io"

	"quell/internal/outage"
	"quell/internal/strictxml"
)

// Limits of ReadInventory.
const (
	maxInventory = 1 << 20 // bytes
	maxDevices   = 17      // of one home, by the schema's DSPInventory
)

// ReadInventory reads the devices of one home: a DSPInventory, either as the
// root of the document or inside the sr:Response that answers SRV 8.2. It calls
// yield for each device in order, with the line on which its Device element
// begins, counted from 1.
//
// The inventory does not say which hub a device is on. But it is of one home, and a
// home has one hub: so the CHF of every other device is the Device of type CHF in
// the document, or 0 if there is none. A Device with the DeviceStatus
// Decommissioned or Withdrawn is no longer in the home: it is skipped and counted,
// so that a replaced hub may be listed beside the new one. A device in the CSPRegion
// SMETS1, or with an S1SP, is SMETS1 whatever its version says.
//
// ReadInventory reads the whole document before the first yield, so that a document
// with a fault yields nothing. Each fault names its line. Faults are: XML that Read
// would refuse, no DSPInventory or several, more than 17 devices, two hubs that are
// not skipped, a DeviceID that is missing or not an EUI-64, and an element that
// occurs twice in a Device. A document longer than 1 MiB is refused. If yield
// returns an error, ReadInventory stops and returns that error unchanged.
func ReadInventory(r io.Reader, yield func(d outage.Device, line int) error) (skipped int, err error) {
	b, err := io.ReadAll(io.LimitReader(r, maxInventory+1))
	if err != nil {
		return 0, err
	}
	if len(b) > maxInventory {
		return 0, fmt.Errorf("duis: inventory longer than %d bytes", maxInventory)
	}
	inv := inventory{b: b}
	inv.read()
	if e := inv.Err; e != nil {
		return 0, fmt.Errorf("line %d: %w", inv.line(e.Offset), (*SyntaxError)(e))
	}
	for i, d := range inv.devices {
		if inv.gone[i] {
			skipped++
			continue
		}
		if d.Type != "CHF" {
			d.CHF = inv.hub
		}
		if err := yield(d, inv.line(inv.starts[i])); err != nil {
			return skipped, err
		}
	}
	return skipped, nil
}

// inventoryPath is where the devices are in the answer to SRV 8.2.
var inventoryPath = []string{"Response", "Body", "ResponseMessage", "DSPInventory", "Device"}

// inventory collects the devices of a document.
type inventory struct {
	strictxml.Scanner
	b       []byte
	path    []string // to the devices
	matched int      // how many open elements, from the root down, match path
	found   bool     // a DSPInventory has started

	devices []outage.Device
	starts  []int  // the offset of each
	gone    []bool // its status says that it is no longer in the home
	hub     outage.DeviceID

	fields map[string]string // of the current device, by element name
	field  string            // the field that is being read; "" if none
	value  []byte            // the text of that field so far
}

func (v *inventory) line(off int) int { return 1 + bytes.Count(v.b[:off], []byte("\n")) }

// read reads the whole document. v.Err is nil if that went well.
func (v *inventory) read() {
	v.Init(v.b, Namespace)
	v.path = inventoryPath
	for {
		ok := true
		switch v.Next() {
		case strictxml.StartElement:
			ok = v.start()
		case strictxml.CharData:
			if v.field != "" {
				v.value = strictxml.Join(v.value, v.Text)
			}
		case strictxml.EndElement:
			ok = v.finish()
		case strictxml.EOF:
			if !v.found {
				v.Fail(len(v.b), "no DSPInventory")
			}
			return
		default:
			return
		}
		if !ok {
			return
		}
	}
}

// start handles the start of an element. The result is false after a fault.
func (v *inventory) start() bool {
	if v.field != "" {
		v.Fail(v.Offset, "element within "+v.field)
		return false
	}
	if v.matched != v.Depth-1 || !v.Known {
		return true
	}
	name := string(v.Local)
	if v.Depth == 1 && name == "DSPInventory" {
		v.path = inventoryPath[3:]
	}
	if v.Depth > len(v.path) {
		return v.startField(name)
	}
	if name != v.path[v.Depth-1] {
		return true
	}
	v.matched = v.Depth
	switch name {
	case "DSPInventory":
		if v.found {
			v.Fail(v.Offset, "second DSPInventory")
			return false
		}
		v.found = true
	case "Device":
		if len(v.devices) == maxDevices {
			v.Fail(v.Offset, "more than 17 devices")
			return false
		}
		v.starts = append(v.starts, v.Offset)
		v.fields = make(map[string]string)
	}
	return true
}

func (v *inventory) startField(name string) bool {
	switch name {
	case "DeviceID", "DeviceType", "DeviceStatus", "DeviceManufacturer", "DeviceModel", "SMETSCHTSVersion", "ImportMPxN", "CSPRegion", "S1SP":
		if _, again := v.fields[name]; again {
			v.Fail(v.Offset, "second "+name)
			return false
		}
		v.field, v.value = name, nil
	}
	return true
}

// finish handles the end of an element, which was at Depth + 1.
func (v *inventory) finish() bool {
	if v.field != "" {
		v.fields[v.field] = string(strictxml.TrimSpace(v.value))
		v.field = ""
		return true
	}
	if v.matched <= v.Depth {
		return true
	}
	v.matched = v.Depth
	if v.matched == len(v.path)-1 {
		return v.finishDevice()
	}
	return true
}

func (v *inventory) finishDevice() bool {
	start := v.starts[len(v.starts)-1]
	id, err := outage.ParseDeviceID(v.fields["DeviceID"])
	if err != nil || id == 0 {
		v.Fail(start, "device without a valid DeviceID")
		return false
	}
	d := outage.Device{
		ID:           id,
		Type:         v.fields["DeviceType"],
		SMETSVersion: v.fields["SMETSCHTSVersion"],
		Manufacturer: v.fields["DeviceManufacturer"],
		Model:        v.fields["DeviceModel"],
		MPxN:         v.fields["ImportMPxN"],
	}
	if v.fields["CSPRegion"] == "SMETS1" || v.fields["S1SP"] != "" {
		d.SMETSVersion = "SMETS1"
	}
	gone := outage.DeviceRemoved(v.fields["DeviceStatus"])
	if d.Type == "CHF" && !gone {
		if v.hub != 0 {
			v.Fail(start, "second device of type CHF")
			return false
		}
		v.hub = id
	}
	v.devices, v.gone = append(v.devices, d), append(v.gone, gone)
	return true
}
