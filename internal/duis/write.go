package duis

import (
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"quell/internal/outage"
	"quell/internal/strictxml"
)

// Each function in this file appends one whole message to b, compact and unsigned.
// It is valid to the DUIS schema if the arguments are: ids that are not zero, times
// in the years 1 to 9999, codes and references of the schema's enumerations. Text is
// escaped. XML is appended as it is, and uses the prefix sr.

const prolog = `<?xml version="1.0" encoding="UTF-8" standalone="no"?>`

// AppendActivateFirmware appends a request, CommandVariant 4, for the Pre-Command
// that activates the image with the given SHA-256.
func AppendActivateFirmware(b []byte, id outage.RequestID, order outage.Order, hash [32]byte) []byte {
	b = appendRequestHeader(b, id, 4, "11.3", "11.3")
	b = append(b, "<sr:ActivateFirmware>"...)
	b = appendExecution(b, order)
	b = appendLeaf(b, "FirmwareHash", strings.ToUpper(hex.EncodeToString(hash[:])))
	b = append(b, "</sr:ActivateFirmware>"...)
	return append(b, requestEnd...)
}

// AppendSignedPreCommand appends an 11.3 with a Signed Pre-Command, of
// CommandVariant 5, 6 or 7. The payload says when to activate, so the XML need not:
// with an order of OnDemand it does not.
func AppendSignedPreCommand(b []byte, id outage.RequestID, variant int, order outage.Order, payload []byte) []byte {
	b = appendRequestHeader(b, id, variant, "11.3", "11.3")
	b = append(b, "<sr:SignedPreCommand>"...)
	b = appendExecution(b, order)
	b = appendPayload(b, payload)
	b = append(b, "</sr:SignedPreCommand>"...)
	return append(b, requestEnd...)
}

// AppendRequest appends a request of any service. bodyXML is the one element in
// Body, such as <sr:ReadFirmwareVersion/>.
func AppendRequest(b []byte, id outage.RequestID, variant int, serviceReference, srv, bodyXML string) []byte {
	b = appendRequestHeader(b, id, variant, serviceReference, srv)
	b = append(b, bodyXML...)
	return append(b, requestEnd...)
}

// AppendPowerOutage appends an AD1 with the ResponseID id.
func AppendPowerOutage(b []byte, id outage.RequestID, at time.Time, o PowerOutage) []byte {
	b = appendResponseHeader(b, "ResponseID", id, "I0", at)
	b = append(b, "<sr:DCCAlertMessage>"...)
	b = appendLeaf(b, "DCCAlertCode", "AD1")
	if n := o.Throttled.SequenceID; n != nil {
		b = appendLeaf(b, "ThrottledAlertSequenceId", strconv.FormatUint(uint64(*n), 10))
	}
	if n := o.Throttled.Count; n != nil {
		b = appendLeaf(b, "ThrottledAlertCount", strconv.FormatUint(uint64(*n), 10))
	}
	b = append(b, "<sr:DCCAlert><sr:PowerOutageEvent>"...)
	b = appendLeaf(b, "CommsHubDeviceID", o.CHF.String())
	b = appendLeaf(b, "StartDateTime", string(appendTime(nil, o.Start)))
	b = appendLeaf(b, "MPxN", o.MPxN)
	b = append(b, "</sr:PowerOutageEvent></sr:DCCAlert></sr:DCCAlertMessage>"...)
	return append(b, responseEnd...)
}

// AppendDCCAlert appends a DCC Alert with the ResponseID id. alertXML is the one
// element in DCCAlert.
func AppendDCCAlert(b []byte, id outage.RequestID, at time.Time, code, alertXML string) []byte {
	b = appendResponseHeader(b, "ResponseID", id, "I0", at)
	b = append(b, "<sr:DCCAlertMessage>"...)
	b = appendLeaf(b, "DCCAlertCode", code)
	b = append(b, "<sr:DCCAlert>"...)
	b = append(b, alertXML...)
	b = append(b, "</sr:DCCAlert></sr:DCCAlertMessage>"...)
	return append(b, responseEnd...)
}

// AppendDeviceAlert appends a device alert with the ResponseID id. The code is
// hexadecimal, such as "8F36".
func AppendDeviceAlert(b []byte, id outage.RequestID, at time.Time, code string, payload []byte) []byte {
	b = appendResponseHeader(b, "ResponseID", id, "I0", at)
	b = append(b, "<sr:DeviceAlertMessage>"...)
	b = appendLeaf(b, "AlertCode", code)
	b = appendPayload(b, payload)
	b = append(b, "</sr:DeviceAlertMessage>"...)
	return append(b, responseEnd...)
}

// AppendAnswer appends the answer that acknowledges or refuses an 11.3. The schema
// requires a Body even then: a ResponseMessage that names the service.
func AppendAnswer(b []byte, request outage.RequestID, at time.Time, code string) []byte {
	b = appendResponseHeader(b, "RequestID", request, code, at)
	b = append(b, "<sr:ResponseMessage>"...)
	b = appendLeaf(b, "ServiceReference", "11.3")
	b = appendLeaf(b, "ServiceReferenceVariant", "11.3")
	b = append(b, "</sr:ResponseMessage>"...)
	return append(b, responseEnd...)
}

const requestEnd = "</sr:Body></sr:Request>"

func appendRequestHeader(b []byte, id outage.RequestID, variant int, serviceReference, srv string) []byte {
	b = append(b, prolog+`<sr:Request xmlns:sr="`+Namespace+`" schemaVersion="5.4"><sr:Header>`...)
	b = appendLeaf(b, "RequestID", id.String())
	b = appendLeaf(b, "CommandVariant", strconv.Itoa(variant))
	b = appendLeaf(b, "ServiceReference", serviceReference)
	b = appendLeaf(b, "ServiceReferenceVariant", srv)
	return append(b, "</sr:Header><sr:Body>"...)
}

const responseEnd = "</sr:Body></sr:Response>"

func appendResponseHeader(b []byte, idName string, id outage.RequestID, code string, at time.Time) []byte {
	b = append(b, prolog+`<sr:Response xmlns:sr="`+Namespace+`" schemaVersion="5.4"><sr:Header>`...)
	b = appendLeaf(b, idName, id.String())
	b = appendLeaf(b, "ResponseCode", code)
	b = appendLeaf(b, "ResponseDateTime", string(appendTime(nil, at)))
	return append(b, "</sr:Header><sr:Body>"...)
}

func appendExecution(b []byte, order outage.Order) []byte {
	at := order.At
	switch order.Kind {
	case outage.FutureDated:
	case outage.Cancellation:
		at = CancellationTime
	default:
		return b
	}
	return appendLeaf(b, "ExecutionDateTime", string(appendTime(nil, at)))
}

func appendPayload(b, payload []byte) []byte {
	b = append(b, "<sr:GBCSPayload>"...)
	b = base64.StdEncoding.AppendEncode(b, payload)
	return append(b, "</sr:GBCSPayload>"...)
}

func appendLeaf(b []byte, name, text string) []byte {
	b = append(append(append(b, "<sr:"...), name...), '>')
	b = appendText(b, text)
	return append(append(append(b, "</sr:"...), name...), '>')
}

// appendText appends text as character data. A character that XML does not allow
// becomes U+FFFD.
func appendText(b []byte, text string) []byte {
	for _, r := range text {
		switch {
		case r == '<':
			b = append(b, "&lt;"...)
		case r == '>':
			b = append(b, "&gt;"...)
		case r == '&':
			b = append(b, "&amp;"...)
		case r == '\r':
			b = append(b, "&#13;"...)
		case !strictxml.IsChar(r):
			b = append(b, "\uFFFD"...)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return b
}
