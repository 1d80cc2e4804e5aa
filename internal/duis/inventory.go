package duis

import (
	"bytes"
	"fmt"
	"io"

	"quell/internal/outage"
)

// Limits of ReadInventory.
const (
	maxInventory = 1 << 20 // bytes
	maxDevices   = 17      // of one home, by the schema's DSPInventory
)

// ReadInventory reads the devices of one home: a DSPInventory, either as the
// root of the document or within the sr:Response that answers SRV 8.2. It calls
// yield for each device in order, with the line on which its Device element
// begins, counted from 1.
//
// The inventory does not say which hub a device is on, but it speaks of one
// home, and a home has one hub: so every other device's CHF is the document's
// Device of type CHF, and 0 if there is none. A Device of the DeviceStatus
// Decommissioned or Withdrawn is in no home any more: it is skipped, so that a
// replaced hub may be there beside the new one, and counted. A device in the CSPRegion SMETS1, or
// with an S1SP, is of SMETS1 whatever its version says.
//
// The whole document is read before the first yield, so that nothing of one
// with a fault is taken. Faults, which name their line, are: what Read would
// call not well-formed, no DSPInventory or several, more than 17 devices, two
// hubs that are not skipped, a DeviceID that is missing or no EUI-64, and an element occurring twice
// in a Device. A document longer than 1 MiB is refused. An error of yield ends
// the reading and is returned as it is.
func ReadInventory(r io.Reader, yield func(d outage.Device, line int) error) (skipped int, err error) {
	b, err := io.ReadAll(io.LimitReader(r, maxInventory+1))
	if err != nil {
		return 0, err
	}
	if len(b) > maxInventory {
		return 0, fmt.Errorf("duis: inventory longer than %d bytes", maxInventory)
	}
	inv := inventory{scanner: scanner{b: b}}
	inv.read()
	if e := inv.err; e != nil {
		return 0, fmt.Errorf("line %d: %w", inv.line(e.Offset), e)
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
	scanner
	path    []string // to the devices
	matched int      // so many open elements, from the root on, are those of path
	found   bool     // a DSPInventory has begun

	devices []outage.Device
	starts  []int  // their offsets
	gone    []bool // by their status
	hub     outage.DeviceID

	fields map[string]string // of the device being read, by element name
	field  string            // the one being read; "" if none
	value  []byte            // its text
}

func (v *inventory) line(off int) int { return 1 + bytes.Count(v.b[:off], []byte("\n")) }

// read reads the whole document. It leaves v.err nil if that went well.
func (v *inventory) read() {
	if !v.begin() {
		return
	}
	v.path = inventoryPath
	for {
		ok := true
		switch v.next() {
		case evStart:
			ok = v.start()
		case evText:
			if v.field != "" {
				v.value = join(v.value, v.text)
			}
		case evEnd:
			ok = v.finish()
		case evEOF:
			if !v.found {
				v.fail(len(v.b), "no DSPInventory")
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

// start takes note of an element that has begun.
func (v *inventory) start() bool {
	if v.field != "" {
		v.fail(v.off, "element within "+v.field)
		return false
	}
	if v.matched != v.depth-1 || !v.ns.duis {
		return true
	}
	name := string(v.local)
	if v.depth == 1 && name == "DSPInventory" {
		v.path = inventoryPath[3:]
	}
	if v.depth > len(v.path) {
		return v.startField(name)
	}
	if name != v.path[v.depth-1] {
		return true
	}
	v.matched = v.depth
	switch name {
	case "DSPInventory":
		if v.found {
			v.fail(v.off, "second DSPInventory")
			return false
		}
		v.found = true
	case "Device":
		if len(v.devices) == maxDevices {
			v.fail(v.off, "more than 17 devices")
			return false
		}
		v.starts = append(v.starts, v.off)
		v.fields = make(map[string]string)
	}
	return true
}

func (v *inventory) startField(name string) bool {
	switch name {
	case "DeviceID", "DeviceType", "DeviceStatus", "DeviceManufacturer", "DeviceModel", "SMETSCHTSVersion", "ImportMPxN", "CSPRegion", "S1SP":
		if _, again := v.fields[name]; again {
			v.fail(v.off, "second "+name)
			return false
		}
		v.field, v.value = name, nil
	}
	return true
}

// finish takes note of an element that has ended, which was at depth + 1.
func (v *inventory) finish() bool {
	if v.field != "" {
		v.fields[v.field] = string(trimSpace(v.value))
		v.field = ""
		return true
	}
	if v.matched <= v.depth {
		return true
	}
	v.matched = v.depth
	if v.matched == len(v.path)-1 {
		return v.finishDevice()
	}
	return true
}

func (v *inventory) finishDevice() bool {
	start := v.starts[len(v.starts)-1]
	id, err := outage.ParseDeviceID(v.fields["DeviceID"])
	if err != nil || id == 0 {
		v.fail(start, "device without a valid DeviceID")
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
	gone := outage.Gone(v.fields["DeviceStatus"])
	if d.Type == "CHF" && !gone {
		if v.hub != 0 {
			v.fail(start, "second device of type CHF")
			return false
		}
		v.hub = id
	}
	v.devices, v.gone = append(v.devices, d), append(v.gone, gone)
	return true
}
