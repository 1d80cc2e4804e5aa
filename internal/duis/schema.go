package duis

// signatureNamespace is the namespace of XML signatures.
const signatureNamespace = "http://www.w3.org/2000/09/xmldsig#"

// node is an element that quell reads, at its place in the schema. Elsewhere an
// element of that name is another, and does not count.
type node uint8

const (
	ignored node = iota
	document
	request
	requestHeader
	requestBody
	activateFirmware
	signedPreCommand
	response
	responseHeader
	responseBody
	responseMessage
	futureDatedAlert
	deviceAlert
	dccAlertMessage
	dccAlert
	powerOutageEvent
	commandFailure
	firmwareDelivery
	signature // an XML signature; nothing in it is read

	// Leaves: their text is the value.
	requestID
	firstInSequence
	precedingID
	responseID
	commandVariant
	serviceReference
	serviceReferenceVariant
	responseCode
	responseDateTime
	executionDateTime
	firmwareHash
	gbcsPayload
	dccAlertCode
	deviceAlertCode
	alertPayload // of a device alert; the only leaf that may occur twice or hold elements, since then it does not count
	throttledSequenceID
	throttledCount
	commsHubDeviceID
	startDateTime
	mpxn
	commandRequestID
	updateFirmwareID
	targetDeviceID
	transferStatus
	nodes

	leaf = requestID // the first leaf
)

// A content is what the schema allows in an element: a sequence of elements, each
// at most once, or a choice of one element.
type content struct {
	choice   bool
	open     bool // DUIS elements that quell does not know are accepted
	elements []part
}

type part struct {
	name string
	node node
}

// contents has the content of each node that is not a leaf. All elements are in
// the DUIS namespace, except the signature.
//
// A message that quell decides on must be valid to the schema: see reader.flaw. A
// content is open where earlier versions of DUIS have added elements, or where it
// is a choice of which quell knows only a part. A later version may add an element
// there that quell does not know, and the rest keeps its meaning. That is so in the
// headers, in DCCAlertMessage, in PowerOutageEvent and in the two bodies of an
// 11.3. It is not so around these, nor beside the choice of a DCCAlert, where an
// unknown element would change the meaning.
var contents = [leaf]content{
	document: {choice: true, open: true, elements: []part{{"Request", request}, {"Response", response}}},

	request: {elements: []part{{"Header", requestHeader}, {"Body", requestBody}, {"Signature", signature}}},
	requestHeader: {open: true, elements: []part{
		{"RequestID", requestID},
		{"FirstInSequence", firstInSequence},
		{"PrecedingServiceRequestID", precedingID},
		{"CommandVariant", commandVariant},
		{"ServiceReference", serviceReference},
		{"ServiceReferenceVariant", serviceReferenceVariant},
	}},
	requestBody: {choice: true, open: true, elements: []part{
		{"ActivateFirmware", activateFirmware},
		{"SignedPreCommand", signedPreCommand},
	}},
	activateFirmware: {open: true, elements: []part{{"ExecutionDateTime", executionDateTime}, {"FirmwareHash", firmwareHash}}},
	signedPreCommand: {open: true, elements: []part{{"ExecutionDateTime", executionDateTime}, {"GBCSPayload", gbcsPayload}}},

	response: {elements: []part{{"Header", responseHeader}, {"Body", responseBody}, {"Signature", signature}}},
	responseHeader: {open: true, elements: []part{
		{"RequestID", requestID},
		{"ResponseID", responseID},
		{"ResponseCode", responseCode},
		{"ResponseDateTime", responseDateTime},
	}},
	responseBody: {choice: true, open: true, elements: []part{
		{"DCCAlertMessage", dccAlertMessage},
		{"DeviceAlertMessage", deviceAlert},
		{"ResponseMessage", responseMessage},
	}},
	responseMessage: {open: true, elements: []part{
		{"ServiceReferenceVariant", serviceReferenceVariant},
		{"FutureDatedDeviceAlertMessage", futureDatedAlert},
		{"GBCSPayload", gbcsPayload},
	}},
	futureDatedAlert: {open: true, elements: []part{{"FutureDatedAlertCode", deviceAlertCode}, {"GBCSPayload", gbcsPayload}}},
	deviceAlert:      {open: true, elements: []part{{"AlertCode", deviceAlertCode}, {"GBCSPayload", alertPayload}}},
	dccAlertMessage: {open: true, elements: []part{
		{"DCCAlertCode", dccAlertCode},
		{"ThrottledAlertSequenceId", throttledSequenceID},
		{"ThrottledAlertCount", throttledCount},
		{"DCCAlert", dccAlert},
	}},
	dccAlert:       {choice: true, open: true, elements: []part{{"PowerOutageEvent", powerOutageEvent}, {"CommandFailure", commandFailure}, {"CSPFirmwareDeliveryStatus", firmwareDelivery}}},
	commandFailure: {open: true, elements: []part{{"CommandRequestID", commandRequestID}}},
	firmwareDelivery: {open: true, elements: []part{
		{"UpdateFirmwareRequestID", updateFirmwareID},
		{"TargetDeviceID", targetDeviceID},
		{"CommsHubTransferStatus", transferStatus},
	}},
	powerOutageEvent: {open: true, elements: []part{
		{"CommsHubDeviceID", commsHubDeviceID},
		{"StartDateTime", startDateTime},
		{"MPxN", mpxn},
	}},
}

// find returns the node of the element called name, and its place, counted from
// 1; ignored and 0 if there is none. It looks first after the place last.
func (c *content) find(name []byte, last uint8) (node, uint8) {
	for i := int(last); i < len(c.elements); i++ {
		if e := &c.elements[i]; e.name == string(name) {
			return e.node, uint8(i + 1)
		}
	}
	for i := range int(last) {
		if e := &c.elements[i]; e.name == string(name) {
			return e.node, uint8(i + 1)
		}
	}
	return ignored, 0
}

// String returns the name of the element.
func (n node) String() string {
	for _, c := range contents {
		for _, e := range c.elements {
			if e.node == n {
				return e.name
			}
		}
	}
	return ""
}
